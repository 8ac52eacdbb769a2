"""FP8 against f32: the same network on the same batches from the same start, once in each precision."""

from pathlib import Path

import torch

from . import corpus, sampler, trainer
from .batches import Batches

AVERAGED = 50


def run(work: Path, steps: int, budget: int = 2048, lr: float = 3e-3, compiled: bool = True):
    """Writes `precision-fp8` and `precision-f32`; the difference is that of the mean losses of the last steps."""
    text = trainer.tokenizer(work)
    for name in ("fp8", "f32"):
        stage = trainer.Run(work, f"precision-{name}")
        if stage.finished.exists():
            continue
        torch._dynamo.reset()
        torch.manual_seed(6)
        training = trainer.Trainer(trainer.teacher(text, compiled), stage, lr, seed=6)
        batches = Batches(lambda rng: corpus.pretraining(text, rng), text, budget)
        with sampler.precision(name):
            trainer.train(training, batches, steps, warmup=50, decay=0.5)
        training.finish()
