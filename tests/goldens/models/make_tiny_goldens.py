"""Makes the goldens of the tiny models: logits that transformers computes in f32.

    pip install torch transformers==5.23.0
    python make_tiny_goldens.py

The weights need no files: every value follows from the tensor's name and its place in it, here as in
`tests/src/tiny.rs`. For each model, `<name>.f32` holds 16 rows of 256 little-endian f32: the logits
of all positions of `SHORT`, then those of `LONG` at the positions `ROWS`.
"""

from pathlib import Path

import numpy as np
import torch
from transformers import (LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config,
                          Qwen3ForCausalLM)

HERE = Path(__file__).parent
SHORT = [1, 17, 42, 99, 200, 3, 77, 255]
LONG = [(i * 37 + 11) % 256 for i in range(96)]
# Around the ends of cache blocks of 32 tokens, and the last.
ROWS = [30, 31, 32, 33, 63, 64, 65, 95]

COMMON = dict(vocab_size=256, hidden_size=128, intermediate_size=256, max_position_embeddings=163840,
              num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, attn_implementation="eager")
LLAMA3 = dict(rope_type="llama3", rope_theta=5e5, factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=8192)
# As LLAMA3, but trained on so little that the wavelengths of a short test fall into all three ranges.
LLAMA3_SHORT = dict(LLAMA3, original_max_position_embeddings=64)
YARN = dict(rope_type="yarn", rope_theta=1e6, factor=4.0, original_max_position_embeddings=32768,
            attention_factor=1.0)
YARN_SHORT = dict(rope_type="yarn", rope_theta=1e6, factor=4.0, original_max_position_embeddings=64)


def llama(rope, tied=False):
    return LlamaForCausalLM(LlamaConfig(**COMMON, rms_norm_eps=1e-5, tie_word_embeddings=tied, rope_parameters=rope))


def qwen2():
    rope = dict(rope_type="default", rope_theta=10000.0)
    return Qwen2ForCausalLM(Qwen2Config(**COMMON, rms_norm_eps=1e-6, tie_word_embeddings=False, rope_parameters=rope))


def qwen3(rope):
    return Qwen3ForCausalLM(Qwen3Config(**COMMON, head_dim=64, rms_norm_eps=1e-6, tie_word_embeddings=False,
                                        rope_parameters=rope))


def values(name, shape):
    h = 0xCBF29CE484222325
    for byte in name.encode():
        h = (h ^ byte) * 0x100000001B3 % 2**64
    with np.errstate(over="ignore"):
        i = np.arange(1, int(np.prod(shape)) + 1, dtype=np.uint64)
        z = np.uint64(h) + i * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    v = (z >> np.uint64(40)).astype(np.float64) / 2**23 - 1
    if "norm" in name:
        v = 1 + 0.25 * v
    elif name.endswith(".bias"):
        v = 0.1 * v
    elif name != "model.embed_tokens.weight":
        v = v * 3**0.5 / shape[-1] ** 0.5
    return torch.from_numpy(v.astype(np.float32).reshape(shape))


def fill(model, dtype):
    state = model.state_dict()
    for name, tensor in state.items():
        source = "model.embed_tokens.weight" if model.config.tie_word_embeddings and "lm_head" in name else name
        tensor.copy_(values(source, tuple(tensor.shape)).to(dtype).float())
    return model.eval().float()


@torch.no_grad()
def main():
    models = {
        "llama": (llama(LLAMA3), torch.float32),
        "llama_bf16": (llama(LLAMA3), torch.bfloat16),
        "llama_short": (llama(LLAMA3_SHORT), torch.float32),
        "llama_tied": (llama(LLAMA3, tied=True), torch.float32),
        "qwen2": (qwen2(), torch.float32),
        "qwen3": (qwen3(YARN), torch.float32),
        "qwen3_short": (qwen3(YARN_SHORT), torch.float32),
    }
    for name, (model, dtype) in models.items():
        fill(model, dtype)
        short = model(torch.tensor([SHORT])).logits[0]
        long = model(torch.tensor([LONG])).logits[0, ROWS]
        (HERE / f"{name}.f32").write_bytes(torch.cat([short, long]).numpy().astype("<f4").tobytes())
        ids = list(SHORT)
        for _ in range(8):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        print(name, "argmax", short.argmax(-1).tolist(), "greedy", ids[len(SHORT):], "first", short[-1, :4].tolist())


main()
