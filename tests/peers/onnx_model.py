"""Makes an int4 ONNX graph of a GGUF file, for onnxruntime-web and transformers.js.

    python onnx_model.py MODEL.gguf FOLDER

FOLDER gets the layout that transformers.js reads: config.json, tokenizer.json, onnx/model_q4.onnx. The weights are
those of the GGUF file, dequantised and quantised again: int4 in blocks of 32, head and embedding too. Inputs and
outputs are f32, which is faster than f16 where a CPU plays the GPU, and only the last position's logits are computed.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import onnx
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer


def checkpoint(gguf: Path, folder: Path):
    """Writes the model as Hugging Face has it, in f32."""
    source = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name, "local_files_only": True}
    held = AutoModelForCausalLM.from_pretrained(**source, dtype=torch.float32)
    # What was read from GGUF counts as quantised and would not be saved: a fresh model takes its weights.
    dropped = ("quantization_config", "dtype", "torch_dtype")
    settings = {name: value for name, value in held.config.to_dict().items() if name not in dropped}
    model = type(held)(type(held.config)(**settings)).float()
    model.load_state_dict(held.state_dict())
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(**source).save_pretrained(folder)


def graph(checkpoint: Path, folder: Path) -> onnx.ModelProto:
    """The checkpoint as a graph for WebGPU."""
    options = ["use_webgpu_fp32=true", "prune_lm_head=true"]
    builder = [sys.executable, "-m", "onnxruntime_genai.models.builder", "-m", checkpoint, "-i", checkpoint]
    builder += ["-o", folder, "-c", folder / "cache", "-p", "int4", "-e", "webgpu", "--extra_options", *options]
    subprocess.run(builder, check=True)
    return onnx.load(folder / "model.onnx")


def name_head_size(model: onnx.ModelProto, head_size: int):
    """Writes the size of the cache's heads as a number: transformers.js takes what is a name for 0."""
    for value in [*model.graph.input, *model.graph.output]:
        if value.name.startswith(("past_key_values.", "present.")):
            value.type.tensor_type.shape.dim[3].dim_value = head_size


def main():
    gguf, folder = Path(sys.argv[1]).absolute(), Path(sys.argv[2])
    with tempfile.TemporaryDirectory() as scratch:
        plain = Path(scratch) / "checkpoint"
        checkpoint(gguf, plain)
        config = AutoModelForCausalLM.from_pretrained(plain).config
        model = graph(plain, Path(scratch) / "graph")
        name_head_size(model, config.hidden_size // config.num_attention_heads)
        (folder / "onnx").mkdir(parents=True, exist_ok=True)
        onnx.save(model, folder / "onnx" / "model_q4.onnx")
        for file in plain.glob("*.json"):
            shutil.copy(file, folder)


if __name__ == "__main__":
    main()
