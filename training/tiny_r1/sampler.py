"""Writing many completions at once: the weights as FP8 holds them, a cache of latents, absorbed attention.

As the engine does it, activations are not rounded here.
"""

from contextlib import contextmanager

import torch

from . import fp8, model


@contextmanager
def precision(name: str):
    """Linear layers multiply in `name` inside the block."""
    before, model.Linear.precision = model.Linear.precision, name
    try:
        yield
    finally:
        model.Linear.precision = before


@torch.no_grad()
def frozen(network, dtype=torch.float32, quantized: bool = True):
    """A copy for inference; its linear weights are those that FP8 can hold if `quantized`."""
    copy = type(network)(network.config)
    copy.load_state_dict(network.state_dict())
    for name, p in copy.named_parameters():
        if is_linear(name, p):
            p.data = (fp8.fake_weight(p) if quantized else p).to(dtype)
    copy.head.data = copy.head.to(torch.bfloat16).to(dtype)
    return copy.eval().requires_grad_(False)


def is_linear(name: str, p) -> bool:
    """Whether FP8 holds this parameter: all matrices but embeddings, head and routers, as in DeepSeek-V3."""
    return p.dim() >= 2 and not any(part in name for part in ("embed_tokens", "head", "gate.weight"))


class Sampler:
    """Completions of a frozen network, teacher or student."""

    def __init__(self, network, eos: int, dtype=torch.float32):
        self.network, self.eos = network, eos
        self.precision = "f32" if dtype == torch.float32 else "bf16"

    @torch.no_grad()
    def complete(self, prompts, most: int, temperature: float = 0.0, batch: int = 384, generator=None):
        """The completion of each prompt, with the end token if it came.

        temperature 0 is greedy. Prompts of like length go together.
        """
        order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
        found = [None] * len(prompts)
        with precision(self.precision):
            for start in range(0, len(order), batch):
                part = order[start : start + batch]
                results = self._batch([prompts[i] for i in part], most, temperature, generator)
                for i, result in zip(part, results):
                    found[i] = result
        return found

    def _batch(self, prompts, most, temperature, generator):
        net = self.network
        # A prompt that comes several times is read once.
        different = sorted(set(map(tuple, prompts)), key=len)
        places = {prompt: i for i, prompt in enumerate(different)}
        which = torch.tensor([places[tuple(prompt)] for prompt in prompts])
        last, caches = read(net, different, max(map(len, different)) + most)
        last, caches = last[which], [cache.index_select(0, which) for cache in caches]
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        rows = torch.arange(len(prompts))  # which prompt each row of the batch writes
        results = [[] for _ in prompts]
        for _ in range(most):
            logits = net.logits(last)
            if temperature:
                chosen = torch.multinomial((logits / temperature).softmax(-1), 1, generator=generator)[:, 0]
            else:
                chosen = logits.argmax(-1)
            for row, token in zip(rows.tolist(), chosen.tolist()):
                results[row].append(token)
            going = (chosen != self.eos).nonzero()[:, 0]
            if len(going) == 0:
                break
            if len(going) < len(rows):
                rows, chosen, lengths = rows[going], chosen[going], lengths[going]
                caches = [cache.index_select(0, going) for cache in caches]
            last = step(net, chosen, lengths, caches)
            lengths = lengths + 1
        return results


def read(net, prompts, longest: int, piece: int = 16):
    """The hidden state after each prompt `[B, D]`, and caches with room for `longest` tokens.

    A few prompts at a time, so that what is in between stays in the processor's cache.
    """
    last, caches = [], []
    for start in range(0, len(prompts), piece):
        part = prompts[start : start + piece]
        lengths = torch.tensor([len(prompt) for prompt in part])
        ids = torch.zeros(len(part), int(lengths.max()), dtype=torch.long)
        for row, prompt in zip(ids, part):
            row[: len(prompt)] = torch.tensor(prompt)
        kept, hidden = prefill(net, ids)
        if not caches:
            caches = [rows.new_zeros(len(prompts), longest, rows.shape[-1]) for rows in kept]
        for cache, rows in zip(caches, kept):
            cache[start : start + len(part), : rows.shape[1]] = rows
        last.append(hidden[torch.arange(len(part)), lengths - 1])
    return torch.cat(last), caches


def prefill(net, ids):
    """What each layer's cache holds of `ids` `[B, T]`, and the normed hidden states."""
    cos, sin = net.cos[: ids.shape[1]], net.sin[: ids.shape[1]]
    dtype = torch.float32 if model.Linear.precision == "f32" else torch.bfloat16
    x, caches = net.embed_tokens(ids), []
    for layer in net.layers:
        n = layer.input_layernorm(x)
        caches.append(layer.self_attn.kept(n, cos, sin).to(dtype))
        x = x + layer.self_attn(n, cos, sin)
        x = x + layer.mlp(layer.post_attention_layernorm(x))
    return caches, net.norm(x)


def step(net, tokens, positions, caches):
    """The normed hidden state `[B, D]` after one more token a row."""
    x = net.embed_tokens(tokens).unsqueeze(1)
    cos, sin = net.cos[positions].unsqueeze(1), net.sin[positions].unsqueeze(1)
    for layer, cache in zip(net.layers, caches):
        x = x + layer.self_attn.decode(layer.input_layernorm(x), cos, sin, positions, cache)
        x = x + layer.mlp(layer.post_attention_layernorm(x))
    return net.norm(x[:, 0])
