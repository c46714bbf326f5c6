"""Plain Python. What public functions are given: numbers of Python or NumPy, and paths as strings or objects."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeGuard

import numpy as np

from bellmax.contracts import ConfigError, nearest
from bellmax.literals import whole_number

STEPS_MEANT = {"n_steps": "steps"}  # what other libraries call an argument, for `check_call`


def is_integer(value: object) -> TypeGuard[int]:
    """Whether it is an integer of Python or NumPy, also an array without axes; a bool is not one."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def is_number(value: object) -> TypeGuard[float]:
    """Whether it is an integer or a float of Python or NumPy, also an array without axes; a bool is not one."""
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    return is_integer(value) or isinstance(value, float | np.floating)


def integer(name: str, value: object, low: int = 1, high: int = 2**62) -> int:
    """`value` as Python's int; a whole float, such as 1e5, is one.

    Raises:
        ConfigError: it is not an integer from `low` to `high`.
    """
    found = whole_number(value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value)
    if is_integer(found) and low <= found <= high:
        return int(found)
    kind = {0: "a non-negative integer", 1: "a positive integer"}.get(low, f"an integer of at least {low}")
    if high < 2**62:
        kind = f"an integer from {low} to {high}"
    raise ConfigError(f"`{name}` must be {kind}; got {describe(value)}")


def real(name: str, value: object, low: float = -math.inf, high: float = math.inf) -> float:
    """`value` as Python's float.

    Raises:
        ConfigError: it is not a finite number in [low, high].
    """
    if not (is_number(value) or isinstance(value, Fraction)):
        raise ConfigError(f"`{name}` must be a number; got {describe(value)}")
    number = float(value)
    if not (low <= number <= high and math.isfinite(number)):
        raise ConfigError(f"{name}={number!r} is outside {interval(low, high)}")
    return number


def keywords(name: str, value: object) -> dict[str, Any]:
    """A dictionary of arguments by name, copied, NumPy's numbers as Python's; None is none.

    Raises:
        ConfigError: it is not one.
    """
    if value is None:
        return {}
    if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
        raise ConfigError(f"`{name}` must be a dictionary of arguments by name; got {describe(value)}")
    return {key: _of_python(each) for key, each in value.items()}


def _of_python(value: object) -> object:
    """NumPy's numbers, also within lists, tuples and dictionaries, as Python's; anything else as it is."""
    if isinstance(value, np.number | np.bool_):
        return value.item()
    if type(value) is list:
        return [_of_python(each) for each in value]
    if type(value) is tuple:
        return tuple(_of_python(each) for each in value)
    return {key: _of_python(each) for key, each in value.items()} if type(value) is dict else value


def describe(value: object) -> str:
    """A value in a few words, for messages: itself if that is short, else its type."""
    if value is None or isinstance(value, str | int | float | bool | np.generic | os.PathLike):
        text = repr(value) if not isinstance(value, os.PathLike) else repr(os.fspath(value))
        return text if len(text) <= 80 else f"{text[:77]}..."
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} {list(value.shape)}" if value.size > 8 else f"array {value.tolist()}"
    if isinstance(value, list | tuple | dict) and len(repr(value)) <= 80:
        return repr(value)
    if isinstance(value, type):
        return f"the class {value.__name__}"
    kind = type(value).__name__
    return f"{'an' if kind[:1] in 'AEIOaeio' else 'a'} {kind}"


def interval(low: float, high: float) -> str:
    """A closed range in words; an end at infinity is open."""
    left = "(-inf" if low == -math.inf else f"[{low:g}"
    right = "inf)" if high == math.inf else f"{high:g}]"
    return f"{left}, {right}"


def path_of(name: str, value: object) -> Path:
    """`value` as a Path, with `~` and `~user` expanded.

    Raises:
        ConfigError: it is not a path, or it is empty.
    """
    if not isinstance(value, str | os.PathLike) or isinstance(os.fspath(value), bytes):
        raise ConfigError(f"`{name}` must be a path; got {describe(value)}")
    if not os.fspath(value):
        raise ConfigError(f"`{name}` must be a path; got an empty string")
    try:
        return Path(value).expanduser()
    except RuntimeError as error:  # of a user who does not exist
        raise ConfigError(f"`{name}`: {os.fspath(value)!r}: {error}") from error


def check_call(
    function: Callable[..., object],
    third: str,
    misplaced: tuple[object, ...],
    unknown_names: Mapping[str, object],
    others: Mapping[str, str],
    unnamed: str = "two arguments without a name, the policy and the environment",
) -> None:
    """Refuse more arguments without a name than there are, and names that the function does not have.

    Args:
        function: the function that was called.
        third: what is probably meant by the first of `misplaced`.
        misplaced: the arguments without a name that are too many.
        unknown_names: those with a name that the function does not have.
        others: words of other libraries, and what is meant here.
        unnamed: which arguments may come without a name.

    Raises:
        ConfigError: says what to write.
    """
    call = function.__name__
    if misplaced:
        raise ConfigError(f"{call} has {unnamed}; write {third}={describe(misplaced[0])}")
    for name, value in unknown_names.items():
        if name in others:
            raise ConfigError(f"{call} has no argument {name!r}; write {others[name]}={describe(value)}")
        if name == "deterministic":
            raise ConfigError(f"{call} has no argument 'deterministic': it always acts greedily; leave it out")
        near = nearest(name, set(inspect.signature(function).parameters) - {"misplaced", "unknown_names"}, 0.7)
        remedy = f"did you mean {near!r}?" if near else f"`help(bellmax.{call})` lists them"
        raise ConfigError(f"{call} has no argument {name!r}; {remedy}")
