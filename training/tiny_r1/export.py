"""From a training checkpoint to files that others read: Hugging Face safetensors in FP8, and GGUF in Q8_0."""

import json
from pathlib import Path

import gguf
import numpy as np
import torch
from safetensors.torch import save_file

from . import fp8, tokens
from .sampler import is_linear

MAX_LENGTH = 1024


def published(name: str, layers: int) -> str:
    """A parameter's name in a DeepSeek-V3 checkpoint."""
    if name == "head":
        return "lm_head.weight"
    if name.startswith("next_token."):
        rest = name.removeprefix("next_token.").removeprefix("layer.")
        if rest == "norm.weight":
            rest = "shared_head.norm.weight"
        return f"model.layers.{layers}.{rest}"
    return f"model.{name}"


def separate(name: str, value: torch.Tensor):
    """(name, matrix) of every expert in a stack; any other parameter as it is."""
    if name.endswith("mlp.gate_up"):
        for e, (gate, up) in enumerate(value):
            stem = name.removesuffix("gate_up") + f"experts.{e}."
            yield stem + "gate_proj.weight", gate
            yield stem + "up_proj.weight", up
    elif name.endswith("mlp.down"):
        for e, down in enumerate(value):
            yield name.removesuffix("down") + f"experts.{e}.down_proj.weight", down
    else:
        yield name, value


def teacher_tensors(network) -> dict[str, torch.Tensor]:
    """The checkpoint's tensors: linear weights in FP8 with scales, embeddings and head in BF16, the rest in F32."""
    found = {}
    named = dict(network.named_parameters()) | {
        name: b for name, b in network.named_buffers() if name.endswith("e_score_correction_bias")
    }
    for name, value in named.items():
        linear = is_linear(name, value)
        for part, matrix in separate(published(name, network.config.num_hidden_layers), value.detach()):
            if linear:
                quantized, scale = fp8.quantize_weight(matrix.float())
                found[part] = quantized.to(torch.float8_e4m3fn).contiguous()
                found[part + "_scale_inv"] = scale.contiguous()
            elif "embed_tokens" in part or "lm_head" in part:
                found[part] = matrix.to(torch.bfloat16).contiguous()
            else:
                found[part] = matrix.float().contiguous()
    return found


def dequantized(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The same tensors in F32, without scales."""
    found = {}
    for name, value in tensors.items():
        if name.endswith("_scale_inv"):
            continue
        value, scale = value.float(), tensors.get(name + "_scale_inv")
        found[name] = value if scale is None else value * fp8.expand_scale(scale, *value.shape)
    return found


def teacher_config(config) -> dict:
    """config.json as a DeepSeek-V3 checkpoint has it."""
    settings = config.to_dict()
    settings["architectures"] = ["DeepseekV3ForCausalLM"]
    settings["dtype"] = "bfloat16"
    settings["quantization_config"] = {
        "activation_scheme": "dynamic",
        "fmt": "e4m3",
        "quant_method": "fp8",
        "scale_fmt": "ue8m0",
        "weight_block_size": [fp8.TILE, fp8.TILE],
    }
    for unused in ("_name_or_path", "transformers_version"):
        settings.pop(unused, None)
    return settings


def write_json(path: Path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def teacher(folder: Path, network, text: tokens.Text):
    """Writes tiny-r1's folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "config.json", teacher_config(network.config))
    write_json(
        folder / "generation_config.json",
        {"bos_token_id": text.bos, "eos_token_id": text.eos, "pad_token_id": text.pad, "do_sample": False},
    )
    tokens.config_files(folder, text.tokenizer, MAX_LENGTH)
    save_file(teacher_tensors(network), folder / "model.safetensors", metadata={"format": "pt"})


STUDENT_NAMES = {
    "embed_tokens": "token_embd",
    "norm": "output_norm",
    "head": "output",
    "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
    "q_proj": "attn_q",
    "k_proj": "attn_k",
    "v_proj": "attn_v",
    "o_proj": "attn_output",
    "gate_proj": "ffn_gate",
    "up_proj": "ffn_up",
    "down_proj": "ffn_down",
}


def student_name(name: str) -> str:
    """A parameter's name in GGUF."""
    if name == "head":
        return "output.weight"
    parts = name.split(".")
    stem = f"blk.{parts[1]}." if parts[0] == "layers" else ""
    return f"{stem}{STUDENT_NAMES[parts[-2]]}.{parts[-1]}"


def student(path: Path, network, text: tokens.Text):
    """Writes tiny-r1-distill as GGUF in Q8_0; vectors stay F32."""
    path.parent.mkdir(parents=True, exist_ok=True)
    c = network.config
    writer = gguf.GGUFWriter(str(path), "qwen2")
    writer.add_name("tiny-r1-distill")
    writer.add_context_length(MAX_LENGTH)
    writer.add_embedding_length(c.hidden_size)
    writer.add_block_count(c.num_hidden_layers)
    writer.add_feed_forward_length(c.intermediate_size)
    writer.add_head_count(c.num_attention_heads)
    writer.add_head_count_kv(c.num_key_value_heads)
    writer.add_layer_norm_rms_eps(c.rms_norm_eps)
    writer.add_rope_freq_base(10000.0)
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q8_0)
    _tokenizer(writer, text)
    for name, value in network.named_parameters():
        data = value.detach().float().numpy()
        if data.ndim == 2:
            kind = gguf.GGMLQuantizationType.Q8_0
            writer.add_tensor(student_name(name), gguf.quants.quantize(data, kind), raw_dtype=kind)
        else:
            writer.add_tensor(student_name(name), np.ascontiguousarray(data))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _tokenizer(writer, text: tokens.Text):
    tokenizer = json.loads(text.tokenizer.to_str())
    vocab = sorted(text.tokenizer.get_vocab().items(), key=lambda item: item[1])
    added = {token["id"]: token["special"] for token in tokenizer["added_tokens"]}
    kinds = gguf.TokenType
    types = [kinds.NORMAL if i not in added else kinds.CONTROL if added[i] else kinds.USER_DEFINED for _, i in vocab]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre("deepseek-v3")
    writer.add_token_list([token for token, _ in vocab])
    writer.add_token_types(types)
    merges = tokenizer["model"]["merges"]
    writer.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in merges])
    writer.add_bos_token_id(text.bos)
    writer.add_eos_token_id(text.eos)
    writer.add_pad_token_id(text.pad)
    writer.add_add_bos_token(False)
    writer.add_chat_template(tokens.TEMPLATE)
