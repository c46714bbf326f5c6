"""NumPy. Large arrays as blocks, in files that are named by the hash of their content: what did not change is there.

In a safetensors file, an array that is cut into blocks has the shape (0, *shape), and the metadata "blocks" list the
hashes of its blocks. A ring of which a few rows are new costs a few blocks; parts that were never filled cost one.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple, TypeAlias

import numpy as np

from bellmax.contracts import ArrayDict, CorruptCheckpoint
from bellmax.files import storage
from bellmax.files.manifest import BLOCK, Content
from bellmax.files.saved_files import Files
from bellmax.machine import check_fits, out_of_memory

SIZE = 4 << 20  # bytes of a block; an array with more is cut


class Cut(NamedTuple):
    """A large array as (hash, content) of its blocks; the content is None where a file has it already."""

    dtype: np.dtype
    shape: tuple[int, ...]
    blocks: list[tuple[str, Content]]


Pieces: TypeAlias = "Mapping[str, np.ndarray | Cut]"


def name_of_block(digest: str) -> str:
    """Return the name of the file of a block in a run's folder."""
    return f"{BLOCK}{digest}.bin"


def known_blocks(files: Files) -> set[str]:
    """Return the hashes of the blocks in a run's folder."""
    return {name[len(BLOCK) : -4] for name in files.names() if name.startswith(BLOCK) and files.is_there(name)}


def in_blocks(arrays: ArrayDict, known: set[str], *, copied: bool) -> Pieces:
    """Return arrays with the large ones cut into blocks; the hashes of new blocks are added to those `known`.

    If `copied`, the result stays the same while the arrays change.
    """
    return {
        name: _cut(array, known, copied) if array.nbytes > SIZE else np.array(array) if copied else array
        for name, array in arrays.items()
    }


def _cut(array: np.ndarray, known: set[str], copied: bool) -> Cut:
    content = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    parts = [content[begin : begin + SIZE].data for begin in range(0, content.size, SIZE)]
    with ThreadPoolExecutor() as threads:
        digests = list(threads.map(_digest, parts))
    blocks: list[tuple[str, Content]] = []
    for digest, part in zip(digests, parts, strict=True):
        blocks.append((digest, None if digest in known else bytes(part) if copied else part))
        known.add(digest)
    return Cut(array.dtype, array.shape, blocks)


def _digest(part: memoryview) -> str:
    return hashlib.sha256(part).hexdigest()


def contents_of(name: str, pieces: Pieces) -> Iterator[tuple[str, Content]]:
    """Yield (name, content) of the files of pieces: the blocks, then everything else in a file of this name."""
    arrays, lists = {}, {}
    for key, piece in pieces.items():
        if isinstance(piece, Cut):
            yield from ((name_of_block(digest), content) for digest, content in piece.blocks)
            arrays[key], lists[key] = np.empty((0, *piece.shape), piece.dtype), [digest for digest, _ in piece.blocks]
        else:
            arrays[key] = piece
    yield name, storage.to_bytes(arrays, {"blocks": json.dumps(lists)})


def read_pieces(files: Files, name: str) -> ArrayDict:
    """Return the arrays of a file of pieces, or of an older version's file, in which no array is cut.

    Raises:
        CorruptCheckpoint: a file is missing, or is not what was saved.
        ResourceError: an array does not fit in memory.
        UnsafeFile: a file is a link.
    """
    arrays, lists = _listed(files, name)
    try:
        return {**arrays, **{key: _joined(files, arrays[key], digests) for key, digests in lists.items()}}
    except storage.MALFORMED as error:
        raise CorruptCheckpoint(f"{files.folder / name} does not fit its blocks: {error}") from error


def names_of(files: Files, name: str) -> list[str]:
    """Return the names of all files of pieces, that of this name first; raises as `read_pieces`."""
    digests = [digest for each in _listed(files, name)[1].values() for digest in each]
    return [name, *dict.fromkeys(name_of_block(digest) for digest in digests)]


def _listed(files: Files, name: str) -> tuple[ArrayDict, dict[str, list[str]]]:
    """The arrays in a file of pieces, and the hashes of the blocks of those that are cut."""
    arrays, about = files.tensors(name)
    lists = storage.parse_json(about.get("blocks", "{}").encode(), files.folder / name)
    if not isinstance(lists, dict) or not all(isinstance(digests, list) for digests in lists.values()):
        raise CorruptCheckpoint(f"{files.folder / name} does not list its blocks")
    return arrays, {key: [str(digest) for digest in digests] for key, digests in lists.items()}


def _joined(files: Files, hollow: np.ndarray, digests: list[str]) -> np.ndarray:
    """The array that was cut, in the shape (0, *shape)."""
    names, shape = [name_of_block(digest) for digest in digests], hollow.shape[1:]
    size = sum(files.size(name) for name in names)
    if hollow.shape[:1] != (0,) or size != math.prod(shape) * hollow.dtype.itemsize:
        raise ValueError(f"an array of shape {hollow.shape} does not have {size:,} bytes")
    what, remedy = f"an array of a checkpoint in {files.folder}", "use a machine with more memory"
    check_fits(size, what, lambda share: remedy)
    with out_of_memory(what, remedy):
        whole = np.empty(shape, hollow.dtype)
    content, begin, data = whole.reshape(-1).view(np.uint8), 0, bytearray()
    for name, before in zip(names, ["", *names], strict=False):
        data = data if name == before else files.read(name)  # what was never filled is one block, many times
        content[begin : begin + len(data)] = np.frombuffer(data, np.uint8)
        begin += len(data)
    return whole
