"""NumPy. Checkpoints: the whole state of a run as named arrays, from which `resume` continues.

    checkpoint/step-N.group-G.safetensors   every leaf of the state of a group of seeds, by its path
    checkpoint.json                         N and the hash of each of these files; written last, which makes them valid

The manifest names one complete set of files. Other files with such names are leftovers and are removed. All other files
stay: bellmax did not write them.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard, TypeVar

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as from_bytes

from bellmax.contracts import ArrayDict, CorruptCheckpoint, IncompatibleCheckpoint
from bellmax.files import storage

if TYPE_CHECKING:
    import jax

Tree = TypeVar("Tree")
MANIFEST = "checkpoint.json"
OURS = re.compile(r"step-\d+\.group-\d+\.safetensors")
LEFTOVER = re.compile(rf"\.?{OURS.pattern}(\.\w+)?")  # also temporary files of a killed process


def leaves(tree: object, path: str = "state") -> Iterator[tuple[str, Any]]:
    """Yield the (path, leaf) of each leaf of a tree: tuples, named tuples and other pytrees of JAX, in order."""
    inner = _parts(tree)
    if inner is None:
        yield path, tree
    else:
        for name, part in inner[0]:
            yield from leaves(part, f"{path}.{name}")


def to_arrays(tree: object) -> ArrayDict:
    """Return every leaf as a NumPy array, by its path; random keys as the words that they consist of."""
    return {path: np.asarray(_words(leaf)) for path, leaf in leaves(tree)}


def from_arrays(skeleton: Tree, arrays: ArrayDict, where: str, path: str = "state") -> Tree:
    """Return a tree like `skeleton` with its leaves from `arrays`: NumPy, JAX or random keys, as in `skeleton`.

    Raises:
        IncompatibleCheckpoint: a leaf is missing, or has another shape or type; the message names it.
    """
    made: Any
    if (inner := _parts(skeleton)) is not None:
        parts, build = inner
        made = build([from_arrays(part, arrays, where, f"{path}.{name}") for name, part in parts])
    else:
        made = _as_leaf(skeleton, arrays.get(path), where, path)
    rebuilt: Tree = made
    return rebuilt


def _as_leaf(skeleton: object, found: np.ndarray | None, where: str, path: str) -> np.ndarray | jax.Array:
    """The array `found` at a path, as the kind of leaf that `skeleton` is."""
    wanted = np.asarray(_words(skeleton))
    if found is None or (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
        has = "missing" if found is None else f"{found.dtype} {found.shape}"
        raise IncompatibleCheckpoint(f"{where}: {path} is {has}; this run needs {wanted.dtype} {wanted.shape}")
    if isinstance(skeleton, np.ndarray):
        return np.array(found)
    import jax
    import jax.numpy as jnp

    if _is_key(skeleton):
        key: jax.Array = jax.random.wrap_key_data(jnp.array(found), impl=jax.random.key_impl(skeleton))
        return key
    return jnp.array(found)


def _parts(tree: object) -> tuple[list[tuple[Any, object]], Callable[[list[object]], object]] | None:
    """The (name, part) pairs of a node and a function that builds it from new parts, or None for a leaf."""
    if isinstance(tree, tuple):
        if hasattr(tree, "_fields"):
            return list(zip(tree._fields, tree, strict=True)), lambda parts: type(tree)(*parts)
        return list(enumerate(tree)), tuple
    if hasattr(tree, "dtype") or isinstance(tree, bool | int | float):
        return None
    import jax  # a dict or a dataclass: the state of a compiled environment may be any pytree

    structure: Any
    parts, structure = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda part: part is not tree)
    if parts and parts[0][1] is tree:
        return None
    return [(jax.tree_util.keystr(path, simple=True), part) for path, part in parts], structure.unflatten


def _is_key(leaf: object) -> TypeGuard[jax.Array]:
    return not isinstance(leaf, np.ndarray) and str(getattr(leaf, "dtype", "")).startswith("key<")


def _words(leaf: object) -> object:
    if not _is_key(leaf):
        return leaf
    import jax

    return jax.random.key_data(leaf)


def save_groups(folder: Path, step: int, groups: Sequence[ArrayDict]) -> None:
    """Write a complete new set of files, make it valid, and remove the old one.

    Raises:
        ResourceError: a file cannot be written; the old set is then still valid.
    """
    place = storage.inner_folder(folder / "checkpoint")
    hashes = {}
    for i, arrays in enumerate(groups):
        data = storage.to_bytes(arrays)
        name = f"step-{step}.group-{i}.safetensors"
        storage.write(place / name, data)
        hashes[name] = hashlib.sha256(data).hexdigest()
    storage.write_json(folder / MANIFEST, {"format": storage.FORMAT, "step": step, "files": hashes})
    tidy(place, hashes)


def tidy(place: Path, kept: Collection[str]) -> None:
    """Remove all files of checkpoints except those in `kept`; a file that cannot be removed is ignored."""
    with contextlib.suppress(OSError):
        for path in list(place.iterdir()):
            if LEFTOVER.fullmatch(path.name) and path.name not in kept:
                with contextlib.suppress(OSError):
                    path.unlink()


def load_groups(folder: Path) -> tuple[int, list[ArrayDict]]:
    """Return (step, groups) of the valid set.

    Raises:
        CorruptCheckpoint: a file is missing or its content is not what was written; the message names it.
        UnsafeFile: a link leads out of the run's folder.
    """
    card = storage.check_format(storage.read_json(folder / MANIFEST), folder / MANIFEST)
    storage.refuse_link(folder / "checkpoint")
    step, files = card.get("step"), card.get("files")
    if type(step) is not int or step < 0 or not isinstance(files, dict) or not all(map(OURS.fullmatch, files)):
        raise CorruptCheckpoint(f"{folder / MANIFEST} is not the manifest of a checkpoint")
    groups = []
    for name, expected in files.items():
        path = folder / "checkpoint" / name
        storage.refuse_link(path)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise CorruptCheckpoint(f"cannot read {path}: {error.strerror}") from error
        if hashlib.sha256(data).hexdigest() != expected:
            raise CorruptCheckpoint(f"{path} ({len(data)} bytes) is not what was saved; its SHA-256 differs")
        try:
            groups.append(from_bytes(data))
        except SafetensorError as error:
            raise CorruptCheckpoint(f"{path} is not a safetensors file: {error}") from error
    return step, groups


def remove(folder: Path) -> None:
    """Remove the checkpoint of a run that has ended; its manifest first, so that no half of a set looks valid."""
    (folder / MANIFEST).unlink(missing_ok=True)
    place = folder / "checkpoint"
    if not place.is_symlink():
        tidy(place, ())
        with contextlib.suppress(OSError):  # files that bellmax did not write are in it
            place.rmdir()
