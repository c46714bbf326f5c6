"""Plain Python. Handle an output folder that exists already: number the new one, or remove the run in the old one."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from bellmax.contracts import BellmaxError, ConfigError, ResourceError, RunLocked, UnsafeFile, listed
from bellmax.files import manifest, run_files, storage
from bellmax.files.lock import LOCK, locked
from bellmax.files.saved_files import files_of

LOG = logging.getLogger("bellmax.files")
IfExists: TypeAlias = Literal["error", "number", "resume", "replace"]
IF_EXISTS: tuple[str, ...] = get_args(IfExists)
# drawn from a run, and replaced with it
VIEWS = re.compile(r"\.?watch-(best-)?seed-\d+(\.part)?\.(mp4|gif)|(report|explain)\.html")


def is_taken(folder: Path) -> bool:
    """Return whether there is anything at this path other than a folder without files.

    A lock, and what is left of a save that was killed before the first one ended, do not count.
    """
    if not os.path.isdir(folder):
        return os.path.lexists(folder)
    return any(name != LOCK and not manifest.is_leftover(name) for name in manifest.listing(folder))


def log_others(folder: Path) -> None:
    """Log at the level of debugging what lies in a run's folder and is ignored, since no run has files of this name."""
    others = [name for name in manifest.listing(folder) if name != LOCK and not _is_known(name)]
    if others:
        LOG.debug("%s: ignored, because no run has files of these names: %s", folder, listed(sorted(others)))


def _is_known(name: str) -> bool:
    return manifest.is_ours(name) or bool(VIEWS.fullmatch(name))


@contextlib.contextmanager
def claimed(folder: Path, if_exists: str) -> Iterator[Path]:
    """Create a folder for a run, or use what is there, and hold its lock; see `if_exists` of `train`.

    Yields:
        The folder; with "number" the first of out, out-2, out-3, ... that is free and that no other process holds.

    Raises:
        ConfigError: it exists, holds no run that could be resumed or replaced, or cannot be created.
        RunLocked: a living run holds it.
    """
    if if_exists == "number" and folder.name in ("", ".."):  # . and / have no name to which a number could be added
        if_exists = "error"
    for k in itertools.count(1):
        path = folder if k == 1 else folder.with_name(f"{folder.name}-{k}")
        if is_taken(path):
            if if_exists == "number":
                continue
            check_usable(path, if_exists)
        create(path)
        with contextlib.ExitStack() as held:
            try:
                held.enter_context(locked(path))
            except RunLocked:
                if if_exists == "number":
                    continue
                raise
            if if_exists == "number" and is_taken(path):  # in between somebody used it
                continue
            yield path
            return


def check_usable(folder: Path, if_exists: str) -> None:
    """Check what is at `folder` before anything there is locked, read as a run or replaced.

    Raises:
        ConfigError: it must not exist, or does not hold a run.
        UnsafeFile: it is a link, and would be replaced.
    """
    if if_exists == "resume":
        run_files.read_config(files_of(folder))
    elif if_exists == "replace":
        check_replaced(folder)
    else:
        if not os.path.isdir(folder):
            raise ConfigError(f"output folder {folder} is a file; choose another one (--out)")
        raise ConfigError(
            f"output folder {folder} exists already; choose another one, or pass if_exists='number', 'resume' or "
            "'replace' (--if-exists)"
        )


def create(folder: Path) -> None:
    """Create a folder if it does not exist.

    Raises:
        ConfigError: that is impossible.
    """
    try:
        if not os.path.isdir(folder):
            folder.mkdir(parents=True, exist_ok=True)
            storage.sync_folder(folder.parent)
    except OSError as error:
        raise ConfigError(f"cannot create folder {folder}: {error.strerror}; choose another one (--out)") from error


def check_replaced(folder: Path) -> None:
    """Check that a folder holds a run, which can be replaced.

    Raises:
        ConfigError: it does not.
        UnsafeFile: it is a link.
    """
    if folder.is_symlink():
        raise UnsafeFile(f"{folder} is a link; to replace the run that it leads to, pass the path of that run")
    is_run = False
    with contextlib.suppress(BellmaxError):
        card = None if manifest.read_manifest(folder) else storage.read_json(folder / "config.json")
        is_run = card is None or (
            isinstance(card, dict) and {"format", "agent", "hyper_parameters", "world"} <= card.keys()
        )
    if not is_run:
        raise ConfigError(f"{folder} does not hold a run, so nothing in it is replaced; choose another folder")


def remove_run(folder: Path) -> None:
    """Remove the files of the run in `folder` and nothing else; the empty folder stays.

    Raises:
        ConfigError: it is not a run's folder, or holds something that bellmax did not write; nothing is removed.
        UnsafeFile: the folder, or one in it, is a link.
        ResourceError: a file cannot be removed.
    """
    check_replaced(folder)
    names = [name for name in manifest.listing(folder) if name != LOCK]
    foreign = [name for name in names if not _is_known(name) or not is_plain(folder / name)]
    if foreign:
        raise ConfigError(
            f"{folder} also holds {listed(sorted(foreign))}, which bellmax did not write, so nothing is replaced; move "
            "these files elsewhere, or choose another folder"
        )
    # no half of a run looks whole, and until the end it remains a run's folder
    names.sort(key=lambda name: {manifest.NAME: 0, "config.json": 2}.get(name, 1))
    try:
        for name in names:
            (folder / name).unlink()
        for place in manifest.PLACES:
            if (folder / place).is_dir():
                (folder / place).rmdir()
    except OSError as error:
        raise ResourceError(f"cannot remove the old run in {folder}: {error.strerror} ({error.filename})") from error


def is_plain(path: Path) -> bool:
    """Return whether there is a file at this path, and not a link."""
    return path.is_file() and not path.is_symlink()
