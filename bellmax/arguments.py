"""Plain Python. What public functions are given: numbers of Python or NumPy, and paths as strings or objects."""

from __future__ import annotations

import inspect
import math
import os
from collections.abc import Callable, Iterable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, TypeGuard, TypeVar

import numpy as np

from bellmax.contracts import LONGEST_WORD, ConfigError, listed, nearest, unknown
from bellmax.literals import whole_number

T = TypeVar("T")
FLOAT32, TINY = 3.4028234663852886e38, 1.1754943508222875e-38  # the largest number of float32, and the least above 0
LONGEST_TEXT = 500  # letters of another error in a message
LONGEST_PATH = 4_000  # bytes; systems have 4,096 or more, and a part of at most 255
HIGHEST = 2**62  # of an integer without another bound: sums and products of two still fit in 64 bits
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


def integer(name: str, value: object, low: int = 1, high: int = HIGHEST) -> int:
    """`value` as Python's int; a whole float, such as 1e5, is one.

    Raises:
        ConfigError: it is not an integer from `low` to `high`.
    """
    found = whole_number(value[()] if isinstance(value, np.ndarray) and value.ndim == 0 else value)
    if is_integer(found) and low <= found <= high:
        return int(found)
    kind = {0: "a non-negative integer", 1: "a positive integer", -HIGHEST: "an integer"}.get(
        low, f"an integer of at least {low}"
    )
    if high < HIGHEST or (is_integer(found) and found > high):
        kind = f"an integer from {low} to {high}"
    raise ConfigError(f"`{name}` must be {kind}; got {describe(value)}")


def real(name: str, value: object, low: float = -math.inf, high: float = math.inf) -> float:
    """`value` as Python's float.

    Raises:
        ConfigError: it is not a finite number in [low, high].
    """
    if not (is_number(value) or isinstance(value, Fraction)):
        raise ConfigError(f"`{name}` must be a number; got {describe(value)}")
    try:
        number = float(value)
    except OverflowError:  # an integer of hundreds of digits
        number = math.inf
    if not (low <= number <= high and math.isfinite(number)):
        raise ConfigError(f"{name}={describe(value)} is outside {interval(low, high)}")
    return number


def one_of(name: str, value: object, choices: Iterable[T]) -> T:
    """The one of `choices`, which are strings, that `value` is.

    Raises:
        ConfigError: it is none of them; the message offers the nearest, or all.
    """
    known = list(choices)
    for choice in known:
        if isinstance(value, str) and value == choice:
            return choice
    if isinstance(value, str) and value:
        raise ConfigError(unknown(name, value, map(str, known)))
    raise ConfigError(f"`{name}` must be one of {listed(map(repr, known))}; got {describe(value)}")


def check_callable(name: str, value: object, call: str, *, optional: bool = True) -> None:
    """Refuse what cannot be called where a function is expected, which `call` shows.

    Raises:
        ConfigError: it cannot be called, nor is it None where it is `optional`.
    """
    if not callable(value) and not (value is None and optional):
        wanted = f"a function, called as {call}{', or None' * optional}"
        raise ConfigError(f"`{name}` must be {wanted}; got {describe(value)}")


def check_flag(name: str, value: object) -> None:
    """Refuse what is neither None, True nor False.

    Raises:
        ConfigError: it is something else.
    """
    if value is not None and not isinstance(value, bool):
        raise ConfigError(f"`{name}` must be True, False or None; got {describe(value)}")


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
    if isinstance(value, int) and abs(value) >= 10**LONGEST_WORD:
        return f"an integer of about {int(math.log10(abs(value)))} digits"
    if value is None or isinstance(value, str | int | float | bool | np.generic | os.PathLike):
        text = repr(value) if not isinstance(value, os.PathLike) else repr(os.fspath(value))
        return text if len(text) <= LONGEST_WORD else f"{text[: LONGEST_WORD - 3]}..."
    if isinstance(value, np.ndarray):
        return f"an array of {value.dtype} {list(value.shape)}" if value.size > 8 else f"array {value.tolist()}"
    if isinstance(value, list | tuple | dict | Fraction) and len(text := _short(value)) <= LONGEST_WORD:
        return text
    if isinstance(value, type):
        return f"the class {value.__name__}"
    kind = type(value).__name__
    return f"{'an' if kind[:1] in 'AEIOaeio' else 'a'} {kind}"


def brief(error: Exception) -> str:
    """What an error of another library says, of which a message has room for a few lines."""
    text = str(error)
    return text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}..."


def _short(value: object) -> str:
    """The repr of a container; too long a text if what it holds has none, such as an integer of 5,000 digits."""
    try:
        return repr(value)
    except Exception:  # of what a container holds
        return "." * (LONGEST_WORD + 1)


def outside(number: float, low: float, high: float, whole: bool) -> str:
    """Why a number is not a valid setting, "" if it is one.

    An open end is that of int32 for `whole` settings and of float32 for others, as networks count and compute in these.
    """
    if isinstance(number, bool):
        return ""
    least, most = (-(2**31), 2**31 - 1) if whole else (-FLOAT32, FLOAT32)
    if not low <= number <= high:  # NaN never is
        return f"is outside {interval(low, high)}"
    if not least <= number <= most:
        return f"is outside {interval(max(low, least), min(high, most))}"
    return "would be 0 in float32; write 0 if that is meant" if 0 < abs(number) < TINY else ""


def interval(low: float, high: float) -> str:
    """A closed range in words; an end at infinity is open."""
    left = "(-inf" if low == -math.inf else f"[{_end(low)}"
    right = "inf)" if high == math.inf else f"{_end(high)}]"
    return f"{left}, {right}"


def _end(number: float) -> str:
    return str(number) if isinstance(number, int) else f"{number:g}"


def path_of(name: str, value: object) -> Path:
    """`value` as a Path, with `~` and `~user` expanded.

    Raises:
        ConfigError: it is not a path, is empty, or is longer than one can be.
    """
    if not isinstance(value, str | os.PathLike) or isinstance(os.fspath(value), bytes):
        raise ConfigError(f"`{name}` must be a path; got {describe(value)}")
    if not os.fspath(value):
        raise ConfigError(f"`{name}` must be a path; got an empty string")
    text = os.fspath(value)
    longest = max(Path(text).parts, key=len, default="")  # "." has no parts
    if "\0" in text or len(os.fsencode(text)) > LONGEST_PATH or len(os.fsencode(longest)) > 255:
        raise ConfigError(f"`{name}` is too long for a path, or has a NUL in it: {describe(text)}")
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
