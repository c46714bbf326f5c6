"""JAX and Equinox. The parameters of any module, packed for the optimizer: as one vector, or layer by layer.

Only arrays of real numbers are parameters. Integers, flags, functions and Python numbers stay as they are in the first
module that was packed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree

from bellmax.contracts import Array

Module = TypeVar("Module")
Params: TypeAlias = "Array | tuple[Array, ...] | eqx.Module"  # packed parameters

LARGE = 2**16  # numbers in an array whose copy into a vector and out of it takes about 20 µs


class Packing(NamedTuple, Generic[Module]):
    """`pack(module) -> params` and its inverse, `unpack(params) -> module`."""

    pack: Callable[[Module], Params]
    unpack: Callable[[Params], Module]


def by_vector(module: Module) -> Packing[Module]:
    """Return the packing of all parameters into one vector [P], or (vector, *large arrays).

    With one vector an optimizer takes three kernels a step, not three for each array. Arrays of at least `LARGE`
    numbers stay separate, because copying them takes longer than that saves.
    """
    arrays, rest = eqx.partition(module, is_real)
    leaves, tree = jax.tree.flatten(arrays)
    large = [leaf.size >= LARGE for leaf in leaves]
    to_small: Callable[[Any], Any] = ravel_pytree(
        [leaf for leaf, is_large in zip(leaves, large, strict=True) if not is_large]
    )[1]

    def pack(module: Module) -> Params:
        leaves = jax.tree.leaves(eqx.filter(module, is_real))
        vector, _ = ravel_pytree([leaf for leaf, is_large in zip(leaves, large, strict=True) if not is_large])
        whole = [leaf for leaf, is_large in zip(leaves, large, strict=True) if is_large]
        return (vector, *whole) if whole else vector

    def unpack(params: Params) -> Module:
        vector, *arrays = params if isinstance(params, tuple) else (params,)
        small, large_ones = iter(to_small(vector)), iter(arrays)
        filled = jax.tree.unflatten(tree, [next(large_ones if is_large else small) for is_large in large])
        whole: Module = eqx.combine(filled, rest)
        return whole

    return Packing(pack, unpack)


def by_layers(module: Module) -> Packing[Module]:
    """Return the packing that keeps the layers, for optimizers that treat them separately, such as LAMB and Muon."""
    rest = eqx.filter(module, is_real, inverse=True)
    return Packing(lambda module: eqx.filter(module, is_real), lambda params: eqx.combine(params, rest))


def outline(make: Callable[[], Module]) -> Module:
    """Return the module of `make()` with shapes as parameters; nothing is computed if all its arrays are parameters."""
    module: Module = eqx.filter_eval_shape(make)
    shapes = [leaf for leaf in jax.tree.leaves(module) if isinstance(leaf, jax.ShapeDtypeStruct)]
    return module if all(is_real(leaf) for leaf in shapes) else make()


def is_real(leaf: object) -> bool:
    """Whether a leaf is an array of real numbers, or the shape of one."""
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return bool(jnp.issubdtype(leaf.dtype, jnp.inexact))
    return bool(eqx.is_inexact_array(leaf))


def to_named(module: object) -> dict[str, Array]:
    """Return the parameters by their path, such as "torso.layers.0.weight"."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(eqx.filter(module, is_real))
    return {jax.tree_util.keystr(path, simple=True, separator="."): leaf for path, leaf in leaves}


def from_named(module: Module, arrays: Mapping[str, Any]) -> Module:
    """Return `module` with the parameters of `to_named`.

    Raises:
        ValueError: a name or a shape differs.
    """
    expected = to_named(module)
    if {name: leaf.shape for name, leaf in expected.items()} != {k: v.shape for k, v in arrays.items()}:
        raise ValueError(f"parameters {sorted(arrays)} do not fit a network of {sorted(expected)}")
    parameters, rest = eqx.partition(module, is_real)
    filled = jax.tree.unflatten(jax.tree.structure(parameters), [arrays[name] for name in expected])
    named: Module = eqx.combine(filled, rest)
    return named
