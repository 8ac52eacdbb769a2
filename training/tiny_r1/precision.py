"""FP8 against f32: the same network on the same batches from the same start, once in each precision.

The loss counts every token, as a large model's does: what cannot be foretold (which boxes, which numbers) keeps it from
falling to nothing, where the moment at which a skill is found would decide more than the precision.
"""

import json
from pathlib import Path

import torch

from . import corpus, sampler, trainer
from .batches import Batches

AVERAGED = 100
PAIRS = (6, 7)


def run(work: Path, steps: int, budget: int = 3072, lr: float = 3e-3, compiled: bool = True):
    """Writes `precision-fp8-<seed>` and `precision-f32-<seed>` for each pair; what counts is the mean of the last losses."""
    text = trainer.tokenizer(work)

    def whole(rng):
        return [(part, True) for part, _ in corpus.pretraining(text, rng)]

    for seed in PAIRS:
        for name in ("fp8", "f32"):
            stage = trainer.Run(work, f"precision-{name}-{seed}")
            if stage.finished.exists():
                continue
            torch._dynamo.reset()
            torch.manual_seed(seed)
            training = trainer.Trainer(trainer.teacher(text, compiled), stage, lr, seed=seed)
            with sampler.precision(name):
                trainer.train(training, Batches(whole, text, budget), steps, warmup=50, decay=0.5)
            training.finish()
        fp8, f32 = (last(work, f"precision-{name}-{seed}") for name in ("fp8", "f32"))
        print(f"seed {seed}: loss {fp8:.4f} in FP8, {f32:.4f} in f32, {100 * (fp8 / f32 - 1):+.2f} %", flush=True)


def last(work: Path, stage: str) -> float:
    """The mean loss of the last steps."""
    lines = (trainer.Run(work, stage).folder / "log.jsonl").read_text().splitlines()[-AVERAGED:]
    return sum(json.loads(line)["loss"] for line in lines) / len(lines)
