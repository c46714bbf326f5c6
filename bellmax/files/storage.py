"""Plain Python. Write and read files safely: a reader sees the old content or the new one, never a part of it."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save as in_memory_order

from bellmax.contracts import (
    ArrayDict,
    ConfigError,
    CorruptCheckpoint,
    IncompatibleCheckpoint,
    Json,
    ResourceError,
    UnsafeFile,
)

FORMAT = 1  # version of every file in a run's folder
# exceptions that using the content of a file raises where bellmax did not write it
MALFORMED = (LookupError, TypeError, ValueError, AttributeError, OverflowError)


def write(path: Path, data: bytes | str) -> None:
    """Write a file so that it survives a crash: to a temporary file beside `path`, then renamed; both are synced.

    Raises:
        ResourceError: the disk is full or read-only, or fails in another way; `path` then has its old content.
    """
    data = data.encode() if isinstance(data, str) else data
    temporary: str | None = None
    state = "its old content is unchanged"
    try:
        descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        state = "it has its new content, which may not survive a power failure"
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


def write_json(path: Path, value: Json) -> None:
    """Write `value` as indented JSON; see `write`."""
    write(path, json.dumps(value, indent=2, allow_nan=True) + "\n")


def to_bytes(arrays: ArrayDict, metadata: dict[str, str] | None = None) -> bytes:
    """Return the content of a safetensors file.

    The writer of safetensors ignores strides, so it would save a transposed array wrongly.
    """
    data: bytes = in_memory_order({name: np.asarray(array, order="C") for name, array in arrays.items()}, metadata)
    return data


def finite(value: Json) -> Json:
    """Return `value` with None for each NaN and infinity, which strict JSON does not have."""
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def read_json(path: Path) -> Json:
    """Return the content of a JSON file.

    Raises:
        CorruptCheckpoint: the file is missing or is not JSON.
    """
    try:
        content: Json = json.loads(path.read_text())
        return content
    except OSError as error:
        raise CorruptCheckpoint(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise CorruptCheckpoint(f"{path} is not the JSON that bellmax wrote: {error}") from error


def check_format(card: Json, path: Path) -> dict[str, Any]:
    """Return the dictionary that a JSON file holds, if this version can read it; its entries are not checked.

    Raises:
        IncompatibleCheckpoint: a newer version wrote it.
        CorruptCheckpoint: it has no valid format.
    """
    found = card.get("format") if isinstance(card, dict) else None
    if not isinstance(card, dict) or type(found) is not int or found < FORMAT:
        raise CorruptCheckpoint(f"bellmax did not write {path}: its format is {found!r}")
    if found > FORMAT:
        raise IncompatibleCheckpoint(f"{path} has format {found!r}, and this version reads {FORMAT}; update bellmax")
    return card


def inner_folder(path: Path) -> Path:
    """Return a folder inside a run's folder, which is created if it does not exist.

    Raises:
        UnsafeFile: it is a link: files would be written or removed in another folder.
        ResourceError: it cannot be created.
    """
    refuse_link(path)
    try:
        path.mkdir(exist_ok=True)
    except OSError as error:
        raise ResourceError(f"cannot create folder {path}: {error.strerror}") from error
    return path


def refuse_link(path: Path) -> None:
    """Check that a path does not lead out of a run's folder.

    Raises:
        UnsafeFile: it is a link.
    """
    if path.is_symlink():
        raise UnsafeFile(f"{path} is a link, and a run uses only its own folder; replace the link by what it leads to")


def check_writable(path: Path) -> None:
    """Check that a folder can be written to.

    Raises:
        ConfigError: it cannot.
    """
    try:
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise ConfigError(f"cannot write to output folder {path}: {error.strerror}; choose another one") from error


def fingerprint(card: Mapping[str, Json], arrays: ArrayDict) -> str:
    """Return the SHA-256 of a policy's card and of its arrays, with their names, types and shapes."""
    digest = hashlib.sha256(json.dumps(card, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()
