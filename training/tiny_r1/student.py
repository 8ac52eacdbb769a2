"""tiny-r1-distill: a dense Qwen2 that learns from what the teacher wrote. Parameters as in `Qwen2ForCausalLM`."""

import torch
import torch.nn as nn
from transformers import Qwen2Config

from .model import MLP, Linear, Model, RMSNorm, turns
from .model import Layer as TeacherLayer

CONFIG = dict(
    hidden_size=192,
    intermediate_size=512,
    num_hidden_layers=5,
    num_attention_heads=6,
    num_key_value_heads=2,
    max_position_embeddings=1024,
    rms_norm_eps=1e-6,
    tie_word_embeddings=False,
)


def config(vocab: int, **changes) -> Qwen2Config:
    """tiny-r1-distill's configuration."""
    return Qwen2Config(vocab_size=vocab, bos_token_id=0, eos_token_id=1, pad_token_id=2, **{**CONFIG, **changes})


def rotate(x, cos, sin):
    """Rotary embedding of halves: `x` `[..., head]`, `cos`, `sin` `[..., head / 2]`."""
    a, b = x.chunk(2, -1)
    return torch.cat((a * cos - b * sin, b * cos + a * sin), -1)


class Biased(Linear):
    """A linear layer with a bias, as Qwen2's queries, keys and values have it."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__(inputs, outputs)
        self.bias = nn.Parameter(torch.zeros(outputs))

    def forward(self, x):
        return super().forward(x) + self.bias


class Attention(nn.Module):
    """Grouped queries; the cache holds rotated keys and values."""

    def __init__(self, c):
        super().__init__()
        self.heads, self.kv = c.num_attention_heads, c.num_key_value_heads
        self.size = c.hidden_size // c.num_attention_heads
        self.q_proj = Biased(c.hidden_size, self.heads * self.size)
        self.k_proj = Biased(c.hidden_size, self.kv * self.size)
        self.v_proj = Biased(c.hidden_size, self.kv * self.size)
        self.o_proj = Linear(self.heads * self.size, c.hidden_size)

    def queries(self, x, cos, sin):
        """`[B, T, H, head]`."""
        q = self.q_proj(x).float().unflatten(-1, (self.heads, -1))
        return rotate(q, cos.unsqueeze(-2), sin.unsqueeze(-2))

    def kept(self, x, cos, sin):
        """What the cache holds of `x`: rotated keys, then values, `[B, T, 2 * KV * head]`."""
        k = self.k_proj(x).float().unflatten(-1, (self.kv, -1))
        return torch.cat((rotate(k, cos.unsqueeze(-2), sin.unsqueeze(-2)).flatten(-2), self.v_proj(x).float()), -1)

    def attend(self, q, kept, later):
        """`[B, T, H * head]` from queries `[B, T, H, head]` and the cache's rows; `later` masks, `[B or 1, T, S]`."""
        k, v = kept.unflatten(-1, (2 * self.kv, -1)).transpose(1, 2).split(self.kv, 1)
        groups = self.heads // self.kv
        dtype = torch.float32 if Linear.precision == "f32" else torch.bfloat16
        k, v = (t.repeat_interleave(groups, 1).to(dtype) for t in (k, v))
        scores = (q.transpose(1, 2).to(dtype) @ k.mT).float() * self.size**-0.5
        p = scores.masked_fill(later.unsqueeze(1), float("-inf")).softmax(-1)
        return (p.to(dtype) @ v).transpose(1, 2).flatten(-2)

    def forward(self, x, cos, sin):
        later = torch.ones(x.shape[1], x.shape[1], dtype=torch.bool).triu(1).unsqueeze(0)
        return self.o_proj(self.attend(self.queries(x, cos, sin), self.kept(x, cos, sin), later))

    def decode(self, x, cos, sin, positions, cache):
        """One token a row at `positions` `[B]`."""
        cache[torch.arange(len(x)), positions] = self.kept(x, cos, sin)[:, 0].to(cache.dtype)
        seen = cache[:, : int(positions.max()) + 1]
        later = torch.arange(seen.shape[1]) > positions[:, None]
        return self.o_proj(self.attend(self.queries(x, cos, sin), seen, later.unsqueeze(1)))


class Layer(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.input_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.self_attn = Attention(c)
        self.post_attention_layernorm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.mlp = MLP(c.hidden_size, c.intermediate_size)

    forward = TeacherLayer.forward


class Student(nn.Module):
    """What of `Model` does not depend on the architecture is taken from it."""

    next_token = None
    hidden, logits, entropies, losses = Model.hidden, Model.logits, Model.entropies, Model.losses
    blocks, mixtures, balance, compile = Model.blocks, Model.mixtures, Model.balance, Model.compile

    def __init__(self, c):
        super().__init__()
        self.config = c
        self.embed_tokens = nn.Embedding(c.vocab_size, c.hidden_size)
        nn.init.normal_(self.embed_tokens.weight, std=0.5)
        self.layers = nn.ModuleList(Layer(c) for _ in range(c.num_hidden_layers))
        self.norm = RMSNorm(c.hidden_size, c.rms_norm_eps)
        self.head = nn.Parameter(torch.randn(c.vocab_size, c.hidden_size) * 0.02)
        cos, sin = turns(c.hidden_size // c.num_attention_heads, c.max_position_embeddings)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)
        for layer in self.layers:
            for weight in (layer.self_attn.o_proj.weight, layer.mlp.down_proj.weight):
                weight.data.mul_((2 * c.num_hidden_layers) ** -0.5)
