# SPDX-License-Identifier: Apache-2.0
"""Writes held-out pictures and questions as files, for the engine's evaluation: FOLDER/<set>/questions.jsonl, a
question a line with its pictures' files in order, and the pictures as PNG. tools/train_vlm/run dataset --out FOLDER"""
import argparse
import json
import pathlib

from PIL import Image

import held_out
from samples import Sample


def write(samples: list, folder: pathlib.Path) -> int:
    (folder / "pictures").mkdir(parents=True, exist_ok=True)
    lines = []
    for number, sample in enumerate(samples):
        files = [f"pictures/{number:04d}-{index}.png" for index in range(len(sample.pictures))]
        for file, picture in zip(files, sample.pictures):
            Image.fromarray(picture).save(folder / file, optimize=True)
        lines += [json.dumps({"pictures": files, **question_of(sample, question)}) for question in sample.questions]
    (folder / "questions.jsonl").write_text("\n".join(lines) + "\n")
    return len(lines)


def question_of(sample: Sample, question) -> dict:
    """`before` is the text in front of each picture, `cells` those that the answer needs (none: all), `match`: of an
    answer in steps only what is said last counts"""
    texts = [part for part in sample.parts if isinstance(part, str)]
    texts[0] = texts[0].split("<|im_start|>user\n")[1]
    return {"kind": question.kind, "before": texts, "question": question.text, "answer": question.answer,
            "cells": list(question.cells), **({"match": "last"} if question.steps else {})}


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools/train_vlm/run dataset", description=__doc__)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=held_out.SEED)
    parser.add_argument("--pictures", type=int, default=200, help="of the set grid")
    parser.add_argument("--sets", type=int, default=50, help="of 8 pictures, of the set multi-image")
    options = parser.parse_args()
    made = {"grid": held_out.grids(options.seed, options.pictures, held_out.FACTS | held_out.DESCRIBE),
            "multi-image": held_out.sets(options.seed, options.sets)}
    for name, samples in made.items():
        print(f"{name}: {write(samples, options.out / name)} questions in {options.out / name}")


if __name__ == "__main__":
    main()
