"""Plain Python. What public functions are given: numbers of Python or NumPy, and paths as strings or objects."""

from __future__ import annotations

import math
import os
from pathlib import Path
from typing import Any

import numpy as np

from bellmax.types import ConfigError
from bellmax.values import whole


def is_integer(value: Any) -> bool:
    """Whether it is an integer of Python or NumPy, also an array without axes; a bool is not one."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether it is an integer or a float of Python or NumPy, also an array without axes; a bool is not one."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    return is_integer(value) or isinstance(value, float | np.floating)


def integer(name: str, value: Any, low: int = 1, high: int = 2**62) -> int:
    """`value` as Python's int; a whole float, such as 1e5, is one.

    Raises:
        ConfigError: it is not an integer from `low` to `high`.
    """
    found = whole(value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value)
    if is_integer(found) and low <= found <= high:
        return int(found)
    kind = {0: "a non-negative integer", 1: "a positive integer"}.get(low, f"an integer of at least {low}")
    if high < 2**62:
        kind = f"an integer from {low} to {high}"
    raise ConfigError(f"`{name}` must be {kind}; got {value!r}")


def real(name: str, value: Any, low: float = -math.inf, high: float = math.inf) -> float:
    """`value` as Python's float.

    Raises:
        ConfigError: it is not a finite number in [low, high].
    """
    if not is_number(value):
        raise ConfigError(f"`{name}` must be a number; got {value!r}")
    number = float(value)
    if not (low <= number <= high and math.isfinite(number)):
        raise ConfigError(f"{name}={number!r} is outside {interval(low, high)}")
    return number


def interval(low: float, high: float) -> str:
    """A closed range in words; an end at infinity is open."""
    left = "(-inf" if low == -math.inf else f"[{low:g}"
    right = "inf)" if high == math.inf else f"{high:g}]"
    return f"{left}, {right}"


def path_of(name: str, value: Any) -> Path:
    """`value` as a Path, with `~` and `~user` expanded.

    Raises:
        ConfigError: it is not a path, or it is empty.
    """
    if not isinstance(value, str | os.PathLike) or isinstance(os.fspath(value), bytes):
        raise ConfigError(f"`{name}` must be a path; got {value!r}")
    if not os.fspath(value):
        raise ConfigError(f"`{name}` must be a path; got an empty string")
    try:
        return Path(value).expanduser()
    except RuntimeError as error:  # of a user who does not exist
        raise ConfigError(f"`{name}`: {os.fspath(value)!r}: {error}") from error
