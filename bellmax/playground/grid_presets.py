"""NumPy. The grids that a page offers to begin with, and how a grid is found by name, file or link."""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

from bellmax.contracts import ConfigError, unknown
from bellmax.mdp.gallery.grids import FOUR_ROOMS
from bellmax.mdp.gallery.mazes import DYNA
from bellmax.playground.edited_grid import LONGEST, Grid, checked_grid, read_json_text


def _rows(text: str, **letters: str) -> tuple[str, ...]:
    rows = text.split()
    for old, new in letters.items():
        rows = [row.replace(old, new) for row in rows]
    return tuple(rows)


def _paying(cells: tuple[str, ...], **pay: float) -> tuple[tuple[int, int, float], ...]:
    """The reward of each letter, at all of its cells."""
    return tuple((i, j, pay[letter]) for i, row in enumerate(cells) for j, letter in enumerate(row) if pay.get(letter))


def _grid(name: str, cells: tuple[str, ...], pay: dict[str, float], **rest: float | str) -> Grid:
    return checked_grid({"name": name, "cells": cells, "rewards": _paying(cells, **pay), **rest})


LAKE = _rows("SFFF FHFH FFFH HFFG", F=".", H="O")
LARGE_LAKE = _rows("SFFFFFFF FFFFFFFF FFFHFFFF FFFFFHFF FFFHFFFF FHHFFFHF FHFFHFHF FFFHFFFG", F=".", H="O")
ROOMS = tuple(row[:9] + "G" + row[10:] if i == 7 else row for i, row in enumerate(FOUR_ROOMS.split()))
BRIDGE = ("#######", "#OOOOO#", "S.....G", "#OOOOO#", "#######")
TWO_GOALS = ("........G", ".###.###.", ".#G...#..", ".#.##.#..", "....S....")

PRESETS: dict[str, Grid] = {
    each.name: each
    for each in (
        _grid("corridor", ("S....G",), {"G": 1.0}),
        _grid("gridworld", ("...G", ".#.O", "S..."), {"G": 1.0, "O": -1.0}, slip=0.2, step_reward=-0.04),
        _grid("cliff", ("." * 12,) * 3 + ("S" + "C" * 10 + "G",), {"C": -99.0}, step_reward=-1.0),
        _grid("frozen-lake", LAKE, {"G": 1.0}, slip=2 / 3),
        _grid("frozen-lake-8x8", LARGE_LAKE, {"G": 1.0}, slip=2 / 3),
        _grid("four-rooms", ROOMS, {"G": 1.0}, slip=1 / 3, slip_to="others"),
        _grid("dyna-maze", _rows(DYNA), {"G": 1.0}),
        _grid("bridge", BRIDGE, {"G": 1.0, "O": -1.0}, slip=0.1, step_reward=-0.01),
        _grid("two-goals", TWO_GOALS, {"G": 1.0}, step_reward=-0.01)._replace(
            rewards=((0, 8, 3.0), (2, 2, 1.0)),
        ),
    )
}  # fmt: skip
OTHER_NAMES = {"FrozenLake-v1": "frozen-lake", "FrozenLake8x8-v1": "frozen-lake-8x8", "CliffWalking-v1": "cliff"}


def find_grid(word: str) -> Grid:
    """The grid of a preset's name, of a JSON file that a page saved, or of a link (all that follows `#w=`).

    Raises:
        ConfigError: there is neither such a name nor such a file, or the grid in it is not valid.
    """
    name = OTHER_NAMES.get(word, word)
    if name in PRESETS:
        return PRESETS[name]
    if "#w=" in word:
        return checked_grid(read_json_text(_decoded(word.partition("#w=")[2])))
    path = Path(word)
    if not word.lower().endswith(".json"):
        raise ConfigError(f"{unknown('grid', word, PRESETS)} A file that the page saved ends in .json")
    try:
        if path.stat().st_size > LONGEST:
            raise ConfigError(f"{path} has {path.stat().st_size:,} bytes; the file of a grid has at most {LONGEST:,}")
        return checked_grid(read_json_text(path.read_bytes().decode()))
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text in UTF-8") from error
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:  # a path with NUL
        raise ConfigError(f"cannot read {word[:80]!r}: {error}") from error


def _decoded(code: str) -> bytes:
    if len(code) > LONGEST:
        raise ConfigError(f"the link has {len(code):,} characters; at most {LONGEST:,} are read")
    try:
        return base64.urlsafe_b64decode(code + "=" * (-len(code) % 4))
    except (binascii.Error, ValueError) as error:
        raise ConfigError(f"what follows #w= in the link is damaged: {error}") from error
