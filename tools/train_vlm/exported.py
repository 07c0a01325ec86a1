# SPDX-License-Identifier: Apache-2.0
"""Reads what export.py wrote back into a model, so that training can go on from files that were shipped. The heads of
pre-training are not in them; queries and keys of the encoder follow from its layer norms."""
import pathlib

import gguf
import torch

from export import ADAPTER_FILE, MMPROJ_FILE
from model import Vlm
from vision_model import VisionModel


def read(file: pathlib.Path) -> dict:
    return {tensor.name: torch.from_numpy(tensor.data.copy()).float() for tensor in gguf.GGUFReader(file).tensors}


def encoder_targets(vision: VisionModel) -> dict:
    """Name in the file -> the parameter that it fills; place channels, which stand last, are left out."""
    targets = {"v.patch_embd.weight": vision.patch.weight, "v.patch_embd.bias": vision.patch.bias,
               "v.position_embd.weight": vision.position,
               "v.post_ln.weight": vision.post_ln.weight, "v.post_ln.bias": vision.post_ln.bias,
               "mm.0.weight": vision.mm_0.weight, "mm.0.bias": vision.mm_0.bias,
               "mm.2.weight": vision.mm_2.weight, "mm.2.bias": vision.mm_2.bias}
    for index, layer in enumerate(vision.layers):
        parts = {"ln1": layer.ln1, "ln2": layer.ln2, "attn_v": layer.v, "attn_out": layer.o, "ffn_up": layer.up,
                 "ffn_down": layer.down}
        for name, part in parts.items():
            targets |= {f"v.blk.{index}.{name}.weight": part.weight, f"v.blk.{index}.{name}.bias": part.bias}
    return targets


@torch.no_grad()
def load(model: Vlm, folder: pathlib.Path) -> None:
    """Raises KeyError or RuntimeError where the files are of another shape of model."""
    tensors = read(folder / MMPROJ_FILE)
    for name, parameter in encoder_targets(model.vision).items():
        tensor = tensors[name]
        if name == "v.patch_embd.weight":
            tensor = tensor.flatten(1)
        if name == "v.position_embd.weight":
            tensor = tensor[:, :parameter.shape[1]]
        parameter.copy_(tensor[:len(parameter)])
    tensors = read(folder / ADAPTER_FILE)
    for name, lora in model.language.adapter().items():
        lora.a.copy_(tensors[f"{name}.lora_a"])
        lora.b.copy_(tensors[f"{name}.lora_b"])
