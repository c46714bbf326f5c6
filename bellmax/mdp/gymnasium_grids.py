"""NumPy. Where the states of Gymnasium's environments with a transition table lie on a map."""

from __future__ import annotations

from typing import Any

import numpy as np

from bellmax.arguments import is_integer
from bellmax.mdp.layout import LETTERS, Kinds, Layout, grid_of

KINDS = {**LETTERS, "H": "hole", "C": "cliff"}
STOPS = {"R": "red", "G": "green", "Y": "yellow", "B": "blue"}


def gymnasium_grid(world: object, n_states: int) -> Layout | None:
    """The map of an environment without its wrappers, if it has S states on one; None otherwise.

    Known are Taxi, CliffWalking, and any environment with a map in letters, `desc`, as FrozenLake has, or with a
    `shape` (rows, columns) of its states in reading order.
    """
    kind = type(world).__name__
    try:
        if kind == "TaxiEnv" and n_states == 500:
            return _taxi(world)
        letters = _letters(getattr(world, "desc", None))
        if letters is not None and letters.size == n_states:
            words = [KINDS.get(letter, letter if letter.strip() else "free") for letter in letters.ravel()]
            rows, columns = letters.shape
            return Layout(rows, columns, np.arange(n_states), np.array(words).reshape(rows, columns))
        shape = getattr(world, "shape", None)
        if isinstance(shape, tuple) and len(shape) == 2 and all(map(is_integer, shape)):
            rows, columns = map(int, shape)
            if rows > 0 and rows * columns == n_states:
                return grid_of(rows, columns, _cliff_kinds(world, n_states) if kind == "CliffWalkingEnv" else {})
    except (ValueError, TypeError, AttributeError, LookupError):  # the parts of an environment may be anything
        pass
    return None


def _letters(desc: object) -> Kinds | None:
    """A map [rows, columns] of letters, from an array of bytes or of letters, or a list of rows."""
    if isinstance(desc, np.ndarray) and desc.ndim == 2 and desc.dtype.kind in "SU":
        return np.char.decode(desc, "utf-8") if desc.dtype.kind == "S" else desc
    if isinstance(desc, list | tuple) and desc and all(isinstance(row, str) for row in desc):
        letters = np.array([list(row) for row in desc])
        return letters if letters.ndim == 2 else None
    return None


def _cliff_kinds(world: Any, n_states: int) -> dict[int, str]:
    kinds = {int(cell): "cliff" for cell in np.flatnonzero(np.asarray(world._cliff).ravel())}
    return {**kinds, int(world.start_state_index): "start", n_states - 1: "goal"}


def _taxi(world: Any) -> Layout:
    """A panel for each place of the passenger and each destination; state ((row 5 + column) 5 + place) 4 + goal."""
    cell, rest = np.divmod(np.arange(500), 20)
    letters = [letter.decode() for letter in (world.desc[1 + row, 1 + 2 * column] for row, column in world.locs)]
    places = [*(f"at {letter}" for letter in letters), "in the taxi"]
    panels = tuple(f"passenger {place}, to {letter}" for place in places for letter in letters)
    stops = {row * 5 + column: STOPS.get(letter, letter) for (row, column), letter in zip(
        world.locs, letters, strict=True)}  # fmt: skip
    fences = [
        (row * 5 + column, row * 5 + column + 1)
        for row in range(5)
        for column in range(4)
        if world.desc[1 + row, 2 * column + 2] != b":"
    ]
    kinds = grid_of(5, 5, stops).kinds
    return Layout(5, 5, cell, kinds, (), rest, panels, np.array(fences, np.int64).reshape(-1, 2))
