"""NumPy. A grid as a page edits it: read from JSON within bounds, written back, and turned into a finite MDP."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, NoReturn

import numpy as np

from bellmax.arguments import describe, integer, one_of, real
from bellmax.contracts import ConfigError, FloatArray, Json, unknown
from bellmax.mdp.gallery.grids import DIRECTION_NAMES, DIRECTIONS
from bellmax.mdp.model import FiniteMDP

FORMAT = 1
MOST = 20  # rows, and columns
MOST_STARTS = 5  # where a cliff sends back to one of them: each is an outcome of its own
LARGEST = 1e6  # of a reward
LONGEST = 100_000  # letters of a file
LONGEST_NAME = 60
LONGEST_EPISODE = 100_000
WALL, FREE, START, GOAL, PIT, CLIFF = "#.SGOC"
KINDS = {WALL: "wall", FREE: "free", START: "start", GOAL: "goal", PIT: "pit", CLIFF: "cliff"}
SLIPS = ("sides", "others")
FIELDS = ("format", "name", "cells", "rewards", "slip", "slip_to", "step_reward", "time_limit")


class Grid(NamedTuple):
    """A grid of cells; `checked_grid` checks it.

    Attributes:
        cells: rows of letters: `#` wall, `.` free, `S` start, `G` goal and `O` pit, which end the episode, and `C`
            cliff, which sends back to a start.
        rewards: (row, column, reward) of the cells that pay on entering; the others pay 0.
        slip: the probability of moving in another direction than chosen.
        slip_to: "sides", half to each side, or "others", a third to each other direction.
        step_reward: of every step, on top.
        time_limit: steps after which an episode is cut off, or None.
        name: what it is called.
    """

    cells: tuple[str, ...]
    rewards: tuple[tuple[int, int, float], ...] = ()
    slip: float = 0.0
    slip_to: str = "sides"
    step_reward: float = 0.0
    time_limit: int | None = 1_000
    name: str = "grid"

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self.cells), len(self.cells[0])


def read_json_text(text: str | bytes) -> object:
    """What a JSON text says.

    Raises:
        ConfigError: it is longer than `LONGEST`, is not JSON, is nested too deeply, or has a number that is not finite.
    """
    if len(text) > LONGEST:
        raise ConfigError(f"the text has {len(text):,} characters; at most {LONGEST:,} are read")

    def refuse(word: str) -> NoReturn:
        raise ConfigError(f"{word} is not a number of JSON; write a finite number")

    try:
        value: object = json.loads(text, parse_constant=refuse)
    except RecursionError:
        raise ConfigError("the text is nested too deeply") from None
    except ValueError as error:
        raise ConfigError(f"the text is not JSON: {error}") from None
    return value


def checked_grid(value: object) -> Grid:
    """The grid that a JSON object describes, see `Grid`; only `cells` must be given.

    Raises:
        ConfigError: something is missing, unknown or out of range; the message says where, and the value.
    """
    if not isinstance(value, Mapping):
        raise ConfigError(f"a grid is a JSON object with cells; got {describe(value)}")
    for field in value:
        if field not in FIELDS:
            raise ConfigError(unknown("field of a grid", field, FIELDS))
    if value.get("format", FORMAT) != FORMAT:
        raise ConfigError(f"the grid has format {describe(value['format'])}; this version reads {FORMAT}")
    cells = _read_cells(value.get("cells"))
    limit = value.get("time_limit", 1_000)
    grid = Grid(
        cells=cells,
        rewards=_read_rewards(value.get("rewards", []), (len(cells), len(cells[0]))),
        slip=real("slip", value.get("slip", 0.0), 0.0, 1.0),
        slip_to=one_of("slip_to", value.get("slip_to", "sides"), SLIPS),
        step_reward=real("step_reward", value.get("step_reward", 0.0), -LARGEST, LARGEST),
        time_limit=None if limit is None else integer("time_limit", limit, 1, LONGEST_EPISODE),
        name=_read_name(value.get("name", "grid")),
    )
    starts = sum(row.count(START) for row in cells)
    if not starts:
        raise ConfigError("the grid has no start; make a free cell a start (S)")
    if starts > MOST_STARTS and any(CLIFF in row for row in cells):
        raise ConfigError(f"a grid with a cliff has at most {MOST_STARTS} starts; this one has {starts}")
    return grid


def _read_cells(rows: object) -> tuple[str, ...]:
    if not isinstance(rows, list | tuple) or not all(isinstance(row, str) for row in rows):
        raise ConfigError(f"`cells` must be a list of rows, each a string of {' '.join(KINDS)}; got {describe(rows)}")
    if not 1 <= len(rows) <= MOST or not 1 <= len(rows[0]) <= MOST:
        size = f"{len(rows):,} rows" if rows and len(rows) > MOST else f"{len(rows[0]) if rows else 0:,} columns"
        raise ConfigError(f"a grid has 1 to {MOST} rows and columns; this one has {size}")
    for i, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise ConfigError(f"row {i} of the grid has {len(row)} cells, row 0 has {len(rows[0])}")
        for j, letter in enumerate(row):
            if letter not in KINDS:
                raise ConfigError(f"row {i}, column {j} of the grid is {letter!r}; known: {' '.join(KINDS)}")
    return tuple(rows)


def _read_rewards(rewards: object, shape: tuple[int, int]) -> tuple[tuple[int, int, float], ...]:
    if not isinstance(rewards, list | tuple) or len(rewards) > shape[0] * shape[1]:
        raise ConfigError(f"`rewards` must list [row, column, reward], once per cell; got {describe(rewards)}")
    found: dict[tuple[int, int], float] = {}
    for i, each in enumerate(rewards):
        if not isinstance(each, list | tuple) or len(each) != 3:
            raise ConfigError(f"rewards[{i}] must be [row, column, reward]; got {describe(each)}")
        cell = (
            integer(f"rewards[{i}][0]", each[0], 0, shape[0] - 1),
            integer(f"rewards[{i}][1]", each[1], 0, shape[1] - 1),
        )
        if cell in found:
            raise ConfigError(f"rewards[{i}] is the second reward of row {cell[0]}, column {cell[1]}")
        found[cell] = real(f"rewards[{i}][2]", each[2], -LARGEST, LARGEST)
    return tuple((*cell, reward) for cell, reward in sorted(found.items()) if reward)


def _read_name(name: object) -> str:
    if not isinstance(name, str) or not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise ConfigError(f"`name` must be 1 to {LONGEST_NAME} printable characters; got {describe(name)}")
    return name


def grid_to_json(grid: Grid) -> dict[str, Json]:
    """The JSON object that `checked_grid` reads as the same grid."""
    return {"format": FORMAT, **grid._asdict()}


def to_model(grid: Grid) -> FiniteMDP:
    """The grid as a finite MDP: state row * columns + column, walls included; actions 0 up, 1 right, 2 down, 3 left.

    A step into a wall or over the rim stays where it is and enters nothing. A step into a cliff pays the cliff's
    reward and continues from a start; if there are several, each is equally likely.
    """
    rows, columns = grid.shape
    kind = np.array([list(row) for row in grid.cells]).ravel()
    bonus = np.zeros(kind.size)
    for row, column, reward in grid.rewards:
        bonus[row * columns + column] = reward
    starts = np.flatnonzero(kind == START)
    resting = np.flatnonzero(~np.isin(kind, (FREE, START)))
    turns = {1: grid.slip / 2, 3: grid.slip / 2} if grid.slip_to == "sides" else dict.fromkeys((1, 2, 3), grid.slip / 3)
    parts: list[tuple[Any, ...]] = []
    for action in range(4):
        parts.append((resting * 4 + action, resting, 1.0, 0.0, True))
        for turn, probability in {0: 1 - grid.slip, **turns}.items():
            here, to = _moved(kind, (rows, columns), DIRECTIONS[(action + turn) % 4])
            reward = grid.step_reward + bonus[to] * (to != here)
            falls, pair = kind[to] == CLIFF, here * 4 + action
            stays = ~falls
            parts.append((pair[stays], to[stays], probability, reward[stays], np.isin(kind[to[stays]], (GOAL, PIT))))
            for start in starts:
                parts.append((pair[falls], start, probability / starts.size, reward[falls], False))
    return FiniteMDP.from_entries(
        kind.size, 4, *_columns(parts), start=np.where(kind == START, 1 / starts.size, 0.0), name=grid.name,
        action_names=DIRECTION_NAMES, state_names=tuple((int(i), int(j)) for i in range(rows) for j in range(columns)),
        max_episode_steps=grid.time_limit,
    )  # fmt: skip


def _moved(kind: np.ndarray, shape: tuple[int, int], direction: tuple[int, int]) -> tuple[Any, Any]:
    """The states in which one acts, and where a step in a direction leads from each."""
    here = np.flatnonzero(np.isin(kind, (FREE, START)))
    row, column = np.divmod(here, shape[1])
    row, column = row + direction[0], column + direction[1]
    inside = (row >= 0) & (row < shape[0]) & (column >= 0) & (column < shape[1])
    to = np.where(inside, row * shape[1] + column, here)
    return here, np.where(kind[to] == WALL, here, to)


def _columns(parts: list[tuple[Any, ...]]) -> list[FloatArray]:
    """The five columns of `FiniteMDP.from_entries`, of parts whose numbers may stand for all of their pairs."""
    return [
        np.concatenate([np.broadcast_to(np.asarray(part[i]), np.shape(part[0])) for part in parts]) for i in range(5)
    ]
