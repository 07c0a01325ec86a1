# SPDX-License-Identifier: Apache-2.0
"""Dense labels for pre-training: what each patch of a picture of cells shows, as classes and as a word.

Read in the picture's order, the words are a text that the frozen language model knows how to read: the upper two
patches of a cell say color and thing, the lower two its row and column; a line ends at the picture's right side.
"""
import numpy as np

from pictures import cell_patches, CELLS, COLORS, DIGITS, draw_picture, generator, random_cells, SHAPES

COLOR_CLASSES = ("margin", "") + tuple(COLORS)
WHAT_CLASSES = ("margin", "") + SHAPES + DIGITS
WORDS = tuple(f" {word}" for word in tuple(COLORS) + SHAPES + ("empty", "row")) + DIGITS + ("\n",)


def patch_words(cells: list, per_side: int) -> list:
    """[per_side * per_side] of WORDS, for cells of 2x2 patches"""
    words = [[" row"] + ["\n"] * (per_side - 1) for _ in range(per_side)]
    flat = [word for line in words for word in line]
    for index, thing in enumerate(cells):
        said = ([f" {thing.color}", thing.what if thing.what in DIGITS else f" {thing.what}"] if thing.what
                else [" empty", " empty"])
        said += [str(index // CELLS + 1), str(index % CELLS + 1)]
        for patch, word in zip(cell_patches(index), said):
            flat[patch] = word
    return flat


def patch_classes(cells: list, per_side: int):
    """Two arrays [per_side * per_side]: places in COLOR_CLASSES and WHAT_CLASSES"""
    colors, whats = np.zeros((2, per_side * per_side), dtype=np.int64)
    for index, thing in enumerate(cells):
        patches = cell_patches(index)
        colors[patches], whats[patches] = COLOR_CLASSES.index(thing.color), WHAT_CLASSES.index(thing.what)
    return colors, whats


def labelled_pictures(seed: int, stream: int, step: int, n: int, per_side: int):
    """pictures [n, side, side, 3]; colors, whats, words (places in WORDS) [n, patches]"""
    pictures, colors, whats, words = [], [], [], []
    for number in range(n):
        draw = generator(seed, stream, 0, step, number)
        cells = random_cells(draw)
        pictures.append(draw_picture(draw, cells))
        of_colors, of_whats = patch_classes(cells, per_side)
        colors.append(of_colors)
        whats.append(of_whats)
        words.append([WORDS.index(word) for word in patch_words(cells, per_side)])
    return np.stack(pictures), np.stack(colors), np.stack(whats), np.array(words)
