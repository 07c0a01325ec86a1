# SPDX-License-Identifier: Apache-2.0
"""Is this a model on which compressing a cache means something? Its answers must come from the picture, each from its
own rows, and losing rows must cost. Prints the model card's tables; exit status 1 where a condition fails.

Rows are dropped after the prompt's prefix was computed in full and before the question, as a cache is compressed.
"""
import argparse
import collections
import dataclasses
import pathlib
import sys

import numpy as np
import torch

import checkpoint
import curriculum
import held_out
import questions
from batches import Batch, make_batch
from chat_text import Tokenizer
from evaluate import Tally
from model import Vlm
from pictures import cell_patches, generator, random_cells
from samples import grid_sample, HELD_OUT, Sample, scaled_down, some, TRAIN, without_pictures
from settings import say

PER_BATCH = 4
SINGLE_ROWS_TRIED = 4


@dataclasses.dataclass
class Answer:
    kind: str
    right: bool
    tokens: list  # the most likely token at each place of the answer


def dropped_rows(batch: Batch, drop) -> torch.Tensor:
    """[batch, 1 + questions, rows] for Batch.mask(); drop(sample, question) -> bool [picture rows of the sample]"""
    n_questions = max(len(sample.questions) for sample in batch.samples)
    shape = len(batch.samples), 1 + n_questions, batch.ids.shape[1]
    dropped = torch.zeros(shape, dtype=torch.bool, device=batch.ids.device)
    for row, sample in enumerate(batch.samples):
        shown = (batch.image_rows[row] >= 0).nonzero()[:, 0]
        for number, question in enumerate(sample.questions):
            gone = torch.from_numpy(drop(sample, question)).to(shown.device)
            dropped[row, number + 1, shown[gone]] = True
    return dropped


@torch.no_grad()
def answers(model: Vlm, tokenizer: Tokenizer, samples: list, drop=None) -> list:
    found = []
    for first in range(0, len(samples), PER_BATCH):
        batch = make_batch(samples[first:first + PER_BATCH], tokenizer, model.vision.config.n_patches)
        batch = batch.to(model.language.embedding.device)
        best = model.best(batch, dropped_rows(batch, drop) if drop else None)
        for row, sample in enumerate(batch.samples):
            for number, question in enumerate(sample.questions):
                mine = (batch.segments[row] == number + 1) & (batch.targets[row] >= 0)
                tokens = best[row][mine].tolist()
                found.append(Answer(question.kind, tokens == batch.targets[row][mine].tolist(), tokens))
    return found


def tally(found: list) -> Tally:
    result = Tally()
    for answer in found:
        result.add(answer.kind, float(answer.right))
    return result


def percent(found: list) -> float:
    return 100 * sum(answer.right for answer in found) / len(found)


def rows_of(sample: Sample, n_patches: int) -> int:
    return n_patches * len(sample.pictures)


class Drops:
    """Which rows are gone when a question is asked; random ones depend on seed and question."""

    def __init__(self, n_patches: int, seed: int):
        self.n_patches, self.seed = n_patches, seed

    def none_but(self, sample, kept):
        gone = np.ones(rows_of(sample, self.n_patches), dtype=bool)
        gone[kept] = False
        return gone

    def all(self, sample, question):
        return self.none_but(sample, [])

    def random(self, share):
        def drop(sample, question):
            draw = generator(self.seed, 90, *question.text.encode())
            n = rows_of(sample, self.n_patches)
            return self.none_but(sample, draw.permutation(n)[:n - round(share * n)])
        return drop

    def cell(self, sample, index):
        gone = np.zeros(rows_of(sample, self.n_patches), dtype=bool)
        gone[cell_patches(index)] = True
        return gone

    def asked_cell(self, sample, question):
        return self.cell(sample, question.cells[0])

    def other_cell(self, sample, question):
        draw = generator(self.seed, 91, *question.text.encode())
        return self.cell(sample, int((question.cells[0] + draw.integers(1, 16)) % 16))


def most_frequent_answers(seed: int) -> dict:
    """What an answerer without eyes does best: the most frequent answer of a kind of question, learnt from the data"""
    often = collections.defaultdict(collections.Counter)
    for number in range(4000):
        draw = generator(seed, TRAIN, 93, number)
        for question in questions.ask(draw, random_cells(draw), some(draw, held_out.FACTS)):
            often[question.kind][question.answer] += 1
    return {kind: counts.most_common(1)[0][0] for kind, counts in often.items()}


def text_only(samples: list, seed: int) -> list:
    best = most_frequent_answers(seed)
    return [Answer(q.kind, best[q.kind] == q.answer, []) for sample in samples for q in sample.questions]


def best_single_row(model, tokenizer, few, samples, drops: Drops) -> tuple:
    """(accuracy, place) with one row of the picture left. All places are tried on few pictures, each being a run; the
    likeliest of them on `samples`, so that the best is not the luckiest."""
    def share(at, asked):
        return percent(answers(model, tokenizer, asked, lambda sample, _: drops.none_but(sample, [at])))
    likeliest = sorted(range(drops.n_patches), key=lambda at: share(at, few))[-SINGLE_ROWS_TRIED:]
    return max((share(at, samples), at) for at in likeliest)


