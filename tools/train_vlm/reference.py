# SPDX-License-Identifier: Apache-2.0
"""Builds libmtmd_rows.cc against the pinned libllama of the per-user cache, and asks it."""
import hashlib
import pathlib
import subprocess
import sys
import tempfile

import numpy as np

HERE = pathlib.Path(__file__).resolve().parent
SCRIPTS = HERE.parents[1] / "scripts"
sys.path.insert(0, str(SCRIPTS))

import cachelib  # noqa: E402

LIBRARIES = "mtmd vendor-hash llama-common llama-common-base cpp-httplib llama ggml ggml-cpu ggml-base".split()


def program() -> pathlib.Path:
    library = subprocess.run([SCRIPTS / "llama", "release"], stdout=subprocess.PIPE, text=True,
                             check=True).stdout.strip()
    source = HERE / "libmtmd_rows.cc"
    key = hashlib.sha256(source.read_bytes() + library.encode()).hexdigest()[:12]
    built = cachelib.cache_dir() / "train_vlm" / f"libmtmd_rows-{key}"
    if not built.exists():
        built.parent.mkdir(parents=True, exist_ok=True)
        temporary = built.with_suffix(".part")
        folder = pathlib.Path(library)
        subprocess.run(["c++", "-std=c++20", "-O1", f"-I{folder}/include", f"-I{folder}/include/mtmd", source,
                        "-o", temporary,
                        "-Wl,--start-group", *(f"{folder}/lib/lib{name}.a" for name in LIBRARIES), "-Wl,--end-group",
                        "-lpthread", "-ldl", "-lm"], check=True)
        cachelib.publish(temporary, built)
    return built


def rows_and_logits(model, mmproj, adapter, picture: np.ndarray, prompt: str, n_rows: int, width: int):
    """rows [n_rows, width] of the picture, logits behind the prompt, and the tokens of the prompt's text pieces"""
    with tempfile.TemporaryDirectory() as folder:
        pixels, out = pathlib.Path(folder) / "pixels", pathlib.Path(folder) / "out"
        pixels.write_bytes(np.ascontiguousarray(picture).tobytes())
        said = subprocess.run([program(), model, mmproj, adapter or "-", str(len(picture)), pixels, prompt, out],
                              stdout=subprocess.PIPE, text=True, check=True).stdout
        numbers = np.fromfile(out, np.float32)
    pieces = [[int(token) for token in line.split()] for line in said.splitlines()]
    return numbers[:n_rows * width].reshape(n_rows, width), numbers[n_rows * width:], pieces
