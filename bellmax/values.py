"""Plain Python. The one reader of values that people write: KEY=VALUE on the command line, numbers in calls.

A value is a number (1e5 and 1_000 are integers), true or false, None or null, a list, tuple or dictionary in Python's
or JSON's form, a quoted string, or else the text as it stands. What looks like Python or JSON and is neither, or could
mean two things, is an error.
"""

from __future__ import annotations

import ast
import io
import json
import math
import re
import tokenize
import types
import typing
import unicodedata
from collections.abc import Sequence
from typing import Any

import numpy as np

from bellmax.contracts import ConfigError

CONSTANTS: dict[str, Any] = {"true": True, "false": False, "none": None, "null": None}
NOT_FINITE = {"nan": "nan", "inf": "inf", "infinity": "inf"}
DOUBTFUL = {"yes": "true", "on": "true", "no": "false", "off": "false"}
CLOSING = {")": "(", "]": "[", "}": "{"}
NUMBER = r"0x[0-9a-f_]+|0o[0-7_]+|0b[01_]+|([0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(e[+-]?[0-9_]+)?"
ZEROS = "0[0-9]+"  # a number for neither Python nor JSON: text such as 007, or the end of 1,000
# what Python would compute or call (1j, 2**3, 10%, b"x", np.inf, range(3), lambda: 1), and 1 000
COMPUTED = (
    r"[+-]?[0-9][0-9_.]*j|0[box][0-9a-f_]+|[+-]{2,}[0-9.]+|not (?:true|false)|"
    r"[+-]?[0-9][0-9_.]* *(\*\*|//|%) *[0-9_.]*|[+-]?[0-9]+( [0-9]{3})+|[bfru]{1,2}([\"']).*\3|"
    r"(np|numpy|jnp|math)\.\w+|[a-z_][\w.]*\(.*\)|lambda\b.*:.*"
)
MOST_EXACT = 10**18  # the exponent form is read as an integer up to here


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


def read_values(words: Sequence[str], what: str) -> dict[str, Any]:
    """{"key": value} of words like key=value, each value read by what it looks like.

    Raises:
        ConfigError: as `read_pairs`; or a value looks like Python or JSON and is neither.
    """
    read = {}
    for key, text in read_pairs(words, what).items():
        try:
            read[key] = read_value(text)
        except ValueError as error:
            raise ConfigError(f"{what} {key}={text}: {error}") from error
    return read


def read_value(text: str) -> Any:
    """What `text` means where no type is known.

    Raises:
        ValueError: it looks like Python or JSON and is neither, or could mean two things; the message shows where.
    """
    text = text.strip()
    if (simple := _simple(text)) is not text:
        return simple
    if text.lower() in DOUBTFUL:
        meant = DOUBTFUL[text.lower()]
        raise ValueError(f"{text!r} could be a string or {meant}; write {meant}, or '\"{text}\"' for the string")
    if text[:1] in tuple("([{\"'"):
        return _literal(text)
    parts = [part.strip() for part in text.split(",")]
    if len(parts) > 1 and all(_is_constant(part) or re.fullmatch(ZEROS, part) for part in parts if part):
        return _row(text, parts)
    if re.fullmatch(r"[+-]?[0-9_]*_[0-9_]*", text) and any(letter.isdigit() for letter in text):
        raise ValueError(f"{text!r} has an underscore in the wrong place; write 1_000, or quotes around a string")
    _check_balance(text)
    if not text.isascii() and (_is_constant(plain := _plain(text)) or all(map(_is_constant, plain.split(",")))):
        raise ValueError(f"{text!r} looks like {plain} in other letters; write {plain}, or quotes around a string")
    if re.fullmatch(COMPUTED, text, re.IGNORECASE | re.DOTALL):
        raise ValueError(
            f"{text!r} looks like Python, and only values are read; write the value itself, such as 1000, 0.1, inf or "
            f"[0, 1, 2], or {json.dumps(text)!r} for the string"
        )
    return text


