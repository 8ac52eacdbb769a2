"""Makes the goldens of the tiny models: logits that transformers computes in f32.

    pip install torch transformers==5.23.0
    python make_tiny_goldens.py

The weights need no files: every value follows from the tensor's name and its place in it, here as in
`tests/src/tiny/`. For each model, `<name>.f32` holds 16 rows of 256 little-endian f32: the logits
of all positions of `SHORT`, then those of `LONG` at the positions `ROWS`. `deepseek_v3_mtp.f32` holds
the 8 rows that the multi-token prediction layer gives for `SHORT` and the token after it.

For models with experts the script also prints by how little the nearest expert or group was not
chosen, at any position of `SHORT` and of `LONG`: a program whose router errs by less chooses the same.
"""

from pathlib import Path

import numpy as np
import torch
from transformers import (DeepseekV2Config, DeepseekV2ForCausalLM, DeepseekV3Config, DeepseekV3ForCausalLM,
                          LlamaConfig, LlamaForCausalLM, Qwen2Config, Qwen2ForCausalLM, Qwen3Config,
                          Qwen3ForCausalLM)
from transformers.modeling_layers import MtpLayer
from transformers.models.deepseek_v2.modeling_deepseek_v2 import DeepseekV2TopkRouter
from transformers.models.deepseek_v3.modeling_deepseek_v3 import DeepseekV3TopkRouter

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
MOE = dict(COMMON, num_hidden_layers=3, num_key_value_heads=4, moe_intermediate_size=64, n_routed_experts=16,
           kv_lora_rank=64, qk_rope_head_dim=16, qk_nope_head_dim=32, v_head_dim=32, first_k_dense_replace=1,
           rms_norm_eps=1e-6, tie_word_embeddings=False)


def yarn_mla(mscale, original):
    return dict(rope_type="yarn", rope_theta=10000.0, factor=40, beta_fast=32, beta_slow=1, mscale=mscale,
                mscale_all_dim=mscale, original_max_position_embeddings=original)


def deepseek_v2_lite(original=4096):
    return DeepseekV2ForCausalLM(DeepseekV2Config(
        **MOE, q_lora_rank=None, n_shared_experts=2, routed_scaling_factor=1.0, n_group=1, topk_group=1,
        topk_method="greedy", num_experts_per_tok=6, norm_topk_prob=False, rope_parameters=yarn_mla(0.707, original)))


def deepseek_v2(original=4096):
    return DeepseekV2ForCausalLM(DeepseekV2Config(
        **MOE, q_lora_rank=96, n_shared_experts=2, routed_scaling_factor=16.0, n_group=4, topk_group=2,
        topk_method="group_limited_greedy", num_experts_per_tok=3, norm_topk_prob=False,
        rope_parameters=yarn_mla(0.707, original)))


def deepseek_v3(original=4096):
    return DeepseekV3ForCausalLM(DeepseekV3Config(
        **MOE, q_lora_rank=96, n_shared_experts=1, routed_scaling_factor=2.5, n_group=4, topk_group=2,
        num_experts_per_tok=4, norm_topk_prob=True, num_mtp_layers=0, rope_parameters=yarn_mla(1.0, original)))


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
    if name.endswith("e_score_correction_bias"):
        v = 0.1 * v
    elif "norm" in name:
        v = 1 + 0.25 * v
    elif name.endswith(".bias"):
        v = 0.1 * v
    elif name.endswith("mlp.gate.weight"):
        v = v * 4 / shape[-1] ** 0.5
    elif name != "model.embed_tokens.weight":
        v = v * 3**0.5 / shape[-1] ** 0.5
    return torch.from_numpy(v.astype(np.float32).reshape(shape))


