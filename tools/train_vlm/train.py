# SPDX-License-Identifier: Apache-2.0
"""Trains the embedded vision-language model; started by tools/train_vlm/run. Goes on from the folder's checkpoint."""
import argparse
import pathlib
import time

import torch

import checkpoint
import curriculum
import exported
import vqa_data
from batches import make_batch
from chat_text import Tokenizer
from evaluate import accuracy
from export import ADAPTER_FILE, export, MMPROJ_FILE
from model import Vlm
from patch_labels import labelled_pictures
from pictures import generator
from samples import easy_vqa_sample, grid_sample, HELD_OUT, set_sample, TRAIN
from settings import keep, say, Settings, wait_while

REPORT_SECONDS, SAVE_SECONDS, EVALUATE_SECONDS = 30, 180, 1200
HELD_OUT_PICTURES = 32
VQA_PATCHES_WEIGHT = 0.3


class Clock:
    """Says when something is due, and how fast steps go."""

    def __init__(self, seconds: float):
        self.seconds, self.last = seconds, time.monotonic()

    def due(self) -> bool:
        if time.monotonic() - self.last < self.seconds:
            return False
        self.last = time.monotonic()
        return True


class Report:
    def __init__(self, total: int):
        self.total, self.clock = total, Clock(REPORT_SECONDS)
        self.begun, self.steps, self.losses = time.monotonic(), 0, []

    def step(self, step: int, loss: float, name: str) -> None:
        self.steps += 1
        self.losses.append(loss)
        if not self.clock.due():
            return
        rate = self.steps / (time.monotonic() - self.begun)
        say(f"step {step} of {self.total} ({name}): loss {sum(self.losses) / len(self.losses):.3f}, "
            f"{rate:.2f} steps/s, {(self.total - step) / rate / 3600:.1f} h left")
        self.begun, self.steps, self.losses = time.monotonic(), 0, []


def make_optimizer(model: Vlm):
    marks = {"adapter": ".lora.", "heads": "heads.", "projector": ".mm_", "vision": ""}  # the first that a name holds
    groups = {part: [] for part in curriculum.RATES}
    for name, parameter in model.named_parameters():
        groups[next(part for part, mark in marks.items() if mark in name)].append(parameter)
    named = [{"params": parameters, "name": part} for part, parameters in groups.items() if parameters]
    return torch.optim.AdamW(named, lr=0.0, betas=(0.9, 0.98), weight_decay=0.01)


def set_rates(optimizer, step: int) -> list:
    """Of this step; returns the parameters that it trains"""
    stage, _ = curriculum.stage_at(step)
    trained = []
    for group in optimizer.param_groups:
        on = {"adapter": stage.adapter, "heads": stage.patches}.get(group["name"], True)
        group["lr"] = curriculum.RATES[group["name"]] * curriculum.rate_factor(step)
        for parameter in group["params"]:
            parameter.requires_grad_(on)
        trained += group["params"] if on else []
    return trained


def labels(model: Vlm, seed: int, stream: int, step: int, n: int) -> list:
    arrays = labelled_pictures(seed, stream, step, n, model.vision.config.per_side)
    return [torch.from_numpy(array).to(model.language.embedding.device) for array in arrays]


def loss_of_step(model: Vlm, tokenizer: Tokenizer, settings: Settings, step: int):
    device = model.language.embedding.device
    stage, _ = curriculum.stage_at(step)
    if stage.patches:
        return model.patches_loss(*labels(model, settings.seed, TRAIN, step, curriculum.PATCHES_PICTURES), tokenizer)
    samples = curriculum.samples_of_step(settings.seed, step)
    loss = model.loss(make_batch(samples, tokenizer, model.vision.config.n_patches).to(device))
    if stage.vqa_patches:
        told = vqa_data.labelled_pictures(generator(settings.seed, TRAIN, 6, step), stage.vqa_patches,
                                          model.vision.config.patch_pixels)
        loss = loss + VQA_PATCHES_WEIGHT * model.vqa_patches_loss(*(torch.from_numpy(part).to(device) for part in told))
    return loss


