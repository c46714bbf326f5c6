"""NumPy. Convert the data that users give (lists, flags as numbers, columns) to arrays, where nothing is lost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from bellmax.contracts import ConfigError, Masked

# each [n, ...]
Observations: TypeAlias = (
    "np.ndarray | Masked[Observations, Observations] | tuple[Observations, ...] | dict[str, Observations]"
)


def tidy_tree(name: str, value: object) -> Observations:
    """Return observations as arrays; a tuple, `Masked` or dictionary of parts keeps its form.

    Raises:
        ConfigError: a part is not an array of numbers.
    """
    if isinstance(value, Masked):
        return Masked(tidy_tree(f"{name}.obs", value.obs), tidy_flags(f"{name}.mask", value.mask))
    if isinstance(value, Mapping):
        return {key: tidy_tree(f"{name}.{key}", part) for key, part in value.items()}
    if isinstance(value, tuple) and any(np.ndim(part) for part in value if not isinstance(part, tuple | Mapping)):
        return tuple(tidy_tree(f"{name}.{i}", part) for i, part in enumerate(value))
    return as_array(name, value)


def as_array(name: str, value: object) -> np.ndarray:
    """Return `value` as an array of numbers.

    Raises:
        ConfigError: it has rows of different lengths, or something that is not a number.
    """
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"`{name}` must be rows of numbers, all of one shape: {error}") from error
    if array.dtype.kind not in "biuf":
        raise ConfigError(f"`{name}` must be numbers; got {array.dtype}")
    return array


def tidy_row(name: str, value: object) -> np.ndarray:
    """Return one number per step [n], also from a column [n, 1]."""
    array = as_array(name, value)
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def tidy_flags(name: str, value: object) -> np.ndarray:
    """Return flags as bool, also where they are 0 and 1 of another type, or a column with one flag per step.

    Raises:
        ConfigError: one is neither 0 nor 1; the message names the first.
    """
    array = as_array(name, value) if name.endswith(".mask") else tidy_row(name, value)
    if array.dtype.kind == "b":
        return array
    if array.ndim:
        bad = np.flatnonzero(((array != 0) & (array != 1)).reshape(len(array), math.prod(array.shape[1:])).any(axis=1))
        if bad.size:
            raise ConfigError(f"row {bad[0]}: {name} is {array[bad[0]]}; a flag must be False or True, or 0 or 1")
    return array.astype(np.bool_)


def tidy_reward(value: object) -> np.ndarray:
    """Return rewards as numbers; flags count as 0 and 1."""
    array = tidy_row("reward", value)
    return array.astype(np.float32) if array.dtype.kind == "b" else array
