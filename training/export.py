"""Writes the finished models: `python export.py --work work --to ../models`."""

import argparse
from pathlib import Path

import torch

from tiny_r1 import experts, export, model, rejection, student, tokens


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, default=Path("work"))
    parser.add_argument("--to", type=Path, default=Path("../models"))
    parser.add_argument("--stage", default=rejection.PASSES[-1], help="which stage's teacher (default: the last)")
    args = parser.parse_args()
    experts.COMPILE = False
    text = tokens.Text.load(args.work / "tokenizer.json")
    network = model.Model(model.config(text.vocab))
    network.load_state_dict(torch.load(args.work / args.stage / "model.pt")["model"])
    export.teacher(args.to / "tiny-r1", network, text)
    print(args.to / "tiny-r1")
    finished = args.work / "distill" / "model.pt"
    if finished.exists():
        pupil = student.Student(student.config(text.vocab))
        pupil.load_state_dict(torch.load(finished)["model"])
        export.student(args.to / "tiny-r1-distill.gguf", pupil, text)
        print(args.to / "tiny-r1-distill.gguf")


if __name__ == "__main__":
    main()
