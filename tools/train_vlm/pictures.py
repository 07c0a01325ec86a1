# SPDX-License-Identifier: Apache-2.0
"""Pictures of 4x4 cells, drawn from a seed with numpy alone. A cell is empty or holds a coloured shape or digit.

A picture is 80x80 pixels. Its cells are 16x16 inside a margin of 8, so that each covers 2x2 patches of 8x8 exactly:
dropping a cell's four rows drops that cell and no other.
"""
import dataclasses

import numpy as np

SIDE_PIXELS, MARGIN_PIXELS, CELL_PIXELS, CELLS = 80, 8, 16, 4
COLORS = {"red": (225, 40, 40), "green": (40, 190, 60), "blue": (60, 90, 240), "yellow": (235, 215, 50),
          "white": (240, 240, 240), "purple": (170, 60, 200)}
SHAPES = ("circle", "square", "triangle", "diamond", "cross")
DIGITS = tuple("0123456789")
EMPTY_SHARE, SHAPE_SHARE = 0.2, 0.48  # the rest are digits

FONT = {  # 5x7, a row of pixels each
    "0": "01110 10001 10011 10101 11001 10001 01110", "1": "00100 01100 00100 00100 00100 00100 01110",
    "2": "01110 10001 00001 00110 01000 10000 11111", "3": "11110 00001 00001 01110 00001 00001 11110",
    "4": "00010 00110 01010 10010 11111 00010 00010", "5": "11111 10000 11110 00001 00001 10001 01110",
    "6": "00110 01000 10000 11110 10001 10001 01110", "7": "11111 00001 00010 00100 01000 01000 01000",
    "8": "01110 10001 10001 01110 10001 10001 01110", "9": "01110 10001 10001 01111 00001 00010 01100",
}


@dataclasses.dataclass(frozen=True)
class Thing:
    color: str  # "" in an empty cell, as is `what`
    what: str   # a shape, or a digit

    @property
    def name(self) -> str:
        return f"{self.color} {self.what}" if self.what else "empty"


EMPTY = Thing("", "")
THINGS = tuple(Thing(color, what) for color in COLORS for what in SHAPES + DIGITS)


def generator(*key: int) -> np.random.Generator:
    """Same key, same numbers: a picture depends on nothing drawn before it."""
    return np.random.Generator(np.random.PCG64(np.random.SeedSequence(list(key))))


def pick(draw, values):
    return values[int(draw.integers(len(values)))]


def random_thing(draw) -> Thing:
    kind = draw.random()
    if kind < EMPTY_SHARE:
        return EMPTY
    return Thing(pick(draw, tuple(COLORS)), pick(draw, SHAPES if kind < EMPTY_SHARE + SHAPE_SHARE else DIGITS))


def random_cells(draw) -> list:
    """16 things, row by row."""
    return [random_thing(draw) for _ in range(CELLS * CELLS)]


def shape_mask(shape: str, radius: float, cx: float, cy: float) -> np.ndarray:
    y, x = np.mgrid[0:CELL_PIXELS, 0:CELL_PIXELS] + 0.5
    dx, dy = np.abs(x - cx), np.abs(y - cy)
    if shape == "circle":
        return dx**2 + dy**2 <= radius**2
    if shape == "square":
        return np.maximum(dx, dy) <= radius * 0.85
    if shape == "diamond":
        return dx + dy <= radius * 1.1
    if shape == "cross":
        return (np.maximum(dx, dy) <= radius) & (np.minimum(dx, dy) <= radius * 0.36)
    height = (y - (cy - radius)) / (2 * radius)  # triangle: its tip is up
    return (height >= 0) & (height <= 1) & (dx <= radius * height)


def digit_mask(digit: str, left: int, top: int) -> np.ndarray:
    glyph = np.array([[pixel == "1" for pixel in row] for row in FONT[digit].split()])
    mask = np.zeros((CELL_PIXELS, CELL_PIXELS), dtype=bool)
    mask[top:top + 14, left:left + 10] = glyph.repeat(2, 0).repeat(2, 1)
    return mask


def thing_mask(draw, what: str) -> np.ndarray:
    if what in DIGITS:
        return digit_mask(what, int(draw.integers(1, 6)), int(draw.integers(0, 3)))
    return shape_mask(what, 5.6 + 1.6 * draw.random(), 8 + draw.integers(-1, 2) * 0.7, 8 + draw.integers(-1, 2) * 0.7)


def draw_picture(draw, cells: list) -> np.ndarray:
    """[80, 80, 3] uint8, RGB: `cells` on a dark noisy ground; sizes, places and shades vary."""
    ground = draw.integers(15, 75) + draw.integers(-6, 7, 3)
    picture = ground + draw.integers(-9, 10, (SIDE_PIXELS, SIDE_PIXELS, 3))
    for index, thing in enumerate(cells):
        if not thing.what:
            continue
        top = MARGIN_PIXELS + CELL_PIXELS * (index // CELLS)
        left = MARGIN_PIXELS + CELL_PIXELS * (index % CELLS)
        paint = np.array(COLORS[thing.color]) + draw.integers(-14, 15, 3)
        paint = paint + draw.integers(-9, 10, (CELL_PIXELS, CELL_PIXELS, 3))
        region = picture[top:top + CELL_PIXELS, left:left + CELL_PIXELS]
        mask = thing_mask(draw, thing.what)
        region[mask] = paint[mask]
    return picture.clip(0, 255).astype(np.uint8)


def cell_patches(index: int, patch_pixels: int = 8) -> list:
    """The patches (row by row over the picture) that cell `index` covers."""
    per_row = SIDE_PIXELS // patch_pixels
    first, per_cell = MARGIN_PIXELS // patch_pixels, CELL_PIXELS // patch_pixels
    top, left = first + per_cell * (index // CELLS), first + per_cell * (index % CELLS)
    return [(top + y) * per_row + left + x for y in range(per_cell) for x in range(per_cell)]
