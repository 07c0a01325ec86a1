# SPDX-License-Identifier: Apache-2.0
"""What a training run is told, kept beside its checkpoint: a run that goes on must be told the same."""
import dataclasses
import json
import os
import pathlib
import time


@dataclasses.dataclass(frozen=True)
class Settings:
    seed: int = 8
    rank: int = 16


def keep(settings: Settings, folder: pathlib.Path) -> None:
    """Refuses other settings than those that the folder's checkpoint was made with."""
    folder.mkdir(parents=True, exist_ok=True)
    file, wanted = folder / "settings.json", dataclasses.asdict(settings)
    if not file.exists():
        file.write_text(json.dumps(wanted) + "\n")
    if (kept := json.loads(file.read_text())) != wanted:
        raise SystemExit(f"train_vlm: {folder} was begun with {kept}, not {wanted}: remove it or name another --folder")


def say(text: str) -> None:
    print(f"train_vlm: {text}", flush=True)


def wait_while(pause_file) -> None:
    """A person's file that exists says: leave the machine alone."""
    if pause_file and os.path.exists(pause_file):
        say(f"paused while {pause_file} exists")
        while os.path.exists(pause_file):
            time.sleep(5)
        say("goes on")
