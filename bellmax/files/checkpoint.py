"""NumPy. The whole state of a run as named arrays, and back: what `resume` goes on from.

    checkpoint/step-N.group-G.safetensors   every leaf of a group's state, by its path
    checkpoint.json                         N and the hash of each of these files; written last, so it is the switch

The manifest names one complete set of files. Files of this form that it does not name are left-overs, and are removed;
what has another name is not ours, and stays.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load as from_bytes
from safetensors.numpy import save as to_bytes

from bellmax.contracts import CorruptCheckpoint, IncompatibleCheckpoint
from bellmax.files import storage

MANIFEST = "checkpoint.json"
OURS = re.compile(r"step-\d+\.group-\d+\.safetensors")
LEFT_OVER = re.compile(rf"\.?{OURS.pattern}(\.\w+)?")  # also what `storage.write` was killed over


def leaves(tree: Any, path: str = "state") -> Iterator[tuple[str, Any]]:
    """(path, leaf) of a tree of tuples, named tuples and whatever else JAX knows as a pytree, in order."""
    inner = _parts(tree)
    if inner is None:
        yield path, tree
    else:
        for name, part in inner[0]:
            yield from leaves(part, f"{path}.{name}")


def to_arrays(tree: Any) -> dict[str, Any]:
    """Every leaf as a NumPy array, random keys as their words."""
    return {path: np.asarray(_words(leaf)) for path, leaf in leaves(tree)}


def from_arrays(skeleton: Any, arrays: dict[str, Any], where: str, path: str = "state") -> Any:
    """`arrays` in the shape of `skeleton`, each leaf of the kind (NumPy, JAX, key) that stands there.

    Raises:
        IncompatibleCheckpoint: a leaf is missing, or has another shape or type; the message names it.
    """
    if (inner := _parts(skeleton)) is not None:
        parts, build = inner
        return build([from_arrays(part, arrays, where, f"{path}.{name}") for name, part in parts])
    wanted, found = np.asarray(_words(skeleton)), arrays.get(path)
    if found is None or (found.shape, found.dtype) != (wanted.shape, wanted.dtype):
        has = "nothing" if found is None else f"{found.dtype} {found.shape}"
        raise IncompatibleCheckpoint(f"{where}: {path} is {has}; this run needs {wanted.dtype} {wanted.shape}")
    if isinstance(skeleton, np.ndarray):
        return np.array(found)
    import jax
    import jax.numpy as jnp

    if _is_key(skeleton):
        return jax.random.wrap_key_data(jnp.array(found), impl=jax.random.key_impl(skeleton))
    return jnp.array(found)


def _parts(tree: Any) -> tuple[list[tuple[Any, Any]], Callable[[list[Any]], Any]] | None:
    """The (name, part) of a node and how to build it from new parts, or None of a leaf."""
    if isinstance(tree, tuple):
        if hasattr(tree, "_fields"):
            return list(zip(tree._fields, tree, strict=True)), lambda parts: type(tree)(*parts)
        return list(enumerate(tree)), tuple
    if hasattr(tree, "dtype") or isinstance(tree, bool | int | float):
        return None
    import jax  # a dict or a dataclass: the state of a compiled world may be any pytree

    structure: Any
    parts, structure = jax.tree_util.tree_flatten_with_path(tree, is_leaf=lambda part: part is not tree)
    if parts and parts[0][1] is tree:
        return None
    return [(jax.tree_util.keystr(path, simple=True), part) for path, part in parts], structure.unflatten


def _is_key(leaf: Any) -> bool:
    return not isinstance(leaf, np.ndarray) and str(getattr(leaf, "dtype", "")).startswith("key<")


def _words(leaf: Any) -> Any:
    if not _is_key(leaf):
        return leaf
    import jax

    return jax.random.key_data(leaf)


def save(folder: Path, step: int, groups: list[dict[str, Any]]) -> None:
    """Write a complete new set, switch to it, remove the old one.

    Raises:
        ResourceError: the disk refuses; the old set is then still whole.
    """
    place = storage.inner_folder(folder / "checkpoint")
    hashes = {}
    for i, arrays in enumerate(groups):
        data = to_bytes(arrays)
        name = f"step-{step}.group-{i}.safetensors"
        storage.write(place / name, data)
        hashes[name] = hashlib.sha256(data).hexdigest()
    storage.write_json(folder / MANIFEST, {"format": storage.FORMAT, "step": step, "files": hashes})
    tidy(place, hashes)


def tidy(place: Path, kept: Collection[str]) -> None:
    """Remove our own files but those to be kept; that one cannot be removed stops no training."""
    with contextlib.suppress(OSError):
        for path in list(place.iterdir()):
            if LEFT_OVER.fullmatch(path.name) and path.name not in kept:
                with contextlib.suppress(OSError):
                    path.unlink()


def load(folder: Path) -> tuple[int, list[dict[str, Any]]]:
    """(step, groups) of the complete set.

    Raises:
        CorruptCheckpoint: a file is missing or its content is not what was written; the message names it.
        UnsafeFile: a link would lead out of the run's folder.
    """
    card = storage.read_json(folder / MANIFEST)
    storage.check_format(card, folder / MANIFEST)
    storage.refuse_link(folder / "checkpoint")
    step, files = card.get("step"), card.get("files")
    if type(step) is not int or step < 0 or type(files) is not dict or not all(map(OURS.fullmatch, files)):
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
    """The run has ended: the manifest first, so that nothing half removed looks whole."""
    (folder / MANIFEST).unlink(missing_ok=True)
    place = folder / "checkpoint"
    if not place.is_symlink():
        tidy(place, ())
        with contextlib.suppress(OSError):  # something of somebody else's is in it
            place.rmdir()