def read_as(value: Any, kind: Any) -> Any:
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
        return whole(value)
    return value.item() if isinstance(value, np.number | np.bool_) else value


def whole(value: Any) -> Any:
    """An integer for a whole number of any kind (NumPy's, or a float such as 1e5); anything else as it is."""
    if isinstance(value, (bool, np.bool_)):
        return value
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return int(value)
    return value


def _as_one_of(value: Any, kinds: tuple[Any, ...]) -> Any:
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


def _as_tuple(value: Any, item: Any) -> Any:
    if isinstance(value, str):
        text = value.strip()
        if text in ("", "()", "[]"):
            return ()
        read = _literal(text) if text[0] in "([{\"'" else _row(text, [part.strip() for part in text.split(",")])
        value = read if isinstance(read, list | tuple) else (read,)
    if isinstance(value, np.ndarray):
        value = value.tolist()
    try:
        return tuple(read_as(part, item) for part in value) if isinstance(value, list | tuple) else value
    except ValueError as error:
        raise ValueError(f"{error}; for several, 64,64 or [64,64]") from error


def _text_as(text: str, kind: Any) -> Any:
    """Text as one number, truth value or string."""
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError("write true or false")
        return text.lower() == "true"
    if kind is int:
        number = _simple(text)
        read = whole(number)
        if isinstance(read, bool) or not isinstance(read, int):
            raise ValueError("write an integer, such as 5, 1_000 or 1e5")
        return read
    if kind is float:
        number = _simple(text)
        if isinstance(number, bool) or not isinstance(number, int | float):
            raise ValueError("write a number, such as 0.5, 1e-3 or 2")
        return float(number)
    if text[:1] in tuple("\"'"):
        return _literal(text)
    _check_balance(text)
    return text


def _simple(text: str) -> Any:
    """A number, a truth value or None; `text` itself if it is none of them."""
    lower = text.lower()
    if lower in CONSTANTS:
        return CONSTANTS[lower]
    sign, digits = (lower[0], lower[1:]) if lower[:1] in ("+", "-") else ("", lower)
    if digits in NOT_FINITE:
        return float(sign + NOT_FINITE[digits])
    if not re.fullmatch(NUMBER, digits) or re.fullmatch(ZEROS, digits):
        return text
    try:
        if digits[:2] in ("0x", "0o", "0b"):
            return int(lower, 0)
        if re.fullmatch(r"[0-9_]+", digits):
            return int(lower)
        number = float(lower)
    except ValueError:  # an underscore in the wrong place
        return text
    if number in (math.inf, -math.inf):
        raise ValueError(f"{text} is beyond the largest number, 1.8e308")
    return whole(number) if "." not in digits and abs(number) <= MOST_EXACT else number


def _plain(text: str) -> str:
    """Text as a keyboard would write it: minus signs, commas and digits of other scripts, without marks not seen."""
    kept = (each for each in unicodedata.normalize("NFKC", text) if unicodedata.category(each) != "Cf")
    letters = (str(unicodedata.decimal(each, each)) for each in kept)
    return "".join(letters).translate(str.maketrans("−–—‐‑", "-----", "“”‘’"))


def _is_constant(part: str) -> bool:
    return _simple(part) is not part


def _row(text: str, parts: list[str]) -> tuple[Any, ...]:
    """A tuple that is written without brackets."""
    if "" in parts:
        raise ValueError(f"a value is missing {_where(text, _start(parts, parts.index('')))}")
    if bad := [part for part in parts[1:] if re.fullmatch(ZEROS, part)]:
        raise ValueError(f"{bad[0]!r} is not a number of a list; write {text.replace(',', '_')} for one number")
    return tuple(_simple(part) for part in parts)


def _start(parts: list[str], index: int) -> int:
    return sum(len(part) + 1 for part in parts[:index])


