# SPDX-License-Identifier: Apache-2.0
"""What the files of this folder share: the repository's set-up scripts as modules, and running a program with a log."""
import importlib.machinery
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

sys.dont_write_bytecode = True
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
SCRIPTS = REPOSITORY / "scripts"
sys.path.insert(0, str(SCRIPTS))

import cachelib  # noqa: E402

SetupError = cachelib.SetupError


def say(text: str) -> None:
    print(f"peers: {text}", file=sys.stderr, flush=True)


def script(name: str):
    """scripts/<name> as a module: version, digest and compiler choice are kept in one place only."""
    loader = importlib.machinery.SourceFileLoader(f"fastcache_{name}", str(SCRIPTS / name))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def peers_dir() -> pathlib.Path:
    return cachelib.cache_dir() / "peers"


def tail(path, lines=20) -> str:
    return "\n".join(pathlib.Path(path).read_text(errors="replace").splitlines()[-lines:])


def run_logged(command, log, **kwargs) -> None:
    """Output goes to the log alone; a failure shows its end."""
    with open(log, "ab") as out:
        result = subprocess.run([str(part) for part in command], stdout=out, stderr=subprocess.STDOUT, **kwargs)
    if result.returncode != 0:
        raise SetupError(f"'{' '.join(map(str, command[:3]))} ...' failed; the end of {log}:\n{tail(log)}")


def output_of(command, timeout, env=None) -> str:
    """Standard output of a measuring program; everything it said if it failed."""
    try:
        result = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True, errors="replace", timeout=timeout, env={**os.environ, **(env or {})})
    except subprocess.TimeoutExpired:
        raise SetupError(f"'{command[0]}' did not finish within {timeout} s")
    if result.returncode != 0:
        said = (result.stdout + result.stderr).strip().splitlines()[-15:]
        raise SetupError("\n".join([f"'{' '.join(map(str, command[:2]))} ...' ended with {result.returncode}:"] + said))
    return result.stdout


def json_lines(text: str) -> list:
    return [json.loads(line) for line in text.splitlines() if line.startswith("{")]


def commit():
    """Of this tree, for tables"""
    described = subprocess.run(["git", "-C", REPOSITORY, "describe", "--always", "--dirty"], capture_output=True, text=True)
    return described.stdout.strip() or "unknown"
