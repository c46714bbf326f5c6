"""JAX. Networks: the one file that imports Equinox. A network maps ONE observation to q [A]."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from bellmax.types import Array, Box, Discrete, Space


class MLP(eqx.Module):
    """Linear layers with ReLU between them; weights start as in PyTorch, uniform in ±1/sqrt(fan in).

    With `layer_norm`, each hidden layer is normalised before its ReLU (Ba et al., 2016), which keeps off-policy
    bootstrapping from diverging (Gallici et al., 2024, "Simplifying deep temporal difference learning").
    """

    layers: tuple[eqx.nn.Linear, ...]
    norms: tuple[eqx.nn.LayerNorm, ...]

    def __init__(self, sizes: Sequence[int], layer_norm: bool, key: Array) -> None:
        keys = jax.random.split(key, len(sizes) - 1)
        self.layers = tuple(
            eqx.nn.Linear(n_in, n_out, key=k) for n_in, n_out, k in zip(sizes, sizes[1:], keys, strict=False)
        )

        self.norms = tuple(eqx.nn.LayerNorm(n) for n in sizes[1:-1]) if layer_norm else ()

    def __call__(self, features: Array) -> Array:
        """Features [F] to values [A]."""
        for i, layer in enumerate(self.layers[:-1]):
            features = layer(features)
            features = jax.nn.relu(self.norms[i](features) if self.norms else features)
        return self.layers[-1](features)


def n_features(space: Space) -> int:
    """How many numbers `encode` makes of one observation."""
    if isinstance(space, Discrete):
        return space.n
    count = 1
    for size in space.shape:
        count *= size
    return count


def encode(space: Space, obs: Array) -> Array:
    """One observation as features [F] float32: one-hot if discrete, else flat."""
    if isinstance(space, Discrete):
        return jax.nn.one_hot(obs, space.n, dtype=jnp.float32)
    return jnp.ravel(obs).astype(jnp.float32)


def q_network(space: Box | Discrete, n_actions: int, hidden: Sequence[int], layer_norm: bool, key: Array) -> Any:
    """A fresh MLP for observations of `space`; an Equinox module of arrays only."""
    return MLP([n_features(space), *hidden, n_actions], layer_norm, key)


def flatten(network: Any) -> tuple[Array, Callable[[Array], Any]]:
    """All parameters as one vector [P], and the function back.

    One vector makes the optimiser three kernels a step instead of three for each array.
    """
    vector, unflatten = ravel_pytree(network)
    return vector, unflatten


def to_named(network: Any) -> dict[str, Array]:
    """Parameters by their path, such as "layers.0.weight"."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(network)
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def from_named(skeleton: Any, arrays: dict[str, Any]) -> Any:
    """`skeleton` with the parameters of `to_named`.

    Raises:
        ValueError: a name or a shape differs.
    """
    expected = to_named(skeleton)
    if {name: leaf.shape for name, leaf in expected.items()} != {k: v.shape for k, v in arrays.items()}:
        raise ValueError(f"parameters {sorted(arrays)} do not fit a network of {sorted(expected)}")
    return jax.tree.unflatten(jax.tree.structure(skeleton), [arrays[name] for name in expected])
