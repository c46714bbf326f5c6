"""Plain Python. Literals in Python's form or in JSON's: numbers, true and None, quoted strings, lists and dictionaries.

What looks like one and is none raises a ValueError that shows where.
"""

from __future__ import annotations

import ast
import io
import json
import math
import re
import tokenize
from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

Value: TypeAlias = "bool | int | float | str | list[Value] | tuple[Value, ...] | dict[Value, Value] | None"

CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "none": None, "null": None}
NOT_FINITE = {"nan": "nan", "inf": "inf", "infinity": "inf"}
CLOSING = {")": "(", "]": "[", "}": "{"}
NUMBER = r"0x[0-9a-f_]+|0o[0-7_]+|0b[01_]+|([0-9][0-9_]*\.?[0-9_]*|\.[0-9][0-9_]*)(e[+-]?[0-9_]+)?"
ZEROS = "0[0-9]+"  # a number for neither Python nor JSON: text such as 007, or the end of 1,000
MOST_EXACT = 10**18  # the exponent form is read as an integer up to here


def whole_number(value: object) -> object:
    """An integer for a whole number of any kind (NumPy's, or a float such as 1e5); anything else as it is."""
    if isinstance(value, (bool, np.bool_)):
        return value
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, (float, np.floating)) and float(value).is_integer():
        return int(value)
    return value


def simple(text: str) -> Value:
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
    exact = "." not in digits and abs(number) <= MOST_EXACT and number.is_integer()
    return int(number) if exact else number


def is_constant(part: str) -> bool:
    """Whether a text is a number, a truth value or None."""
    return simple(part) is not part


def literal(text: str) -> Value:
    """A list, tuple, dictionary or quoted string, in JSON's form or in Python's, or in both (`[True, null]`)."""
    try:
        found: Value = json.loads(text, object_pairs_hook=_dictionary, parse_float=simple)
        return found
    except json.JSONDecodeError:
        pass
    except RecursionError as error:
        raise ValueError(f"{text[:20]}... has too many brackets within each other") from error
    check_balance(text)
    try:
        parsed = ast.parse(text, mode="eval").body
        _check_tokens(text)
        return _evaluate(parsed, text)
    except SyntaxError as error:
        raise ValueError(f"{error.msg} {_where(text, (error.offset or 1) - 1)}") from error


def row(text: str, parts: list[str]) -> tuple[Value, ...]:
    """A tuple that is written without brackets."""
    if "" in parts:
        raise ValueError(f"a value is missing {_where(text, _start(parts, parts.index('')))}")
    if bad := [part for part in parts[1:] if re.fullmatch(ZEROS, part)]:
        raise ValueError(f"{bad[0]!r} is not a number of a list; write {text.replace(',', '_')} for one number")
    return tuple(simple(part) for part in parts)


def _evaluate(node: ast.expr, text: str) -> Value:
    """The value of Python's literals, with JSON's names as well."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str | int | float | bool | None):
        source = ast.get_source_segment(text, node) or ""
        return simple(source) if isinstance(node.value, int | float) and is_constant(source) else node.value
    if isinstance(node, ast.Name) and node.id.lower() in CONSTANTS | NOT_FINITE:
        return simple(node.id)
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


def _dictionary(pairs: Sequence[tuple[Value, Value]]) -> dict[Value, Value]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {twice!r} comes twice in {made!r}")
    return made


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


def check_balance(text: str) -> None:
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


def _start(parts: list[str], index: int) -> int:
    return sum(len(part) + 1 for part in parts[:index])


def _where(text: str, position: int) -> str:
    """At which character of the text, of which not more than a line is shown."""
    begin = max(0, position - 60)
    shown = text if len(text) <= 120 else "..." * (begin > 0) + text[begin : position + 60] + "..."
    return f"at character {position + 1} of {shown!r}"
