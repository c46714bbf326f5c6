"""NumPy. Compare learned tables with the exact answer, if the environment has a transition table."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bellmax.contracts import ConfigError, FloatArray, IntArray
from bellmax.mdp.model import FiniteMDP
from bellmax.mdp.successors import stand_in
from bellmax.solving.many import Occurring, occurring, start_occupancy, start_returns, start_values, weighted_sums
from bellmax.solving.solve import Solution, evaluate_policy, horizon_return, solve
from bellmax.stderr import say

KEPT_BYTES = 10**8  # of policies whose values are cached


class Truth(NamedTuple):
    """The exact answer of an environment. A pair (s, a) has the number s * A + a.

    Attributes:
        mdp, gamma, solution: the model, and its optimal values and policy.
        part: the states that can occur from the start.
        pairs: [P] the pairs that can occur.
        path: [K] the pairs of the optimal policy.
        weight: [K] the share of each in its (discounted) time; sums to 1.
        optimal_return: of the optimal policy, see `policy_return`.
        known: (value, return) of each greedy policy so far, by the bytes of its actions.
    """

    mdp: FiniteMDP
    gamma: float
    solution: Solution
    part: Occurring
    pairs: IntArray
    path: IntArray
    weight: FloatArray
    optimal_return: float
    known: dict[bytes, tuple[float, float]]


def find_truth(mdp: FiniteMDP | None, gamma: float) -> Truth | None:
    """Solve `mdp`; None if there is no table, or if γ = 1 and values are unbounded or the best policy never ends."""
    if mdp is None:
        return None
    try:
        solution = solve(mdp, gamma)
    except ConfigError as error:
        if gamma < 1.0:
            raise
        say(f"no exact answer to compare with: {error}")
        return None
    part = occurring(mdp)
    states, policy = part.states, solution.policy[part.states]
    exists = np.flatnonzero(mdp.allowed[states])
    pairs = (states[:, None] * mdp.n_actions + np.arange(mdp.n_actions)).ravel()[exists]
    time = start_occupancy(part, policy, gamma)
    (value,) = start_values(part, policy[None], gamma)
    if not (np.isfinite(value) and time.any()):
        say("no exact answer to compare with: gamma=1, and the best policy stays where it starts, for no reward")
        return None
    limit = mdp.max_episode_steps
    best_return = value if limit is None else start_returns(part, policy[None], limit)[0]
    path = states * mdp.n_actions + policy
    return Truth(mdp, gamma, solution, part, pairs, path, time / time.sum(), float(best_return), {})


def policy_return(mdp: FiniteMDP, policy: npt.ArrayLike, gamma: float) -> float:
    """Return the expected undiscounted return within the time limit; without a limit, the discounted value."""
    if mdp.max_episode_steps is not None:
        return horizon_return(mdp, policy, mdp.max_episode_steps)
    return float(np.dot(mdp.start, evaluate_policy(mdp, policy, gamma)))


def measure(truth: Truth, q: FloatArray, visits: IntArray | None = None) -> dict[str, FloatArray]:
    """Compare each of n tables `q [n, S, A]` with the exact answer; `visits [n, S, A]` counts updates of pairs.

    Returns columns [n]:
        exact/q_error: ‖Q - Q*‖∞ over the pairs that can occur.
        exact/q_error_weighted: the mean of |Q - Q*| over the pairs of the optimal policy, each weighted by its share
            of that policy's discounted time, Σ_s d*(s) |Q - Q*|(s, π*(s)).
        exact/policy_value, exact/optimal_value: the discounted value from the start of the greedy policy (among equal
            values it takes the lowest action) and of the optimal one. -inf for a policy that, undiscounted, may never
            end.
        exact/regret: the latter minus the former, at least 0.
        exact/is_optimal: 1 where the regret is within the error of the solution and rounding, else 0.
        exact/policy_return, exact/optimal_return: expected rewards within the time limit; without one, the values.
        exact/visited, exact/least_visits: the share of pairs that were visited, and the visits of the least visited
            pair; only with `visits`.
    """
    n, solution = len(q), truth.solution
    flat, best = q.reshape(n, -1), solution.q.ravel()
    value, return_ = play_exactly(truth, q)
    regret = np.maximum(solution.start_value - value, 0.0)
    bound = solution.bound if np.isfinite(solution.bound) else 0.0  # undiscounted, there may be none
    slack = 2 * bound + 1e-9 * abs(solution.start_value)
    columns = {
        "exact/q_error": np.abs(flat[:, truth.pairs] - best[truth.pairs]).max(axis=1),
        "exact/q_error_weighted": weighted_sums(np.abs(flat[:, truth.path] - best[truth.path]), truth.weight),
        "exact/policy_value": value,
        "exact/optimal_value": np.full(n, solution.start_value),
        "exact/regret": regret,
        "exact/is_optimal": (regret <= slack).astype(np.float64),
        "exact/policy_return": return_,
        "exact/optimal_return": np.full(n, truth.optimal_return),
    }
    if visits is not None:
        counts = visits.reshape(n, -1)[:, truth.pairs]
        columns["exact/visited"] = (counts > 0).mean(axis=1)
        columns["exact/least_visits"] = counts.min(axis=1).astype(np.float64)
    return columns


def play_exactly(truth: Truth, q: FloatArray) -> FloatArray:
    """Return (value [n], return [n]) of the greedy policies of `q [n, S, A]`; each policy is solved once."""
    states, known = truth.part.states, truth.known
    actions = q[:, states].argmax(axis=2)
    policies = stand_in(truth.mdp)[states, actions]  # the actions that a loop would take
    keys = [row.tobytes() for row in policies.astype(np.min_scalar_type(q.shape[2] - 1))]
    fresh = {key: i for i, key in enumerate(keys) if key not in known}
    if (len(known) + len(fresh)) * len(keys[0]) > KEPT_BYTES:
        known.clear()
        fresh = {key: i for i, key in enumerate(keys)}
    chosen, limit = policies[list(fresh.values())], truth.mdp.max_episode_steps
    values = start_values(truth.part, chosen, truth.gamma)
    returns = values if limit is None else start_returns(truth.part, chosen, limit)
    known.update(zip(fresh, zip(values.tolist(), returns.tolist(), strict=True), strict=True))
    return np.array([known[key] for key in keys]).T
