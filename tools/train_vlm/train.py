# SPDX-License-Identifier: Apache-2.0
"""Trains the embedded vision-language model; started by tools/train_vlm/run. Goes on from the folder's checkpoint."""
import argparse
import pathlib
import time

import torch

import checkpoint
import curriculum
from batches import make_batch
from chat_text import Tokenizer
from evaluate import accuracy
from export import export
from model import PatchHeads, Vlm
from patch_labels import COLOR_CLASSES, labelled_pictures, WHAT_CLASSES, WORDS
from samples import grid_sample, HELD_OUT, set_sample, TRAIN
from settings import keep, say, Settings, wait_while

PRETRAINING_PICTURES = 32
REPORT_SECONDS, SAVE_SECONDS, EVALUATE_SECONDS = 30, 180, 1200


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


def pretrain(model: Vlm, tokenizer: Tokenizer, settings: Settings, state: dict, folder, pause_file) -> None:
    """The encoder alone, on the labels of its patches."""
    device, per_side = model.language.embedding.device, model.vision.config.per_side
    word_ids = torch.tensor([tokenizer.encode(word)[-1] for word in WORDS], device=device)
    words = model.language.embedding[word_ids].float()
    torch.manual_seed(settings.seed)
    heads = PatchHeads(model.vision.config.width, len(COLOR_CLASSES), len(WHAT_CLASSES)).to(device)
    parameters = list(model.vision.parameters()) + list(heads.parameters())
    total = curriculum.PRETRAINING_STEPS
    optimizer = torch.optim.AdamW(parameters, lr=1e-3, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=total)
    report = Report(total)

    def shown(stream, step):
        pictures, colors, whats, said = (torch.from_numpy(array).to(device) for array in
                                         labelled_pictures(settings.seed, stream, step, PRETRAINING_PICTURES, per_side))
        return model.vision.pixels(pictures), colors, whats, words[said]

    for step in range(total):  # minutes: begun anew if stopped
        wait_while(pause_file)
        loss, apart = heads.loss(model.vision, *shown(TRAIN, step))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        report.step(step + 1, loss.item(), f"patches; words apart {apart:.2f}")
    pixels, colors, whats, _ = shown(HELD_OUT, 0)
    say(f"patches told right: {100 * heads.accuracy(model.vision, pixels, colors, whats):.2f} %")
    state["pretraining"] = total
    checkpoint.save(model, make_optimizer(model), {"pretraining": total, "step": 0}, folder)


def make_optimizer(model: Vlm):
    groups = {"vision": [], "projector": [], "adapter": []}
    for name, parameter in model.trained().items():
        groups["adapter" if ".lora." in name else "projector" if ".mm_" in name else "vision"].append(parameter)
    return torch.optim.AdamW([{"params": parameters, "name": name} for name, parameters in groups.items() if parameters],
                             lr=0.0, betas=(0.9, 0.98), weight_decay=0.01)


def set_rates(optimizer, step: int) -> None:
    stage, _ = curriculum.stage_at(step)
    for group in optimizer.param_groups:
        on = stage.adapter or group["name"] != "adapter"
        group["lr"] = curriculum.RATES[group["name"]] * curriculum.rate_factor(step) if on else 0.0


def held_out(seed: int, n: int, stage: curriculum.Stage) -> list:
    samples = [grid_sample((seed, HELD_OUT, 2, number), curriculum.ALL | {"describe": 1}) for number in range(n)]
    if stage.set_sizes:
        samples += [set_sample((seed, HELD_OUT, 3, number), curriculum.SETS, max(stage.set_sizes)) for number in range(n // 4)]
    return samples


def evaluate(model: Vlm, tokenizer: Tokenizer, settings: Settings, step: int) -> None:
    stage, _ = curriculum.stage_at(max(step - 1, 0))
    tally = accuracy(model, tokenizer, held_out(settings.seed, 32, stage), per_batch=4)
    say(f"held out after step {step} ({stage.name}), %: {tally.line()}")


def train(model: Vlm, tokenizer: Tokenizer, settings: Settings, state: dict, folder, options) -> None:
    optimizer, trained = make_optimizer(model), list(model.trained().values())
    if "optimizer" in state:
        optimizer.load_state_dict(state["optimizer"])
    total, device = curriculum.total_steps(), model.language.embedding.device
    report, saving, evaluating = Report(total), Clock(SAVE_SECONDS), Clock(EVALUATE_SECONDS)
    for step in range(state["step"], min(total, options.until or total)):
        wait_while(options.pause_file)
        set_rates(optimizer, step)
        batch = make_batch(curriculum.samples_of_step(settings.seed, step), tokenizer, model.vision.config.n_patches)
        loss = model.loss(batch.to(device))
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        stage, inside = curriculum.stage_at(step)
        report.step(step + 1, loss.item(), stage.name)
        at_end = inside + 1 == stage.steps
        if saving.due() or at_end:
            checkpoint.save(model, optimizer, {"pretraining": state["pretraining"], "step": step + 1}, folder)
        if evaluating.due() or at_end:
            evaluate(model, tokenizer, settings, step + 1)
    checkpoint.save(model, optimizer, {"pretraining": state["pretraining"], "step": min(total, options.until or total)}, folder)


def parse_arguments():
    parser = argparse.ArgumentParser(prog="tools/train_vlm/run", description=__doc__)
    parser.add_argument("--model", type=pathlib.Path, required=True, help="the language model, a GGUF file")
    parser.add_argument("--folder", type=pathlib.Path, required=True, help="of the checkpoint and the files made")
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument("--rank", type=int, default=Settings.rank, help="of the adapter; 0: the language model stays as it is")
    parser.add_argument("--until", type=int, help="stop after this step")
    parser.add_argument("--threads", type=int, help="of the CPU; default: all")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--dtype", default="bfloat16", choices=("bfloat16", "float32"), help="of the language model")
    parser.add_argument("--pause-file", help="training waits while this file exists")
    return parser.parse_args()


def main() -> None:
    options = parse_arguments()
    if options.threads:
        torch.set_num_threads(options.threads)
    settings = Settings(options.seed, options.rank)
    keep(settings, options.folder)
    torch.manual_seed(settings.seed)
    model = Vlm(options.model, getattr(torch, options.dtype), settings.rank)
    tokenizer = Tokenizer(model.reader)
    state = checkpoint.load(model, options.folder)
    model.to(options.device)
    sizes = [sum(p.numel() for name, p in model.trained().items() if ("lora" in name) == adapter) for adapter in (0, 1)]
    say(f"{sizes[0]:,} numbers in encoder and projector, {sizes[1]:,} in the adapter, on {options.device}")
    if not state["pretraining"]:
        pretrain(model, tokenizer, settings, state, options.folder, options.pause_file)
    train(model, tokenizer, settings, state, options.folder, options)
    export(model, options.folder)


if __name__ == "__main__":
    main()
