"""Measures finished models on held-out problems: `python evaluate.py ../models`.

Reads the exported files, not the checkpoints: the weights are what FP8 or Q8_0 hold. Prints a table, writes
`figures.json`, and with `--goldens` the questions with the ids that `transformers` writes greedily, for other engines to
compare themselves with.
"""

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_file

from tiny_r1 import export, experts, measure, model, reference, sampler, student, tasks, tokens, trainer


def load_teacher(folder: Path):
    """tiny-r1 as exported: network in F32, and its text side."""
    text = tokens.Text.load(folder / "tokenizer.json")
    network = model.Model(model.config(text.vocab))
    held = export.dequantized(load_file(folder / "model.safetensors"))
    layers = network.config.num_hidden_layers
    state = network.state_dict()
    for name, value in state.items():
        parts = [held[part] for part, _ in export.separate(export.published(name, layers), value)]
        value.copy_(torch.stack(parts).view_as(value) if len(parts) > 1 else parts[0])
    return sampler.frozen(network, torch.float32, quantized=False), text


def load_student(path: Path, text):
    """tiny-r1-distill as exported, in F32."""
    network = student.Student(student.config(text.vocab))
    state = reference.distilled(path, network).state_dict()
    names = {name: "lm_head.weight" if name == "head" else f"model.{name}" for name in network.state_dict()}
    for name, value in network.state_dict().items():
        value.copy_(state[names[name]])
    head = network.head.data
    copy = sampler.frozen(network, torch.float32, quantized=False)
    copy.head.data = head
    return copy


def figures_of(network, text, count: int, say) -> dict:
    """Accuracy per suite, with the thought and without, and the mean over the trained kinds."""
    writer = sampler.Sampler(network, text.eos, torch.float32)
    found = {}
    for key, thought in (("thought", True), ("suppressed", False)):
        found[key] = measure.suites(writer, text, count, thought=thought)
        found[key]["mean"] = measure.mean(found[key])
        say(key, " ".join(f"{name}: {value:.3f}" for name, value in found[key].items()), flush=True)
    if network.next_token:
        found["mtp_acceptance"] = measure.acceptance(writer, text, min(count, 40))
        found["experts"] = measure.expert_use(writer, text, min(count, 30))
        say("first draft accepted", round(found["mtp_acceptance"]["all"], 4), flush=True)
    return found


def stages(work: Path, text, count: int, say) -> dict:
    """Accuracy per suite of what came before the finished models: before and after reinforcement learning, and the twin."""
    found = {}
    for name, new in (
        ("cold_start", model.Model(model.config(text.vocab))),
        ("grpo", model.Model(model.config(text.vocab))),
        ("without_teacher", student.Student(student.config(text.vocab))),
    ):
        finished = trainer.Run(work, name).finished
        if not finished.exists():
            say(f"{name}: there is no {finished}; run the stage to have its figures", flush=True)
            continue
        new.load_state_dict(torch.load(finished)["model"])
        quantized = new.next_token is not None
        writer = sampler.Sampler(sampler.frozen(new, quantized=quantized), text.eos)
        found[name] = measure.suites(writer, text, count)
        found[name]["mean"] = measure.mean(found[name])
        say(name, " ".join(f"{suite}: {value:.3f}" for suite, value in found[name].items()), flush=True)
    return found


def golden_problems(count: int):
    """Held-out problems of all kinds in turn, other ones than the figures are of."""
    suites = {name: tasks.suite(name, count, seed=31) for name in tasks.MIX}
    return [(name, suites[name][i // len(suites)]) for i in range(count) for name in [list(suites)[i % len(suites)]]]


def goldens(network, text, count: int, most: int = 400):
    """A line a question: its ids, and the ids that `transformers` writes, with the thought and for some without."""
    for i, (name, problem) in enumerate(golden_problems(count)):
        prompt = text.prompt(problem.question)
        ids = text.encode(prompt)
        written = reference.greedy(network, ids, most, text.eos)
        line = {"task": name, "question": problem.question, "answer": problem.answer, "prompt_ids": ids}
        line |= {"ids": written, "text": text.decode(written)}
        if i % 10 == 0:
            empty = text.encode(tokens.suppressed(prompt))
            line["suppressed_ids"] = reference.greedy(network, empty, 60, text.eos)
        yield line


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("models", type=Path, help="the folder that holds tiny-r1/ and tiny-r1-distill.gguf")
    parser.add_argument("--count", type=int, default=500, help="held-out problems of each kind (default: 500)")
    parser.add_argument("--goldens", type=Path, help="write tiny_r1.jsonl and tiny_r1_distill.jsonl into this folder")
    parser.add_argument("--figures", type=Path, default=Path("figures.json"), help="where to write (default: figures.json)")
    parser.add_argument("--work", type=Path, help="measure this run's stages too, whose checkpoints are here")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    experts.COMPILE = False
    teacher, text = load_teacher(args.models / "tiny-r1")
    distill = args.models / "tiny-r1-distill.gguf"
    pupil = load_student(distill, text)
    if args.goldens:
        for name, network, count in (
            ("tiny_r1", reference.teacher(args.models / "tiny-r1"), 100),
            ("tiny_r1_distill", reference.distilled(distill, pupil), 20),
        ):
            with open(args.goldens / f"{name}.jsonl", "w") as f:
                for line in goldens(network, text, count):
                    f.write(json.dumps(line, ensure_ascii=False) + "\n")
    if args.count:
        found = {"count": args.count}
        print("tiny-r1")
        found["tiny-r1"] = figures_of(teacher, text, args.count, print)
        print("tiny-r1-distill")
        found["tiny-r1-distill"] = figures_of(pupil, text, args.count, print)
        if args.work:
            found["stages"] = stages(args.work, text, args.count, print)
        args.figures.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
