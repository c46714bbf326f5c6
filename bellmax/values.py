"""Plain Python. The one reader of values that people write: KEY=VALUE on the command line, numbers in calls.

A value is a number (1e5 and 1_000 are integers), true or false, None or null, a list, tuple or dictionary in Python's
or JSON's form, a quoted string, or else the text as it stands. What looks like Python or JSON and is neither, or could
mean two things, is an error.
"""

from __future__ import annotations

import json
import re
import types
import typing
import unicodedata
from collections.abc import Sequence

import numpy as np

from bellmax.contracts import ConfigError
from bellmax.literals import ZEROS, Value, check_balance, is_constant, literal, row, simple, whole_number

DOUBTFUL = {"yes": "true", "on": "true", "no": "false", "off": "false"}
# what Python would compute or call (1j, 2**3, 10%, b"x", np.inf, range(3), lambda: 1), and 1 000
COMPUTED = (
    r"[+-]?[0-9][0-9_.]*j|0[box][0-9a-f_]+|[+-]{2,}[0-9.]+|not (?:true|false)|"
    r"[+-]?[0-9][0-9_.]* *(\*\*|//|%) *[0-9_.]*|[+-]?[0-9]+( [0-9]{3})+|[bfru]{1,2}([\"']).*\3|"
    r"(np|numpy|jnp|math)\.\w+|[a-z_][\w.]*\(.*\)|lambda\b.*:.*"
)


def read_pairs(words: Sequence[str], what: str) -> dict[str, str]:
    """{"key": "value"} of words like key=value.

    Raises:
        ConfigError: a word has no = or no key, or a key comes twice.
    """
    pairs: dict[str, str] = {}
    for word in words:
        key, equals, text = word.partition("=")
        if not key or not equals:
            raise ConfigError(f"{what} {word!r} is not of the form key=value")
        if key in pairs:
            raise ConfigError(f"{what} {key} is given twice: {pairs[key]!r} and {text!r}")
        pairs[key] = text
    return pairs


def read_values(words: Sequence[str], what: str) -> dict[str, Value]:
    """{"key": value} of words like key=value, each value read by what it looks like.

    Raises:
        ConfigError: as `read_pairs`; or a value looks like Python or JSON and is neither.
    """
    read: dict[str, Value] = {}
    for key, text in read_pairs(words, what).items():
        try:
            read[key] = read_value(text)
        except ValueError as error:
            raise ConfigError(f"{what} {key}={text}: {error}") from error
    return read


def read_value(text: str) -> Value:
    """What `text` means where no type is known.

    Raises:
        ValueError: it looks like Python or JSON and is neither, or could mean two things; the message shows where.
    """
    text = text.strip()
    if (constant := simple(text)) is not text:
        return constant
    if text.lower() in DOUBTFUL:
        meant = DOUBTFUL[text.lower()]
        raise ValueError(f"{text!r} could be a string or {meant}; write {meant}, or '\"{text}\"' for the string")
    if text[:1] in tuple("([{\"'"):
        return literal(text)
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 1 and all(is_constant(part) or re.fullmatch(ZEROS, part) for part in parts if part):
        return row(text, parts)
    if re.fullmatch(r"[+-]?[0-9_]*_[0-9_]*", text) and any(letter.isdigit() for letter in text):
        raise ValueError(f"{text!r} has an underscore in the wrong place; write 1_000, or quotes around a string")
    check_balance(text)
    if not text.isascii() and (is_constant(plain := _plain(text)) or all(map(is_constant, plain.split(",")))):
        raise ValueError(f"{text!r} looks like {plain} in other letters; write {plain}, or quotes around a string")
    if re.fullmatch(COMPUTED, text, re.IGNORECASE | re.DOTALL):
        raise ValueError(
            f"{text!r} looks like Python, and only values are read; write the value itself, such as 1000, 0.1, inf or "
            f"[0, 1, 2], or {json.dumps(text)!r} for the string"
        )
    return text


def read_as(value: object, kind: object) -> object:
    """`value` as `kind` (int, float, bool, str, a tuple of one of them, or one of them or None).

    Text is read; a number may be of NumPy, and a whole one may be written as a float; a list may stand for a tuple.
    What does not fit is returned as it is.

    Raises:
        ValueError: text that cannot be read as `kind`.
    """
    if isinstance(kind, types.UnionType) or typing.get_origin(kind) is typing.Union:
        return _as_one_of(value, typing.get_args(kind))
    if typing.get_origin(kind) is tuple:
        return _as_tuple(value, typing.get_args(kind)[0])
    if isinstance(value, str):
        return _text_as(value.strip(), kind)
    if isinstance(value, np.ndarray) and value.ndim == 0:
        value = value[()]
    if kind is int:
        return whole_number(value)
    return value.item() if isinstance(value, np.number | np.bool_) else value


def _as_one_of(value: object, kinds: tuple[object, ...]) -> object:
    """`value` as the first of `kinds` that fits; None only where it is one of them."""
    if isinstance(value, str) and value.strip().lower() in ("none", "null") and type(None) in kinds:
        return None
    problem = None
    for kind in (kind for kind in kinds if kind is not type(None)):
        try:
            return read_as(value, kind)
        except ValueError as error:
            problem = error
    if problem is not None:
        raise problem
    return value


def _as_tuple(value: object, item: object) -> object:
    if isinstance(value, str):
        text = value.strip()
        if text in ("", "()", "[]"):
            return ()
        read = literal(text) if text[0] in "([{\"'" else row(text, [part.strip() for part in text.split(",")])
        value = read if isinstance(read, list | tuple) else (read,)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    try:
        return tuple(read_as(part, item) for part in value) if isinstance(value, list | tuple) else value
    except ValueError as error:
        raise ValueError(f"{error}; for several, 64,64 or [64,64]") from error


def _text_as(text: str, kind: object) -> Value:
    """Text as one number, truth value or string."""
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError("write true or false")
        return text.lower() == "true"
    if kind is int:
        number = simple(text)
        read = whole_number(number)
        if isinstance(read, bool) or not isinstance(read, int):
            raise ValueError("write an integer, such as 5, 1_000 or 1e5")
        return read
    if kind is float:
        number = simple(text)
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise ValueError("write a number, such as 0.5, 1e-3 or 2")
        return float(number)
    if text[:1] in tuple("\"'"):
        return literal(text)
    check_balance(text)
    return text


def _plain(text: str) -> str:
    """Text as a keyboard would write it: minus signs, commas and digits of other scripts, without marks not seen."""
    kept = (each for each in unicodedata.normalize("NFKC", text) if unicodedata.category(each) != "Cf")
    letters = (str(unicodedata.decimal(each, each)) for each in kept)
    return "".join(letters).translate(str.maketrans("−–—‐‑", "-----", "“”‘’"))
