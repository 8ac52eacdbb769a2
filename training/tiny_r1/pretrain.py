"""Stage 1: reading a textbook. Prose about stacks, tables of single steps, worked problems (mostly small), and chat."""

from pathlib import Path

from . import corpus, trainer
from .batches import Batches


def run(work: Path, steps: int, budget: int = 6144, lr: float = 3e-3, compiled: bool = True):
    text = trainer.tokenizer(work)
    stage = trainer.Run(work, "pretrain")
    if stage.finished.exists():
        return
    network = trainer.teacher(text, compiled)
    training = trainer.Trainer(network, stage, lr, seed=1, mtp_every=2)
    batches = Batches(lambda rng: corpus.pretraining(text, rng), text, budget)
    # The rate is held to the end: the stages after it go on, and the last of them comes down to nothing.
    trainer.train(training, batches, steps, warmup=50, decay=0.0)
    training.finish()
