"""DeepSeek-V3 in miniature: latent attention, mixture of experts, multi-token prediction.

Equations: DeepSeek-V2 (arXiv 2405.04434) for attention, DeepSeek-V3 (arXiv 2412.19437) for routing, balancing, prediction
of two tokens and FP8. Parameters are named as in Hugging Face's `DeepseekV3ForCausalLM`; the experts of a layer are
stacked here and written apart by `export`.

Shapes: B sequences of T tokens, N = B*T rows, D hidden, H heads, E experts, K chosen of them.
"""

import torch
import torch.nn as nn
import torch.nn.functional as F
from transformers import DeepseekV3Config

from . import experts, fp8

CONFIG = dict(
    hidden_size=192,
    intermediate_size=512,
    moe_intermediate_size=96,
    num_hidden_layers=6,
    num_attention_heads=6,
    num_key_value_heads=6,
    n_shared_experts=1,
    n_routed_experts=16,
    routed_scaling_factor=1.5,
    kv_lora_rank=64,
    q_lora_rank=96,
    qk_rope_head_dim=16,
    qk_nope_head_dim=32,
    v_head_dim=32,
    n_group=4,
    topk_group=2,
    num_experts_per_tok=2,
    first_k_dense_replace=1,
    norm_topk_prob=True,
    max_position_embeddings=1024,
    rope_theta=10000.0,
    num_nextn_predict_layers=1,
    tie_word_embeddings=False,
)


def config(vocab: int, **changes) -> DeepseekV3Config:
    """tiny-r1's configuration; ids of begin, end and padding as the tokenizer has them."""
    return DeepseekV3Config(
        vocab_size=vocab, bos_token_id=0, eos_token_id=1, pad_token_id=2, **{**CONFIG, **changes}
    )


class Linear(nn.Module):
    """A linear layer without bias that multiplies in `precision`: "fp8", "bf16" or "f32"."""

    precision = "fp8"

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) * inputs**-0.5)

    def forward(self, x):
        if self.precision == "f32":
            return F.linear(x, self.weight)
        return F.linear(self.input(x), self.held())

    def input(self, x):
        return fp8.fake_activation(x) if self.precision == "fp8" else x.to(torch.bfloat16)

    def held(self):
        return fp8.fake_weight(self.weight) if self.precision == "fp8" else self.weight.to(torch.bfloat16)


class RMSNorm(nn.Module):
    def __init__(self, size: int, eps: float):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(size)), eps

    def forward(self, x):
        x = x.float()
        return x * torch.rsqrt(x.square().mean(-1, keepdim=True) + self.eps) * self.weight


def turns(size: int, positions: int):
    """Cosines and sines `[positions, size / 2]` of rotary embeddings with base 10,000."""
    frequencies = 10000.0 ** (-torch.arange(0, size, 2).double() / size)
    angles = torch.outer(torch.arange(positions).double(), frequencies)
    return angles.cos().float(), angles.sin().float()


def rotate(x, cos, sin):
    """Interleaved rotary embedding of `x` `[B, T, ..., rope]` by `cos`, `sin` `[T, rope / 2]` (broadcast)."""
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


