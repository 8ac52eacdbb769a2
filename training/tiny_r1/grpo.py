"""Stage 3: group relative policy optimization (DeepSeekMath, arXiv 2402.03300), as R1-Zero: rewards by rule alone.

Each question is answered several times at temperature 1. An answer is rewarded if it is right, and a little if it keeps
the format; what counts is how much better it did than the others of its group. No solution is ever shown.
"""

import random
import time
from pathlib import Path

import torch

from . import corpus, measure, tasks, tokens, trainer
from .batches import pad
from .sampler import Sampler, frozen


def reward(text: tokens.Text, problem, ids) -> tuple[float, bool]:
    """1 for the right answer and 0.1 for the right format; and whether it was right."""
    answer = tokens.answer_in(text.decode(ids))
    return (answer == problem.answer) + 0.1 * (answer is not None), answer == problem.answer


def advantages(rewards: torch.Tensor) -> torch.Tensor:
    """How much better than its group each reward `[Q, G]` is, in standard deviations of the group."""
    centred = rewards - rewards.mean(1, keepdim=True)
    return centred / (rewards.std(1, keepdim=True) + 1e-4)


def rollouts(network, text, problems, group: int, most: int, generator):
    """`group` answers to each problem: (prompt ids, completion ids), group by group."""
    sampler = Sampler(frozen(network), text.eos)
    prompts = [text.encode(text.prompt(p.question)) for p in problems for _ in range(group)]
    return list(zip(prompts, sampler.complete(prompts, most, temperature=1.0, batch=1024, generator=generator)))


def batches_of(network, samples, advantage, pad_id: int, budget: int):
    """Batches of ids and advantages `[B, T]` with the cross entropies that the samples had when they were drawn.

    Samples without an advantage are left out; those of like length go together.
    """
    used = sorted((i for i, a in enumerate(advantage) if a != 0), key=lambda i: sum(map(len, samples[i])))
    found = []
    while used:
        fit = max(1, budget // sum(map(len, samples[used[-1]])))
        part, used = used[-fit:], used[:-fit]
        rows = [(p + new, [0.0] * len(p) + [advantage[i]] * len(new)) for i in part for p, new in [samples[i]]]
        ids, weights = pad(rows, pad_id)
        with torch.no_grad():
            before, _ = network.losses(ids, weights != 0, mtp=False)
        found.append((ids, weights, before))
    return found


def question(rng: random.Random, full: float) -> tasks.Problem:
    """Mostly small problems at first: a mistake is one of few steps there. `full` is the share of any size."""
    return corpus.train_problem(rng, tasks.any_problem if rng.random() < full else corpus.easy_problem)


def iteration(
    training, text, full: float, questions: int, group: int, updates: int, most: int, budget: int, lr: float, generator
) -> dict:
    """Questions, answers, rewards, and a pass over them in so many updates."""
    started = time.time()
    problems = [question(training.rng, full) for _ in range(questions)]
    samples = rollouts(training.network, text, problems, group, most, generator)
    judged = [reward(text, problems[i // group], ids) for i, (_, ids) in enumerate(samples)]
    rewards = torch.tensor([r for r, _ in judged]).view(questions, group)
    sampled = time.time()
    advantage = advantages(rewards).flatten().tolist()
    # Whole groups go into an update, or what is better than its group and what is worse would pull one after the other.
    share = -(-questions // updates) * group
    parts = [slice(start, start + share) for start in range(0, len(samples), share)]
    batches = [batches_of(training.network, samples[p], advantage[p], text.pad, budget) for p in parts]
    norms = [training.update(part, lr, balance=0.0)["norm"] for part in batches if part]
    by_task = {}
    for i, (_, correct) in enumerate(judged):
        by_task.setdefault(problems[i // group].task, []).append(correct)
    return {
        "reward": rewards.mean().item(),
        "right": sum(c for _, c in judged) / len(judged),
        "length": sum(len(ids) for _, ids in samples) / len(samples),
        "mixed": (rewards.std(1) > 0).float().mean().item(),
        "norm": sum(norms) / max(1, len(norms)),
        "updates": len(norms),
        "sampling": sampled - started,
        "training": time.time() - sampled,
        **{task: sum(c) / len(c) for task, c in sorted(by_task.items())},
    }


def run(
    work: Path,
    iterations: int,
    questions: int = 128,
    group: int = 8,
    updates: int = 4,
    ramp: int = 40,
    most: int = 240,
    budget: int = 8192,
    lr: float = 3e-4,
    measured: int = 40,
    compiled: bool = True,
):
    text = trainer.tokenizer(work)
    stage = trainer.Run(work, "grpo")
    if stage.finished.exists():
        return
    network = trainer.teacher(text, compiled)
    network.load_state_dict(torch.load(trainer.Run(work, "cold_start").finished)["model"])
    # Muon would make the many directions of noise in a policy's gradient as large as the few of signal.
    adam = torch.optim.AdamW(network.parameters(), lr=lr, betas=(0.9, 0.95), weight_decay=0.0, fused=True)
    training = trainer.Trainer(network, stage, lr, seed=3, mtp_weight=0.1, optimizers=[adam])
    state, done = stage.resume(), 0
    if state:
        training.restore(state)
        done = state["iteration"]

    def held_out():
        figures = measure.suites(Sampler(frozen(network), text.eos), text, measured, tuple(tasks.MIX))
        return {"held_out": measure.mean(figures)}

    for i in range(done, iterations):
        generator = torch.Generator().manual_seed(1000 + i)
        measures = held_out() if i % 10 == 0 else {}
        rate = lr * min(1.0, (i + 1) / 3)
        figures = iteration(training, text, min(1.0, i / ramp), questions, group, updates, most, budget, rate, generator)
        stage.log(iteration=i + 1, **figures, **measures)
        said = " ".join(f"{k} {v:.3f}" for k, v in (figures | measures).items())
        print(f"iteration {i + 1}/{iterations} {said}", flush=True)
        stage.save("checkpoint.pt", training.state() | {"iteration": i + 1})
    stage.log(iteration=iterations, **held_out())
    training.finish()
