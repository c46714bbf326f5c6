"""NumPy. Where the states of a finite model lie on a map, so that it can be drawn."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import numpy.typing as npt

from bellmax.arguments import describe, integer
from bellmax.contracts import BoolArray, ConfigError, FloatArray, IntArray
from bellmax.mdp.outcomes import Outcomes, reachable

Direction: TypeAlias = tuple[int, int]
Kinds: TypeAlias = npt.NDArray[np.str_]

LETTERS = {"#": "wall", ".": "free", "F": "free", "S": "start", "G": "goal", "O": "pit", "H": "pit"}
MOST_CELLS = 10**8
SPARSE = 20  # times as many cells as states, and the names of the states are not places
CLEAR = 0.6  # the share of an action's moves that must have one direction, to be that of the action
_NORTH, _EAST, _SOUTH, _WEST = (-1, 0), (0, 1), (1, 0), (0, -1)
DIRECTION_OF = {
    "up": _NORTH, "north": _NORTH, "right": _EAST, "east": _EAST, "down": _SOUTH, "south": _SOUTH, "left": _WEST,
    "west": _WEST, "up-left": (-1, -1), "northwest": (-1, -1), "up-right": (-1, 1), "northeast": (-1, 1),
    "down-right": (1, 1), "southeast": (1, 1), "down-left": (1, -1), "southwest": (1, -1),
}  # fmt: skip


class Layout(NamedTuple):
    """Where each of S states is drawn.

    A model may have several maps of one shape, the panels: those of Taxi are the places of passenger and destination.
    No two states are in one cell of one panel.

    Attributes:
        rows, columns: of a map, from the top and from the left.
        cell: [S] int64, the cell `row * columns + column` of each state; -1 for a state that is not drawn.
        kinds: [rows, columns] words: "free", "wall", "start", "goal", "pit", "end", or any other. All but the first
            two are drawn as a letter, the first of the word.
        arrows: [A] the direction (row, column) of each action, such as (-1, 0) for up; None for an action without one.
            Left out, they follow from the names of the actions, or else from where most outcomes lead.
        panel: [S] int64, the panel of each state; left out, zeros.
        panels: their names.
        fences: [F, 2] int64, pairs of adjacent cells with a wall between them.
    """

    rows: int
    columns: int
    cell: IntArray
    kinds: Kinds
    arrows: tuple[Direction | None, ...] = ()
    panel: IntArray = np.zeros(0, np.int64)
    panels: tuple[str, ...] = ("",)
    fences: IntArray = np.zeros((0, 2), np.int64)


Grid: TypeAlias = Layout | tuple[int, int] | str


class Placed(Outcomes, Protocol):
    """A model that may know where its states are."""

    @property
    def grid(self) -> Layout | None:
        """Its layout."""


def grid_of(
    rows: int,
    columns: int,
    kinds: Mapping[int, str] | None = None,
    *,
    n_states: int | None = None,
    arrows: tuple[Direction | None, ...] = (),
) -> Layout:
    """The layout of states in reading order; `kinds` by cell, the others are free.

    States beyond the last cell, where `n_states` says that there are some, are not drawn.
    """
    words = np.full(rows * columns, "free", dtype="<U16")
    for cell, kind in (kinds or {}).items():
        words[cell] = kind
    cells = np.arange(rows * columns if n_states is None else n_states)
    return Layout(rows, columns, np.where(cells < words.size, cells, -1), words.reshape(rows, columns), arrows)


def read_grid(given: object, n_states: int) -> Layout | None:
    """The layout that a constructor of a model is given: a `Layout`, (rows, columns), or a map in letters.

    With (rows, columns), states are the cells in reading order. In a map of letters, they are all cells, or, if there
    are fewer states, those that are not a wall `#`.

    Raises:
        ConfigError: it is none of these, or does not have a cell for each state.
    """
    if given is None or isinstance(given, Layout):
        return given
    if isinstance(given, str):
        return _of_letters(given, n_states)
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise ConfigError(
            f"`grid` must be (rows, columns), a map in letters, or a bellmax.Layout; got {describe(given)}"
        )
    rows, columns = (integer(f"grid[{i}]", each, 1, MOST_CELLS) for i, each in enumerate(given))
    if rows * columns != n_states:
        raise ConfigError(
            f"`grid` of {rows} rows and {columns} columns has {rows * columns} cells for {n_states} states"
        )
    return grid_of(rows, columns)


def _of_letters(text: str, n_states: int) -> Layout:
    lines = [line.strip() for line in text.strip().splitlines()]
    if not lines or any(len(line) != len(lines[0]) for line in lines):
        raise ConfigError(f"`grid` must be rows of letters, all of one length; got {describe(text)}")
    if strange := sorted({letter for line in lines for letter in line} - LETTERS.keys()):
        raise ConfigError(f"`grid` has the letter {strange[0]!r}; known: {' '.join(LETTERS)}")
    kinds = np.array([[LETTERS[letter] for letter in line] for line in lines])
    free = np.flatnonzero(kinds.ravel() != "wall")
    cells = np.arange(kinds.size) if kinds.size == n_states else free
    if cells.size != n_states:
        raise ConfigError(
            f"`grid` has {kinds.size} cells, {free.size} of them free, and there are {n_states} states; give a letter "
            "for each state, in reading order"
        )
    rows, columns = kinds.shape
    return Layout(rows, columns, cells, kinds)


def check_layout(layout: object, n_states: int, n_actions: int) -> Layout | None:
    """A layout with its parts as arrays, which fits a model of S states and A actions; None for None.

    Raises:
        ConfigError: it is not a layout, or does not fit; the message says which part.
    """
    if layout is None:
        return None
    if not isinstance(layout, Layout):
        raise ConfigError(f"`grid` must be a bellmax.Layout or None; got {describe(layout)}")
    rows, columns = (integer(f"grid.{name}", getattr(layout, name), 1, MOST_CELLS) for name in ("rows", "columns"))
    last = rows * columns - 1
    kinds = _array("grid.kinds", layout.kinds)
    if kinds.shape != (rows, columns):
        raise ConfigError(
            f"`grid.kinds` must be words [rows, columns] = {(rows, columns)}; got {describe(layout.kinds)}"
        )
    cell = _whole("grid.cell", layout.cell, (n_states,), -1, last)
    panels = tuple(str(name) for name in _listed("grid.panels", layout.panels)) or ("",)
    panel = np.zeros(n_states, np.int64)
    if _array("grid.panel", layout.panel).size:
        panel = _whole("grid.panel", layout.panel, (n_states,), 0, len(panels) - 1)
    n_fences = len(layout.fences) if _array("grid.fences", layout.fences).ndim else 0
    fences = _whole("grid.fences", layout.fences, (n_fences, 2), 0, last)
    arrows = tuple(_direction(a, arrow) for a, arrow in enumerate(_listed("grid.arrows", layout.arrows)))
    if len(arrows) not in (0, n_actions):
        raise ConfigError(f"`grid.arrows` has {len(arrows)} directions, expected {n_actions} or none")
    drawn = np.flatnonzero(cell >= 0)
    place, count = np.unique(panel[drawn] * (last + 1) + cell[drawn], return_counts=True)
    if (count > 1).any():
        both = drawn[panel[drawn] * (last + 1) + cell[drawn] == place[count.argmax()]].tolist()
        raise ConfigError(f"`grid`: states {both[0]} and {both[1]} are in one cell of one panel")
    return Layout(rows, columns, cell, kinds.astype(np.str_), arrows, panel, panels, fences)


def _whole(name: str, values: object, shape: tuple[int, ...], low: int, high: int) -> IntArray:
    array = _array(name, values)
    if array.size == 0 and array.shape == shape:
        return array.astype(np.int64)
    if array.shape != shape or array.dtype.kind not in "iu" or array.min() < low or array.max() > high:
        raise ConfigError(f"`{name}` must be integers {list(shape)} from {low} to {high}; got {describe(values)}")
    return array.astype(np.int64)


def _array(name: str, values: object) -> npt.NDArray[Any]:
    try:
        return np.asarray(values)
    except ValueError as error:
        raise ConfigError(f"`{name}` is not an array; got {describe(values)}") from error


def _listed(name: str, values: object) -> Sequence[Any]:
    if not isinstance(values, tuple | list):
        raise ConfigError(f"`{name}` must be a tuple; got {describe(values)}")
    return values


def _direction(action: int, arrow: object) -> Direction | None:
    if arrow is None:
        return None
    if not isinstance(arrow, tuple | list) or len(arrow) != 2:
        raise ConfigError(f"`grid.arrows[{action}]` must be (row, column) or None; got {describe(arrow)}")
    row, column = (integer(f"grid.arrows[{action}][{i}]", each, -1, 1) for i, each in enumerate(arrow))
    return (row, column) if row or column else None


def find_layout(mdp: Placed) -> Layout | None:
    """Where the states of a model are on a map, with the direction of each action; None if it has no map.

    It is the model's `grid`; without one, states whose names are (row, column), or begin so, are on a map with a panel
    for each rest of a name.
    """
    layout = mdp.grid if mdp.grid is not None else _of_names(mdp)
    if layout is None:
        return None
    arrows = layout.arrows or _arrows_of_words(mdp.action_names) or _arrows_of_moves(mdp, layout)
    return layout._replace(arrows=arrows)


def _arrows_of_words(names: Sequence[object]) -> tuple[Direction | None, ...]:
    return tuple(DIRECTION_OF.get(str(name).lower().replace("_", "-").replace(" ", "-")) for name in names)


def _arrows_of_moves(mdp: Placed, layout: Layout) -> tuple[Direction | None, ...]:
    """The direction of each action, in which most of its outcomes that move at all move by one cell."""
    state, action = np.divmod(mdp.pair, mdp.n_actions)
    here, there = layout.cell[state], layout.cell[mdp.successor]
    row, column = (after - before for after, before in zip(
        np.divmod(there, layout.columns), np.divmod(here, layout.columns), strict=True))  # fmt: skip
    moves = (here >= 0) & (there >= 0) & (here != there)
    near = moves & (np.abs(row) <= 1) & (np.abs(column) <= 1)
    which = action * 9 + (row + 1) * 3 + column + 1
    share = np.bincount(which[near], mdp.probability[near], mdp.n_actions * 9).reshape(-1, 9)
    total = np.bincount(action[moves], mdp.probability[moves], mdp.n_actions)
    best = share.argmax(axis=1)
    clear = (total > 0) & (share.max(axis=1) >= CLEAR * total)
    return tuple(
        (int(b) // 3 - 1, int(b) % 3 - 1) if is_clear else None for b, is_clear in zip(best, clear, strict=True)
    )


def _of_names(mdp: Placed) -> Layout | None:
    """The layout of states that are called (row, column, ...)."""
    names = mdp.state_names
    if not names or not all(isinstance(name, tuple) and len(name) >= 2 for name in names):
        return None
    places = [name[:2] for name in names]
    if not all(type(each) in (int, np.int64, np.int32) and abs(each) < MOST_CELLS for two in places for each in two):
        return None
    place = np.array(places, np.int64)
    place -= place.min(axis=0)
    rows, columns = (place.max(axis=0) + 1).tolist()
    rests = [", ".join(map(str, name[2:])) for name in names]
    panels = {rest: i for i, rest in enumerate(dict.fromkeys(rests))}
    if rows * columns * len(panels) > SPARSE * len(names) + 400:
        return None
    cell, panel = place[:, 0] * columns + place[:, 1], np.array([panels[rest] for rest in rests], np.int64)
    if np.unique(panel * rows * columns + cell).size < cell.size:
        return None
    kinds = _kinds_of(mdp, cell, rows * columns).reshape(rows, columns)
    return Layout(rows, columns, cell, kinds, (), panel, tuple(panels))


def _kinds_of(mdp: Placed, cell: IntArray, n_cells: int) -> Kinds:
    """Return the kind of each cell: an end if episodes only end there, a wall if it has no state."""
    entered = np.zeros(mdp.n_states, np.bool_)
    entered[mdp.successor[mdp.terminated]] = True
    ends = ~reachable(mdp) & entered
    starts: BoolArray = mdp.start > 0
    if 2 * starts.sum() > mdp.n_states:  # then it says nothing
        starts = np.zeros_like(starts)
    count: FloatArray = np.bincount(cell, minlength=n_cells).astype(np.float64)
    kinds = np.where(count == 0, "wall", "free")
    kinds = np.where((count > 0) & (np.bincount(cell, ends, n_cells) == count), "end", kinds)
    return np.where(np.bincount(cell, starts, n_cells) > 0, "start", kinds)
