"""NumPy. Environments on a grid: any map drawn in letters, the cliff, the windy gridworld, four rooms, the deep sea."""

from __future__ import annotations

from typing import Literal

import numpy as np

from bellmax.contracts import ConfigError
from bellmax.mdp.gallery.assembling import Outcomes, check_outcomes, rest, tabulate, world
from bellmax.mdp.layout import LETTERS, Layout, grid_of
from bellmax.mdp.model import FiniteMDP

Cell = tuple[int, int]
DIRECTIONS = ((-1, 0), (0, 1), (1, 0), (0, -1))
DIRECTION_NAMES = ("up", "right", "down", "left")
DIAGONALS = ((-1, -1), (-1, 1), (1, 1), (1, -1))
DIAGONAL_NAMES = ("up-left", "up-right", "down-right", "down-left")
RUSSELL_AND_NORVIG = """
    ...G
    .#.O
    S...
"""
FOUR_ROOMS = """
    #############
    #S....#.....#
    #.....#.....#
    #...........#
    #.....#.....#
    #.....#.....#
    ##.####.....#
    #.....###.###
    #.....#.....#
    #.....#.....#
    #...........#
    #.....#.....#
    #############
"""


def read_map(text: str) -> dict[Cell, str]:
    """What each (row, column) of a map is: wall, free, start, goal or pit. Raises ConfigError with the cell."""
    rows = [line.strip() for line in text.strip().splitlines()]
    for row, line in enumerate(rows):
        if len(line) != len(rows[0]):
            raise ConfigError(f"the map's row {row} has {len(line)} cells, row 0 has {len(rows[0])}")
        for column, letter in enumerate(line):
            if letter not in LETTERS:
                raise ConfigError(f"the map has {letter!r} in row {row}, column {column}; known: {' '.join(LETTERS)}")
    cells = {(r, c): LETTERS[letter] for r, line in enumerate(rows) for c, letter in enumerate(line)}
    if "start" not in cells.values():
        raise ConfigError("the map has no start: write S in a cell or several")
    return cells


@world
def gridworld(
    text: str = RUSSELL_AND_NORVIG,
    *,
    slip: float = 0.2,
    slip_to: Literal["sides", "others"] = "sides",
    step_reward: float = -0.04,
    goal_reward: float = 1.0,
    pit_reward: float = -1.0,
    number_walls: bool = False,
    name: str = "gridworld",
    max_episode_steps: int | None = None,
) -> FiniteMDP:
    """An environment from its map. Left out, everything is as in Russell and Norvig's map of 4 x 3 cells.

    ::

        . . . G     # wall   . or F free   S start (several are equally likely)
        . # . O     G goal   O or H pit    both end the episode
        S . . .     actions 0 up, 1 right, 2 down, 3 left; walls and the rim keep you where you are

    Gymnasium's maps of FrozenLake can be given as they are, with slip=2/3, step_reward=0, pit_reward=0.

    Args:
        text: rows of letters, blanks around them ignored.
        slip: the probability of moving in another direction than chosen.
        slip_to: "sides", half to each side of the direction meant, or "others", a third to each other one.
        step_reward: of every step, also the last.
        goal_reward: on top, on entering a goal.
        pit_reward: on top, on entering a pit.
        number_walls: count walls as states, so that mazes of one shape number their cells alike. Else states are
            the free cells in reading order; `state_names` are their (row, column).
        name: what the environment is called.
        max_episode_steps: its time limit, or None.

    Source: Russell and Norvig, Artificial Intelligence: A Modern Approach, section 17.1 (4th edition), Figure 17.1.
    Raises ConfigError for a map that cannot be read, naming the cell, and for a slip that is not a probability.
    """
    if not 0 <= slip <= 1:
        raise ConfigError(f"slip={slip} must be a probability")
    cells = read_map(text)
    pay = {"goal": step_reward + goal_reward, "pit": step_reward + pit_reward}
    away = {1: slip / 2, 3: slip / 2, 2: 0.0} if slip_to == "sides" else dict.fromkeys((1, 2, 3), slip / 3)

    def step(cell: Cell, action: int) -> Outcomes:
        if cells[cell] in ("goal", "pit", "wall"):
            return rest(cell)
        outcomes = []
        for turn, probability in {0: 1 - slip, **away}.items():
            to = _move(cell, DIRECTIONS[(action + turn) % 4])
            to = to if cells.get(to, "wall") != "wall" else cell
            outcomes.append((probability, to, pay.get(cells[to], step_reward), cells[to] in pay))
        return outcomes

    states = [cell for cell, kind in cells.items() if number_walls or kind != "wall"]
    start = [cell for cell in states if cells[cell] == "start"]
    grid = _layout_of(cells, states)
    labels = {"name": name, "state_names": tuple(states), "max_episode_steps": max_episode_steps, "grid": grid}
    return tabulate(states, 4, step, start=start, action_names=DIRECTION_NAMES, **labels)  # type: ignore[arg-type]


