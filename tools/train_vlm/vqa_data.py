# SPDX-License-Identifier: Apache-2.0
"""easy-VQA (MIT licence), from the Python package easy-vqa 1.0: one shape a picture, 64x64 pixels; three quarters of
its questions are yes/no. They are grouped by picture."""
import functools
import importlib.util
import json
import pathlib
import re

import numpy as np
from PIL import Image

from pictures import SIDE_PIXELS
from questions import Question

COLORS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")
SHAPES = ("circle", "rectangle", "triangle")
UNKNOWN = -100  # as a class: no loss
GROUND_DIFFERENCE = 12  # of a channel


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


def shown(asked: list):
    """(color, shape) of a picture, each None where no question with its answer says it"""
    said = set()
    for question in asked:
        words = set(re.findall("[a-z]+", question.text.lower()))
        if question.kind == "easy-vqa open":
            said |= words | {question.answer}
        elif question.answer == ("no" if words & {"not", "no"} else "yes"):
            said |= words
    return tuple(next((word for word in words if word in said), None) for words in (COLORS, SHAPES))


def on_shape(picture: np.ndarray, patch_pixels: int) -> np.ndarray:
    """[patches] bool: which patches hold pixels that are not of the color that the border has most often"""
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]])
    colors, often = np.unique(border, axis=0, return_counts=True)
    differs = np.abs(picture.astype(int) - colors[often.argmax()]).max(-1) > GROUND_DIFFERENCE
    per_side = len(picture) // patch_pixels
    return differs.reshape(per_side, patch_pixels, per_side, patch_pixels).any((1, 3)).ravel()


def labelled_pictures(draw, n: int, patch_pixels: int):
    """Of the training part, turned and mirrored: pictures [n, side, side, 3]; colors, shapes [n, patches]: 0 beside the
    shape, on it 1 + the place in COLORS, SHAPES"""
    pictures, classes = [], []
    for _ in range(n):
        picture, asked = picture_and_questions("train", int(draw.integers(size("train"))))
        picture = np.rot90(picture, int(draw.integers(4)))
        pictures.append(picture[:, ::-1] if draw.random() < 0.5 else picture)
        shape_there = on_shape(pictures[-1], patch_pixels)
        classes.append([np.where(shape_there, 1 + words.index(word) if word else UNKNOWN, 0)
                        for word, words in zip(shown(asked), (COLORS, SHAPES))])
    return np.stack(pictures), *np.array(classes).swapaxes(0, 1)


def picture_and_questions(split: str, index: int):
    """The picture at the encoder's size: scaled as libmtmd scales it, which follows Pillow's bicubic filter."""
    file, asked = by_picture(split)[index]
    picture = Image.open(file).convert("RGB").resize((SIDE_PIXELS, SIDE_PIXELS), Image.Resampling.BICUBIC)
    return np.asarray(picture), asked