class Attention(nn.Module):
    """Multi-head latent attention. What a cache would hold per token: the normed latent and the rotated shared key."""

    def __init__(self, c):
        super().__init__()
        h, self.nope, self.rope, self.v = c.num_attention_heads, c.qk_nope_head_dim, c.qk_rope_head_dim, c.v_head_dim
        self.heads, self.rank = h, c.kv_lora_rank
        self.q_a_proj = Linear(c.hidden_size, c.q_lora_rank)
        self.q_a_layernorm = RMSNorm(c.q_lora_rank, c.rms_norm_eps)
        self.q_b_proj = Linear(c.q_lora_rank, h * (self.nope + self.rope))
        self.kv_a_proj_with_mqa = Linear(c.hidden_size, c.kv_lora_rank + self.rope)
        self.kv_a_layernorm = RMSNorm(c.kv_lora_rank, c.rms_norm_eps)
        self.kv_b_proj = Linear(c.kv_lora_rank, h * (self.nope + self.v))
        self.o_proj = Linear(h * self.v, c.hidden_size)

    def queries(self, x, cos, sin):
        """`[B, T, H, nope]` and the rotated `[B, T, H, rope]`."""
        q = self.q_b_proj(self.q_a_layernorm(self.q_a_proj(x)))
        q, turned = q.unflatten(-1, (self.heads, -1)).split((self.nope, self.rope), -1)
        return q, rotate(turned.float(), cos.unsqueeze(-2), sin.unsqueeze(-2))

    def latent(self, x, cos, sin):
        """The normed latent `[B, T, rank]` and the rotated shared key `[B, T, rope]`."""
        latent, key = self.kv_a_proj_with_mqa(x).split((self.rank, self.rope), -1)
        return self.kv_a_layernorm(latent), rotate(key.float(), cos, sin)

    def forward(self, x, cos, sin):
        q, q_turned = self.queries(x, cos, sin)
        latent, key = self.latent(x, cos, sin)
        k, v = self.kv_b_proj(latent).unflatten(-1, (self.heads, -1)).split((self.nope, self.v), -1)
        q = torch.cat((q, q_turned.to(q.dtype)), -1).transpose(1, 2)
        key = key.unsqueeze(2).expand(-1, -1, self.heads, -1).to(k.dtype)
        k = torch.cat((k, key), -1).transpose(1, 2)
        # Written out: at these lengths it is faster than PyTorch's fused attention, whose gradient is slow on CPUs.
        scores = (q @ k.mT).float() * (self.nope + self.rope) ** -0.5
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1)
        y = scores.masked_fill(later, float("-inf")).softmax(-1).to(v.dtype) @ v.transpose(1, 2)
        return self.o_proj(y.transpose(1, 2).flatten(-2))

    def kept(self, x, cos, sin):
        """What the cache holds of `x`: `[B, T, rank + rope]`."""
        latent, key = self.latent(x, cos, sin)
        return torch.cat((latent, key), -1)

    def decode(self, x, cos, sin, positions, cache):
        """One token a row, `x` `[B, 1, D]` at `positions` `[B]`, absorbed: keys and values are never expanded."""
        cache[torch.arange(len(x)), positions] = self.kept(x, cos, sin)[:, 0].to(cache.dtype)
        seen = cache[:, : int(positions.max()) + 1]
        q, turned = self.queries(x, cos, sin)
        w = self.kv_b_proj.weight.float().view(self.heads, self.nope + self.v, self.rank)
        q = torch.einsum("bhn,hnr->bhr", q[:, 0].float(), w[:, : self.nope])
        q = torch.cat((q, turned[:, 0]), -1).to(seen.dtype)
        scores = (q @ seen.mT).float() * (self.nope + self.rope) ** -0.5
        later = torch.arange(seen.shape[1]) > positions[:, None]
        p = scores.masked_fill(later[:, None], float("-inf")).softmax(-1)
        context = (p.to(seen.dtype) @ seen)[..., : self.rank].float()
        y = torch.einsum("bhr,hvr->bhv", context, w[:, self.nope :])
        return self.o_proj(y.flatten(-2).unsqueeze(1))


class MLP(nn.Module):
    def __init__(self, hidden: int, inner: int):
        super().__init__()
        self.gate_proj, self.up_proj = Linear(hidden, inner), Linear(hidden, inner)
        self.down_proj = Linear(inner, hidden)

    def forward(self, x):
        return self.down_proj(F.silu(self.gate_proj(x).float()) * self.up_proj(x))


class Gate(nn.Module):
    """Sigmoid scores; the bias that balances the load decides who is chosen, not with which weight."""

    def __init__(self, c):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(c.n_routed_experts, c.hidden_size) * c.hidden_size**-0.5)
        self.register_buffer("e_score_correction_bias", torch.zeros(c.n_routed_experts))
        self.groups, self.kept, self.k = c.n_group, c.topk_group, c.num_experts_per_tok
        self.scale = c.routed_scaling_factor

    def forward(self, x):
        """Ids and weights `[N, K]` of `x` `[N, D]`."""
        scores = F.linear(x, self.weight).sigmoid()
        choice = (scores + self.e_score_correction_bias).detach()
        groups = choice.unflatten(-1, (self.groups, -1))
        best = groups.topk(2, -1).values.sum(-1)
        dropped = torch.ones_like(best).scatter(-1, best.topk(self.kept, -1).indices, 0.0).bool()
        ids = groups.masked_fill(dropped.unsqueeze(-1), float("-inf")).flatten(-2).topk(self.k, -1).indices
        weights = scores.gather(-1, ids)
        return ids, weights / (weights.sum(-1, keepdim=True) + 1e-20) * self.scale


class MoE(nn.Module):
    """A shared expert that every token takes, and `K` of `E` routed ones."""

    def __init__(self, c):
        super().__init__()
        e, d, f = c.n_routed_experts, c.hidden_size, c.moe_intermediate_size
        self.gate = Gate(c)
        self.gate_up = nn.Parameter(torch.randn(e, 2, f, d) * d**-0.5)
        self.down = nn.Parameter(torch.randn(e, d, f) * f**-0.5)
        self.shared_experts = MLP(d, f * c.n_shared_experts)
        self.register_buffer("load", torch.zeros(e), persistent=False)

    def forward(self, x):
        rows = x.flatten(0, -2)
        ids, weights = self.gate(rows)
        if self.training:
            with torch.no_grad():
                self.load += F.one_hot(ids, self.load.numel()).sum((0, 1)).float()
        y = experts.apply(rows, ids, self.gate_up, self.down, Linear.precision)
        y = (y * weights.unsqueeze(-1)).sum(1)
        return (y + self.shared_experts(rows)).view_as(x)


