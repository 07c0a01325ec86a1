# SPDX-License-Identifier: Apache-2.0
"""easy-VQA (MIT licence), from the Python package easy-vqa 1.0: one shape a picture, 64x64 pixels; three quarters of
its questions are yes/no. They are grouped by picture."""
import functools
import importlib.util
import json
import pathlib

import numpy as np
from PIL import Image

from pictures import SIDE_PIXELS
from questions import Question


def folder(split: str) -> pathlib.Path:
    """Found without importing the package."""
    place = importlib.util.find_spec("easy_vqa").submodule_search_locations[0]
    return pathlib.Path(place) / "data" / split


@functools.cache
def by_picture(split: str) -> list:
    """[(picture's file, questions)], in the order of the pictures' numbers"""
    found = {}
    for text, answer, number in json.loads((folder(split) / "questions.json").read_text()):
        kind = "easy-vqa yes/no" if answer in ("yes", "no") else "easy-vqa open"
        text = text[:1].upper() + text[1:]
        found.setdefault(int(number), []).append(Question(kind, text if text.endswith("?") else text + "?", answer))
    return [(folder(split) / "images" / f"{number}.png", asked) for number, asked in sorted(found.items())]


def size(split: str) -> int:
    return len(by_picture(split))


def picture_and_questions(split: str, index: int):
    """The picture at the encoder's size: scaled as libmtmd scales it, which follows Pillow's bicubic filter."""
    file, asked = by_picture(split)[index]
    picture = Image.open(file).convert("RGB").resize((SIDE_PIXELS, SIDE_PIXELS), Image.Resampling.BICUBIC)
    return np.asarray(picture), asked
