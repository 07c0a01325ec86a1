# SPDX-License-Identifier: Apache-2.0
"""The virtual environment with OpenVINO GenAI, in the per-user cache, made once."""
import hashlib
import os
import pathlib
import shutil
import sys

from common import cachelib, peers_dir, run_logged, say

PACKAGES = ("openvino-genai==2026.4.1.0", "openvino-tokenizers==2026.4.1.0", "openvino==2026.4.1")


def python() -> pathlib.Path:
    """Its interpreter. pip installs with whatever index it is configured for."""
    key = hashlib.sha256("\n".join([*PACKAGES, sys.executable, sys.version]).encode()).hexdigest()[:12]
    name = f"openvino-{key}"
    final = peers_dir() / name
    if not final.is_dir():
        with cachelib.lock(f"peers-{name}"):
            if not final.is_dir():
                say(f"installing {PACKAGES[0]} once (70 MB) into {final}")
                temporary = cachelib.cache_dir() / "building" / f"peers-{name}"
                shutil.rmtree(temporary, ignore_errors=True)
                temporary.parent.mkdir(parents=True, exist_ok=True)
                log = temporary.with_suffix(".log")
                log.unlink(missing_ok=True)
                run_logged([sys.executable, "-m", "venv", "--without-pip", temporary], log)
                run_logged([sys.executable, "-m", "pip", "--python", temporary / "bin/python", "install", "--quiet",
                            *PACKAGES], log)
                run_logged([temporary / "bin/python", "-c", "import openvino_genai, openvino_tokenizers"], log)
                os.sync()
                final.parent.mkdir(parents=True, exist_ok=True)
                os.replace(temporary, final)  # nothing in it that we use names its own path
    return final / "bin/python"


def version() -> str:
    return PACKAGES[0].split("==")[1]
