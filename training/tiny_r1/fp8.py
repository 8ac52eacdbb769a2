"""FP8 as DeepSeek-V3 trains with it: E4M3 with a scale per 1x128 activations and per 128x128 weights.

Simulated: values are rounded to what FP8 with its scale can hold and kept in wider types; gradients pass straight
through. Scales are powers of two (DeepSeek-V3.1's `ue8m0`), so each rounded value is exact in bfloat16 too, and a product
of such bfloat16 matrices is what FP8 tensor cores compute.
"""

import torch
import torch.nn.functional as F

LARGEST = 448.0
TILE = 128


def round_e4m3(x: torch.Tensor) -> torch.Tensor:
    """Rounds f32 to the nearest E4M3 value, ties to even. |x| <= 448.

    E4M3 has steps of 2^(e-3) from 2^e on, and of 2^-9 below 2^-6. Adding and subtracting 1.5 * 2^23 steps rounds to them.
    """
    power = (x.view(torch.int32) & 0x7F800000).view(torch.float32).clamp(min=2.0**-6)
    magic = power * (1.5 * 2.0**20)
    return (x + magic) - magic


def power_of_two_scale(amax: torch.Tensor) -> torch.Tensor:
    """The smallest power of two by which values up to `amax` can be divided to fit E4M3."""
    bits = (amax.clamp(min=1e-12) / LARGEST).view(torch.int32)
    return ((bits + 0x7FFFFF) & 0x7F800000).view(torch.float32)


def quantize_weight(w: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """`[..., N, K]` to values in E4M3's range and scales `[..., ceil(N/128), ceil(K/128)]`."""
    n, k = w.shape[-2:]
    rows, cols = -(-n // TILE), -(-k // TILE)
    padded = F.pad(w, (0, cols * TILE - k, 0, rows * TILE - n))
    tiles = padded.reshape(*w.shape[:-2], rows, TILE, cols, TILE)
    scale = power_of_two_scale(tiles.abs().amax((-3, -1)))
    wide = scale.repeat_interleave(TILE, -2)[..., :n, :].repeat_interleave(TILE, -1)[..., :k]
    return round_e4m3(w / wide), scale


def expand_scale(scale: torch.Tensor, n: int, k: int) -> torch.Tensor:
    """A scale per tile as a scale per value."""
    return scale.repeat_interleave(TILE, -2)[..., :n, :].repeat_interleave(TILE, -1)[..., :k]


def fake_weight(w: torch.Tensor) -> torch.Tensor:
    """The weight as FP8 holds it, in bfloat16; the gradient passes to the f32 master weight."""
    return _held(w)


@torch.library.custom_op("tiny_r1::held", mutates_args=())
def _held(w: torch.Tensor) -> torch.Tensor:
    """An operator of its own, since PyTorch 2.15's compiler miscounts tiles that reach beyond the matrix."""
    q, scale = quantize_weight(w)
    return q.mul_(expand_scale(scale, *w.shape[-2:])).to(torch.bfloat16)


@_held.register_fake
def _(w):
    return torch.empty_like(w, dtype=torch.bfloat16)


_held.register_autograd(lambda ctx, grad: grad.float())


def fake_activation(x: torch.Tensor) -> torch.Tensor:
    """Activations `[..., K]` as FP8 holds them in tiles of 128, in bfloat16; the gradient passes."""
    with torch.no_grad():
        x32, k = x.float(), x.shape[-1]
        amax = [x32[..., start : start + TILE].abs().amax(-1, keepdim=True) for start in range(0, k, TILE)]
        scale = power_of_two_scale(torch.cat(amax, -1))
        wide = scale[..., torch.arange(k) // TILE] if len(amax) > 1 else scale
        held = (round_e4m3(x32 / wide) * wide).to(torch.bfloat16)
    return _Through.apply(x, held)


class _Through(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, held):
        ctx.dtype = x.dtype
        return held

    @staticmethod
    def backward(ctx, grad):
        return grad.to(ctx.dtype), None
