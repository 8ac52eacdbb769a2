"""Optimizers: Muon for matrices (Jordan 2024; scaled as in Moonlight, arXiv 2502.16982), AdamW for the rest."""

import torch


def orthogonal(g: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """The nearest semi-orthogonal matrices to `[..., m, n]`, by a quintic Newton-Schulz iteration in bfloat16."""
    a, b, c = 3.4445, -4.7750, 2.0315
    x = g.to(torch.bfloat16)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        s = x @ x.mT
        x = a * x + (b * s + c * (s @ s)) @ x
    return x.mT if tall else x


class Muon(torch.optim.Optimizer):
    """Momentum whose every update is made orthogonal; stacks of matrices `[E, m, n]` are taken one by one."""

    def __init__(self, params, lr=2e-3, momentum=0.95, weight_decay=0.0):
        super().__init__(params, dict(lr=lr, momentum=momentum, weight_decay=weight_decay))

    @torch.no_grad()
    def step(self):
        for group in self.param_groups:
            shapes = {}
            for p in group["params"]:
                if p.grad is not None:
                    shapes.setdefault(p.shape[-2:], []).append(p)
            for params in shapes.values():
                self._together(params, group)

    def _together(self, params, group):
        updates = []
        for p in params:
            momentum = self.state[p].setdefault("momentum", torch.zeros_like(p))
            momentum.lerp_(p.grad, 1 - group["momentum"])
            updates.append(p.grad.lerp(momentum, group["momentum"]).reshape(-1, *p.shape[-2:]))
        scale = 0.2 * max(params[0].shape[-2:]) ** 0.5
        whole = orthogonal(torch.cat(updates)).float() * (group["lr"] * scale)
        start = 0
        for p in params:
            count = p.numel() // (p.shape[-2] * p.shape[-1])
            p.mul_(1 - group["lr"] * group["weight_decay"])
            p.sub_(whole[start : start + count].view_as(p))
            start += count


def optimizers(model, lr: float, weight_decay: float = 0.05):
    """Muon and AdamW over a model's parameters, both at about the same step size."""
    matrices, rest = [], []
    for name, p in model.named_parameters():
        muon = p.dim() >= 2 and not any(part in name for part in ("embed_tokens", "head", "gate.weight"))
        (matrices if muon else rest).append(p)
    return [
        Muon(matrices, lr=lr, weight_decay=weight_decay),
        torch.optim.AdamW(rest, lr=lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]
