"""NumPy. Data as people have them: lists, flags as numbers, columns; read where nothing is lost, else refused."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from bellmax.contracts import ConfigError, Masked


def tidy_tree(name: str, value: Any) -> Any:
    """Observations as arrays: a tuple, `Masked` or dictionary of parts keeps its form.

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


def as_array(name: str, value: Any) -> Any:
    """`value` as an array.

    Raises:
        ConfigError: it has rows of different lengths, or something that is not a number.
    """
    try:
        array = np.asarray(value)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{name}: its rows are not of one shape, or are not numbers: {error}") from error
    if array.dtype.kind not in "biuf":
        raise ConfigError(f"{name} is {array.dtype}; give numbers")
    return array


def tidy_row(name: str, value: Any) -> Any:
    """One number per step [n]; also of a column [n, 1]."""
    array = as_array(name, value)
    return array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array


def tidy_flags(name: str, value: Any) -> Any:
    """Flags as bool, also where they are 0 and 1 of another type; a column only where there is one flag per step.

    Raises:
        ConfigError: one is neither 0 nor 1; the message names the first.
    """
    array = as_array(name, value) if name.endswith(".mask") else tidy_row(name, value)
    if array.dtype.kind == "b":
        return array
    bad: Any = np.flatnonzero(((array != 0) & (array != 1)).reshape(len(array), -1).any(axis=1)) if array.ndim else []
    if len(bad):
        raise ConfigError(f"row {bad[0]}: {name} is {array[bad[0]]}; a flag is False or True, or 0 or 1")
    return array.astype(np.bool_)


def tidy_reward(value: Any) -> Any:
    """Rewards as numbers; flags count as 0 and 1."""
    array = tidy_row("reward", value)
    return array.astype(np.float32) if array.dtype.kind == "b" else array
