# SPDX-License-Identifier: Apache-2.0
"""Checks of this folder: data, masks, stopping and going on, and that exported files mean the same to the pinned
source. Started by tools/train_vlm/run check"""
import argparse
import dataclasses
import pathlib
import tempfile

import numpy as np
import torch

import curriculum
import exported
import reference
import train
from batches import make_batch
from chat_text import Tokenizer
from check_data import check_data, expect, SEED
from export import ADAPTER_FILE, export, MMPROJ_FILE
from model import Vlm
from pictures import cell_patches, draw_picture, EMPTY, generator, Thing
from prompt_text import BEFORE_ANSWER
from samples import grid_sample, set_sample
from settings import Settings


def distance(ours, theirs) -> float:
    """Root mean square of the difference, as a part of the numbers' spread"""
    return float(np.sqrt(np.square(ours - theirs).mean()) / theirs.std())


def near(ours, theirs, limit: float, what: str) -> None:
    apart = distance(ours, theirs)
    expect(apart <= limit, f"{what}: {apart:.2e} of the spread apart, {limit:.0e} allowed")
    print(f"ok: {what} ({apart:.1e} of the spread apart)")


def check_windows(model: Vlm) -> None:
    """Changing a cell changes its four rows and no other, bit by bit."""
    filled = [EMPTY] * 6 + [Thing("red", "circle")] + [EMPTY] * 9
    pictures = [draw_picture(generator(SEED, 6), cells) for cells in ([EMPTY] * 16, filled)]
    with torch.no_grad():
        rows = model.vision(model.vision.pixels(torch.from_numpy(np.stack(pictures))))
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
                of_one = dataclasses.replace(of, questions=[question])
                alone = make_batch([of_one], tokenizer, n)
                mine = hidden[row][(batch.segments[row] == number + 1)]
                theirs = model.hidden(alone)[0][alone.segments[0] == 1]
                expect(torch.allclose(mine, theirs, rtol=1e-3, atol=1e-3), f"'{question.text}' packed and alone")
                total += 1
    print(f"ok: {total} questions give the same packed and alone")


def check_export(model: Vlm, tokenizer: Tokenizer, model_file) -> None:
    """libmtmd and libllama of the pinned source read the files and compute the same."""
    sample = dataclasses.replace(grid_sample((SEED, 9), {"cell": 1}), separator="")
    question, n_rows, width = sample.questions[0].text, model.vision.config.n_patches, model.language.width
    prompt = sample.parts[0] + "<__media__>" + question + BEFORE_ANSWER
    with tempfile.TemporaryDirectory() as name, torch.no_grad():
        mmproj, adapter = pathlib.Path(name) / MMPROJ_FILE, pathlib.Path(name) / ADAPTER_FILE
        export(model, pathlib.Path(name))
        (rows, logits, pieces), (_, unadapted, _) = (
            reference.rows_and_logits(model_file, mmproj, given, sample.pictures[0], prompt, n_rows, width)
            for given in (adapter, None))
    with torch.no_grad():
        expect(pieces == [tokenizer.encode(sample.parts[0]), tokenizer.encode(question + BEFORE_ANSWER)],
               "libllama's tokens are ours")
        ours = model.vision(model.vision.pixels(torch.from_numpy(np.stack(sample.pictures))))[0].numpy()
        near(ours, rows, 1e-3, "rows of a picture by libmtmd")
        asked = make_batch([sample], tokenizer, n_rows)
        behind = int((asked.targets[0] >= 0).nonzero()[0])
        mine = model.language.logits(model.hidden(asked)[0][behind]).numpy()
        near(mine, logits, 0.1, "logits behind the prompt by libllama, which rounds activations to 8 bits")
        expect(distance(mine, unadapted) > 3 * distance(mine, logits), "the adapter changes the logits")


def check_export_read_back(model: Vlm, model_file) -> None:
    with tempfile.TemporaryDirectory() as name:
        export(model, pathlib.Path(name))
        again = Vlm(model_file, torch.float32, rank=4)
        exported.load(again, pathlib.Path(name))
    for name, wanted in model.named_parameters():
        if "heads." not in name:  # the adapter's file is f16
            expect(torch.allclose(again.get_parameter(name), wanted, rtol=1e-3, atol=1e-6), f"{name} read back")
    print("ok: exported files read back are the model")


def random_adapter(model: Vlm) -> None:
    """An untrained adapter changes nothing: its zeros are replaced, so that a wrong sign or scale would show."""
    for lora in model.language.adapter().values():
        lora.b.data = 0.03 * torch.randn(lora.b.shape)


def random_encoder(model: Vlm) -> None:
    """Layer norm finds patches of very different size, as after training, and has scales and shifts of its own."""
    model.vision.patch.weight.data *= 12
    for layer in model.vision.layers:
        for norm in (layer.ln1, layer.ln2):
            norm.weight.data = 0.7 + 0.6 * torch.rand(norm.weight.shape)
            norm.bias.data = 0.2 * torch.randn(norm.bias.shape)


def small_model(model_file) -> Vlm:
    """Two layers of the language model: enough to train a few steps"""
    torch.manual_seed(SEED)
    model = Vlm(model_file, torch.float32, rank=4)
    model.language.layers = model.language.layers[:2]
    return model


def check_resume(tokenizer: Tokenizer, model_file) -> None:
    """Stopped and begun again, training gives the weights that it gives in one go; each stage trains what it says."""
    stages = (curriculum.Stage("patches", 2, adapter=False, patches=True),
              curriculum.Stage("frozen", 2, adapter=False, grid={"cell": 2}, grid_pictures=2),
              curriculum.Stage("sets", 2, set_sizes=(2,), shares=(0.0, 1.0, 0.0)),
              curriculum.Stage("easy-vqa", 1, vqa=curriculum.VQA_ALL, vqa_patches=2, shares=(0.0, 0.0, 1.0)))
    shrunk = {(curriculum, "STAGES"): stages, (curriculum, "PATCHES_PICTURES"): 2, (curriculum, "SET_PICTURES"): 2,
              (curriculum, "VQA_PICTURES"): 2, (train, "HELD_OUT_PICTURES"): 1}
    kept = {where: getattr(*where) for where in shrunk}
    for where, value in shrunk.items():
        setattr(*where, value)
    settings, ends = Settings(SEED, 4), {}
    with tempfile.TemporaryDirectory() as name:
        for way, stops in {"one go": (7,), "stopped": (1, 4, 5, 7)}.items():
            for until in stops:
                model = small_model(model_file)
                train.train(model, tokenizer, settings, pathlib.Path(name) / way, until)
                silent = all(not lora.b.any() for lora in model.language.adapter().values())
                expect(silent == (until <= 4), f"the adapter is trained in its stages alone (step {until})")
            ends[way] = model.state_dict()
    for where, value in kept.items():
        setattr(*where, value)
    expect(all(torch.allclose(ends["one go"][name], ends["stopped"][name], atol=1e-6) for name in ends["one go"]),
           "a training that was stopped ends like one that was not")
    print("ok: stopped and begun again, training ends the same")


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools/train_vlm/run check", description=__doc__)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--folder", type=pathlib.Path, help="unused: weights are random")
    options = parser.parse_args()
    check_data()
    torch.manual_seed(SEED)
    model = Vlm(options.model, torch.float32, rank=4)
    random_adapter(model)
    random_encoder(model)
    tokenizer = Tokenizer(model.reader)
    check_windows(model)
    check_packing(model, tokenizer)
    check_export(model, tokenizer, options.model)
    check_export_read_back(model, options.model)
    check_resume(tokenizer, options.model)


if __name__ == "__main__":
    main()
