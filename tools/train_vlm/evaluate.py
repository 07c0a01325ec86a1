# SPDX-License-Identifier: Apache-2.0
"""Accuracy for each kind of question, exact match; "cells told" is the share of the cells of `describe` that are right,
each behind the right ones before it."""
import collections

import torch

from batches import make_batch
from chat_text import Tokenizer
from model import Vlm


def cell_groups(texts: list) -> list:
    """Tokens of a description -> their cell, -1 for those that hold none: cells are between ':', ',' and line ends"""
    groups, cell, inside = [], -1, False
    for text in texts:
        if ":" in text or "," in text:
            inside, cell = True, cell + 1
            groups.append(-1)
        elif "\n" in text or "<|im_end|>" in text:
            inside = False
            groups.append(-1)
        else:
            groups.append(cell if inside else -1)
    return groups


class Tally:
    def __init__(self):
        self.right, self.asked = collections.Counter(), collections.Counter()

    def add(self, kind: str, right: float, asked: int = 1) -> None:
        self.right[kind] += right
        self.asked[kind] += asked

    def share(self, kind: str) -> float:
        return self.right[kind] / max(self.asked[kind], 1)

    def mean(self, kinds) -> float:
        """Over questions, not over kinds."""
        return sum(self.right[kind] for kind in kinds) / max(sum(self.asked[kind] for kind in kinds), 1)

    def line(self) -> str:
        return ", ".join(f"{kind} {100 * self.share(kind):.1f}" for kind in sorted(self.asked))


def answers_right(best, batch):
    """[(sample, question, bool of each token of the answer, the tokens)]"""
    found, answers, right = [], batch.targets >= 0, best == batch.targets
    for row, sample in enumerate(batch.samples):
        for number, question in enumerate(sample.questions):
            mine = answers[row] & (batch.segments[row] == number + 1)
            found.append((sample, question, right[row][mine], batch.targets[row][mine]))
    return found


@torch.no_grad()
def accuracy(model: Vlm, tokenizer: Tokenizer, samples: list, per_batch: int = 8) -> Tally:
    tally = Tally()
    device = model.language.embedding.device
    for first in range(0, len(samples), per_batch):
        batch = make_batch(samples[first:first + per_batch], tokenizer, model.vision.config.n_patches).to(device)
        for _, question, right, tokens in answers_right(model.best(batch), batch):
            tally.add(question.kind, float(right.all()))
            if question.kind == "describe":
                groups = torch.tensor(cell_groups([tokenizer.decode([token]) for token in tokens.tolist()]))
                told = [bool(right.cpu()[groups == cell].all()) for cell in range(16)]
                tally.add("cells told", sum(told), len(told))
    return tally
