"""Accuracy on held-out problems, with the thought, without it, and how often the second-token guess is right."""

import torch

from . import tasks, tokens
from .sampler import Sampler, precision


def completions(sampler: Sampler, text: tokens.Text, problems, most=360, thought=True, batch=128):
    """Greedy completions of the problems' prompts, as ids."""
    prompts = [text.prompt(p.question) for p in problems]
    if not thought:
        prompts = [tokens.suppressed(p) for p in prompts]
    encoded = [text.encode(p) for p in prompts]
    return encoded, sampler.complete(encoded, most, batch=batch)


def right(text: tokens.Text, problem, ids, thought=True) -> bool:
    """Whether the completion has the right format and the exact answer."""
    written = text.decode(ids)
    return tokens.answer_in(written if thought else tokens.CLOSE + written) == problem.answer


def accuracy(sampler, text, problems, thought=True, most=360) -> float:
    _, written = completions(sampler, text, problems, most, thought)
    return sum(right(text, p, ids, thought) for p, ids in zip(problems, written)) / len(problems)


def suites(sampler, text, count: int, names=tuple(tasks.SUITES), thought=True) -> dict[str, float]:
    """Accuracy per suite of held-out problems."""
    most = 360 if thought else 40
    return {name: accuracy(sampler, text, tasks.suite(name, count), thought, most) for name in names}


def mean(figures: dict[str, float]) -> float:
    """The held-out mix: all suites that were trained, each counting the same."""
    return sum(figures[name] for name in tasks.MIX) / len(tasks.MIX)


@torch.no_grad()
def acceptance(sampler, text, count: int, most=360) -> dict[str, float]:
    """For each trained kind and all together, the share of written tokens that multi-token prediction foretold.

    The first token of each answer has nobody to foretell it and does not count.
    """
    net, found, hits, total = sampler.network, {}, 0, 0
    for name in tasks.MIX:
        right, seen = 0, 0
        prompts, written = completions(sampler, text, tasks.suite(name, count), most)
        with precision(sampler.precision):
            for prompt, new in zip(prompts, written):
                ids = torch.tensor([prompt + new])
                ahead = net.logits(net.ahead(net.hidden(ids[:, :-1]), ids)).argmax(-1)
                guessed, true = ahead[0, len(prompt) - 1 :], ids[0, len(prompt) + 1 :]
                right, seen = right + int((guessed == true).sum()), seen + len(true)
        found[name] = right / seen
        hits, total = hits + right, total + seen
    return found | {"all": hits / total}


@torch.no_grad()
def expert_use(sampler, text, count: int, most=360) -> dict[str, list[list[float]]]:
    """For each trained kind and MoE layer of the model proper, the share of each routed expert in the tokens written."""
    net, found = sampler.network, {}
    layers = net.mixtures()[: -1 if net.next_token else None]
    for name in tasks.MIX:
        prompts, written = completions(sampler, text, tasks.suite(name, count), most)
        chosen = [torch.zeros(moe.gate.e_score_correction_bias.numel()) for moe in layers]
        start = 0

        def hook(counter):
            def count_rows(_, __, output):
                ids = output[0][start:]
                counter.add_(torch.bincount(ids.flatten(), minlength=len(counter)).float())

            return count_rows

        hooks = [moe.gate.register_forward_hook(hook(counter)) for moe, counter in zip(layers, chosen)]
        with precision(sampler.precision):
            for prompt, new in zip(prompts, written):
                start = len(prompt)
                net.hidden(torch.tensor([prompt + new]))
        for handle in hooks:
            handle.remove()
        found[name] = [[round(v, 4) for v in (counter / counter.sum()).tolist()] for counter in chosen]
    return found