def filled_cell_questions(samples: list) -> list:
    """Of one cell that holds something: "empty" is also what a model should say that sees no rows of a cell."""
    return [dataclasses.replace(sample, questions=[q for q in sample.questions if q.kind in ("cell", "color")
                                                   and sample.cells[q.cells[0]].what]) for sample in samples]


def scaled(samples: list, tokens: int) -> list:
    return [dataclasses.replace(sample, pictures=[scaled_down(picture, tokens) for picture in sample.pictures])
            for sample in samples]


class Verdict:
    def __init__(self):
        self.failed = False

    def line(self, what: str, value: float, holds: bool, limit: str) -> None:
        self.failed |= not holds
        print(f"| {what} | {value:.1f} | {limit} | {'yes' if holds else 'NO'} |", flush=True)


def table(title: str, columns: dict) -> None:
    """columns: name -> Tally"""
    kinds = sorted(set().union(*(column.asked for column in columns.values())))
    print(f"\n| {title} | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    for kind in kinds:
        print(f"| {kind} | " + " | ".join(f"{100 * column.share(kind):.1f}" for column in columns.values()) + " |")
    print("| all | " + " | ".join(f"{100 * column.mean(kinds):.1f}" for column in columns.values()) + " |", flush=True)


def conditions(model, tokenizer, samples, few, seed: int) -> bool:
    drops, verdict = Drops(model.vision.config.n_patches, seed), Verdict()
    runs = {"whole": answers(model, tokenizer, samples), "text only": text_only(samples, seed),
            "blind": answers(model, tokenizer, [without_pictures(sample) for sample in samples]),
            "no rows": answers(model, tokenizer, samples, drops.all)}
    for share in (0.5, 0.8, 0.9):
        runs[f"random {share}"] = answers(model, tokenizer, samples, drops.random(share))
    for tokens in (50, 20, 10):
        runs[f"scaled to {tokens}"] = answers(model, tokenizer, scaled(samples, tokens))
    table("one picture", {name: tally(found) for name, found in runs.items()})

    blind = percent(runs["blind"])
    single = [sample for sample in filled_cell_questions(samples) if sample.questions]
    whole, asked, other = (answers(model, tokenizer, single, drop)
                           for drop in (None, drops.asked_cell, drops.other_cell))
    known = [i for i, answer in enumerate(whole) if answer.right]
    broken = 100 * sum(not asked[i].right for i in known) / max(len(known), 1)
    changed = 100 * sum(other[i].tokens != whole[i].tokens for i in range(len(whole))) / len(whole)
    best, at = best_single_row(model, tokenizer, few, samples, drops)
    cost = percent(runs["whole"]) - percent(runs["random 0.8"])
    print("\n| condition | % | wanted | holds |\n|---|---|---|---|")
    off = abs(percent(runs["no rows"]) - blind)
    verdict.line("no rows and blind differ by", off, off <= 5, "at most 5")
    verdict.line("asked cell's rows dropped: right answers that break", broken, broken >= 80, "at least 80")
    verdict.line("another cell's rows dropped: answers that change", changed, changed <= 5, "at most 5")
    verdict.line("80 % of rows dropped at random cost", cost, cost >= 20, "at least 20")
    verdict.line(f"best single row (place {at}), above blind", best - blind, best <= blind + 10, "at most 10")
    return verdict.failed


def several_pictures(model, tokenizer, samples, seed: int) -> None:
    drops = Drops(model.vision.config.n_patches, seed)
    runs = {"whole": answers(model, tokenizer, samples),
            "blind": answers(model, tokenizer, [without_pictures(sample) for sample in samples]),
            "no rows": answers(model, tokenizer, samples, drops.all),
            "random 0.8": answers(model, tokenizer, samples, drops.random(0.8))}
    table("8 pictures", {name: tally(found) for name, found in runs.items()})


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools/train_vlm/run gate", description=__doc__)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=held_out.SEED, help="of the held-out pictures")
    parser.add_argument("--rank", type=int, default=16)
    parser.add_argument("--pictures", type=int, default=96)
    parser.add_argument("--sets", type=int, default=32, help="of 8 pictures")
    parser.add_argument("--threads", type=int)
    options = parser.parse_args()
    if options.threads:
        torch.set_num_threads(options.threads)
    model = Vlm(options.model, torch.bfloat16, options.rank)
    state = checkpoint.load(model, options.folder)
    say(f"the gate, at step {state['step']} of {curriculum.total_steps()}, {options.pictures} pictures")
    if torch.cuda.is_available():
        model.to("cuda")
    tokenizer = Tokenizer(model.reader)
    few = [grid_sample((options.seed, HELD_OUT, 7, number), held_out.FACTS) for number in range(6)]
    failed = conditions(model, tokenizer, held_out.grids(options.seed, options.pictures), few, options.seed)
    several_pictures(model, tokenizer, held_out.sets(options.seed, options.sets), options.seed)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
