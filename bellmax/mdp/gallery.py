"""NumPy and SciPy sparse. Small worlds with known answers: the corridor, the cliff and random Garnets."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from bellmax.mdp.model import FiniteMDP
from bellmax.types import ConfigError, IntArray


def corridor(n_states: int = 6) -> FiniteMDP:
    """A corridor of `n_states`; walk right to the goal G. The way is long, the reward comes once.

    ::

        +---+---+---+---+---+---+
        | S |   |   |   |   | G |     actions 0 left, 1 right
        +---+---+---+---+---+---+     reward 1 on entering G, which ends the episode; else 0
          0   1   2   3   4   5       the left wall keeps you where you are

    Optimal: Q*(s, right) = γ^(n_states - 2 - s) and Q*(s, left) = γ^2 Q*(s, right); at the wall, where left
    costs one step and not two, Q*(0, left) = γ Q*(0, right).
    Raises ConfigError for fewer than 2 states.
    """
    if n_states < 2:
        raise ConfigError(f"corridor of n_states={n_states}: it needs a start and a goal, at least 2 states")
    goal = n_states - 1
    table = [
        [[(1.0, max(s - 1, 0), 0.0, False)], [(1.0, s + 1, float(s + 1 == goal), s + 1 == goal)]] for s in range(goal)
    ]
    table.append([[(1.0, goal, 0.0, True)]] * 2)  # no one acts in the goal, but every state has its rows
    return FiniteMDP.from_successors(table, name="corridor", action_names=("left", "right"))


def cliff() -> FiniteMDP:
    """The cliff of Sutton and Barto (2018), Example 6.6, numbered as Gymnasium's CliffWalking-v1.

    ::

          0 .  .  .  .  .  .  .  .  .  .  .  11
         12 .  .  .  .  .  .  .  .  .  .  .  23     actions 0 up, 1 right, 2 down, 3 left
         24 .  .  .  .  .  .  .  .  .  .  .  35     each step -1, into the cliff -100
         36 S  C  C  C  C  C  C  C  C  C  C  G 47   the cliff C sends you back to S and the episode goes on

    Entering G ends the episode. The best way is 13 steps along the edge.
    """
    rows, columns, start, goal = 4, 12, 36, 47
    table: list[list[list[tuple[float, int, float, bool]]]] = []
    for s in range(rows * columns):
        row, column = divmod(s, columns)
        moves = [(row - 1, column), (row, column + 1), (row + 1, column), (row, column - 1)]
        table.append([])
        for to_row, to_column in moves:
            to = min(max(to_row, 0), rows - 1) * columns + min(max(to_column, 0), columns - 1)
            fell = start < to < goal
            table[s].append([(1.0, start, -100.0, False) if fell else (1.0, to, -1.0, to == goal)])
    names = ("up", "right", "down", "left")
    return FiniteMDP.from_successors(table, start=start, name="cliff", action_names=names)


def random_garnet(n_states: int, n_actions: int, branching: int, seed: int, termination: float = 0.0) -> FiniteMDP:
    """A Garnet, "generic average reward non-stationary environment testbed" (Archibald et al., 1995).

    Each pair has `branching` different successors, drawn uniformly; their probabilities are the gaps between
    `branching - 1` uniform cuts of [0, 1]; its reward is drawn from N(0, 1). Each step ends the episode with
    probability `termination`, wherever it leads. The start is uniform over the states.

    Source: Archibald, McKinnon and Thomas (1995), On the generation of Markov decision processes, JORS 46.
    Raises ConfigError unless 1 <= branching <= n_states and 0 <= termination <= 1.
    """
    if not 1 <= branching <= n_states:
        raise ConfigError(f"branching={branching} is outside 1 to n_states={n_states}")
    if not 0 <= termination <= 1:
        raise ConfigError(f"termination={termination} is not a probability")
    rng = np.random.default_rng(seed)
    n_pairs = n_states * n_actions
    successor = _different_states(rng, n_pairs, n_states, branching)
    cuts = np.sort(rng.random((n_pairs, branching - 1)), axis=1)
    probability = np.diff(cuts, axis=1, prepend=0.0, append=1.0)
    reward = np.repeat(rng.standard_normal(n_pairs), 2 * branching)
    mass = np.stack([probability * (1 - termination), probability * termination], axis=-1)
    return FiniteMDP.from_entries(
        n_states,
        n_actions,
        pair=np.repeat(np.arange(n_pairs), 2 * branching),
        successor=np.repeat(successor.ravel(), 2),
        probability=mass.ravel(),
        reward=reward,
        terminated=np.tile([False, True], n_pairs * branching),
        start=np.full(n_states, 1 / n_states),
        name="garnet",
    )


def _different_states(rng: np.random.Generator, n_rows: int, n_states: int, n: int) -> IntArray:
    """[n_rows, n]: each row a uniform n-subset of the states. Floyd's algorithm, all rows at a time."""
    chosen = np.full((n_rows, n), -1, np.int64)
    for i, largest in enumerate(range(n_states - n, n_states)):
        draw = rng.integers(0, largest + 1, n_rows)
        taken = (chosen == draw[:, None]).any(axis=1)
        chosen[:, i] = np.where(taken, largest, draw)
    return np.sort(chosen, axis=1)


GALLERY: dict[str, Callable[..., FiniteMDP]] = {"corridor": corridor, "cliff": cliff, "garnet": random_garnet}
