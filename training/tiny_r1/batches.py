"""Documents as tensors: rows of ids with the weight of each token in the loss."""

import random

import torch

from . import tokens
from .corpus import Document


def encode(text: tokens.Text, document: Document) -> tuple[list[int], list[bool]]:
    """Ids, and whether each counts as a target."""
    ids, counts = [], []
    for part, counted in document:
        new = text.encode(part)
        ids += new
        counts += [counted] * len(new)
    return ids, counts


LENGTHS = (64, 96, 128, 160, 192, 256, 320, 448)


def pad(rows: list[tuple[list[int], list[float]]], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of ids and loss weights as tensors `[B, T]`, T being one of `LENGTHS`."""
    longest = max(len(ids) for ids, _ in rows)
    length = next((n for n in LENGTHS if n >= longest), longest)
    ids = torch.full((len(rows), length), pad_id)
    weights = torch.zeros(len(rows), length)
    for i, (row, row_weights) in enumerate(rows):
        ids[i, : len(row)] = torch.tensor(row)
        weights[i, : len(row)] = torch.tensor([float(w) for w in row_weights])
    return ids, weights


class Batches:
    """An endless stream of batches of about `budget` tokens; each holds documents of like length."""

    def __init__(self, make, text: tokens.Text, budget: int, pool: int = 1024):
        self.make, self.text, self.budget, self.pool = make, text, budget, pool
        self.ready: list = []

    def next(self, rng: random.Random) -> tuple[torch.Tensor, torch.Tensor]:
        if not self.ready:
            rows = [encode(self.text, self.make(rng)) for _ in range(self.pool)]
            rows = sorted((row for row in rows if len(row[0]) <= LENGTHS[-1]), key=lambda row: len(row[0]))
            while rows:
                length = next(n for n in LENGTHS if n >= len(rows[0][0]))
                batch = [row for row in rows if len(row[0]) <= length][: max(1, self.budget // length)]
                rows = rows[len(batch) :]
                if len(batch) * length >= self.budget // 2:
                    self.ready.append(batch)
            rng.shuffle(self.ready)
        return pad(self.ready.pop(), self.text.pad)
