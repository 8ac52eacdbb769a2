"""What every stage shares: steps, schedules, logs, and checkpoints from which a stage resumes."""

import json
import os
import random
import time
from pathlib import Path

import torch

from . import experts, model, muon, tokens

# Waiting threads that spin would take the time of whatever else runs on two cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")


def schedule(step: int, steps: int, peak: float, warmup: int, decay: float) -> float:
    """Warm up, hold, then go down to nothing over the last `decay` (a share) of the steps."""
    rest = (steps - step) / max(1.0, decay * steps)
    return peak * min(1.0, (step + 1) / max(1, warmup), max(rest, 0.02))


class Run:
    """A stage's folder: `log.jsonl` (a line of figures a step), `checkpoint.pt`, and the finished `model.pt`."""

    def __init__(self, work: Path, stage: str):
        self.folder = Path(work) / stage
        self.folder.mkdir(parents=True, exist_ok=True)
        self.started = time.time()

    @property
    def finished(self) -> Path:
        return self.folder / "model.pt"

    def log(self, **figures):
        with open(self.folder / "log.jsonl", "a") as f:
            f.write(json.dumps({k: round(v, 5) if isinstance(v, float) else v for k, v in figures.items()}) + "\n")

    def save(self, name: str, state: dict):
        """Whole or not at all."""
        part = self.folder / (name + ".part")
        torch.save(state, part)
        part.replace(self.folder / name)

    def resume(self) -> dict | None:
        path = self.folder / "checkpoint.pt"
        return torch.load(path, weights_only=False) if path.exists() else None


class Trainer:
    """Steps of one network, in FP8 unless said otherwise."""

    def __init__(
        self, network, run: Run, lr: float, seed: int, mtp_weight: float = 0.3, mtp_every: int = 1, optimizers=None
    ):
        self.network, self.run, self.peak = network, run, lr
        self.mtp_weight, self.mtp_every = mtp_weight, mtp_every
        self.optimizers = optimizers or muon.optimizers(network, lr)
        self.rng = random.Random(seed)
        self.step, self.tokens, self.seconds = 0, 0, 0.0
        self.saved = time.time()
        network.train()

    def rate(self, lr: float):
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr

    def update(self, batches, lr: float, balance: float = 1e-3) -> dict:
        """One step on batches of (ids, weights, before), whose gradients are added up.

        ids `[B, T]`; each token's cross entropy counts by its weight, 0 being not at all. With `before`, the cross
        entropies when the tokens were drawn, weights are advantages, and the loss is that of proximal policy optimization:
        a token's probability counts while it is 0.8 to 1.28 of what it was. Multi-token prediction then learns in its own
        layer only.
        """
        started = time.time()
        mtp = self.mtp_weight > 0 and self.step % self.mtp_every == 0
        total = sum(int((weights != 0).sum()) for _, weights, _ in batches)
        figures = {"step": self.step + 1, "loss": 0.0, "lr": lr, **({"mtp": 0.0} if mtp else {})}
        for ids, weights, before in batches:
            first, second = self.network.losses(ids, weights != 0, mtp, apart=before is not None)
            weight = weights[:, 1:][weights[:, 1:] != 0]
            if before is None:
                loss = (first * weight).sum() / total
            else:
                ratio = (before - first).exp()
                loss = -torch.minimum(ratio * weight, ratio.clamp(0.8, 1.28) * weight).sum() / total
            figures["loss"] += loss.item()
            if mtp:
                ahead = second.sum() / total
                figures["mtp"] += ahead.item()
                loss = loss + self.mtp_weight * ahead
            loss.backward()
            self.tokens += int(ids.numel())
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.rate(lr)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.network.balance(balance)
        self.step += 1
        self.seconds += time.time() - started
        return figures | {"norm": float(norm), "tokens": self.tokens}

    def state(self) -> dict:
        return {
            "model": self.network.state_dict(),
            "optimizers": [o.state_dict() for o in self.optimizers],
            "rng": self.rng.getstate(),
            "step": self.step,
            "tokens": self.tokens,
            "seconds": self.seconds,
        }

    def restore(self, state: dict):
        self.network.load_state_dict(state["model"])
        for optimizer, held in zip(self.optimizers, state["optimizers"]):
            optimizer.load_state_dict(held)
        self.rng.setstate(state["rng"])
        self.step, self.tokens, self.seconds = state["step"], state["tokens"], state["seconds"]

    def checkpoint(self, every: float = 120.0):
        """Saves if so many seconds have passed."""
        if time.time() - self.saved >= every:
            self.run.save("checkpoint.pt", self.state())
            self.saved = time.time()

    def finish(self, **more):
        self.run.save("model.pt", {"model": self.network.state_dict(), **more})
        (self.run.folder / "checkpoint.pt").unlink(missing_ok=True)


def train(trainer: Trainer, batches, steps: int, warmup: int, decay: float, say=print):
    """Supervised steps up to `steps`, resumable."""
    state = trainer.run.resume()
    if state:
        trainer.restore(state)
        say(f"resumed at step {trainer.step}")
    while trainer.step < steps:
        ids, weights = batches.next(trainer.rng)
        lr = schedule(trainer.step, steps, trainer.peak, warmup, decay)
        figures = trainer.update([(ids, weights, None)], lr)
        trainer.run.log(seconds=trainer.seconds, **figures)
        if trainer.step % 25 == 0 or trainer.step == steps:
            speed = trainer.tokens / max(trainer.seconds, 1e-9)
            say(f"step {trainer.step}/{steps} loss {figures['loss']:.4f} lr {lr:.1e} {speed:.0f} tokens/s", flush=True)
        trainer.checkpoint()


def setup(threads: int = 2, seed: int = 0, precision: str = "fp8", compiled: bool = True):
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    model.Linear.precision = precision
    experts.COMPILE = compiled
    torch._dynamo.config.cache_size_limit = 64


def teacher(text: tokens.Text, compiled: bool = True, **changes):
    """A new tiny-r1."""
    network = model.Model(model.config(text.vocab, **changes))
    if compiled:
        network.compile()
    return network


def tokenizer(work: Path) -> tokens.Text:
    """The run's tokenizer, learnt at first use."""
    path = Path(work) / "tokenizer.json"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        tokens.learn_from_tasks().save(str(path))
    return tokens.Text.load(path)
