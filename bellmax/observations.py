"""NumPy. Observations that people and environments give, with names or without, as batches of arrays of a space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from bellmax.arguments import describe
from bellmax.contracts import BoolArray, Box, ConfigError, IntArray, Leaf, Masked, Named, NonFiniteError, Space
from bellmax.spaces import LEAVES, dtype_of, limits_of, map_space, parts_of, shape_of

LARGEST = float(np.finfo(np.float32).max)


def read_batch(space: Space, obs: object) -> tuple[Any, bool]:
    """`obs` as a batch of arrays [B, ...] of the right types, and whether it was a single observation.

    Parts with names are also taken from a dictionary.

    Raises:
        ConfigError: it has neither the shape of one observation nor that of a batch, or is outside the space.
        NonFiniteError: there is a NaN or an infinity in it.
    """
    singles: list[bool] = []

    def leaf(kind: Leaf, value: object) -> npt.NDArray[Any]:
        shape = shape_of(kind)
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise ConfigError(f"the observation is not an array: {error}") from error
        if array.shape != shape and array.shape[1:] != shape:
            raise ConfigError(f"observation of shape {array.shape}; one is {shape}, a batch is [B, *{shape}]")
        if array.dtype.kind not in "biuf":
            raise ConfigError(f"observation of dtype {array.dtype}; give numbers")
        # a finite sum proves that all are finite, faster than np.isfinite
        if array.dtype.kind == "f" and not float(np.vdot(array, array)) < LARGEST:
            refuse_nonfinite(part_names(space)[len(singles)], array)
        if isinstance(kind, Box) and not survives(array, kind.dtype):
            raise ConfigError(f"observation of dtype {array.dtype} is not {kind.dtype} without loss; give {kind.dtype}")
        if not isinstance(kind, Box) and array.dtype.kind == "b" and np.all(limits_of(kind) == 2):  # a flag
            array = array.astype(np.int64)
        if not isinstance(kind, Box) and not holds(array, limits_of(kind)):
            raise ConfigError(f"observation {value!r} is outside the integers from 0 to {limits_of(kind) - 1}")
        singles.append(array.shape == shape)
        return (array[None] if array.shape == shape else array).astype(dtype_of(kind), copy=False)

    try:
        batch = map_space(leaf, space, unnamed(space, obs))
    except (TypeError, IndexError, KeyError) as error:
        raise ConfigError(f"observation {obs!r} does not have the parts of {space}") from error
    if any(singles) != all(singles):
        raise ConfigError("some parts of the observation are single and some are batches")
    return batch, singles[0]


def refuse_nonfinite(name: str, array: npt.NDArray[Any]) -> None:
    """Return if all numbers of an array are finite as float32.

    Raises:
        NonFiniteError: names the first one that is not.
    """
    bad = np.argwhere(~(np.abs(array.astype(np.float64)) <= LARGEST))
    if len(bad):
        value, entry = array[tuple(bad[0])], "".join(f"[{index}]" for index in bad[0])
        raise NonFiniteError(f"{name}{entry} is {value:g}, for which nothing was learned; give finite float32 numbers")


def part_names(space: Space, name: str = "observation") -> list[str]:
    """The name of each leaf of a space, in order, such as observation['position']."""
    if isinstance(space, LEAVES):
        return [name]
    keys: Any = space.names if isinstance(space, Named) else range(len(parts_of(space)))
    parts = zip(keys, parts_of(space), strict=True)
    return [inner for key, part in parts for inner in part_names(part, f"{name}[{key!r}]")]


def read_flags(mask: object, n: int, n_actions: int) -> BoolArray:
    """Flags of the allowed actions of `n` observations, as a bool array [n, n_actions]; one row may stand for all.

    Raises:
        ConfigError: there is not one flag for each action, one is neither 0 nor 1, or a row allows none.
    """
    try:
        flags = np.asarray(mask)
    except ValueError as error:  # rows of different lengths
        raise ConfigError(f"`mask` must have one flag for each of {n_actions} actions: {error}") from error
    if flags.shape not in ((n_actions,), (n, n_actions)) or flags.dtype.kind not in "biuf":
        raise ConfigError(
            f"`mask` must have one flag for each of {n_actions} actions; got shape {flags.shape} of {flags.dtype}"
        )
    if flags.dtype.kind != "b" and not ((flags == 0) | (flags == 1)).all():
        raise ConfigError(f"`mask` must be flags, False or True, or 0 or 1; got {describe(flags)}")
    flags = np.broadcast_to(flags.astype(np.bool_), (n, n_actions))
    if not flags.any(axis=1).all():
        raise ConfigError(f"`mask` allows no action in row {int(np.argmin(flags.any(axis=1)))}; allow at least one")
    return flags


def survives(array: npt.NDArray[Any], dtype: str) -> bool:
    """Whether numbers stay what they are as bytes or flags; 0.5 would be 0, as would 256. Floats may be rounded."""
    if dtype == "float32" or array.dtype == dtype:
        return True
    with np.errstate(invalid="ignore"):
        return bool((array.astype(dtype) == array).all())


def unnamed(space: Space, obs: Any) -> Any:
    """`obs` with its dictionaries as tuples, in the order of the space."""
    if isinstance(space, LEAVES):
        return obs
    if isinstance(space, Named) and isinstance(obs, Mapping):
        obs = tuple(obs[name] for name in space.names)
    parts = [unnamed(part, obs[i]) for i, part in enumerate(parts_of(space))]
    return Masked(*parts) if isinstance(space, Masked) else tuple(parts)


def named(space: Space, obs: Any) -> Any:
    """The inverse of `unnamed`: tuples as dictionaries where the space has names."""
    if isinstance(space, LEAVES):
        return obs
    parts = [named(part, value) for part, value in zip(parts_of(space), obs, strict=True)]
    return dict(zip(space.names, parts, strict=True)) if isinstance(space, Named) else tuple(parts)


def holds(states: npt.NDArray[Any], n: int | IntArray) -> bool:
    """Whether all are integers from 0 to n - 1: NumPy would count -1 from the end, and JAX see no state there."""
    return bool(states.size == 0 or (states.dtype.kind in "iu" and (states >= 0).all() and (states < n).all()))
