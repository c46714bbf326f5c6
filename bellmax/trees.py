"""JAX. `jax.tree.map` with the type of what it maps, which JAX leaves open; and the shapes of a tree in words."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax
import jax.numpy as jnp

from bellmax.arguments import describe

Tree = TypeVar("Tree")


def tree_map(function: Callable[..., Any], tree: Tree, *rest: object) -> Tree:
    """Return the tree of `function(leaf, *leaves)`, for the leaves of `tree` and of all others of its shape."""
    mapped: Tree = jax.tree.map(function, tree, *rest)
    return mapped


def shapes_in_words(tree: object) -> str:
    """Return the dtypes and shapes of a tuple or dictionary of arrays: "(float32 [3], int32 [])"."""
    if hasattr(tree, "shape") and hasattr(tree, "dtype"):
        return f"{tree.dtype} {list(tree.shape)}"
    if isinstance(tree, tuple):
        return f"({', '.join(map(shapes_in_words, tree))})"
    if isinstance(tree, dict):
        return f"{{{', '.join(f'{name!r}: {shapes_in_words(part)}' for name, part in tree.items())}}}"
    return describe(tree)


def real_shape(tree: object) -> tuple[int, ...] | None:
    """Return the shape of an array of real numbers, also of one that is only traced; None of anything else."""
    if not isinstance(tree, jax.Array | jax.ShapeDtypeStruct) or not jnp.issubdtype(tree.dtype, jnp.floating):
        return None
    return tuple(tree.shape)
