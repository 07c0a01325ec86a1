# SPDX-License-Identifier: Apache-2.0
"""Checks of this folder: data, masks, and that exported files mean the same to the pinned source. tools/train_vlm/run check"""
import argparse
import collections
import pathlib
import re
import tempfile

import numpy as np
import torch

import curriculum
import picture_sets
import questions
import reference
import train
from batches import make_batch
from chat_text import BEFORE_ANSWER, Tokenizer
from export import ADAPTER_FILE, export, MMPROJ_FILE
from model import Vlm
from pictures import cell_patches, draw_picture, EMPTY, generator, random_cells, Thing
from samples import grid_sample, HELD_OUT, set_sample, TRAIN
from settings import Settings

SEED = 8


def expect(condition, what: str) -> None:
    if not condition:
        raise SystemExit(f"failed: {what}")


def distance(ours, theirs) -> float:
    """Root mean square of the difference, as a part of the numbers' spread"""
    return float(np.sqrt(np.square(ours - theirs).mean()) / theirs.std())


def near(ours, theirs, limit: float, what: str) -> None:
    apart = distance(ours, theirs)
    expect(apart <= limit, f"{what}: {apart:.2e} of the spread apart, {limit:.0e} allowed")
    print(f"ok: {what} ({apart:.1e} of the spread apart)")


def check_same_again() -> None:
    for step in (500, 2000, 9000, curriculum.total_steps() - 1):
        first, second = (curriculum.samples_of_step(SEED, step) for _ in range(2))
        expect(all(a.questions == b.questions and np.array_equal(a.pictures, b.pictures) for a, b in zip(first, second)),
               f"step {step} shows the same again")
    trained = grid_sample((SEED, TRAIN, 2, 0, 0), curriculum.OPEN).pictures[0]
    expect(not np.array_equal(trained, grid_sample((SEED, HELD_OUT, 2, 0), curriculum.OPEN).pictures[0]), "held-out pictures differ")
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
    words = collections.Counter(word for name in names for word in name.split())
    if things == "digits":
        return str(sum(words[digit] for digit in "0123456789"))
    key = things.split()[0] if things.endswith((" things", " cells")) else {"crosses": "cross"}.get(things, things[:-1])
    return str(words[key])


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
        a_set = (picture_sets.odd_set if number % 3 == 0 else picture_sets.random_set)(draw, 3 + number % 6)
        names = [[thing.name for thing in cells] for cells in a_set.cells]
        for question in picture_sets.ask(draw, a_set, [kind for kind in picture_sets.ASK for _ in range(3)]):
            asked += 1
            numbers = [int(n) - 1 for n in re.findall(r"picture (\d)", question.text + " " + question.answer)]
            if question.kind == "which picture":
                thing = question.text.removeprefix("Which picture shows a ").rstrip("?")
                expect([thing in of for of in names] == [i == numbers[0] for i in range(len(names))], question.text)
            elif question.kind == "what changed":
                changed = [i for i in range(16) if names[numbers[0]][i] != names[numbers[1]][i]]
                i = changed[0]
                expect(len(changed) == 1 and question.answer == f"row {i // 4 + 1}, column {i % 4 + 1}: "
                       f"{names[numbers[0]][i]} became {names[numbers[1]][i]}", question.text)
            elif question.kind == "odd one out":
                words = [set.intersection(*(set(name.split()) for name in of if name != "empty")) for of in names]
                others = set.intersection(*(of for i, of in enumerate(words) if i != numbers[0]))
                expect(others and not others & words[numbers[0]], question.text)
            elif question.kind == "count pictures":
                value = question.text.split()[-1].rstrip("?")
                expect(question.answer == str(sum(value in " ".join(of).split() for of in names)), question.text)
            else:
                expect(question.answer == ", ".join(n for n in names[numbers[0]] if n != "empty"), question.text)
    print(f"ok: {asked} answers about several pictures derived again")


def check_windows(model: Vlm) -> None:
    """Changing a cell changes its four rows and no other, bit by bit."""
    cells = random_cells(generator(SEED, 5))
    other = list(cells)
    other[6] = Thing("red" if cells[6].color != "red" else "blue", "circle")
    ground = [draw_picture(generator(SEED, 6), of) for of in ([EMPTY] * 16, [EMPTY] * 6 + [other[6]] + [EMPTY] * 9)]
    with torch.no_grad():
        rows = model.vision(model.vision.pixels(torch.from_numpy(np.stack(ground))))
    changed = (rows[0] != rows[1]).any(-1).nonzero()[:, 0].tolist()
    expect(changed == sorted(cell_patches(6)), f"a cell reaches its own rows {sorted(cell_patches(6))}, not {changed}")
    print("ok: windows keep cells apart")


