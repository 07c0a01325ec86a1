# SPDX-License-Identifier: Apache-2.0
"""Questions about one picture of 4x4 cells, with their answers and the cells that an answer depends on."""
import collections
import dataclasses

from pictures import CELLS, COLORS, DIGITS, pick, SHAPES, Thing, THINGS


@dataclasses.dataclass(frozen=True)
class Question:
    kind: str
    text: str
    answer: str
    cells: tuple = ()  # of one picture; empty: all of it
    steps: bool = False  # the answer says facts first; what follows from them stands behind its last ':' or ';'


CELL_TEXTS = ("What is in row {r}, column {c}?", "Row {r}, column {c}?", "What is in column {c} of row {r}?")
COLOR_TEXTS = ("What color is the thing in row {r}, column {c}?", "Which color is in row {r}, column {c}?")
WHERE_TEXTS = ("Where is the {name}?", "In which row and column is the {name}?")
DESCRIBE_TEXTS = ("Describe every cell.", "Describe every cell of the picture.", "List all cells.")
COUNT_TEXTS = ("How many {things} are there?", "Count the {things}.")


def place(index: int) -> str:
    return f"row {index // CELLS + 1}, column {index % CELLS + 1}"


def row_of(cells: list, row: int) -> str:
    return ", ".join(thing.name for thing in cells[row * CELLS:(row + 1) * CELLS])


def ask_cell(draw, cells):
    index = int(draw.integers(CELLS * CELLS))
    text = pick(draw, CELL_TEXTS).format(r=index // CELLS + 1, c=index % CELLS + 1)
    return Question("cell", text, cells[index].name, (index,))


def ask_color(draw, cells):
    filled = [index for index, thing in enumerate(cells) if thing.what]
    if not filled:
        return None
    index = pick(draw, filled)
    text = pick(draw, COLOR_TEXTS).format(r=index // CELLS + 1, c=index % CELLS + 1)
    return Question("color", text, cells[index].color, (index,))


def ask_row(draw, cells):
    row = int(draw.integers(CELLS))
    return Question("row", f"What is in row {row + 1}?", row_of(cells, row),
                    tuple(range(row * CELLS, row * CELLS + CELLS)))


def ask_column(draw, cells):
    column = int(draw.integers(CELLS))
    indexes = tuple(range(column, CELLS * CELLS, CELLS))
    return Question("column", f"What is in column {column + 1}?", ", ".join(cells[i].name for i in indexes), indexes)


def ask_where(draw, cells):
    often = collections.Counter(cells)
    once = [index for index, thing in enumerate(cells) if thing.what and often[thing] == 1]
    if not once:
        return None
    index = pick(draw, once)
    return Question("where", pick(draw, WHERE_TEXTS).format(name=cells[index].name), place(index), (index,))


def ask_count(draw, cells):
    """The answer says what it marks, then of each cell the one word that matters, and gives what counts its number, the
    last of which is the sum: see picture_sets.py"""
    tests = [(shape + ("es" if shape == "cross" else "s"), (shape,)) for shape in SHAPES]
    tests += [("digits", DIGITS), ("empty cells", ("empty",))]
    tests += [(color + " things", (color,)) for color in COLORS]
    things, counted = pick(draw, tests)
    said, n = [], 0
    for thing in cells:
        word = (thing.color if counted[0] in COLORS else thing.what) or "empty"
        n += word in counted
        said.append(f"{word} #{n}" if word in counted else word)
    marked = "digit" if counted == DIGITS else counted[0]
    answer = f"count {marked} #\n{in_rows(said)}\nall: {n}"
    return Question("count", pick(draw, COUNT_TEXTS).format(things=things), answer, steps=True)


def in_rows(texts: list) -> str:
    return "\n".join(f"row {row + 1}: " + ", ".join(texts[row * CELLS:(row + 1) * CELLS]) for row in range(CELLS))


def describe(draw, cells):
    return Question("describe", pick(draw, DESCRIBE_TEXTS), in_rows([thing.name for thing in cells]))


def ask_present(draw, cells):
    """Half of the answers are yes; a wrong thing shares its color or kind with one that is there."""
    there = [thing for thing in cells if thing.what]
    if not there:
        return None
    thing = pick(draw, there)
    if draw.random() < 0.5:
        near = [other for other in THINGS
                if other not in there and (other.color == thing.color) != (other.what == thing.what)]
        thing = pick(draw, near) if near else Thing("red", "circle")
    return Question("present", f"Is there a {thing.name}?", "yes" if thing in there else "no")


def ask_empty(draw, cells):
    wanted = draw.random() < 0.5
    fitting = [index for index, thing in enumerate(cells) if (not thing.what) == wanted] or list(range(CELLS * CELLS))
    index = pick(draw, fitting)
    return Question("is empty", f"Is {place(index)} empty?", "no" if cells[index].what else "yes", (index,))


ASK = {"cell": ask_cell, "color": ask_color, "row": ask_row, "column": ask_column, "where": ask_where,
       "count": ask_count, "describe": describe, "present": ask_present, "is empty": ask_empty}


def ask(draw, cells: list, kinds: list) -> list:
    """A question of each kind named (a name may come several times), none twice."""
    asked = {}
    for kind in kinds:
        question = ASK[kind](draw, cells)
        if question:
            asked.setdefault((question.kind, question.cells or question.text), question)
    return list(asked.values())
