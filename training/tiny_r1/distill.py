"""Stage 5: a small dense student learns from what the teacher wrote; a twin of it has no teacher.

Both have read the same textbook as the teacher, as the models that R1 was distilled into were pre-trained ones. Then the
student learns from the teacher's solutions, and its twin from the few worked ones of the cold start.
"""

import random
from pathlib import Path

import torch

from . import cold_start, corpus, rejection, student, trainer
from .batches import Batches
from .sampler import Sampler, frozen, precision


def new_student(text, compiled: bool):
    network = student.Student(student.config(text.vocab))
    if compiled:
        network.compile()
    return network


def run(
    work: Path,
    reading: int,
    steps: int,
    wanted: int,
    alone: int = 36,
    budget: int = 6144,
    lr: float = 3e-3,
    most: int = 360,
    compiled: bool = True,
):
    """`reading` steps of the textbook; `steps` on `wanted` of the teacher's solutions; the twin's `alone` steps."""
    text = trainer.tokenizer(work)
    base, taught, twin = (trainer.Run(work, name) for name in ("student_base", "distill", "without_teacher"))

    def learn(stage, make, steps, start=None, **schedule):
        if stage.finished.exists():
            return
        network = new_student(text, compiled)
        if start:
            network.load_state_dict(torch.load(start.finished)["model"])
        training = trainer.Trainer(network, stage, lr, seed=5, mtp_weight=0.0)
        with precision("bf16"):
            trainer.train(training, Batches(make, text, budget), steps, **schedule)
        training.finish()

    learn(base, lambda rng: corpus.pretraining(text, rng), reading, warmup=50, decay=0.0)
    solutions = taught_by(work, text, wanted, most) + cold_start.worked()
    learn(taught, rejection.documents(text, solutions), steps, base, warmup=20, decay=0.8)
    shown = cold_start.documents(text, cold_start.COUNT)
    learn(twin, lambda rng: rng.choice(shown), alone, base, warmup=5, decay=0.5)


def taught_by(work: Path, text, wanted: int, most: int) -> list[dict]:
    """`wanted` right solutions of the finished teacher's, and those that it wrote before its last pass."""
    path = trainer.Run(work, "distill").folder / "solutions.jsonl"
    if len(rejection.load(path)) < wanted:
        teacher = trainer.teacher(text, compiled=False)
        teacher.load_state_dict(torch.load(trainer.Run(work, rejection.PASSES[-1]).finished)["model"])
        rejection.collect(Sampler(frozen(teacher), text.eos), text, random.Random(5), wanted, 1, most, path)
    return rejection.load(path) + rejection.written(work)
