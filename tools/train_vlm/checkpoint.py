# SPDX-License-Identifier: Apache-2.0
"""A training run's state in its folder. The file appears by rename: a stopped run finds the old one or the new one."""
import os
import pathlib

import torch

from model import Vlm

FILE = "checkpoint.pt"


def load(model: Vlm, folder: pathlib.Path) -> dict:
    """Weights into the model; returns the rest: steps done, the optimizer's state"""
    if not (folder / FILE).exists():
        return {"step": 0}
    state = torch.load(folder / FILE, map_location="cpu", weights_only=True)
    model.load_state_dict(state.pop("weights"))
    return state


def save(model: Vlm, optimizer, progress: dict, folder: pathlib.Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    temporary = folder / f".{FILE}.part"
    torch.save({**progress, "weights": model.state_dict(), "optimizer": optimizer.state_dict()}, temporary)
    os.replace(temporary, folder / FILE)
