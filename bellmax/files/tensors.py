"""NumPy. Read safetensors files: the header is checked before any array is made, and every byte belongs to an array."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from bellmax.contracts import ArrayDict, CorruptCheckpoint
from bellmax.files import storage

MOST_HEADER = 16 << 20  # bytes
MOST_NAME = 1_000  # characters
DTYPES = {
    "BOOL": "?", "I8": "i1", "U8": "u1", "I16": "<i2", "U16": "<u2", "F16": "<f2", "I32": "<i4", "U32": "<u4",
    "F32": "<f4", "I64": "<i8", "U64": "<u8", "F64": "<f8",
}  # fmt: skip


class Tensor(NamedTuple):
    """An array in a file: its type and shape, and where its bytes begin after the header."""

    dtype: np.dtype
    shape: tuple[int, ...]
    begin: int


class Header(NamedTuple):
    """What a file says of its arrays, by name; its metadata; and its own length in bytes."""

    tensors: dict[str, Tensor]
    metadata: dict[str, str]
    length: int


Check = Callable[[Mapping[str, Tensor]], None]


def read_tensors(path: Path, most: int | None = None, check: Check | None = None) -> tuple[ArrayDict, dict[str, str]]:
    """Return the arrays and the metadata of a file; `check` is called with its header before the arrays are read.

    Raises:
        CorruptCheckpoint: it is not a safetensors file, or has more than `most` bytes.
        ResourceError, UnsafeFile: as `storage.read_bytes`.
    """
    look(path, most, check)
    return parse(storage.read_bytes(path, most), path)


def look(path: Path, most: int | None = None, check: Check | None = None, *, links: bool = True) -> None:
    """Read and check only the header of a file; raises as `read`."""
    begin = storage.read_bytes(path, most, 8, links=links)
    length = 8 + min(int.from_bytes(begin, "little"), MOST_HEADER)
    header = read_header(storage.read_bytes(path, most, length, links=links), path.stat().st_size, path)
    if check is not None:
        check(header.tensors)


def parse(data: bytearray, where: object) -> tuple[ArrayDict, dict[str, str]]:
    """Return the arrays in the content of a file, and its metadata.

    Raises:
        CorruptCheckpoint: it is not that of a safetensors file.
    """
    tensors, metadata, length = read_header(data, len(data), where)
    arrays = {}
    for name, (dtype, shape, begin) in tensors.items():
        array = np.frombuffer(data, dtype, math.prod(shape), length + begin) if math.prod(shape) else np.empty(0, dtype)
        arrays[name] = (array if array.flags.aligned else array.copy()).reshape(shape)
    return arrays, metadata


def read_header(data: bytearray, size: int, where: object) -> Header:
    """Return the header of a file of `size` bytes that begins with `data`.

    Raises:
        CorruptCheckpoint: it is damaged, or does not describe `size` bytes.
    """
    length = int.from_bytes(data[:8], "little")
    if len(data) < 8 or length > MOST_HEADER or 8 + length > len(data):
        raise CorruptCheckpoint(f"{where} ({size:,} bytes) is not a safetensors file, or is incomplete")
    card = storage.parse_json(data[8 : 8 + length], where)
    try:
        if not isinstance(card, dict):
            raise ValueError("its header is not an object")
        metadata = dict(card.get("__metadata__", {}))
        if not all(isinstance(value, str) for value in metadata.values()):
            raise ValueError("its metadata are not words")
        tensors = {name: _tensor(name, entry) for name, entry in card.items() if name != "__metadata__"}
        end = 0
        for tensor, after in sorted(tensors.values(), key=lambda each: (each[0].begin, each[1])):
            if tensor.begin != end or after - end != math.prod(tensor.shape) * tensor.dtype.itemsize:
                raise ValueError("its arrays overlap, or are of another size than their shapes say")
            end = after
        if 8 + length + end != size:
            raise ValueError(f"it has {size:,} bytes, and its header describes {8 + length + end:,}")
    except storage.MALFORMED as error:
        raise CorruptCheckpoint(f"{where} is not a safetensors file: {error}") from error
    return Header({name: tensor for name, (tensor, _) in tensors.items()}, metadata, 8 + length)


def _tensor(name: str, entry: object) -> tuple[Tensor, int]:
    """An entry of a header, and where its bytes end.

    Raises:
        ValueError, TypeError, KeyError: it is not one.
    """
    if not isinstance(entry, dict) or len(name) > MOST_NAME:
        raise ValueError("an entry is not that of an array")
    shape, (begin, end) = entry["shape"], entry["data_offsets"]
    numbers = [begin, end, *shape]
    if len(numbers) > 34 or not all(type(number) is int and 0 <= number < 1 << 62 for number in numbers):
        raise ValueError(f"the shape or the place of {name[:40]!r} is not valid")
    return Tensor(_dtype(entry["dtype"]), tuple(shape), begin), end


def _dtype(name: str) -> np.dtype:
    """The type that a header names; raises KeyError if it is not known."""
    if name == "BF16":
        import ml_dtypes  # JAX brings it, and only its networks have such numbers

        narrow: np.dtype = np.dtype(ml_dtypes.bfloat16)
        return narrow
    return np.dtype(DTYPES[name])


def is_floating(dtype: np.dtype) -> bool:
    """Return whether a type is one of floating-point numbers; NumPy does not count bfloat16."""
    return dtype.kind == "f" or dtype.name == "bfloat16"
