"""Stage 4: rejection sampling and a supervised pass, as R1's, in five rounds.

The policy answers many new questions; right answers that can be read are kept as worked solutions, and questions that it mostly
gets wrong are tried again. What is kept, with conversations beside it, trains the model once more while the rate comes down to
zero. In each further round the better model answers, and learns from what it and its forerunners wrote, with drills of what it
still gets wrong.
"""

import json
import random
from pathlib import Path

import torch

from . import cold_start, corpus, talk, tokens, trainer
from .batches import Batches
from .grpo import reward
from .sampler import Sampler, frozen


def collect(sampler: Sampler, text, rng, wanted: int, tries: int, most: int, path: Path, say=print) -> list[dict]:
    """`wanted` right and readable solutions of the sampler's own, in a JSON-lines file that a stopped run goes on with.

    Up to `tries` attempts a question; of the right ones the shortest is kept.
    """
    kept = load(path)
    rng = random.Random(f"{rng.random()} {len(kept)}")
    asked = right = 0
    generator = torch.Generator().manual_seed(rng.randrange(2**31))
    while len(kept) < wanted:
        problems = [corpus.train_problem(rng) for _ in range(768)]
        open_ = list(problems)
        fresh = []
        for _ in range(tries):
            prompts = [text.encode(text.prompt(p.question)) for p in open_]
            written = sampler.complete(prompts, most, temperature=0.8, generator=generator)
            missed = []
            for problem, ids in zip(open_, written):
                asked += 1
                if reward(text, problem, ids)[1]:
                    right += 1
                    completion = text.decode(ids)
                    if tokens.readable(completion):
                        fresh.append({"task": problem.task, "question": problem.question, "completion": completion})
                else:
                    missed.append(problem)
            open_ = missed
        kept += fresh
        with open(path, "a") as f:
            f.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in fresh)
        say(f"{len(kept)}/{wanted} solutions, {right / asked:.3f} of answers right", flush=True)
    return kept


def load(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def documents(text, solutions: list[dict], textbook: float = 0.0, drills: float = 0.0):
    """A maker of documents: solutions, some conversations, now and then a question after earlier turns or without a thought.

    A share of them is pages of the textbook's later chapters, and a share drills.
    """

    def make(rng: random.Random):
        book = rng.random()
        if book < textbook:
            return corpus.later_chapters(rng)
        if book < textbook + drills:
            return corpus.drills(rng)
        kind = rng.random()
        if kind < 0.08:
            return corpus.talk_chat(text, rng)
        line = rng.choice(solutions)
        if kind < 0.11:
            answer = tokens.answer_in(line["completion"])
            prompt = tokens.suppressed(text.prompt(line["question"]))
            return [(prompt, False), (answer + tokens.EOS, True)]
        earlier = []
        if kind < 0.15:
            before = talk.small_talk(rng) if rng.random() < 0.5 else corpus.easy_problem(rng)
            earlier = [before.question, before.answer]
        return [(text.prompt(*earlier, line["question"]), False), (line["completion"], True)]

    return make


PASSES = ("rejection", "rejection_2", "rejection_3", "rejection_4", "rejection_5")


def run(work: Path, steps: tuple, wanted: int, budget: int = 6144, lr: float = 2e-3, most: int = 360, compiled=True):
    """A pass of so many steps a round, each on `wanted` more solutions; from the second on with drills."""
    text = trainer.tokenizer(work)
    for number, (name, before, n) in enumerate(zip(PASSES, ("grpo", *PASSES), steps)):
        shares = (0.3, 0.35) if number else (0.6, 0.0)
        one_pass(work, text, name, before, n, shares, wanted, 4 + 10 * number, budget, lr * 0.75**number, most, compiled)


def written(work: Path) -> list[dict]:
    """What the model wrote before each pass."""
    return [line for name in PASSES for line in load(trainer.Run(work, name).folder / "solutions.jsonl")]


def one_pass(work, text, name, before, steps, shares, wanted, seed, budget, lr, most, compiled):
    """A model's right answers collected and learnt from; `shares` of what it reads are the textbook's and drills."""
    stage = trainer.Run(work, name)
    if stage.finished.exists():
        return
    network = trainer.teacher(text, compiled)
    network.load_state_dict(torch.load(trainer.Run(work, before).finished)["model"])
    path = stage.folder / "solutions.jsonl"
    collect(Sampler(frozen(network), text.eos), text, random.Random(seed), wanted, 3, most, path)
    solutions = written(work) + cold_start.worked()
    training = trainer.Trainer(network, stage, lr, seed=seed)
    batches = Batches(documents(text, solutions, *shares), text, budget)
    trainer.train(training, batches, steps, warmup=20, decay=0.8)
    training.finish()
