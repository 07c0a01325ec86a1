# SPDX-License-Identifier: Apache-2.0
"""What the model is shown: pictures in a user's message, and several questions that share them. A function of its key
alone (seed, stream, number), so that training goes on where it stopped and held-out pictures stay unseen."""
import dataclasses

import numpy as np

import picture_sets
import questions
import vqa_data
from pictures import draw_picture, generator, pick, random_cells
from prompt_text import BEFORE_USER, BEFORE_USER_BARE

TRAIN, HELD_OUT = 1, 2  # streams


@dataclasses.dataclass
class Sample:
    source: str       # grid, sets, easy-vqa
    pictures: list    # [80, 80, 3] uint8
    parts: list       # of the prompt before a question: text, or the index of a picture
    questions: list
    cells: list       # things of the first picture, row by row; [] where there is no grid
    separator: str    # between the last picture and a question


def before_user(draw) -> str:
    return BEFORE_USER if draw.random() < 0.7 else BEFORE_USER_BARE


def one_picture_parts(draw) -> list:
    return [before_user(draw), 0]


def several_pictures_parts(draw, n: int) -> list:
    parts = [before_user(draw)]
    for picture in range(n):
        parts[-1:] = [parts[-1] + f"Picture {picture + 1}: ", picture, "\n"]
    return parts[:-1]


def some(draw, wanted: dict) -> list:
    """kind -> how many in the mean: 2.5 is two or three"""
    return [kind for kind, n in wanted.items() for _ in range(int(n) + (draw.random() < n % 1))]


def separator(draw) -> str:
    """Chat programs put question and picture together with or without a line's end."""
    return pick(draw, ("", "\n"))


def grid_sample(key: tuple, kinds: dict) -> Sample:
    draw = generator(*key)
    cells = random_cells(draw)
    picture = draw_picture(draw, cells)
    return Sample("grid", [picture], one_picture_parts(draw), questions.ask(draw, cells, some(draw, kinds)), cells,
                  separator(draw))


def set_sample(key: tuple, kinds: dict, n_pictures: int, chains: float = 0.0) -> Sample:
    """`chains`: which share of the sets whose pictures are no odd one and its like are picture_sets.chain_set's"""
    draw = generator(*key)
    if draw.random() < 0.3:
        a_set = picture_sets.odd_set(draw, max(n_pictures, 3))
    elif chains and draw.random() < chains:
        a_set = picture_sets.chain_set(draw, max(n_pictures, 2))
    else:
        a_set = picture_sets.random_set(draw, max(n_pictures, 2))
    pictures = [draw_picture(draw, cells) for cells in a_set.cells]
    return Sample("sets", pictures, several_pictures_parts(draw, len(pictures)),
                  picture_sets.ask(draw, a_set, some(draw, kinds)), [], "\n")


def easy_vqa_sample(key: tuple, split: str, kinds: dict) -> Sample:
    draw = generator(*key)
    picture, asked = vqa_data.picture_and_questions(split, int(draw.integers(vqa_data.size(split))))
    chosen = [question for question in asked if draw.random() < kinds.get(question.kind, 0)]
    return Sample("easy-vqa", [picture], one_picture_parts(draw), chosen or asked[:1], [], separator(draw))


def without_pictures(sample: Sample) -> Sample:
    """The same questions, asked blind."""
    return dataclasses.replace(sample, pictures=[], parts=[part for part in sample.parts if isinstance(part, str)])


def scaled_down(picture: np.ndarray, tokens: int, patch_pixels: int = 8) -> np.ndarray:
    """As sharp as `tokens` patches can be: scaled to their pixels and back to full size."""
    from PIL import Image
    side = round(tokens**0.5 * patch_pixels)
    small = Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)
    return np.asarray(small.resize(picture.shape[1::-1], Image.Resampling.BICUBIC))
