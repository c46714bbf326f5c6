"""NumPy. The checkpoint of a run of format 1, which has no manifest. Once resumed, it is a run of format 2."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from bellmax.contracts import ArrayDict, ConfigError, CorruptCheckpoint
from bellmax.files import manifest, storage, tensors

NAME = re.compile(r"step-\d{1,18}\.group-\d{1,9}\.safetensors")


def read_step(folder: Path) -> tuple[int, dict[str, str]]:
    """Return the step of the checkpoint, and the SHA-256 of each of its files.

    Raises:
        ConfigError: the run does not have a checkpoint.
        CorruptCheckpoint: its manifest is damaged.
        UnsafeFile: it is a link.
    """
    path = folder / manifest.OLD
    storage.refuse_link(path)
    if not path.is_file():
        raise ConfigError(f"the run in {folder} stopped before its first checkpoint; train it again")
    card = storage.check_format(storage.read_json(path), path)
    step, hashes = card.get("step"), card.get("files")
    if type(step) is not int or step < 0 or not isinstance(hashes, dict) or not all(map(NAME.fullmatch, hashes)):
        raise CorruptCheckpoint(f"{path} is not the manifest of a checkpoint")
    return step, hashes


def read_checkpoint(folder: Path) -> tuple[int, list[ArrayDict]]:
    """Return the step of the checkpoint, and the arrays of each group of seeds.

    Raises:
        ConfigError: the run does not have a checkpoint.
        CorruptCheckpoint: a file is missing or its content is not what was written; the message names it.
        UnsafeFile: a link leads out of the run's folder.
    """
    step, hashes = read_step(folder)
    groups = []
    for place in ("policies", "checkpoint", "experience"):
        storage.refuse_link(folder / place)
    for name, expected in hashes.items():
        path = folder / "checkpoint" / name
        tensors.look(path, links=False)
        data = storage.read_bytes(path, links=False)
        if hashlib.sha256(data).hexdigest() != expected:
            raise CorruptCheckpoint(f"{path} ({len(data)} bytes) is not what was saved; its SHA-256 differs")
        groups.append(tensors.parse(data, path)[0])
    return step, groups
