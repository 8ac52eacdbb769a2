"""Stage 5: a small dense student learns from what the teacher wrote, and a twin from the same questions without thoughts.

The twin, "without the teacher", sees as many questions with their right answers alone: what a model of this size learns
when nobody shows it how to think.
"""

import random
from pathlib import Path

import torch

from . import cold_start, corpus, model, rejection, student, tokens, trainer
from .batches import Batches
from .sampler import Sampler, frozen


def answers_only(text, solutions):
    """Documents of the same questions, whose thoughts are empty."""

    def make(rng: random.Random):
        line = rng.choice(solutions)
        answer = tokens.answer_in(line["completion"])
        return [(tokens.suppressed(text.prompt(line["question"])), False), (answer + tokens.EOS, True)]

    return make


def new_student(text, compiled: bool):
    network = student.Student(student.config(text.vocab))
    if compiled:
        network.compile()
    return network


def run(
    work: Path, steps: int, wanted: int, budget: int = 6144, lr: float = 3e-3, most: int = 360, compiled: bool = True
):
    text = trainer.tokenizer(work)
    stage = trainer.Run(work, "distill")
    path = stage.folder / "solutions.jsonl"
    if len(rejection.load(path)) < wanted:
        teacher = trainer.teacher(text, compiled=False)
        teacher.load_state_dict(torch.load(trainer.Run(work, "rejection").finished)["model"])
        rejection.collect(Sampler(frozen(teacher), text.eos), text, random.Random(5), wanted, 1, most, path)
    # What the policy wrote before its last pass was judged right as well.
    solutions = rejection.load(path) + rejection.load(trainer.Run(work, "rejection").folder / "solutions.jsonl")
    solutions += cold_start.worked()
    if not stage.finished.exists():
        _learn(stage, rejection.documents(text, solutions), text, steps, budget, lr, compiled)
    alone = trainer.Run(work, "without_teacher")
    if not alone.finished.exists():
        _learn(alone, answers_only(text, solutions), text, steps, budget, lr, compiled)


def _learn(stage, make, text, steps, budget, lr, compiled):
    before, model.Linear.precision = model.Linear.precision, "bf16"
    training = trainer.Trainer(new_student(text, compiled), stage, lr, seed=5, mtp_weight=0.0)
    trainer.train(training, Batches(make, text, budget), steps, warmup=50, decay=0.6)
    training.finish()
    model.Linear.precision = before