@world
def cliff() -> FiniteMDP:
    """The cliff of Sutton and Barto (2018), Example 6.6, numbered as Gymnasium's CliffWalking-v1.

    ::

          0 .  .  .  .  .  .  .  .  .  .  .  11
         12 .  .  .  .  .  .  .  .  .  .  .  23     actions 0 up, 1 right, 2 down, 3 left
         24 .  .  .  .  .  .  .  .  .  .  .  35     each step -1, into the cliff -100
         36 S  C  C  C  C  C  C  C  C  C  C  G 47   the cliff C sends you back to S and the episode goes on

    Entering G ends the episode. The best way is 13 steps along the edge.

    Source: Sutton and Barto (2018), Example 6.6.
    """
    rows, columns, start, goal = 4, 12, 36, 47

    def step(s: int, action: int) -> Outcomes:
        row, column = _move(divmod(s, columns), DIRECTIONS[action])
        to = min(max(row, 0), rows - 1) * columns + min(max(column, 0), columns - 1)
        return [(1.0, start, -100.0, False)] if start < to < goal else [(1.0, to, -1.0, to == goal)]

    kinds = dict.fromkeys(range(start + 1, goal), "cliff") | {start: "start", goal: "goal"}
    grid = grid_of(rows, columns, kinds)
    return tabulate(
        range(rows * columns), 4, step, start=[start], name="cliff", action_names=DIRECTION_NAMES, grid=grid
    )


@world
def windy_gridworld(king_moves: bool = False, no_move: bool = False, stochastic_wind: bool = False) -> FiniteMDP:
    """A crosswind blows upwards through the middle columns, by the strength of the column that is left.

    ::

        . . . . . . . . . .     actions 0 up, 1 right, 2 down, 3 left
        . . . . . . . . . .     king_moves: and the four diagonals    no_move: and none at all
        . . . . . . . . . .     each step -1; G ends the episode; the rim keeps you in
        S . . . . . . G . .
        . . . . . . . . . .     stochastic_wind: where it blows, it is one less, as drawn, or one more,
        . . . . . . . . . .     a third each
        . . . . . . . . . .
        0 0 0 1 1 1 2 2 1 0     the wind, cells per step

    The best way takes 15 steps; 7 with king's moves, and the ninth, no move, gains nothing.

    Source: Sutton and Barto (2018), Example 6.5, Exercises 6.9 and 6.10.
    """
    wind, start, goal = (0, 0, 0, 1, 1, 1, 2, 2, 1, 0), (3, 0), (3, 7)
    moves = DIRECTIONS + DIAGONALS * king_moves + ((0, 0),) * no_move

    def step(cell: Cell, action: int) -> Outcomes:
        if cell == goal:
            return rest(cell)
        blows = wind[cell[1]]
        strengths = (blows - 1, blows, blows + 1) if stochastic_wind and blows else (blows,)
        outcomes = []
        for strength in strengths:
            row, column = _move(cell, moves[action])
            to = min(max(row - strength, 0), 6), min(max(column, 0), 9)
            outcomes.append((1 / len(strengths), to, -1.0, to == goal))
        return outcomes

    states = [(row, column) for row in range(7) for column in range(10)]
    names = DIRECTION_NAMES + DIAGONAL_NAMES * king_moves + ("stay",) * no_move
    labels = {"name": "windy-gridworld", "action_names": names, "state_names": tuple(states)}
    grid = grid_of(7, 10, {10 * start[0] + start[1]: "start", 10 * goal[0] + goal[1]: "goal"})
    return tabulate(states, len(moves), step, start=[start], grid=grid, **labels)  # type: ignore[arg-type]


