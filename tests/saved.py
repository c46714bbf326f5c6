"""What tests do with the folders of runs: look into a checkpoint, seal changed files again, go back to format 1."""

import hashlib
import json
import shutil
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bellmax.files import checkpoint, manifest, storage
from bellmax.files.saved_files import files_of
from bellmax.training import saved_runs, trainer


class StopError(Exception):
    """Stands for the power that goes out."""


def lose_power(patch: pytest.MonkeyPatch, step: int = 0, seconds: float = 0.0) -> None:
    """Save at every record, each time for at least some seconds; after a save at or after `step` nothing is written."""
    save, over = saved_runs.save_run, []

    def save_and_stop(run: Any, at: int | None = None, *groups: Any, **how: Any) -> None:
        if not over:
            time.sleep(seconds)
            save(run, at, *groups, **how)
            over.extend([at] if at is not None and at >= step else [])
        if over:
            raise StopError

    patch.setattr(trainer, "SAVE_SECONDS", -1.0)
    patch.setattr(saved_runs, "save_run", save_and_stop)


def newest(folder: Path) -> tuple[int, list[dict[str, np.ndarray]]]:
    """The step of the newest checkpoint, and its groups."""
    files = files_of(folder)
    assert files.manifest is not None
    step = max(files.manifest.checkpoints)
    return step, checkpoint.read_groups(files, step)


def reseal(folder: Path, **changes: object) -> None:
    """Make the manifest fit the files as they are now, as by someone who knows how."""
    found = manifest.read_manifest(folder)
    assert found is not None
    names = [name for name in found.files if (folder / name).is_file()]
    files = {name: manifest.entry_of((folder / name).read_bytes()) for name in names}
    (folder / manifest.NAME).write_bytes(replace(found, files=files, **changes).to_bytes())


def to_format_1(folder: Path) -> None:
    """Make a run that has not ended one of format 1, as older versions wrote it: a file for each group."""
    step, groups = newest(folder)
    shutil.rmtree(folder / "checkpoint", ignore_errors=True)
    (folder / "checkpoint").mkdir()
    hashes = {}
    for g, arrays in enumerate(groups):
        path = folder / "checkpoint" / f"step-{step}.group-{g}.safetensors"
        path.write_bytes(storage.to_bytes(arrays))
        hashes[path.name] = hashlib.sha256(path.read_bytes()).hexdigest()
    (folder / "checkpoint.json").write_text(json.dumps({"format": 1, "step": step, "files": hashes}))
    card = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**card, "format": 1}))
    (folder / manifest.NAME).unlink()
