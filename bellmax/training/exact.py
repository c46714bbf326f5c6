"""NumPy. The exact answer beside the learnt one, wherever the world has a transition table."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bellmax.mdp.model import FiniteMDP, reachable
from bellmax.mdp.solve import Solution, evaluate_policy, greedy_policy, horizon_return, solve
from bellmax.types import BoolArray, FloatArray


class Truth(NamedTuple):
    """A world's exact answer: its solution at γ, which states can occur, and the optimal policy's return."""

    mdp: FiniteMDP
    gamma: float
    solution: Solution
    reachable: BoolArray
    optimal_return: float


def find_truth(mdp: FiniteMDP | None, gamma: float) -> Truth | None:
    """Solve `mdp`; None where there is no table, or γ = 1, where the value may be unbounded."""
    if mdp is None or gamma >= 1.0:
        return None
    solution = solve(mdp, gamma)
    return Truth(mdp, gamma, solution, reachable(mdp), policy_return(mdp, solution.policy, gamma))


def policy_return(mdp: FiniteMDP, policy: npt.ArrayLike, gamma: float) -> float:
    """The expected undiscounted return within the time limit; discounted and unlimited where there is none."""
    if mdp.max_episode_steps is not None:
        return horizon_return(mdp, policy, mdp.max_episode_steps)
    return float(np.dot(mdp.start, evaluate_policy(mdp, policy, gamma)))


def measure(truth: Truth, q: FloatArray) -> dict[str, float]:
    """How far a table q [S, A] is from the truth.

    `exact/q_error`: ‖Q - Q*‖∞ over the states that can occur. `exact/policy_value` and `exact/optimal_value`:
    the discounted value of the greedy policy from the start, and the best one. `exact/policy_return` and
    `exact/optimal_return`: expected rewards within the time limit.
    """
    exists = truth.mdp.allowed  # what a table holds where a state lacks the action is nobody's estimate
    policy = greedy_policy(np.where(exists, q, -np.inf))
    gap = np.abs(q - np.where(exists, truth.solution.q, q))[truth.reachable]
    return {
        "exact/q_error": float(gap.max()),
        "exact/policy_value": float(np.dot(truth.mdp.start, evaluate_policy(truth.mdp, policy, truth.gamma))),
        "exact/optimal_value": truth.solution.start_value,
        "exact/policy_return": policy_return(truth.mdp, policy, truth.gamma),
        "exact/optimal_return": truth.optimal_return,
    }
