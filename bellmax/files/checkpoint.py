"""NumPy. Checkpoints: the whole state of a run as named arrays, from which `resume` continues.

    checkpoint/step-N.group-G.safetensors    every leaf of the state of a group of seeds at step N, by its path
    checkpoint/step-N.replay-G.safetensors   those of its replay buffer, which may be of an earlier step
    checkpoint/block-HASH.bin                a block of a large leaf, see `files/blocks.py`

The manifest of the run lists the files of each checkpoint; two checkpoints share those that did not change. The states
before the first step and after the last one have none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple, TypeGuard, TypeVar

import numpy as np

from bellmax.contracts import ArrayDict, IncompatibleCheckpoint
from bellmax.files.blocks import Pieces, contents_of, names_of, read_pieces
from bellmax.files.manifest import GROUP, Content
from bellmax.files.saved_files import Files

if TYPE_CHECKING:
    import jax

Tree = TypeVar("Tree")

REPLAY_STEP = "replay_step"  # in the arrays of a group whose replay buffer is older than the rest


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


class SavedGroup(NamedTuple):
    """What a checkpoint stores of a group of seeds; `replay` may be the names of the files of an earlier checkpoint."""

    state: Pieces
    replay: Pieces | list[str]


def group_contents(step: int, g: int, group: SavedGroup) -> Iterator[tuple[str, Content]]:
    """Yield (name, content) of the files of a group in the checkpoint of a step; None where a file stays as it is."""
    yield from contents_of(f"checkpoint/step-{step}.group-{g}.safetensors", group.state)
    if isinstance(group.replay, list):
        yield from ((name, None) for name in group.replay)
    elif group.replay:
        yield from contents_of(f"checkpoint/step-{step}.replay-{g}.safetensors", group.replay)


def read_groups(files: Files, step: int) -> list[ArrayDict]:
    """Return the arrays of each group of seeds in the checkpoint of a step.

    If its replay buffer is of an earlier step, this is the array `REPLAY_STEP`.

    Raises:
        CorruptCheckpoint: a file is missing, or is not what was saved.
        ResourceError: they do not fit in memory.
        UnsafeFile: a link leads out of the run's folder.
    """
    groups: dict[str, ArrayDict] = {}
    for name, saved, g in _parts_of(files, step):
        groups.setdefault(g, {}).update(read_pieces(files, name))
        if saved != step:
            groups[g][REPLAY_STEP] = np.array([saved])
    return list(groups.values())


def replay_files(files: Files) -> list[list[str]]:
    """Return the names of all files of each group's replay buffer in the newest checkpoint; raises as `read_groups`."""
    step = max(files.manifest.checkpoints, default=0) if files.manifest else 0
    return [names_of(files, name) for name, _, _ in _parts_of(files, step) if ".replay-" in name]


def _parts_of(files: Files, step: int) -> Iterator[tuple[str, int, str]]:
    """The (name, step, group) of each file of the checkpoint of a step that has arrays by name."""
    assert files.manifest is not None  # noqa: S101 - format_one.py reads the others
    for name in files.manifest.checkpoints.get(step, []):
        if found := GROUP.fullmatch(name):
            yield name, int(found[1]), found[3]
