"""The experts' operator against plain code, values and gradients."""

import pytest
import torch
import torch.nn.functional as F

from tiny_r1 import experts


def plain(x, ids, gate_up, down):
    y = x.new_empty(*ids.shape, x.shape[-1])
    for e in range(len(gate_up)):
        n, k = (ids == e).nonzero(as_tuple=True)
        gate, up = (F.linear(x[n], w) for w in gate_up[e])
        y = y.index_put((n, k), F.linear(F.silu(gate) * up, down[e]))
    return y



@pytest.mark.parametrize("rows, lonely", [(1, False), (37, False), (300, False), (50, True)])
def test_outputs_and_gradients(rows, lonely):
    torch.manual_seed(rows)
    e, d, f, k = 8, 64, 32, 2
    x, gate_up, down = torch.randn(rows, d), torch.randn(e, 2, f, d) / 8, torch.randn(e, d, f) / 6
    ids = torch.stack([torch.randperm(2 if lonely else e)[:k] for _ in range(rows)])
    weight = torch.randn(rows, k, d)
    experts.COMPILE = False

    def run(f):
        leaves = [t.clone().to(torch.bfloat16).float().requires_grad_() for t in (x, gate_up, down)]
        y = f(*leaves)
        (y.float() * weight).sum().backward()
        return [y.detach().float(), *(leaf.grad.float() for leaf in leaves)]

    expected = run(lambda x, gate_up, down: plain(x, ids, gate_up, down))
    for precision, tolerance in (("f32", 1e-5), ("bf16", 0.01)):
        found = run(lambda x, gate_up, down: experts.apply(x, ids, gate_up, down, precision))
        for exact, got in zip(expected, found):
            assert (exact - got).norm() / exact.norm() < tolerance
