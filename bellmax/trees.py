"""JAX. `jax.tree.map` with the type of what it maps, which JAX leaves open."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import jax

Tree = TypeVar("Tree")


def tree_map(function: Callable[..., Any], tree: Tree, *rest: object) -> Tree:
    """Return the tree of `function(leaf, *leaves)`, for the leaves of `tree` and of all others of its shape."""
    mapped: Tree = jax.tree.map(function, tree, *rest)
    return mapped
