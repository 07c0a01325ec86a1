# SPDX-License-Identifier: Apache-2.0
"""Checks of the data: a function of its key, drawn where it says, and every answer derived again from its question's
words. Called by check.py."""
import collections
import re

import numpy as np

import curriculum
import picture_sets
import questions
from pictures import cell_patches, draw_picture, EMPTY, generator, random_cells
from samples import grid_sample, HELD_OUT, TRAIN

SEED = 8


def expect(condition, what: str) -> None:
    if not condition:
        raise SystemExit(f"failed: {what}")


def check_same_again() -> None:
    ends = np.cumsum([stage.steps for stage in curriculum.STAGES])
    for step in (end - 1 for end, stage in zip(ends, curriculum.STAGES) if not stage.patches):
        first, second = (curriculum.samples_of_step(SEED, step) for _ in range(2))
        same = [a.questions == b.questions and np.array_equal(a.pictures, b.pictures) for a, b in zip(first, second)]
        expect(all(same), f"step {step} shows the same again")
    trained, held_out = (grid_sample((SEED, stream, 2, 0), curriculum.OPEN).pictures[0] for stream in (TRAIN, HELD_OUT))
    expect(not np.array_equal(trained, held_out), "held-out pictures differ")
    print("ok: data is a function of seed and step")


def check_picture() -> None:
    """A cell's things are drawn inside its patches and nowhere else."""
    cells = random_cells(generator(SEED, 1))
    for index, thing in enumerate(cells):
        without = list(cells)
        without[index] = EMPTY
        only = [EMPTY] * 16
        only[index] = thing
        shown, ground = (draw_picture(generator(SEED, 2), of).astype(int) for of in (only, [EMPTY] * 16))
        changed = {y // 8 * 10 + x // 8 for y, x in np.argwhere(np.abs(shown - ground).max(-1) > 0)}
        expect(changed <= set(cell_patches(index)), f"cell {index} is drawn inside its patches")
        expect(bool(changed) == bool(thing.what), f"cell {index} is drawn if it holds something")
    print("ok: cells cover their own patches")


def answer_again(question, cells) -> str:
    """The answer derived from the question's words alone."""
    names = [thing.name for thing in cells]
    numbers = {word: int(n) - 1 for word, n in re.findall(r"(row|column) (\d)", question.text.lower())}
    at = numbers.get("row", 0) * 4 + numbers.get("column", 0)
    if question.kind in ("cell", "color"):
        return names[at] if question.kind == "cell" else names[at].split()[0]
    if question.kind == "is empty":
        return "yes" if names[at] == "empty" else "no"
    if question.kind == "row":
        return ", ".join(names[numbers["row"] * 4:numbers["row"] * 4 + 4])
    if question.kind == "column":
        return ", ".join(names[numbers["column"]::4])
    if question.kind == "where":
        found = [i for i, name in enumerate(names) if question.text.endswith(f" {name}?")]
        expect(len(found) == 1, f"'{question.text}' has one answer")
        return f"row {found[0] // 4 + 1}, column {found[0] % 4 + 1}"
    if question.kind == "present":
        return "yes" if question.text.removeprefix("Is there a ").rstrip("?") in names else "no"
    if question.kind == "describe":
        return "\n".join(f"row {r + 1}: " + ", ".join(names[4 * r:4 * r + 4]) for r in range(4))
    things = re.sub(r"How many (.*) are there\?|Count the (.*)\.", r"\1\2", question.text)
    key = things.split()[0] if things.endswith((" things", " cells")) else {"crosses": "cross"}.get(things, things[:-1])
    wanted = set("0123456789") if things == "digits" else {key}
    said, n = [], 0
    for name in names:
        word = name.split()[0 if things.endswith(" things") else -1]
        n += word in wanted
        said.append(f"{word} #{n}" if word in wanted else word)
    rows = "\n".join(f"row {r + 1}: " + ", ".join(said[4 * r:4 * r + 4]) for r in range(4))
    return f"count {key if len(wanted) == 1 else 'digit'} #\n{rows}\nall: {n}"


def check_answers() -> None:
    kinds = collections.Counter()
    for number in range(300):
        sample = grid_sample((SEED, 3, number), {kind: 3 for kind in questions.ASK})
        for question in sample.questions:
            again = answer_again(question, sample.cells)
            expect(again == question.answer, f"'{question.text}' -> '{question.answer}', derived again '{again}'")
            kinds[question.kind] += 1
    expect(set(kinds) == set(questions.ASK), "every kind is asked")
    print(f"ok: {sum(kinds.values())} answers about one picture derived again from their questions")


def check_set_answers() -> None:
    asked = 0
    for number in range(200):
        draw = generator(SEED, 4, number)
        kind = (picture_sets.odd_set, picture_sets.random_set, picture_sets.chain_set)[number % 3]
        a_set = kind(draw, 3 + number % 6)
        names = [[thing.name for thing in cells] for cells in a_set.cells]
        lists = [", ".join(name for name in of if name != "empty") for of in names]
        for question in picture_sets.ask(draw, a_set, [kind for kind in picture_sets.ASK for _ in range(3)]):
            asked += 1
            numbers = [int(n) - 1 for n in re.findall(r"picture (\d)", question.text + " " + question.answer)]
            if question.kind == "which picture":
                thing = question.text.removeprefix("Which picture shows a ").rstrip("?")
                expect([thing in of for of in names] == [i == numbers[0] for i in range(len(names))], question.text)
            elif question.kind == "what changed":
                changed = [i for i in range(16) if names[numbers[0]][i] != names[numbers[1]][i]]
                first, second = numbers[:2]
                expect(len(changed) == 1, question.text)
                was, became = (names[picture][changed[0]] for picture in (first, second))
                marked = list(names[second])
                marked[changed[0]] += f" (was {was})"
                marked = ", ".join(name for name in marked if name != "empty")
                expect(question.answer == f"picture {first + 1}: {lists[first]}; picture {second + 1}: {marked}; "
                       f"{was} became {became}", question.text)
            elif question.kind == "odd one out":
                words = [set.intersection(*(set(name.split()) for name in of if name != "empty")) for of in names]
                others = set.intersection(*(of for i, of in enumerate(words) if i != numbers[0]))
                expect(others and not others & words[numbers[0]], question.text)
                common, other = re.fullmatch(r"all (\w+) but for (\w+) in picture \d", question.answer).groups()
                expect(common in others and other in words[numbers[0]], question.answer)
            elif question.kind == "count pictures":
                value = question.text.split()[-1].rstrip("?")
                said, n = f"count {value} #; ", 0
                for i, of in enumerate(lists):
                    words = [name.split()["something" not in question.text] for name in of.split(", ")]
                    n += value in words
                    said += f"picture {i + 1}: " + re.sub(rf"\b{value}\b", f"{value} #{n}", ", ".join(words)) + "; "
                expect(question.answer == f"{said}all: {n}", question.text)
            else:
                expect(question.answer == lists[numbers[0]], question.text)
    print(f"ok: {asked} answers about several pictures derived again")


def check_data() -> None:
    check_same_again()
    check_picture()
    check_answers()
    check_set_answers()
