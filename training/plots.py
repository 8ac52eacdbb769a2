"""Draws what the logs of a run hold: `python plots.py --work work --to plots`."""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402

from tiny_r1 import precision, rejection  # noqa: E402

plt.rcParams.update({"figure.figsize": (7, 3.6), "figure.dpi": 110, "axes.grid": True, "grid.alpha": 0.3})


def log(work: Path, stage: str) -> list[dict]:
    path = work / stage / "log.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def smooth(values, width=25):
    """Running means."""
    return [sum(values[max(0, i - width) : i + 1]) / (i + 1 - max(0, i - width)) for i in range(len(values))]


def loss_plot(work: Path, stage: str, axes):
    lines = log(work, stage)
    axes.plot([line["step"] for line in lines], smooth([line["loss"] for line in lines]), label="next token")
    ahead = [line for line in lines if "mtp" in line]
    if ahead:
        axes.plot([line["step"] for line in ahead], smooth([line["mtp"] for line in ahead]), label="the one after it")
    axes.set(xlabel="step", ylabel="cross entropy (nats)", yscale="log", title=stage.replace("_", " "))
    axes.legend()


def grpo_plot(work: Path, figure):
    lines = log(work, "grpo")
    left, right = figure.subplots(1, 2)
    turns = [line for line in lines if "right" in line]
    left.plot([t["iteration"] for t in turns], smooth([t["right"] for t in turns], 4), label="training, drawn")
    held = [line for line in lines if "held_out" in line]
    left.plot([h["iteration"] for h in held], [h["held_out"] for h in held], "o-", label="held out, greedy")
    left.set(xlabel="iteration", ylabel="right answers", title="reward")
    left.legend()
    right.plot([t["iteration"] for t in turns], smooth([t["length"] for t in turns], 4))
    right.set(xlabel="iteration", ylabel="tokens", title="length of an answer")


def precision_plot(work: Path, axes):
    for name in ("f32", "fp8"):
        lines = log(work, f"precision-{name}-{precision.PAIRS[0]}")
        axes.plot([line["step"] for line in lines], smooth([line["loss"] for line in lines]), label=name)
    axes.set(xlabel="step", ylabel="cross entropy (nats)", yscale="log", title="FP8 against f32, same batches")
    axes.legend()


def bars_plot(title: str, bars: dict[str, dict], axes):
    """Accuracy by kind of question, for each of the named `bars`."""
    names = [name for name in next(iter(bars.values())) if name != "mean"]
    width = 0.8 / len(bars)
    for i, (label, values) in enumerate(bars.items()):
        places = [j + (i - (len(bars) - 1) / 2) * width for j in range(len(names))]
        axes.bar(places, [100 * values[name] for name in names], width * 0.95, label=label)
    axes.set(ylabel="% right", title=title)
    axes.set_xticks(range(len(names)), [name.replace(" (beyond)", "\n(beyond)") for name in names], rotation=20, fontsize=7)
    axes.legend(fontsize=8)


def acceptance_plot(shares: dict[str, float], axes):
    names = [name for name in shares if name != "all"]
    axes.barh(names[::-1], [100 * shares[name] for name in names[::-1]])
    axes.set(xlabel="% of tokens", title="what the predicting layer foretold", xlim=(0, 100))


def comparisons(figures: dict) -> dict[str, tuple[str, dict]]:
    """The bar charts: file name to (title, what is compared)."""
    teacher, pupil, stages = figures["tiny-r1"], figures["tiny-r1-distill"], figures.get("stages")
    found = {"thought": ("what the thought is worth", {k: teacher[k] for k in ("thought", "suppressed")})}
    if stages and "grpo" in stages:
        learnt = {"cold start": stages["cold_start"], "after RL": stages["grpo"], "finished": teacher["thought"]}
        found["learning"] = ("before and after reinforcement learning", learnt)
    if stages and "without_teacher" in stages:
        taught = {"teacher": teacher["thought"], "student": pupil["thought"]}
        found["student"] = ("a student with and without the teacher", taught | {"without": stages["without_teacher"]})
    return found


def experts_plot(use: dict, axes):
    """Share of each routed expert by task, the mean over layers being shown layer by layer side by side."""
    tasks = list(use)
    rows = [[share for layer in use[task] for share in layer] for task in tasks]
    axes.imshow(rows, aspect="auto", cmap="viridis", interpolation="nearest")
    axes.set_yticks(range(len(tasks)), tasks, fontsize=7)
    axes.set(xlabel="expert (16 a layer, layers side by side)", title="which experts work on what")
    axes.grid(False)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--figures", type=Path, default=Path("figures.json"))
    parser.add_argument("--to", type=Path, default=Path("plots"))
    args = parser.parse_args()
    args.to.mkdir(exist_ok=True)
    for stage in ("pretrain", "cold_start", *rejection.PASSES, "student_base", "distill", "without_teacher"):
        if log(args.work, stage):
            figure, axes = plt.subplots()
            loss_plot(args.work, stage, axes)
            save(figure, args.to / f"{stage}.png")
    if log(args.work, "grpo"):
        figure = plt.figure()
        grpo_plot(args.work, figure)
        save(figure, args.to / "grpo.png")
    if log(args.work, f"precision-fp8-{precision.PAIRS[0]}"):
        figure, axes = plt.subplots()
        precision_plot(args.work, axes)
        save(figure, args.to / "precision.png")
    if args.figures.exists():
        figures = json.loads(args.figures.read_text())
        for name, (title, bars) in comparisons(figures).items():
            figure, axes = plt.subplots()
            bars_plot(title, bars, axes)
            save(figure, args.to / f"{name}.png")
        figure, axes = plt.subplots(figsize=(7, 2.2))
        acceptance_plot(figures["tiny-r1"]["mtp_acceptance"], axes)
        save(figure, args.to / "acceptance.png")
        figure, axes = plt.subplots()
        experts_plot(figures["tiny-r1"]["experts"], axes)
        save(figure, args.to / "experts.png")


def save(figure, path: Path):
    figure.tight_layout()
    figure.savefig(path)
    plt.close(figure)
    print(path)


if __name__ == "__main__":
    main()