def named(name, shape):
    """The values of a tensor of transformers, which keeps the matrices of all experts in one."""
    if not name.endswith(("experts.gate_up_proj", "experts.down_proj")):
        return values(name, shape)
    prefix, projection = name.rsplit(".", 1)
    rows = []
    for e in range(shape[0]):
        if projection == "down_proj":
            rows.append(values(f"{prefix}.{e}.down_proj.weight", shape[1:]))
        else:
            half = (shape[1] // 2, shape[2])
            rows.append(torch.cat([values(f"{prefix}.{e}.{p}.weight", half) for p in ("gate_proj", "up_proj")]))
    return torch.stack(rows)


def fill(model, dtype):
    state = model.state_dict()
    for name, tensor in state.items():
        source = "model.embed_tokens.weight" if model.config.tie_word_embeddings and "lm_head" in name else name
        tensor.copy_(named(source, tuple(tensor.shape)).to(dtype).float())
    return model.eval().float()


def mtp(model):
    """The multi-token prediction layer of a V3 model, which its checkpoint holds behind the last layer."""
    n = model.config.num_hidden_layers
    first, norm = model.model.layers[-1], type(model.model.norm)
    layer = MtpLayer(model.config, type(first), norm, n)
    for name, tensor in layer.state_dict().items():
        name = "shared_head.norm.weight" if name == "post_norm.weight" else name.removeprefix("mtp_block.")
        tensor.copy_(named(f"model.layers.{n}.{name}", tuple(tensor.shape)))
    return layer.eval().float()


def mtp_logits(model, ids, next_id):
    """Row t: the logits of the token after the one at t + 1, from the hidden state at t and the embedding at t + 1."""
    hidden = model.model(torch.tensor([ids])).last_hidden_state
    positions = torch.arange(len(ids))[None]
    embeds = model.model.embed_tokens(torch.tensor([ids[1:] + [next_id]]))
    mask = torch.full((1, 1, len(ids), len(ids)), -torch.inf).triu(1)
    turns = model.model.rotary_emb(hidden, positions)
    return model.lm_head(mtp(model)(embeds, hidden, turns, mask, positions, None))[0]


def watch_margins(model):
    """A list that fills with what lies between the last choice and the first not chosen, of every router's every row."""
    margins = []

    def gap(scores, k):
        if k < scores.shape[-1]:
            top = scores.sort(-1, descending=True)[0]
            margins.append(float((top[..., k - 1] - top[..., k]).min()))

    def hook(router, inputs, _):
        logits = torch.nn.functional.linear(inputs[0].reshape(-1, router.hidden_dim), router.weight)
        v3 = isinstance(router, DeepseekV3TopkRouter)
        scores = logits.sigmoid() + router.e_score_correction_bias if v3 else logits.softmax(-1)
        if v3 or router.topk_method != "greedy":
            groups = scores.view(len(scores), router.num_group, -1)
            best = groups.topk(2, -1)[0].sum(-1) if v3 else groups.max(-1)[0]
            gap(best, router.topk_group)
            kept = torch.zeros_like(best).scatter_(1, best.topk(router.topk_group, -1)[1], 1)
            scores = torch.where(kept[..., None] > 0, groups, -torch.inf).flatten(1)
        gap(scores, router.top_k)

    for module in model.modules():
        if isinstance(module, (DeepseekV2TopkRouter, DeepseekV3TopkRouter)):
            module.register_forward_hook(hook)
    return margins


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
        "deepseek_v2_lite": (deepseek_v2_lite(), torch.float32),
        "deepseek_v2_lite_short": (deepseek_v2_lite(64), torch.float32),
        "deepseek_v2": (deepseek_v2(), torch.float32),
        "deepseek_v2_short": (deepseek_v2(64), torch.float32),
        "deepseek_v3": (deepseek_v3(), torch.float32),
        "deepseek_v3_short": (deepseek_v3(64), torch.float32),
    }
    for name, (model, dtype) in models.items():
        fill(model, dtype)
        margins = watch_margins(model)
        short = model(torch.tensor([SHORT])).logits[0]
        n_short = len(margins)
        long = model(torch.tensor([LONG])).logits[0, ROWS]
        write(name, torch.cat([short, long]))
        nearest = f"margins {min(margins[:n_short]):.1e} {min(margins[n_short:]):.1e}" if margins else ""
        ids = list(SHORT)
        for _ in range(8):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        print(name, "argmax", short.argmax(-1).tolist(), "greedy", ids[len(SHORT):], "norm", float(short[-1].norm()),
              "first", short[-1, :8].tolist(), nearest)
        if name == "deepseek_v3":
            logits = mtp_logits(model, SHORT, ids[len(SHORT)])
            write("deepseek_v3_mtp", logits)
            print("deepseek_v3_mtp", "argmax", logits.argmax(-1).tolist(), "norm", float(logits[-1].norm()), "first",
                  logits[-1, :8].tolist())


def write(name, rows):
    (HERE / f"{name}.f32").write_bytes(rows.numpy().astype("<f4").tobytes())


main()
