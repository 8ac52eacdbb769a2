"""`transformers` running what was exported: weights dequantised, in F32."""

import json
import tempfile
from pathlib import Path

import gguf
import torch
from safetensors.torch import load_file, save_file
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM, Qwen2ForCausalLM

from . import export


def teacher(folder: Path) -> DeepseekV3ForCausalLM:
    """tiny-r1 from its folder. The predicting layer, which `transformers` keeps apart, is left out."""
    settings = json.loads((folder / "config.json").read_text())
    settings.pop("quantization_config")
    settings |= {"dtype": "float32", "num_nextn_predict_layers": 0}
    beyond = f"model.layers.{settings['num_hidden_layers']}."
    tensors = export.dequantized(load_file(folder / "model.safetensors"))
    with tempfile.TemporaryDirectory() as plain:
        DeepseekV3Config(**settings).save_pretrained(plain)
        kept = {name: value for name, value in tensors.items() if not name.startswith(beyond)}
        save_file(kept, Path(plain) / "model.safetensors", metadata={"format": "pt"})
        model, report = DeepseekV3ForCausalLM.from_pretrained(plain, dtype=torch.float32, output_loading_info=True)
    lost = [*report["missing_keys"], *report["unexpected_keys"]]
    assert not lost, f"tensors without a place: {lost}"
    return model.eval()


def distilled(path: Path, network) -> Qwen2ForCausalLM:
    """tiny-r1-distill from its GGUF file; `network` names its parameters."""
    held = {tensor.name: tensor for tensor in gguf.GGUFReader(path).tensors}
    model = Qwen2ForCausalLM(network.config).eval().float()
    state = {}
    for name, parameter in network.named_parameters():
        tensor = held[export.student_name(name)]
        value = torch.tensor(gguf.quants.dequantize(tensor.data, tensor.tensor_type)).view(parameter.shape)
        state["lm_head.weight" if name == "head" else f"model.{name}"] = value
    model.load_state_dict(state)
    return model


@torch.no_grad()
def greedy(model, prompt: list[int], most: int, eos: int) -> list[int]:
    """The ids that a model writes after a prompt, with the end token if it came."""
    written = model.generate(
        torch.tensor([prompt]), max_new_tokens=most, do_sample=False, eos_token_id=eos, pad_token_id=eos, use_cache=True
    )
    return written[0, len(prompt) :].tolist()