def held_out(seed: int, n: int, stage: curriculum.Stage) -> list:
    samples = [grid_sample((seed, HELD_OUT, 2, number), curriculum.ALL | {"describe": 1}) for number in range(n)]
    if stage.set_sizes:
        size = max(stage.set_sizes)
        samples += [set_sample((seed, HELD_OUT, 3, number), curriculum.SETS, size) for number in range(n // 4)]
    if stage.vqa:
        samples += [easy_vqa_sample((seed, HELD_OUT, 4, number), "test", stage.vqa) for number in range(n)]
    return samples


def evaluate(model: Vlm, tokenizer: Tokenizer, settings: Settings, step: int) -> None:
    """On held-out pictures, after `step` steps"""
    stage, _ = curriculum.stage_at(step - 1)
    if stage.patches:
        pictures, colors, whats, _ = labels(model, settings.seed, HELD_OUT, 0, HELD_OUT_PICTURES)
        said = f"patches {100 * model.patches_right(pictures, colors, whats):.2f}"
    else:
        said = accuracy(model, tokenizer, held_out(settings.seed, HELD_OUT_PICTURES, stage), per_batch=4).line()
    say(f"held out after step {step} ({stage.name}), %: {said}")


def begin(model: Vlm, optimizer, folder, from_files, from_step: int) -> int:
    """The step to go on from, weights and optimizer as they were then"""
    state = checkpoint.load(model, folder)
    if "optimizer" in state:
        optimizer.load_state_dict(state["optimizer"])
    elif from_files:
        exported.load(model, from_files)
        return from_step
    return state["step"]


def train(model: Vlm, tokenizer: Tokenizer, settings: Settings, folder, until=None, pause_file=None, from_files=None,
          from_step=0) -> None:
    """`from_files`: where the folder has no checkpoint, begins with this export at `from_step`"""
    optimizer = make_optimizer(model)
    first = begin(model, optimizer, folder, from_files, from_step)
    total = curriculum.total_steps()
    end = min(total, until or total)
    report, saving, evaluating = Report(total), Clock(SAVE_SECONDS), Clock(EVALUATE_SECONDS)
    for step in range(first, end):
        wait_while(pause_file)
        trained = set_rates(optimizer, step)
        loss = loss_of_step(model, tokenizer, settings, step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        stage, inside = curriculum.stage_at(step)
        report.step(step + 1, loss.item(), stage.name)
        at_end = inside + 1 == stage.steps
        if saving.due() or at_end or step + 1 == end:
            checkpoint.save(model, optimizer, {"step": step + 1}, folder)
        if evaluating.due() or at_end:
            evaluate(model, tokenizer, settings, step + 1)


def parse_arguments():
    parser = argparse.ArgumentParser(prog="tools/train_vlm/run", description=__doc__)
    parser.add_argument("--model", type=pathlib.Path, required=True, help="the language model, a GGUF file")
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="of the checkpoint and the files made")
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument("--rank", type=int, default=Settings.rank, help="of the adapter; 0: none")
    parser.add_argument("--from-files", type=pathlib.Path,
                        help="where --folder has no checkpoint: begin with the exported files of this folder ...")
    parser.add_argument("--from-step", type=int, default=0, help="... at this step")
    parser.add_argument("--until", type=int, help="stop after this step")
    parser.add_argument("--threads", type=int, help="of the CPU; default: all")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"), help="of the language model")
    parser.add_argument("--pause-file", help="training waits while this file exists")
    options = parser.parse_args()
    for name in (MMPROJ_FILE, ADAPTER_FILE) if options.from_files else ():
        if not (options.from_files / name).is_file():
            parser.error(f"--from-files {options.from_files}: there is no {name} in it")
    return options


def main() -> None:
    options = parse_arguments()
    if options.threads:
        torch.set_num_threads(options.threads)
    settings = Settings(options.seed, options.rank)
    keep(settings, options.folder)
    torch.manual_seed(settings.seed)
    model = Vlm(options.model, getattr(torch, options.dtype), settings.rank)
    tokenizer = Tokenizer(model.reader)
    model.to(options.device)
    encoder, adapter = (sum(p.numel() for p in part.parameters()) for part in (model.vision, model.language))
    say(f"{encoder:,} numbers in encoder and projector, {adapter:,} in the adapter, on {options.device}")
    train(model, tokenizer, settings, options.folder, options.until, options.pause_file, options.from_files,
          options.from_step)
    export(model, options.folder)
    say(f"wrote {options.folder}/{MMPROJ_FILE} and {ADAPTER_FILE}")


if __name__ == "__main__":
    main()
