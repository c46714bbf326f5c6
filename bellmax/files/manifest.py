"""Plain Python. One manifest binds all files of a run: they are the old state or the new one, never parts of both.

    manifest.json   format 3, the run's id, its step, and for each file its size and SHA-256; with a hash over all this

`commit` writes each changed file as NAME.next, then replaces the manifest, which is the moment of change, then gives
the files their names. A reader takes NAME or NAME.next, whichever has the hash in the manifest. So a process that is
killed anywhere leaves one complete state.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

from bellmax.contracts import BellmaxError, CheckpointError, CorruptCheckpoint, Json, ResourceError, counted
from bellmax.files import storage
from bellmax.stderr import say

NAME = "manifest.json"
FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))  # Windows has no quota
FORMAT = 3  # of the folder of a run; in format 2 each checkpoint had one file for each group
NEXT = ".next"

POLICY = r"policies/(seed-\d{1,18}|all)-(final|best)\.(safetensors|json)"
EXPERIENCE = r"experience/seed-\d{1,18}\.safetensors"
KEPT = re.compile(r"kept/step-(\d{1,18})\.safetensors")
CHECKPOINT = "checkpoint/"
GROUP = re.compile(CHECKPOINT + r"step-(\d{1,18})\.(group|replay)-(\d{1,9})\.safetensors")
BLOCK = f"{CHECKPOINT}block-"
TABLES = "(episodes|visits|evaluations)"
BOUND = re.compile(
    rf"(config|environment|result)\.json|history\.csv|{TABLES}\.safetensors|{POLICY}|{EXPERIENCE}|{KEPT.pattern}"
    rf"|{GROUP.pattern}|{BLOCK}[0-9a-f]{{64}}\.bin"
)
PLACES = ("policies", "kept", "experience", "checkpoint")
Content: TypeAlias = "bytes | memoryview | None"  # of a file; None: it stays as it is
OLD = "checkpoint.json"  # the manifest of a checkpoint of format 1


def is_ours(name: str) -> bool:
    """Return whether a file of this name in a run's folder is one that bellmax writes."""
    return bool(BOUND.fullmatch(name)) or name in (NAME, OLD) or is_leftover(name)


def is_leftover(name: str) -> bool:
    """Return whether a file of this name in a run's folder is one of a save that is under way or was interrupted."""
    place, slash, last = name.rpartition("/")
    kept = re.fullmatch(r"\.(.+)\.\w+", last)  # a temporary file
    whole = place + slash + kept[1] if kept else name.removesuffix(NEXT)
    return whole != name and is_ours(whole)


def listing(folder: Path) -> Iterator[str]:
    """Yield the name of everything in a run's folder and in its own subfolders, which must not be links.

    Raises:
        ResourceError: a folder cannot be read.
        UnsafeFile: one is a link.
    """
    try:
        for name in os.listdir(folder):
            path = folder / name
            if name in PLACES and (os.path.isdir(path) or os.path.islink(path)):
                storage.refuse_link(path)
                yield from (f"{name}/{inner}" for inner in os.listdir(path))
            else:
                yield name
    except OSError as error:
        raise ResourceError(f"cannot read the folder {error.filename}: {error.strerror}") from error


def entry_of(data: bytes | bytearray | memoryview) -> dict[str, Any]:
    """Return what a manifest says of a file with this content."""
    return {"size": len(data), "sha256": hashlib.sha256(data).hexdigest()}


