"""The simulated FP8 against PyTorch's own E4M3 type."""

import torch

from tiny_r1 import fp8


def test_rounding_is_that_of_the_type():
    x = torch.cat((torch.linspace(-448, 448, 200_001), torch.randn(100_000) * 2.0**-7, torch.tensor([0.0, 448.0, -448.0])))
    assert torch.equal(fp8.round_e4m3(x), x.to(torch.float8_e4m3fn).float())


def test_scales_are_powers_of_two_that_just_fit():
    amax = torch.rand(10_000) * 100 + 1e-3
    scale = fp8.power_of_two_scale(amax)
    assert torch.equal(torch.frexp(scale).mantissa, torch.full_like(scale, 0.5))
    assert (amax / scale <= 448).all() and (amax / (scale / 2) > 448).all()
    assert fp8.power_of_two_scale(torch.tensor(448.0)) == 1


def test_weights_have_a_scale_per_tile_of_128():
    w = torch.randn(3, 200, 300)
    w[1, 150, 290] = 1000.0
    quantized, scale = fp8.quantize_weight(w)
    assert scale.shape == (3, 2, 3)
    assert scale[1, 1, 2] > 100 * scale[0, 1, 2]
    held = quantized * fp8.expand_scale(scale, 200, 300)
    assert ((held - w).abs() <= w.abs() / 16 + fp8.expand_scale(scale, 200, 300) * 2.0**-10).all()
    assert torch.equal(fp8.fake_weight(w), held.to(torch.bfloat16))
    assert torch.equal(held.to(torch.bfloat16).float(), held), "bfloat16 holds every value"


def test_activations_have_a_scale_per_128_of_a_row_and_gradients_pass():
    x = torch.randn(5, 192, requires_grad=True)
    held = fp8.fake_activation(x)
    by_hand = []
    for part in (x[:, :128], x[:, 128:]):
        scale = fp8.power_of_two_scale(part.detach().abs().amax(-1, keepdim=True))
        by_hand.append((part / scale).to(torch.float8_e4m3fn).float() * scale)
    assert torch.equal(held.float(), torch.cat(by_hand, -1))
    held.float().sum().backward()
    assert torch.equal(x.grad, torch.ones_like(x))
