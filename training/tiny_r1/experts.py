"""The routed experts of a layer over many tokens: rows sorted by expert, one matmul each, and the gradients by hand.

Done as an operator of its own since its shapes depend on the routing, which a compiler cannot know.
"""

import torch
import torch.nn.functional as F

from . import fp8


def apply(x, ids, gate_up, down, precision):
    """Each chosen expert's output `[N, K, D]`: down(silu(gate x) * up x), not yet weighted.

    x `[N, D]`; ids `[N, K]`; gate_up `[E, 2, F, D]`; down `[E, D, F]`.
    """
    if precision == "f32":
        return _apply_f32(x, ids, gate_up.flatten(1, 2), down)
    quantized = precision == "fp8"
    held = fp8.fake_weight if quantized else lambda w: w.to(torch.bfloat16)
    rows = fp8.fake_activation(x) if quantized else x.to(torch.bfloat16)
    y, *_ = _forward(rows, ids, held(gate_up).flatten(1, 2), held(down), quantized)
    return y


def _apply_f32(x, ids, gate_up, down):
    y = x.new_empty(*ids.shape, x.shape[-1])
    for e in range(len(gate_up)):
        n, k = (ids == e).nonzero(as_tuple=True)
        gate, up = F.linear(x[n], gate_up[e]).chunk(2, -1)
        y = y.index_put((n, k), F.linear(F.silu(gate) * up, down[e]))
    return y


def _middle(gu, quantized: bool):
    gate, up = gu.float().chunk(2, -1)
    inner = F.silu(gate) * up
    return fp8.fake_activation(inner) if quantized else inner.to(torch.bfloat16)


def _middle_backward(gu, d_inner):
    gate, up = gu.float().chunk(2, -1)
    d = d_inner.float()
    sig = gate.sigmoid()
    return torch.cat((d * up * sig * (1 + gate * (1 - sig)), d * gate * sig), -1).to(torch.bfloat16)


_fast = {}


def _compiled(f):
    """Elementwise steps are memory bound: one fused pass instead of ten."""
    if f not in _fast:
        _fast[f] = torch.compile(f, dynamic=True) if COMPILE else f
    return _fast[f]


COMPILE = True


@torch.library.custom_op("tiny_r1::experts", mutates_args=())
def _forward(
    x: torch.Tensor, ids: torch.Tensor, gate_up: torch.Tensor, down: torch.Tensor, quantized: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    k, flat = ids.shape[1], ids.flatten()
    order = flat.argsort()
    counts = torch.bincount(flat, minlength=len(gate_up))
    sorted_x = x.index_select(0, order // k)
    gu = x.new_empty(len(flat), gate_up.shape[1])
    bounds = [0, *counts.cumsum(0).tolist()]
    for e in range(len(gate_up)):
        part = slice(bounds[e], bounds[e + 1])
        torch.mm(sorted_x[part], gate_up[e].t(), out=gu[part])
    inner = _compiled(_middle)(gu, quantized)
    y = torch.empty_like(sorted_x)
    for e in range(len(gate_up)):
        part = slice(bounds[e], bounds[e + 1])
        torch.mm(inner[part], down[e].t(), out=y[part])
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order))
    return y.index_select(0, inverse).view(*ids.shape, -1), sorted_x, gu, order, counts


@_forward.register_fake
def _(x, ids, gate_up, down, quantized):
    rows = ids.shape[0] * ids.shape[1]
    d = x.shape[1]
    return (
        x.new_empty(ids.shape[0], ids.shape[1], d),
        x.new_empty(rows, d),
        x.new_empty(rows, gate_up.shape[1]),
        ids.new_empty(rows),
        ids.new_empty(gate_up.shape[0]),
    )


@torch.library.custom_op("tiny_r1::experts_backward", mutates_args=())
def _backward(
    dy: torch.Tensor,
    sorted_x: torch.Tensor,
    gu: torch.Tensor,
    order: torch.Tensor,
    counts: torch.Tensor,
    gate_up: torch.Tensor,
    down: torch.Tensor,
    quantized: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    n, k, d = dy.shape
    dy = dy.reshape(n * k, d).index_select(0, order)
    inner = _compiled(_middle)(gu, quantized)
    d_inner, d_down = torch.empty_like(inner), torch.empty_like(down)
    bounds = [0, *counts.cumsum(0).tolist()]
    for e in range(len(down)):
        part = slice(bounds[e], bounds[e + 1])
        torch.mm(dy[part], down[e], out=d_inner[part])
        torch.mm(dy[part].t(), inner[part], out=d_down[e])
    d_gu = _compiled(_middle_backward)(gu, d_inner)
    dx, d_gate_up = torch.empty_like(sorted_x), torch.empty_like(gate_up)
    for e in range(len(down)):
        part = slice(bounds[e], bounds[e + 1])
        torch.mm(d_gu[part], gate_up[e], out=dx[part])
        torch.mm(d_gu[part].t(), sorted_x[part], out=d_gate_up[e])
    inverse = torch.empty_like(order)
    inverse[order] = torch.arange(len(order))
    return dx.index_select(0, inverse).view(n, k, d).sum(1), d_gate_up, d_down


@_backward.register_fake
def _(dy, sorted_x, gu, order, counts, gate_up, down, quantized):
    return dy.new_empty(dy.shape[0], dy.shape[2]), torch.empty_like(gate_up), torch.empty_like(down)


def _save(ctx, inputs, output):
    _, _, gate_up, down, quantized = inputs
    _, sorted_x, gu, order, counts = output
    ctx.quantized = quantized
    ctx.save_for_backward(sorted_x, gu, order, counts, gate_up, down)


def _gradients(ctx, dy, *_):
    sorted_x, gu, order, counts, gate_up, down = ctx.saved_tensors
    dx, d_gate_up, d_down = _backward(
        dy.to(torch.bfloat16), sorted_x, gu, order, counts, gate_up, down, ctx.quantized
    )
    return dx, None, d_gate_up, d_down, None


_forward.register_autograd(_gradients, setup_context=_save)
