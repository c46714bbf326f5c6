"""Plain Python. Write and read files safely: a reader sees the old content or the new one, never a part of it."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import secrets
import stat
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
from bellmax.machine import check_fits, out_of_memory

FORMAT = 1  # version of the files of policies and of data
MOST_JSON = 32 << 20  # bytes
NESTED = (dict, list)  # JSON's values that have parts
MOST_VALUES, MOST_PARTS, MOST_DEPTH = 4_000_000, 250_000, 64  # values of a JSON file, its lists and objects, and levels
NOFOLLOW = getattr(os, "O_NOFOLLOW", 0)
BINARY = getattr(os, "O_BINARY", 0) | getattr(os, "O_NOINHERIT", 0)
# exceptions that using the content of a file raises where bellmax did not write it
MALFORMED = (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)


def write(path: Path, data: bytes | str) -> None:
    """Write a file so that it survives a crash: to a temporary file beside `path`, then renamed; both are synced.

    Raises:
        ResourceError: the disk is full or read-only, or fails in another way; `path` then has its old content.
    """
    temporary = path.parent / f".{path.name}.{secrets.token_hex(4)}"
    state = "its old content is unchanged"
    try:
        write_new(temporary, data.encode() if isinstance(data, str) else data)
        os.replace(temporary, path)
        state = "it has its new content, which may not survive a power failure"
        sync_folder(path.parent)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        if not isinstance(error, OSError):
            raise
        raise ResourceError(f"cannot write {path}: {error.strerror}; {state}") from error


def write_new(path: Path, data: bytes | bytearray | memoryview) -> None:
    """Create a file with this content, and sync it; its permissions follow the umask.

    Raises:
        OSError: it exists, or cannot be written; a part of it may then be there.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | BINARY, 0o666)
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder survive a power failure, where the operating system can.

    Raises:
        OSError: the disk failed.
    """
    if os.name == "nt":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # a file system without it
            raise
    finally:
        os.close(descriptor)


def json_bytes(value: Json) -> bytes:
    """Return `value` as indented JSON."""
    return (json.dumps(value, indent=2, allow_nan=True) + "\n").encode()


def write_json(path: Path, value: Json) -> None:
    """Write `value` as indented JSON; see `write`."""
    write(path, json_bytes(value))


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


def read_bytes(path: Path, most: int | None = None, first: int | None = None, *, links: bool = True) -> bytearray:
    """Return the content of a regular file, or only its `first` bytes.

    Args:
        path: of the file.
        most: bytes that it may have; by default as many as this process can have in memory.
        first: bytes to read.
        links: whether `path` may be a link, as one that a user names.

    Raises:
        CorruptCheckpoint: it is missing, cannot be read, or is larger than `most`.
        ResourceError: it does not fit in memory.
        UnsafeFile: it is a device or a pipe, or a link.
    """
    if not links:
        refuse_link(path)
    try:
        check_regular(path, path.stat().st_mode)
        flags = os.O_RDONLY | BINARY | getattr(os, "O_NONBLOCK", 0) | (0 if links else NOFOLLOW)
        with open(os.open(path, flags), "rb", buffering=0) as file:
            about = os.fstat(file.fileno())
            check_regular(path, about.st_mode)
            if most is not None and about.st_size > most:
                raise CorruptCheckpoint(f"{path} has {about.st_size:,} bytes; at most {most:,} are valid")
            wanted = about.st_size if first is None else min(first, about.st_size)
            check_fits(wanted, f"{path} ({wanted:,} bytes)", lambda share: "use a machine with more memory")
            with out_of_memory(f"{path}", "use a machine with more memory"):
                data = bytearray(wanted)
            view, done = memoryview(data), 0
            while done < wanted and (n := file.readinto(view[done:])):
                done += n
    except OSError as error:
        raise CorruptCheckpoint(f"cannot read {path}: {error.strerror}") from error
    if done < wanted:
        raise CorruptCheckpoint(f"{path} became shorter while it was read")
    return data


def check_regular(path: Path, mode: int) -> None:
    """Check that a path leads to a file, not to a device, a pipe or a folder.

    Raises:
        UnsafeFile: it is something else.
    """
    if not stat.S_ISREG(mode):
        raise UnsafeFile(f"{path} is not a regular file")


def parse_json(data: bytes | bytearray, where: object) -> Json:
    """Return the value of a JSON file, if it is not larger or deeper than any that bellmax writes.

    Raises:
        CorruptCheckpoint: it is not JSON, or is too large.
    """
    parts, values = sum(data.count(mark) for mark in (b"[", b"{")), data.count(b",")
    if parts > MOST_PARTS or values > MOST_VALUES:
        raise CorruptCheckpoint(f"{where} is not the JSON that bellmax wrote: it has too many parts")
    try:
        content: Json = json.loads(data.decode())
    except (ValueError, RecursionError) as error:
        raise CorruptCheckpoint(f"{where} is not the JSON that bellmax wrote: {error}") from error
    level: list[Any] = [content]
    for _ in range(MOST_DEPTH):
        inner = (node.values() if type(node) is dict else node for node in level if type(node) in NESTED)
        level = [part for node in inner for part in node if type(part) in NESTED]
        if not level:
            return content
    raise CorruptCheckpoint(f"{where} is not the JSON that bellmax wrote: it has more than {MOST_DEPTH} levels")


def read_json(path: Path) -> Json:
    """Return the content of a JSON file; raises as `read_bytes` and `parse_json`."""
    return parse_json(read_bytes(path, MOST_JSON), path)


def check_format(card: Json, path: Path, newest: int = FORMAT) -> dict[str, Any]:
    """Return the dictionary that a JSON file holds, if its format is 1 to `newest`; its entries are not checked.

    Raises:
        IncompatibleCheckpoint: a newer version wrote it.
        CorruptCheckpoint: it has no valid format.
    """
    found = card.get("format") if isinstance(card, dict) else None
    if not isinstance(card, dict) or type(found) is not int or found < 1:
        raise CorruptCheckpoint(f"bellmax did not write {path}: its format is {found!r}")
    if found > newest:
        raise IncompatibleCheckpoint(f"{path} has format {found!r}, and this version reads {newest}; update bellmax")
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


def check_target(file: Path, option: str) -> None:
    """Check that a file can be written, before its content is computed.

    Raises:
        ConfigError: it cannot; `option` is the name that the message gives it.
    """
    if not file.absolute().parent.is_dir():
        raise ConfigError(f"{option} {file}: the folder {file.parent} does not exist; create it first")
    check_writable(file.absolute().parent)


def fingerprint(card: Mapping[str, Json], arrays: ArrayDict) -> str:
    """Return the SHA-256 of a policy's card and of its arrays, with their names, types and shapes."""
    digest = hashlib.sha256(json.dumps(card, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).reshape(-1).view(np.uint8).data)  # without a copy of a large array
    return digest.hexdigest()
