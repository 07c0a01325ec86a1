# SPDX-License-Identifier: Apache-2.0
"""The format of golden files, which src/press/golden_file.h reads.

Lines of text: 'fastcache golden 1', then one for each tensor, 'name<tab>kind<tab>2x3x300', then an empty line. Behind
it the tensors' bytes in the same order, little-endian, row-major, without gaps:
  f32    4 bytes a number
  bf16   2 bytes: the upper half of the f32
  i8     per row (last dimension) an f32, its scale; behind all of these 1 byte a number, to be multiplied by its row's
  bits   per row a bit a number, the lowest bit first, filled up to whole bytes
"""
import dataclasses

import numpy as np
import torch


@dataclasses.dataclass
class Stored:
    """A tensor as it lies in a file. numbers: what a reader gets, so that both sides compute with the same ones."""
    kind: str
    numbers: np.ndarray  # float32
    data: bytes

    def tensor(self) -> torch.Tensor:
        return torch.from_numpy(self.numbers).double()


def as_f32(x) -> Stored:
    numbers = np.ascontiguousarray(x, dtype="<f4")
    return Stored("f32", numbers, numbers.tobytes())


def as_bf16(x) -> Stored:
    rounded = torch.as_tensor(np.ascontiguousarray(x, dtype=np.float32)).bfloat16()
    return Stored("bf16", rounded.float().numpy(), rounded.view(torch.int16).numpy().astype("<i2").tobytes())


def as_i8(x) -> Stored:
    x = np.asarray(x, dtype=np.float32)
    scales = (np.abs(x).max(axis=-1) / 127).astype("<f4")
    whole = np.rint(x / np.maximum(scales, np.float32(1e-30))[..., None]).astype(np.int8)
    return Stored("i8", whole.astype(np.float32) * scales[..., None], scales.tobytes() + whole.tobytes())


def as_bits(x) -> Stored:
    flags = np.asarray(x, dtype=bool)
    return Stored("bits", flags.astype(np.float32), np.packbits(flags, axis=-1, bitorder="little").tobytes())


def write(path, tensors: dict) -> None:
    lines = ["fastcache golden 1"]
    for name, stored in tensors.items():
        lines.append(f"{name}\t{stored.kind}\t{'x'.join(map(str, stored.numbers.shape))}")
    head = "\n".join(lines) + "\n\n"
    path.write_bytes(head.encode() + b"".join(stored.data for stored in tensors.values()))
