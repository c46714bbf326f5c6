"""NumPy. The exact answer of a grid beside what is learned, and how far a table is from it."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bellmax.contracts import BellmaxError, FloatArray, IntArray
from bellmax.mdp.model import FiniteMDP
from bellmax.solving.many import occurring
from bellmax.solving.solve import Solution, solve


class Exact(NamedTuple):
    """The exact answer of a grid for one γ.

    Attributes:
        states: the states that can occur from the start, in which an action counts.
        solution: of `bellmax.solve`, or None if there is none.
        why: why there is none, in words.
    """

    states: IntArray
    solution: Solution | None
    why: str


def find_exact(mdp: FiniteMDP, gamma: float) -> Exact:
    """Solve a grid; at γ = 1 there may be no answer, and `why` says so."""
    states = occurring(mdp).states
    try:
        solution = solve(mdp, gamma)
    except BellmaxError as error:
        return Exact(states, None, str(error))
    return Exact(states, solution, "")


def q_error(exact: Exact, q: FloatArray) -> float | None:
    """‖Q − Q*‖∞ over the pairs that can occur, as `exact/q_error` of a run; None without an answer."""
    if exact.solution is None or not exact.states.size:
        return None
    error = float(np.abs(q[exact.states] - exact.solution.q[exact.states]).max())
    return error if np.isfinite(error) else None