def _where(text: str, position: int) -> str:
    """At which character of the text, of which not more than a line is shown."""
    begin = max(0, position - 60)
    shown = text if len(text) <= 120 else "..." * (begin > 0) + text[begin : position + 60] + "..."
    return f"at character {position + 1} of {shown!r}"


def _literal(text: str) -> Any:
    """A list, tuple, dictionary or quoted string, in JSON's form or in Python's, or in both (`[True, null]`)."""
    try:
        return json.loads(text, object_pairs_hook=_dictionary, parse_float=_simple)
    except json.JSONDecodeError:
        pass
    except RecursionError as error:
        raise ValueError(f"{text[:20]}... has too many brackets within each other") from error
    _check_balance(text)
    try:
        parsed = ast.parse(text, mode="eval").body
        _check_tokens(text)
        return _evaluate(parsed, text)
    except SyntaxError as error:
        raise ValueError(f"{error.msg} {_where(text, (error.offset or 1) - 1)}") from error


def _check_tokens(text: str) -> None:
    """Refuse what Python would drop or join without a word: comments, and strings that follow one another."""
    before = None
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        line, column = token.start
        begin = sum(map(len, text.splitlines(keepends=True)[: line - 1])) + column
        if token.type == tokenize.COMMENT:
            raise ValueError(f"text follows the value {_where(text, begin)}; leave it out")
        if token.type == tokenize.STRING and before == tokenize.STRING:
            raise ValueError(f"a comma is missing between two strings {_where(text, begin)}")
        if token.type != tokenize.NL:
            before = token.type


def _dictionary(pairs: Sequence[tuple[Any, Any]]) -> dict[Any, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} comes twice in {made!r}")
    return made


def _evaluate(node: ast.expr, text: str) -> Any:
    """The value of Python's literals, with JSON's names as well."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | bool | None):
        source = ast.get_source_segment(text, node) or ""
        return _simple(source) if isinstance(node.value, int | float) and _is_constant(source) else node.value
    if isinstance(node, ast.Name) and node.id.lower() in CONSTANTS | NOT_FINITE:
        return _simple(node.id)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.UAdd):
        number = _evaluate(node.operand, text)
        if isinstance(number, int | float) and not isinstance(number, bool):
            return -number if isinstance(node.op, ast.USub) else number
    if isinstance(node, ast.List):
        return [_evaluate(item, text) for item in node.elts]
    if isinstance(node, ast.Tuple):
        return tuple(_evaluate(item, text) for item in node.elts)
    if isinstance(node, ast.Dict) and None not in node.keys:
        keys = [_evaluate(key, text) for key in node.keys if key is not None]
        if all(isinstance(key, str | int | float | None) for key in keys):
            return _dictionary(list(zip(keys, (_evaluate(item, text) for item in node.values), strict=True)))
    source = ast.get_source_segment(text, node) or text
    quoted = f"; put quotes around a string: {source!r}" if isinstance(node, ast.Name) else ""
    raise ValueError(f"{source!r} is not a value {_where(text, node.col_offset)}{quoted}")


def _check_balance(text: str) -> None:
    """Refuse brackets and quotes that are opened and not closed, or closed and not opened."""
    opened: list[tuple[str, int]] = []
    quote, begin, skip = "", 0, False
    starts_value = text[:1] in tuple("([{\"'")
    for i, letter in enumerate(text):
        if skip:
            skip = False
        elif quote:
            skip = letter == "\\"
            quote = "" if letter == quote else quote
        elif letter == '"' or (letter == "'" and starts_value):  # an apostrophe is a letter of plain text
            quote, begin = letter, i
        elif letter in "([{":
            opened.append((letter, i))
        elif letter in CLOSING and (not opened or opened.pop()[0] != CLOSING[letter]):
            raise ValueError(f"{letter!r} closes nothing {_where(text, i)}; put a plain string into quotes")
    if quote:
        raise ValueError(f"the quote is not closed that opens {_where(text, begin)}")
    if opened:
        letter, i = opened[-1]
        raise ValueError(f"{letter!r} is not closed {_where(text, i)}")
