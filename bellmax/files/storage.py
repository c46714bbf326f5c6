"""Plain Python. Every file that bellmax writes goes through here: the old content or the new, nothing between."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from pathlib import Path
from typing import Any

from bellmax.contracts import ConfigError, CorruptCheckpoint, IncompatibleCheckpoint, ResourceError, UnsafeFile

# what using the content of a file raises where it is not what bellmax wrote
FORMAT = 1  # of everything in a run's folder
MALFORMED = (LookupError, TypeError, ValueError, AttributeError, OverflowError)


def write(path: Path, data: bytes | str) -> None:
    """Write to a temporary name beside `path`, sync, rename, sync the folder.

    Raises:
        ResourceError: the disk is full, read-only or otherwise refuses; `path` is then untouched.
    """
    data = data.encode() if isinstance(data, str) else data
    temporary: str | None = None
    state = "nothing was changed there"
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        state = "its content is new, but may not outlast a power failure"
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except BaseException as error:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise ResourceError(f"cannot write {path}: {error.strerror}; {state}") from error


def write_json(path: Path, value: Any) -> None:
    """`value` as indented JSON; see `write`."""
    write(path, json.dumps(value, indent=2, allow_nan=True) + "\n")


def finite(value: Any) -> Any:
    """`value` with None for each NaN and infinity, which strict JSON does not have."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        CorruptCheckpoint: it is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise CorruptCheckpoint(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CorruptCheckpoint(f"{path} is not the JSON that bellmax wrote: {error}") from error


def check_format(card: Any, path: Path) -> None:
    """Refuse what a newer version has written.

    Raises:
        IncompatibleCheckpoint: the format is newer than this version.
        CorruptCheckpoint: it is none.
    """
    found = card.get("format") if isinstance(card, dict) else None
    if type(found) is not int or found < FORMAT:
        raise CorruptCheckpoint(f"{path} is not what bellmax wrote: its format is {found!r}")
    if found > FORMAT:
        raise IncompatibleCheckpoint(f"{path} is of format {found!r}, this version reads {FORMAT}; update bellmax")


def inner_folder(path: Path) -> Path:
    """A folder inside a run's folder, made if it is not there.

    Raises:
        UnsafeFile: it is a link, so that what is written or removed there would be somebody else's.
        ResourceError: it cannot be made.
    """
    refuse_link(path)
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise ResourceError(f"cannot make folder {path}: {error.strerror}") from error
    return path


def refuse_link(path: Path) -> None:
    """Refuse what would lead out of a run's folder.

    Raises:
        UnsafeFile: it is a link.
    """
    if path.is_symlink():
        raise UnsafeFile(f"{path} is a link, and a run uses only its own folder; put what it leads to in its place")


def make_folder(path: Path) -> None:
    """A new folder, proven writable.

    Raises:
        ConfigError: it exists and is not empty, is a file, or cannot be written.
    """
    if path.is_dir() and any(path.iterdir()):
        raise ConfigError(
            f"output folder {path} exists already; name another one, or give if_exists='number', 'resume' or 'replace' "
            "(--if-exists)"
        )
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise ConfigError(f"cannot write to output folder {path}: {error.strerror}; name another one") from error


def fingerprint(card: dict[str, Any], arrays: dict[str, Any]) -> str:
    """SHA-256 of a policy's card and of its arrays, their names, types and shapes."""
    digest = hashlib.sha256(json.dumps(card, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