class Layer(nn.Module):
    def __init__(self, c, index: int):
        super().__init__()
        self.input_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.self_attn = Attention(c)
        self.post_attention_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        dense = index < c.first_k_dense_replace
        self.mlp = MLP(c.hidden_size, c.intermediate_size) if dense else MoE(c)

    def forward(self, x, cos, sin):
        x = x + self.self_attn(self.input_layernorm(x), cos, sin)
        return x + self.mlp(self.post_attention_layernorm(x))


class NextToken(nn.Module):
    """Multi-token prediction: from the state at t and the token at t + 1, the token at t + 2."""

    def __init__(self, c):
        super().__init__()
        self.enorm, self.hnorm = RMSNorm(c.hidden_size, c.rms_norm_eps), RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.eh_proj = Linear(2 * c.hidden_size, c.hidden_size)
        self.layer = Layer(c, c.num_hidden_layers)
        self.norm = RMSNorm(c.hidden_size, c.rms_norm_eps)

    def forward(self, hidden, following, cos, sin):
        """`hidden` `[B, T, D]` after the model's last norm, `following` the embeddings of the tokens after."""
        x = self.eh_proj(torch.cat((self.enorm(following), self.hnorm(hidden)), -1)).float()
        return self.norm(self.layer(x, cos, sin))


class Model(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.config = c
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        nn.init.normal_(self.embed_tokens.weight, std=0.5)
        self.layers = nn.ModuleList(Layer(c, i) for i in range(c.num_hidden_layers))
        self.norm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.head = nn.Parameter(torch.randn(c.vocab_size, c.hidden_size) * 0.02)
        self.next_token = NextToken(c) if c.num_nextn_predict_layers else None
        cos, sin = turns(c.qk_rope_head_dim, c.max_position_embeddings)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        # Branches start small, so that depth does not add up at the start.
        for layer in self.blocks():
            parts = [layer.self_attn.o_proj.weight]
            moe = isinstance(layer.mlp, MoE)
            parts += [layer.mlp.down, layer.mlp.shared_experts.down_proj.weight] if moe else [layer.mlp.down_proj.weight]
            for weight in parts:
                weight.data.mul_((2 * c.num_hidden_layers) ** -0.5)

    def blocks(self):
        """All layers, the predicting one last."""
        return [*self.layers, *([self.next_token.layer] if self.next_token else [])]

    def hidden(self, ids):
        """The normed hidden states `[B, T, D]` of `ids` `[B, T]`."""
        cos, sin = self.cos[: ids.shape[1]], self.sin[: ids.shape[1]]
        x = self.embed_tokens(ids)
        for layer in self.layers:
            x = layer(x, cos, sin)
        return self.norm(x)

    def logits(self, hidden):
        """In bfloat16 while training, as DeepSeek keeps its head."""
        dtype = torch.float32 if Linear.precision == "f32" else torch.bfloat16
        return F.linear(hidden.to(dtype), self.head.to(dtype)).float()

    def entropies(self, hidden, targets):
        """Cross entropies `[M]` of `targets` `[M]` after `hidden` `[M, D]`."""
        return F.cross_entropy(self.logits(hidden), targets, reduction="none")

    def losses(self, ids, counts, mtp: bool = True, apart: bool = False):
        """Cross entropies of the tokens that count, in order: `[M]` of the next token, `[M']` of the one after it.

        ids, counts (bool) `[B, T]`. A token counts as a target, not as an input; without `mtp` the second is None. With
        `apart` the second one's gradient stays in the predicting layer.
        """
        hidden = self.hidden(ids[:, :-1])
        first = self.entropies(hidden[counts[:, 1:]], ids[:, 1:][counts[:, 1:]])
        if not (mtp and self.next_token):
            return first, None
        ahead = self.ahead(hidden, ids, apart)
        return first, self.entropies(ahead[counts[:, 2:]], ids[:, 2:][counts[:, 2:]])

    def ahead(self, hidden, ids, apart: bool = False):
        """States `[B, T - 2, D]` that foretell `ids[:, 2:]`, from the `hidden` states `[B, T - 1, D]` of `ids` `[B, T]`."""
        steps = ids.shape[1] - 2
        state, following = hidden[:, :-1], self.embed_tokens(ids[:, 1:-1])
        if apart:
            state, following = state.detach(), following.detach()
        return self.next_token(state, following, self.cos[:steps], self.sin[:steps])

    def compile(self):
        """Fuses elementwise work; once for all layers of a kind. Takes a minute at first, then twice the speed."""
        for layer in self.blocks():
            layer.compile(dynamic=True)
        self.entropies = torch.compile(self.entropies, dynamic=True)

    def mixtures(self):
        """The MoE blocks, the predicting layer's last."""
        return [layer.mlp for layer in self.blocks() if isinstance(layer.mlp, MoE)]

    @torch.no_grad()
    def balance(self, rate: float):
        """DeepSeek-V3's balancing without a loss: a bias goes up where the load was below the mean, else down."""
        for moe in self.mixtures():
            if moe.load.sum() > 0:
                moe.gate.e_score_correction_bias += rate * torch.sign(moe.load.mean() - moe.load)
            moe.load.zero_()
