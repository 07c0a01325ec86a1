# SPDX-License-Identifier: Apache-2.0
"""Several pictures in one prompt and what can be asked of them, after the tasks of MileBench (arXiv 2404.18532):
finding, comparing, counting over all. Pictures of a set hold few things, so that a set has one answer.

An answer that takes several facts says them before what follows from them (arXiv 2201.11903), for so small a model names
what it sees far better than it counts or compares. What follows is marked where it can be seen, and in the end copied. To
count, a thing is one word, color or kind, and the word with its mark is said first: from then on what follows the word
is what followed it before, which a language model knows how to say."""
import dataclasses

from pictures import CELLS, COLORS, DIGITS, EMPTY, pick, SHAPES, Thing, THINGS
from questions import Question


@dataclasses.dataclass
class PictureSet:
    cells: list      # 16 things for each picture
    changed: tuple   # of (first picture, cell): picture first + 1 is a copy of it but for that cell
    odd: tuple       # (picture, what all others share, what it has instead), () if none


def sparse_cells(draw, things: list) -> list:
    cells = [EMPTY] * (CELLS * CELLS)
    for thing, index in zip(things, draw.permutation(CELLS * CELLS)):
        cells[int(index)] = thing
    return cells


def random_things(draw, n: int) -> list:
    return [pick(draw, THINGS) for _ in range(n)]


def random_set(draw, n_pictures: int) -> PictureSet:
    """2 to 4 things a picture; one picture is its predecessor with one cell changed."""
    pictures = [sparse_cells(draw, random_things(draw, int(draw.integers(2, 5)))) for _ in range(n_pictures)]
    first = int(draw.integers(n_pictures - 1))
    pictures[first + 1], cell = with_a_change(draw, pictures[first])
    return PictureSet(pictures, ((first, cell),), ())


def chain_set(draw, n_pictures: int) -> PictureSet:
    """Each picture is its predecessor with one cell changed: many comparisons for few pictures, for training."""
    pictures, changed = [sparse_cells(draw, random_things(draw, int(draw.integers(2, 5))))], []
    for first in range(n_pictures - 1):
        after, cell = with_a_change(draw, pictures[-1])
        pictures.append(after)
        changed.append((first, cell))
    return PictureSet(pictures, tuple(changed), ())


def with_a_change(draw, cells: list) -> tuple:
    """(a copy with another thing in a cell that holds one, the cell)"""
    cell = pick(draw, [index for index, thing in enumerate(cells) if thing.what])
    after = list(cells)
    after[cell] = pick(draw, [thing for thing in THINGS if thing != after[cell]])
    return after, cell


def odd_set(draw, n_pictures: int) -> PictureSet:
    """All things of all pictures share a color or a kind, but for those of one picture."""
    by_color = draw.random() < 0.5
    values = tuple(COLORS) if by_color else SHAPES
    common, other = (values[int(i)] for i in draw.permutation(len(values))[:2])
    odd, pictures = int(draw.integers(n_pictures)), []
    for picture in range(n_pictures):
        fixed, things = other if picture == odd else common, []
        for _ in range(int(draw.integers(2, 5))):
            things.append(Thing(fixed, pick(draw, SHAPES + DIGITS)) if by_color else
                          Thing(pick(draw, tuple(COLORS)), fixed))
        pictures.append(sparse_cells(draw, things))
    return PictureSet(pictures, (), (odd, common, other))


def names_in(cells: list) -> str:
    return ", ".join(thing.name for thing in cells if thing.what)


def ask_which(draw, a_set):
    holders = {}
    for picture, cells in enumerate(a_set.cells):
        for thing in set(cells) - {EMPTY}:
            holders.setdefault(thing, []).append(picture)
    once = sorted((thing.name, pictures[0]) for thing, pictures in holders.items() if len(pictures) == 1)
    if not once:
        return None
    name, picture = pick(draw, once)
    return Question("which picture", f"Which picture shows a {name}?", f"picture {picture + 1}")


def ask_changed(draw, a_set):
    if not a_set.changed:
        return None
    first, cell = pick(draw, a_set.changed)
    before, after = a_set.cells[first], a_set.cells[first + 1]
    marked = ", ".join(f"{thing.name} (was {before[cell].name})" if index == cell else thing.name
                       for index, thing in enumerate(after) if thing.what)
    return Question("what changed", f"What changed between picture {first + 1} and picture {first + 2}?",
                    f"picture {first + 1}: {names_in(before)}; picture {first + 2}: {marked}; "
                    f"{before[cell].name} became {after[cell].name}", steps=True)


def ask_odd(draw, a_set):
    if not a_set.odd:
        return None
    picture, common, other = a_set.odd
    return Question("odd one out", "Which picture is the odd one out?",
                    f"all {common} but for {other} in picture {picture + 1}")


def ask_count(draw, a_set):
    """Of pictures that show a color or a kind: counted once each."""
    value = pick(draw, tuple(COLORS) + SHAPES)
    said, n = f"count {value} #; ", 0
    for picture, cells in enumerate(a_set.cells, 1):
        words = [thing.color if value in COLORS else thing.what for thing in cells if thing.what]
        n += value in words
        marked = ", ".join(f"{word} #{n}" if word == value else word for word in words)
        said += f"picture {picture}: {marked}; "
    thing = f"something {value}" if value in COLORS else f"a {value}"
    return Question("count pictures", f"How many pictures show {thing}?", f"{said}all: {n}", steps=True)


def ask_list(draw, a_set):
    picture = int(draw.integers(len(a_set.cells)))
    return Question("list picture", f"What is in picture {picture + 1}?", names_in(a_set.cells[picture]))


ASK = {"which picture": ask_which, "what changed": ask_changed, "odd one out": ask_odd, "count pictures": ask_count,
       "list picture": ask_list}


def ask(draw, a_set: PictureSet, kinds: list) -> list:
    asked = {}
    for kind in kinds:
        question = ASK[kind](draw, a_set)
        if question:
            asked.setdefault(question.text, question)
    return list(asked.values())