@dataclass(frozen=True)
class Manifest:
    """What binds the files of a run.

    Attributes:
        about: seeds and kind of the run, and its id, "run".
        step: of the newest state.
        files: {name: {"size", "sha256"}}.
        checkpoints: {step: names of its files}, the oldest first; the state before the first step, and the one after
            the last, have no files.
    """

    about: dict[str, Any]
    step: int
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    checkpoints: dict[int, list[str]] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return the content of manifest.json."""
        listed = [{"step": step, "files": names} for step, names in self.checkpoints.items()]
        card = {"format": FORMAT, **self.about, "step": self.step, "files": self.files, "checkpoints": listed}
        return storage.json_bytes({**card, "sha256": _hash(card)})


def _hash(card: Mapping[str, Json]) -> str:
    return hashlib.sha256(json.dumps(card, sort_keys=True).encode()).hexdigest()


def read_manifest(folder: Path) -> Manifest | None:
    """Return the manifest of a folder; None if it has none.

    Raises:
        CorruptCheckpoint: it is damaged.
        IncompatibleCheckpoint: a newer version wrote it.
        UnsafeFile: it is a link, or names a file that a run does not have.
    """
    path = folder / NAME
    if not os.path.lexists(path):
        return None
    card = storage.parse_json(storage.read_bytes(path, storage.MOST_JSON, links=False), path)
    card = storage.check_format(card, path, FORMAT)
    try:
        files, found = card["files"], {name: value for name, value in card.items() if name != "sha256"}
        if card["format"] not in (2, FORMAT) or card["sha256"] != _hash(found):
            raise ValueError("its SHA-256 differs")
        checkpoints = {each["step"]: each["files"] for each in card["checkpoints"]}
        steps = [card["step"], *checkpoints]
        if not all(type(step) is int and step >= 0 for step in steps) or list(checkpoints) != sorted(checkpoints):
            raise ValueError("a step is not valid")
        for name, entry in files.items():
            if not BOUND.fullmatch(name) or type(entry["size"]) is not int or type(entry["sha256"]) is not str:
                raise ValueError(f"it names {name[:80]!r}")
        if not {name for names in checkpoints.values() for name in names} <= files.keys():
            raise ValueError("a checkpoint lacks a file")
        about = {name: card[name] for name in ("run", "seeds", "kind")}
    except storage.MALFORMED as error:
        raise CorruptCheckpoint(f"{path} is not the manifest of a run: {error}") from error
    return Manifest(about, card["step"], files, checkpoints)


def commit(
    folder: Path,
    contents: Iterable[tuple[str, Content]],
    about: Mapping[str, Json],
    *,
    step: int | None = None,
    keep: int = 1,
    afresh: bool = False,
) -> None:
    """Make these files, with the others that the manifest names, the state of a run, in one moment.

    Args:
        folder: of the run, which this process holds.
        contents: (name, content) of each file that may have changed, and of each of the new checkpoint; one at a time
            is in memory. Policies that were kept at later steps than `step` go.
        about: seeds and kind of the run.
        step: of a new checkpoint; None leaves the checkpoints as they are.
        keep: how many checkpoints stay, the newest ones up to `step`; later ones go.
        afresh: write also what seems unchanged, since the files may be damaged.

    Raises:
        ResourceError: a file cannot be written; the old state is then unchanged.
        UnsafeFile: a folder is a link.
    """
    before = read_manifest(folder) or Manifest({"run": secrets.token_hex(8)}, 0)
    _settle(folder, before)
    files, checkpoints, written = dict(before.files), dict(before.checkpoints), list[str]()
    parts: dict[str, None] = {}  # of the new checkpoint, each once

    def stage(name: str, data: Content) -> None:
        if name.startswith(CHECKPOINT):
            parts[name] = None
        if data is None:
            assert name in files  # noqa: S101 - whoever leaves a file as it is has seen it in the manifest
            return
        entry, path = entry_of(data), folder / name
        if not afresh and files.get(name) == entry and size_of(path) == entry["size"]:
            return
        if path.parent != folder:
            storage.inner_folder(path.parent)
        files[name] = entry
        written.append(name)
        storage.write_new(next_of(path), data)

    try:
        for name, data in contents:
            stage(name, data)
        if step is not None:
            checkpoints = {old: names for old, names in checkpoints.items() if old < step} | {step: list(parts)}
            checkpoints = dict(list(checkpoints.items())[-keep:] if keep else [])
        named = {name for names in checkpoints.values() for name in names}
        files = {name: entry for name, entry in files.items() if name in named or _stays(name, step)}
        for place in sorted({folder, *((folder / name).parent for name in written)}):
            storage.sync_folder(place)
        after = Manifest({**before.about, **about}, before.step if step is None else step, files, checkpoints)
        storage.write(folder / NAME, after.to_bytes())
    except BaseException as error:
        with contextlib.suppress(BellmaxError, OSError):
            _settle(folder, read_manifest(folder) or Manifest({}, 0), silent=True)
        if not isinstance(error, OSError):
            raise
        where = error.filename or (folder / written[-1] if written else folder)
        remedy = "; free space there" if error.errno in FULL else ""
        raise ResourceError(
            f"cannot write {where}: {error.strerror}; the run's last saved state is unchanged{remedy}"
        ) from error
    with contextlib.suppress(OSError):  # whoever reads or writes next looks under both names
        for name in written:
            os.replace(next_of(folder / name), folder / name)
        for place in sorted({(folder / name).parent for name in written}):
            storage.sync_folder(place)
    _tidy(folder, files)


def _stays(name: str, step: int | None) -> bool:
    """Whether a file that no checkpoint names stays when there is a checkpoint of a new step."""
    kept = KEPT.fullmatch(name)
    return (step is None or int(kept[1]) <= step) if kept else not name.startswith(CHECKPOINT)


def next_of(path: Path) -> Path:
    """Return the name that a file has before its commit."""
    return path.with_name(path.name + NEXT)


def size_of(path: Path) -> int | None:
    """Return the bytes of a file; None if there is none."""
    with contextlib.suppress(OSError):
        return path.lstat().st_size
    return None


def _settle(folder: Path, manifest: Manifest, *, silent: bool = False) -> None:
    """Give the files of an interrupted commit their names if the manifest names them, and remove the others."""
    removed = 0
    with contextlib.suppress(OSError):
        for name in [name for name in listing(folder) if is_leftover(name)]:
            path, whole = folder / name, name.removesuffix(NEXT)
            if whole in manifest.files and _is_whole(path, manifest.files[whole]):
                os.replace(path, folder / whole)
            elif path.is_file() or path.is_symlink():
                path.unlink()
                removed += 1
    if removed and not silent:
        say(f"{folder}: removed {counted(removed, 'file')} of a save that was interrupted")


def _is_whole(path: Path, entry: Mapping[str, Any]) -> bool:
    with contextlib.suppress(CheckpointError):
        return size_of(path) == entry["size"] and entry_of(storage.read_bytes(path, links=False)) == entry
    return False


def _tidy(folder: Path, files: Mapping[str, Any]) -> None:
    """Remove the files of ours that a manifest does not name; one that cannot be removed is ignored."""
    with contextlib.suppress(OSError, ResourceError):
        for name in [name for name in listing(folder) if is_ours(name) and name != NAME]:
            if name not in files and not (is_leftover(name) and name.removesuffix(NEXT) in files):
                with contextlib.suppress(OSError):
                    (folder / name).unlink()
        for place in PLACES:
            if not any(name.startswith(f"{place}/") for name in files):
                with contextlib.suppress(OSError):  # it does not exist, or has files that bellmax did not write
                    (folder / place).rmdir()
