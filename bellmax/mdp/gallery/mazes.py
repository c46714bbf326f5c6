"""NumPy. The mazes of the chapter on planning, also those that change while the learner is in them."""

from __future__ import annotations

from bellmax.mdp.gallery.assembling import world
from bellmax.mdp.gallery.grids import gridworld
from bellmax.mdp.model import FiniteMDP

DYNA = """
    .......#G
    ..#....#.
    S.#....#.
    ..#......
    .....#...
    .........
"""
BARRIERS = {"left open": ".########", "right open": "########.", "both open": ".#######."}


@world
def dyna_maze() -> FiniteMDP:
    """A maze to plan in: one episode is enough to plan the rest.

    ::

        . . . . . . . # G     actions 0 up, 1 right, 2 down, 3 left; walls # keep you where you are
        . . # . . . . # .     reward 1 on entering G, which ends the episode; 47 cells
        S . # . . . . # .
        . . # . . . . . .     the best way takes 14 steps
        . . . . . # . . .
        . . . . . . . . .

    Source: Sutton and Barto (2018), Example 8.1, Figure 8.2 (γ = 0.95).
    """
    return _maze(DYNA, "dyna-maze", number_walls=False)


@world
def blocking_maze(changed: bool = False) -> FiniteMDP:
    """A maze whose short way closes: a planner with an old model keeps running into the wall.

    ::

        . . . . . . . . G        . . . . . . . . G     actions as in the Dyna maze
        . . . . . . . . .        . . . . . . . . .     reward 1 on entering G, which ends the episode
        . . . . . . . . .        . . . . . . . . .     all 54 cells are states, so that a table can be taken
        # # # # # # # # .        . # # # # # # # #     from the maze before to the maze after
        . . . . . . . . .        . . . . . . . . .
        . . . S . . . . .        . . . S . . . . .
          before: 10 steps         changed: 16 steps

    Source: Sutton and Barto (2018), Example 8.2, Figure 8.4: it changes after 1,000 steps.
    """
    return _maze(_barrier("left open" if changed else "right open"), "blocking-maze", number_walls=True)


@world
def shortcut_maze(changed: bool = False) -> FiniteMDP:
    """A maze in which a shorter way opens: only who explores on finds it.

    ::

        . . . . . . . . G        . . . . . . . . G     actions as in the Dyna maze
        . . . . . . . . .        . . . . . . . . .     reward 1 on entering G, which ends the episode
        . . . . . . . . .        . . . . . . . . .     all 54 cells are states, as in the blocking maze
        . # # # # # # # #        . # # # # # # # .
        . . . . . . . . .        . . . . . . . . .
        . . . S . . . . .        . . . S . . . . .
          before: 16 steps         changed: 10 steps

    Source: Sutton and Barto (2018), Example 8.3, Figure 8.5: it changes after 3,000 steps.
    """
    return _maze(_barrier("both open" if changed else "left open"), "shortcut-maze", number_walls=True)


def _barrier(which: str) -> str:
    return "\n".join(["........G", ".........", ".........", BARRIERS[which], ".........", "...S....."])


def _maze(text: str, name: str, number_walls: bool) -> FiniteMDP:
    return gridworld(text, slip=0.0, step_reward=0.0, number_walls=number_walls, name=name)
