# SPDX-License-Identifier: Apache-2.0
"""Writes a vision encoder with more tokens a picture and random weights: for load tests, where answers do not matter.
tools/train_vlm/run untrained --tokens 576 (LLaVA-1.5's number) or 256"""
import argparse
import dataclasses
import pathlib

import gguf
import torch

from export import export_encoder, smallest_gap, SMALLEST_GAP
from settings import say
from vision_model import VisionConfig, VisionModel

SIDES_PIXELS = {100: 80, 256: 128, 576: 192}


def untrained(tokens: int, output_width: int, rows_spread: float) -> VisionModel:
    """Its rows have the spread of the language model's embeddings."""
    torch.manual_seed(tokens)
    model = VisionModel(dataclasses.replace(VisionConfig(side_pixels=SIDES_PIXELS[tokens]), output_width=output_width))
    pixels = torch.randn(4, 3, model.config.side_pixels, model.config.side_pixels)
    with torch.no_grad():
        scale = rows_spread / model(pixels).std()
        model.mm_2.weight.mul_(scale)
        model.mm_2.bias.mul_(scale)
    if smallest_gap(model, pixels) < SMALLEST_GAP:
        raise ValueError("the windows of an untrained encoder leak")
    return model


def main() -> None:
    parser = argparse.ArgumentParser(prog="tools/train_vlm/run untrained", description=__doc__)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--folder", type=pathlib.Path, required=True)
    parser.add_argument("--tokens", type=int, choices=tuple(SIDES_PIXELS), required=True)
    options = parser.parse_args()
    found = {tensor.name: tensor for tensor in gguf.GGUFReader(options.model).tensors}["token_embd.weight"]
    words = gguf.quants.dequantize(found.data[:4096], found.tensor_type)
    options.folder.mkdir(parents=True, exist_ok=True)
    file = options.folder / f"mmproj-untrained-{options.tokens}.gguf"
    export_encoder(untrained(options.tokens, words.shape[1], float(words.std())), file)
    say(f"wrote {file}")


if __name__ == "__main__":
    main()
