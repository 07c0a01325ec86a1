# SPDX-License-Identifier: Apache-2.0
"""Several pictures in one prompt and what can be asked of them, after the tasks of MileBench (arXiv 2404.18532):
finding, comparing, counting over all. Pictures of a set hold few things, so that a set has one answer."""
import dataclasses

from pictures import CELLS, COLORS, DIGITS, EMPTY, pick, SHAPES, Thing, THINGS
from questions import place, Question


@dataclasses.dataclass
class PictureSet:
    cells: list      # 16 things for each picture
    changed: tuple   # (first picture, cell): picture first + 1 is a copy of it but for that cell; () if none
    odd: int         # the picture that differs from all others, -1 if none


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
    filled = [index for index, thing in enumerate(pictures[first]) if thing.what]
    cell = pick(draw, filled)
    after = list(pictures[first])
    after[cell] = pick(draw, [thing for thing in THINGS if thing != after[cell]])
    pictures[first + 1] = after
    return PictureSet(pictures, (first, cell), -1)


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
    return PictureSet(pictures, (), odd)


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
    first, cell = a_set.changed
    before, after = a_set.cells[first][cell], a_set.cells[first + 1][cell]
    return Question("what changed", f"What changed between picture {first + 1} and picture {first + 2}?",
                    f"{place(cell)}: {before.name} became {after.name}")


def ask_odd(draw, a_set):
    if a_set.odd < 0:
        return None
    return Question("odd one out", "Which picture is the odd one out?", f"picture {a_set.odd + 1}")


def ask_count(draw, a_set):
    """Of pictures that show a color or a kind: counted once each."""
    value = pick(draw, tuple(COLORS) + SHAPES)
    shown = sum(any(value in (thing.color, thing.what) for thing in cells) for cells in a_set.cells)
    thing = f"something {value}" if value in COLORS else f"a {value}"
    return Question("count pictures", f"How many pictures show {thing}?", str(shown))


def ask_list(draw, a_set):
    picture = int(draw.integers(len(a_set.cells)))
    names = [thing.name for thing in a_set.cells[picture] if thing.what]
    return Question("list picture", f"What is in picture {picture + 1}?", ", ".join(names))


ASK = {"which picture": ask_which, "what changed": ask_changed, "odd one out": ask_odd, "count pictures": ask_count,
       "list picture": ask_list}


def ask(draw, a_set: PictureSet, kinds: list) -> list:
    asked = {}
    for kind in kinds:
        question = ASK[kind](draw, a_set)
        if question:
            asked.setdefault(question.text, question)
    return list(asked.values())
