"""Stage 2: a few worked solutions in the format that is to be: a thought between `<think>` and `</think>`, then an answer.

Few on purpose: they teach the form; what is still wrong is left to reinforcement learning.
"""

import random
from pathlib import Path

import torch

from . import corpus, tokens, trainer
from .batches import Batches


COUNT = 100


def worked(count: int = COUNT, seed: int = 2) -> list[dict]:
    """The worked solutions: questions of all kinds and sizes with completions."""
    rng = random.Random(seed)
    problems = [corpus.train_problem(rng) for _ in range(count)]
    return [
        {"task": p.task, "question": p.question, "completion": tokens.completion(p.thought, p.answer)} for p in problems
    ]


def documents(text, count: int):
    """The worked solutions and a quarter as many conversations."""
    rng = random.Random(2)
    solved = [[(text.prompt(s["question"]), False), (s["completion"], True)] for s in worked(count)]
    return solved + [corpus.talk_chat(text, rng) for _ in range(count // 4)]


def run(work: Path, steps: int, count: int = COUNT, budget: int = 6144, lr: float = 1e-3, compiled: bool = True):
    text = trainer.tokenizer(work)
    stage = trainer.Run(work, "cold_start")
    if stage.finished.exists():
        return
    network = trainer.teacher(text, compiled)
    network.load_state_dict(torch.load(trainer.Run(work, "pretrain").finished)["model"])
    training = trainer.Trainer(network, stage, lr, seed=2)
    shown = documents(text, count)
    batches = Batches(lambda rng: rng.choice(shown), text, budget, pool=256)
    trainer.train(training, batches, steps, warmup=5, decay=0.5)
    training.finish()
