# SPDX-License-Identifier: Apache-2.0
"""Samples as tensors. Questions of a sample share one prefix with its pictures: they follow it one behind the other,
each at the positions right after the prefix, and the mask keeps them apart. So each answer is what a prompt with that
question alone would give, and the picture's rows, most of the work, are computed once."""
import dataclasses

import numpy as np
import torch

from chat_text import Tokenizer
from prompt_text import BEFORE_ANSWER, END
from samples import Sample

IGNORED = -100
BEHIND_NAMES, MARK_WEIGHT = (" #", " (", ",", ";", "\n"), 4.0


@dataclasses.dataclass
class Batch:
    pictures: torch.Tensor   # [n_pictures, side, side, 3] uint8
    ids: torch.Tensor        # [batch, rows]
    image_rows: torch.Tensor # [batch, rows]: index into all pictures' rows, -1: text
    positions: torch.Tensor  # [batch, rows]
    segments: torch.Tensor   # [batch, rows]: -1 padding, 0 prefix, n: question n - 1
    targets: torch.Tensor    # [batch, rows]: the next token where it is part of an answer, else IGNORED
    weights: torch.Tensor    # [batch, rows], of the loss
    samples: list

    def to(self, device) -> "Batch":
        moved = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return Batch(**{name: value.to(device) if torch.is_tensor(value) else value for name, value in moved.items()})

    def mask(self, dropped=None):
        """[batch, 1, rows, rows], true: the row (query) may see the other (key). `dropped` [batch, 1 + questions,
        rows]: gone when a question is asked; the prefix has still seen them, as when a cache is compressed."""
        rows = self.ids.shape[1]
        query, key = self.segments[:, :, None], self.segments[:, None, :]
        causal = torch.ones(rows, rows, dtype=torch.bool, device=self.ids.device).tril()
        allowed = causal & ((key == 0) | (key == query))
        if dropped is not None:
            index = self.segments.clamp(min=0)[:, :, None].expand(-1, -1, rows)
            allowed &= ~dropped.gather(1, index)
        return allowed[:, None]


class Row:
    """One sample's row of a batch."""

    def __init__(self):
        self.ids, self.image_rows, self.positions, self.segments, self.targets, self.weights = ([] for _ in range(6))

    def add(self, tokens, segment, at, image_rows=None):
        n = len(tokens)
        self.ids += tokens
        self.image_rows += image_rows or [-1] * n
        self.positions += range(at, at + n)
        self.segments += [segment] * n
        self.targets += [IGNORED] * n
        self.weights += [0.0] * n


def prefix(row: Row, sample: Sample, tokenizer: Tokenizer, rows_per_picture: int, first_picture: int) -> None:
    for part in sample.parts:
        if isinstance(part, str):
            row.add(tokenizer.encode(part), 0, len(row.ids))
        else:
            first = (first_picture + part) * rows_per_picture
            row.add([0] * rows_per_picture, 0, len(row.ids), list(range(first, first + rows_per_picture)))


def add_question(row: Row, asked: list, answer: list, segment: int, at: int, heavy: list) -> None:
    """`heavy`: for each token of the answer, how much it counts beside the others"""
    start = len(row.ids) + len(asked)
    row.add(asked + answer, segment, at)
    for offset, token in enumerate(answer):
        row.targets[start + offset - 1] = token
        # A long answer counts more, but not by its length.
        row.weights[start + offset - 1] = heavy[offset] * len(answer) ** -0.5


def heaviness(question, answer: list, tokenizer: Tokenizer) -> list:
    """What stands behind a name in an answer that counts or compares is a mark or none: the few tokens that reading
    does not give"""
    return [MARK_WEIGHT if question.steps and tokenizer.decode([token]) in BEHIND_NAMES else 1.0 for token in answer]


def make_batch(samples: list, tokenizer: Tokenizer, rows_per_picture: int) -> Batch:
    rows, pictures = [], []
    for sample in samples:
        row = Row()
        prefix(row, sample, tokenizer, rows_per_picture, len(pictures))
        at = len(row.ids)
        for number, question in enumerate(sample.questions):
            asked = tokenizer.encode(sample.separator + question.text + BEFORE_ANSWER)
            answer = tokenizer.encode(question.answer + END)
            add_question(row, asked, answer, number + 1, at, heaviness(question, answer, tokenizer))
        rows.append(row)
        pictures += sample.pictures
    longest = max(len(row.ids) for row in rows)

    def padded(name, value, dtype):
        return torch.tensor([getattr(row, name) + [value] * (longest - len(row.ids)) for row in rows], dtype=dtype)

    shown = torch.from_numpy(np.stack(pictures)) if pictures else torch.zeros(0, 0, 0, 3, dtype=torch.uint8)
    return Batch(shown, padded("ids", 0, torch.long), padded("image_rows", -1, torch.long),
                 padded("positions", 0, torch.long), padded("segments", -1, torch.long),
                 padded("targets", IGNORED, torch.long), padded("weights", 0.0, torch.float32), samples)