@world
def four_rooms(slip: float = 1 / 3, goal: Cell = (7, 9)) -> FiniteMDP:
    """Four rooms joined by four hallways; the goal is the hallway in the east.

    ::

        # # # # # # # # # # # # #
        # S . . . . # . . . . . #     actions 0 up, 1 right, 2 down, 3 left; 104 cells
        # . . . . . # . . . . . #     with probability `slip` one of the other three directions
        # . . . . . . . . . . . #     reward 1 on entering the goal, which ends the episode
        # . . . . . # . . . . . #
        # . . . . . # . . . . . #
        # # . # # # # . . . . . #
        # . . . . . # # # G # # #
        # . . . . . # . . . . . #
        # . . . . . # . . . . . #
        # . . . . . . . . . . . #
        # . . . . . # . . . . . #
        # # # # # # # # # # # # #

    Source: Sutton, Precup and Singh (1999), Between MDPs and semi-MDPs, Artificial Intelligence 112, section 2.
    Raises ConfigError for a goal that is not a free cell (row, column).
    """
    rows = FOUR_ROOMS.split()
    if not (0 <= goal[0] < len(rows) and 0 <= goal[1] < len(rows[0]) and rows[goal[0]][goal[1]] == "."):
        raise ConfigError(f"goal={goal} is not a free cell (row, column) of the four rooms")
    rows[goal[0]] = rows[goal[0]][: goal[1]] + "G" + rows[goal[0]][goal[1] + 1 :]
    return gridworld("\n".join(rows), slip=slip, slip_to="others", step_reward=0.0, name="four-rooms")


@world
def deep_sea(size: int = 10, stochastic: bool = False, seed: int | None = None) -> FiniteMDP:
    """Dive with each step; only going right every time reaches the treasure, and going right costs.

    ::

        S                 each step goes one row down, and one column left or right; the sea floor is the end
        . .               right costs 0.01 / size; right in the corner T pays 1 more
        . . .             `stochastic`: right fails with probability 1 / size, and in the two corners of the last
        . . . T           row the reward has noise of N(0, 1)

    One of 2^size courses finds T, and the optimum is 0.99. Which of the actions 0 and 1 is right differs from cell
    to cell if `seed` is given, as in bsuite; without one, 0 is left and 1 is right. State row * size + column;
    the last is the sea floor.

    Source: Osband et al. (2020), Behavior suite for reinforcement learning, ICLR, `deep_sea` and
    `deep_sea_stochastic`; Osband, Van Roy, Russo and Wen (2019), JMLR 20, section 4. Raises ConfigError for size < 1.
    """
    if size < 1:
        raise ConfigError(f"deep_sea of size={size}: it needs at least 1 row")
    check_outcomes("size", size, 3 * size * size, 2)
    right = np.ones((size, size), np.int64)
    if seed is not None:
        right = np.random.default_rng(seed).integers(0, 2, (size, size))
    fails = 1 / size if stochastic else 0.0

    def step(s: int, action: int) -> Outcomes:
        row, column = divmod(s, size)
        if row == size:
            return rest(s)
        corner = row == size - 1 and column in (0, size - 1)
        noise = 1.0 if stochastic and corner else 0.0
        last, ends = row + 1 == size, size * size

        def to(where: int) -> int:
            return ends if last else (row + 1) * size + min(max(where, 0), size - 1)

        if action != right[row, column]:
            return [(1.0, to(column - 1), 0.0, last, noise)]
        reward = float(column == size - 1) - 0.01 / size
        return [(1 - fails, to(column + 1), reward, last, noise), (fails, to(column), reward, last, noise)]

    names = () if seed is not None else ("left", "right")
    arrows = (None, None) if seed is not None else ((1, -1), (1, 1))
    kinds = {0: "start"} | {size * size - 1: "treasure"}
    grid = grid_of(size, size, kinds, n_states=size * size + 1, arrows=arrows)
    return tabulate(range(size * size + 1), 2, step, start=[0], name="deep-sea", action_names=names, grid=grid)


def _layout_of(cells: dict[Cell, str], states: list[Cell]) -> Layout:
    """The map itself, with a state in each of the cells `states`."""
    rows, columns = (max(each) + 1 for each in zip(*cells, strict=True))
    layout = grid_of(rows, columns, {row * columns + column: kind for (row, column), kind in cells.items()})
    return layout._replace(cell=np.array([row * columns + column for row, column in states], np.int64))


def _move(cell: Cell, direction: Cell) -> Cell:
    return cell[0] + direction[0], cell[1] + direction[1]
