"""The routed experts of a layer over many tokens: rows laid out by expert, one batched matmul, the gradients by hand.

An operator of its own, since its shapes depend on the routing, which a compiler cannot know. No token is dropped: the
room is what the busiest expert needs.
"""

import torch
import torch.nn.functional as F

from . import fp8


def apply(x, ids, gate_up, down, precision):
    """Each chosen expert's output `[N, K, D]`: down(silu(gate x) * up x), not yet weighted.

    x `[N, D]`; ids `[N, K]`; gate_up `[E, 2, F, D]`; down `[E, D, F]`.
    """
    quantized = precision == "fp8"
    if precision == "f32":
        held = rounded = lambda t: t
    else:
        held = fp8.fake_weight if quantized else lambda w: w.to(torch.bfloat16)
        rounded = fp8.fake_activation if quantized else lambda x: x.to(torch.bfloat16)
    y, *_ = _forward(rounded(x), ids, held(gate_up).flatten(1, 2), held(down), quantized)
    return y


def _middle(gu, quantized: bool):
    gate, up = gu.float().chunk(2, -1)
    inner = F.silu(gate) * up
    return fp8.fake_activation(inner) if quantized else inner.to(gu.dtype)


def _middle_backward(gu, d_inner):
    gate, up = gu.float().chunk(2, -1)
    d = d_inner.float()
    sig = gate.sigmoid()
    return torch.cat((d * up * sig * (1 + gate * (1 - sig)), d * gate * sig), -1).to(gu.dtype)


_fast = {}


def _compiled(f):
    """Elementwise steps are memory bound: one fused pass instead of ten."""
    if f not in _fast:
        _fast[f] = torch.compile(f, dynamic=True) if COMPILE else f
    return _fast[f]


COMPILE = True


def _capacity(longest: int) -> int:
    """Rows that each expert gets room for. Few different sizes, since CPU kernels are made anew for each."""
    return 1 << max(0, longest - 1).bit_length() if longest <= 128 else -(-longest // 128) * 128


def _slots(flat, n_experts: int):
    """For each row that an expert is chosen for, its place among `n_experts` x capacity places; and the capacity."""
    counts = torch.bincount(flat, minlength=n_experts)
    order = flat.argsort(stable=True)
    rank = torch.arange(len(flat)) - (counts.cumsum(0) - counts)[flat[order]]
    capacity = _capacity(int(counts.max()))
    slots = torch.empty_like(flat)
    slots[order] = flat[order] * capacity + rank
    return slots, capacity


def _place(rows, slots, n_experts: int, capacity: int):
    """Rows in their places `[E, C, D]`, zeros elsewhere."""
    placed = rows.new_zeros(n_experts * capacity, rows.shape[-1])
    return placed.index_copy_(0, slots, rows).view(n_experts, capacity, -1)


@torch.library.custom_op("tiny_r1::experts", mutates_args=())
def _forward(
    x: torch.Tensor, ids: torch.Tensor, gate_up: torch.Tensor, down: torch.Tensor, quantized: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """The outputs `[N, K, D]`, and what the gradient needs: inputs in their places, gates and ups, places."""
    slots, capacity = _slots(ids.flatten(), len(gate_up))
    placed = _place(x.repeat_interleave(ids.shape[1], 0), slots, len(gate_up), capacity)
    gu = torch.bmm(placed, gate_up.mT)
    y = torch.bmm(_compiled(_middle)(gu, quantized), down.mT)
    return y.flatten(0, 1).index_select(0, slots).view(*ids.shape, -1), placed, gu, slots


@_forward.register_fake
def _(x, ids, gate_up, down, quantized):
    capacity = torch.library.get_ctx().new_dynamic_size()
    return (
        x.new_empty(ids.shape[0], ids.shape[1], x.shape[1]),
        x.new_empty(gate_up.shape[0], capacity, x.shape[1]),
        x.new_empty(gate_up.shape[0], capacity, gate_up.shape[1]),
        ids.new_empty(ids.shape[0] * ids.shape[1]),
    )


@torch.library.custom_op("tiny_r1::experts_backward", mutates_args=())
def _backward(
    dy: torch.Tensor,
    placed: torch.Tensor,
    gu: torch.Tensor,
    slots: torch.Tensor,
    gate_up: torch.Tensor,
    down: torch.Tensor,
    quantized: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    n, k, d = dy.shape
    dy = _place(dy.reshape(n * k, d), slots, len(down), placed.shape[1])
    inner = _compiled(_middle)(gu, quantized)
    d_gu = _compiled(_middle_backward)(gu, torch.bmm(dy, down))
    d_down, d_gate_up = torch.bmm(dy.mT, inner), torch.bmm(d_gu.mT, placed)
    dx = torch.bmm(d_gu, gate_up).flatten(0, 1).index_select(0, slots)
    return dx.view(n, k, d).sum(1), d_gate_up, d_down


@_backward.register_fake
def _(dy, placed, gu, slots, gate_up, down, quantized):
    return dy.new_empty(dy.shape[0], dy.shape[2]), torch.empty_like(gate_up), torch.empty_like(down)


def _save(ctx, inputs, output):
    _, _, gate_up, down, quantized = inputs
    _, placed, gu, slots = output
    ctx.quantized = quantized
    ctx.save_for_backward(placed, gu, slots, gate_up, down)


def _gradients(ctx, dy, *_):
    placed, gu, slots, gate_up, down = ctx.saved_tensors
    dx, d_gate_up, d_down = _backward(dy.to(placed.dtype), placed, gu, slots, gate_up, down, ctx.quantized)
    return dx, None, d_gate_up, d_down, None


_forward.register_autograd(_gradients, setup_context=_save)
