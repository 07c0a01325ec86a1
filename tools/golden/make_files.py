# SPDX-License-Identifier: Apache-2.0
"""Writes the golden files: python make_files.py model.gguf folder. tools/golden/run calls it."""
import pathlib
import sys

import numpy as np
import torch

import golden_format
import inputs
import oracle

HERE = pathlib.Path(__file__).resolve().parent


def has_fixed_scores(name: str) -> bool:
    """Those of wrappers are those of the press inside, criticalkv's and streaming_llm's depend on the ratio."""
    return not name.startswith(("streaming_llm", "adakv", "chunk", "criticalkv"))


def answers(made: inputs.Inputs) -> dict:
    layers = [oracle.Layer(made, index) for index in range(made.q.numbers.shape[0])]
    n_tokens = made.q.numbers.shape[2]
    tensors = {}
    for name, press in oracle.PRESSES.items():
        if n_tokens <= oracle.window(press(0.5)):
            continue
        if has_fixed_scores(name):
            tensors[f"scores:{name}"] = golden_format.as_f32(
                np.stack([layer.scores(press(0.5)) for layer in layers]))
        for ratio in oracle.RATIOS:
            kept = [layer.kept(press(ratio)) for layer in layers]
            tensors[f"kept at {ratio}:{name}"] = golden_format.as_bits(np.stack(kept))
    for name, press in oracle.presses_with_own_amounts(len(layers)).items():
        tensors[f"kept at own:{name}"] = golden_format.as_bits(np.stack([layer.kept(press) for layer in layers]))
    return tensors


def main() -> None:
    model, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    torch.set_num_threads(1)  # another number would sum up in another order
    prompt = (HERE / "prompt.txt").read_text()
    files = {
        "random_d16": inputs.random_inputs(1, n_layers=4, n_heads=6, n_kv_heads=2, head_dim=16, n_tokens=130),
        "random_d32": inputs.random_inputs(2, n_layers=1, n_heads=4, n_kv_heads=2, head_dim=32, n_tokens=300),
        "random_d64": inputs.random_inputs(3, n_layers=1, n_heads=3, n_kv_heads=1, head_dim=64, n_tokens=100),
        "smollm2": inputs.recorded_inputs(model, prompt, n_tokens=272, layers=[2, 20]),
    }
    for name, made in files.items():
        path = folder / f"{name}.golden"
        golden_format.write(path, {**made.tensors(), **answers(made)})
        print(f"{path}: {path.stat().st_size:,} bytes", file=sys.stderr)


if __name__ == "__main__":
    main()