def check_packing(model: Vlm, tokenizer: Tokenizer) -> None:
    """Questions packed behind one prefix get the loss that they get alone."""
    sample = grid_sample((SEED, 7), {"cell": 2, "where": 1})
    several = set_sample((SEED, 8), {"which picture": 2}, 2)
    n = model.vision.config.n_patches
    with torch.no_grad():
        batch = make_batch([several, sample], tokenizer, n)
        hidden, total = model.hidden(batch), 0
        for row, of in enumerate((several, sample)):
            for number, question in enumerate(of.questions):
                of_one = type(of)(**{**of.__dict__, "questions": [question]})
                alone = make_batch([of_one], tokenizer, n)
                mine = hidden[row][(batch.segments[row] == number + 1)]
                theirs = model.hidden(alone)[0][alone.segments[0] == 1]
                expect(torch.allclose(mine, theirs, rtol=1e-3, atol=1e-3), f"'{question.text}' packed and alone")
                total += 1
    print(f"ok: {total} questions give the same packed and alone")


def check_export(model: Vlm, tokenizer: Tokenizer, model_file) -> None:
    """libmtmd and libllama of the pinned source read the files and compute the same."""
    sample = grid_sample((SEED, 9), {"cell": 1})
    question = sample.questions[0].text
    prompt = sample.parts[0] + "<__media__>" + question + BEFORE_ANSWER
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        folder = pathlib.Path(name)
        export(model, folder)
        rows, logits, pieces = reference.rows_and_logits(model_file, folder / MMPROJ_FILE, folder / ADAPTER_FILE,
                                                         sample.pictures[0], prompt, model.vision.config.n_patches,
                                                         model.language.width)
        expect(pieces == [tokenizer.encode(sample.parts[0]), tokenizer.encode(question + BEFORE_ANSWER)],
               "libllama's tokens are ours")
        ours = model.vision(model.vision.pixels(torch.from_numpy(np.stack(sample.pictures))))[0].numpy()
        near(ours, rows, 1e-3, "rows of a picture by libmtmd")
        asked = make_batch([type(sample)(**{**sample.__dict__, "separator": ""})], tokenizer, model.vision.config.n_patches)
        hidden = model.hidden(asked)[0]
        behind = int((asked.targets[0] >= 0).nonzero()[0])
        mine = model.language.logits(hidden[behind]).float().numpy()
        near(mine, logits, 0.1, "logits behind the prompt by libllama, which rounds activations to 8 bits")
        _, without, _ = reference.rows_and_logits(model_file, folder / MMPROJ_FILE, None, sample.pictures[0], prompt,
                                                  model.vision.config.n_patches, model.language.width)
        expect(distance(mine, without) > 3 * distance(mine, logits), "the adapter changes the logits")


def random_adapter(model: Vlm) -> None:
    """An untrained adapter changes nothing: its zeros are replaced, so that a wrong sign or scale would show."""
    for lora in model.language.adapter().values():
        lora.b.data = 0.03 * torch.randn(lora.b.shape)


def small_model(model_file) -> Vlm:
    """Two layers of the language model: enough to train a few steps"""
    torch.manual_seed(SEED)
    model = Vlm(model_file, torch.float32, rank=4)
    model.language.layers = model.language.layers[:2]
    return model


def check_resume(tokenizer: Tokenizer, model_file) -> None:
    """Stopped and begun again, training gives the weights that it gives in one go; each stage trains what it says."""
    stages = (curriculum.Stage("patches", 2, adapter=False, patches=True),
              curriculum.Stage("frozen", 2, adapter=False, grid={"cell": 2}),
              curriculum.Stage("sets", 2, set_sizes=(2,), shares=(0.0, 1.0, 0.0)),
              curriculum.Stage("easy-vqa", 1, vqa=curriculum.VQA_ALL, shares=(0.0, 0.0, 1.0)))
    kept = curriculum.STAGES, curriculum.PICTURES_PER_STEP, curriculum.PATCHES_PICTURES, train.HELD_OUT_PICTURES
    curriculum.STAGES, curriculum.PICTURES_PER_STEP, curriculum.PATCHES_PICTURES, train.HELD_OUT_PICTURES = stages, 2, 2, 1
    settings, ends = Settings(SEED, 4), {}
    with tempfile.TemporaryDirectory() as name:
        for way, stops in {"one go": (7,), "stopped": (1, 4, 5, 7)}.items():
            for until in stops:
                model = small_model(model_file)
                train.train(model, tokenizer, settings, pathlib.Path(name) / way, until)
                silent = all(not lora.b.any() for lora in model.language.adapter().values())
                expect(silent == (until <= 4), f"the adapter is trained in its stages alone (step {until})")
            ends[way] = model.state_dict()
    curriculum.STAGES, curriculum.PICTURES_PER_STEP, curriculum.PATCHES_PICTURES, train.HELD_OUT_PICTURES = kept
    expect(all(torch.allclose(ends["one go"][name], ends["stopped"][name], atol=1e-6) for name in ends["one go"]),
           "a training that was stopped ends like one that was not")
    print("ok: stopped and begun again, training ends the same")


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools/train_vlm/run check", description=__doc__)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--folder", type=pathlib.Path, help="unused: weights are random")
    options = parser.parse_args()
    check_same_again()
    check_picture()
    check_answers()
    check_set_answers()
    torch.manual_seed(SEED)
    model = Vlm(options.model, torch.float32, rank=4)
    random_adapter(model)
    tokenizer = Tokenizer(model.reader)
    check_windows(model)
    check_packing(model, tokenizer)
    check_export(model, tokenizer, options.model)
    check_resume(tokenizer, options.model)


if __name__ == "__main__":
    main()
