"""NumPy and SciPy sparse. What is lost by acting on a table of values: the quality of a policy, not of its numbers."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bellmax.arguments import describe
from bellmax.contracts import ConfigError, FloatArray
from bellmax.mdp.model import FiniteMDP
from bellmax.solving.asking import check_model, check_values
from bellmax.solving.backup import greedy_actions
from bellmax.solving.chain import make_chain
from bellmax.solving.evaluation import evaluate_policy, total_reward
from bellmax.solving.problem import check_gamma
from bellmax.solving.showing import show
from bellmax.solving.solve import Solution, solve


class PolicyGap(NamedTuple):
    """How much worse a policy is than the best.

    Attributes:
        gap: [S] V* - V^π, at least 0; inf where the policy never ends what costs at every round, at γ = 1.
        largest: the largest gap, ‖V* - V^π‖∞.
        regret: the gap averaged over the start distribution: the simple regret of one episode.
    """

    gap: FloatArray
    largest: float
    regret: float

    def __repr__(self) -> str:
        return show(self)


def policy_gap(mdp: FiniteMDP, q: npt.ArrayLike, gamma: float, solution: Solution | None = None) -> PolicyGap:
    """V* - V^π for π greedy in `q [S, A]`; of actions as good as the best, the lowest index.

    Singh and Yee (1994): with γ < 1 the gap is at most 2 γ ‖q - Q*‖∞ / (1 - γ), and often far less. A gap smaller
    than the solution's `bound` says nothing. At γ = 1 the greedy policy of Q* itself may have a gap: where a free
    loop is as good as the way to the goal, a table does not show which of them ends.

    Args:
        mdp: the model.
        q: any table; what it holds for actions that a state lacks is not looked at.
        gamma: the discount per step, in [0, 1].
        solution: of `solve(mdp, gamma)`, where there is one already.

    Raises:
        ConfigError: q is not [S, A] or not finite, or as `solve`.
    """
    mdp, gamma = check_model(mdp), check_gamma(gamma)
    table = check_values("q", q, mdp.allowed.shape, allowed=mdp.allowed)
    if not (solution is None or (isinstance(solution, Solution) and np.shape(solution.v) == (mdp.n_states,))):
        got = "one of another model" if isinstance(solution, Solution) else describe(solution)
        raise ConfigError(f"`solution` must be that of bellmax.solve(mdp, gamma), or None; got {got}")
    best = solve(mdp, gamma) if solution is None else solution
    policy = greedy_actions(np.where(mdp.allowed, table, -np.inf))
    if gamma < 1:
        v = evaluate_policy(mdp, policy, gamma)
    else:
        v = total_reward(make_chain(mdp, policy))
        v[np.isnan(v)] = -np.inf  # it goes round for ever without a total: worse than any that ends
    gap = np.maximum(best.v - v, 0.0)
    started = mdp.start > 0  # 0 times an infinite gap is no regret
    return PolicyGap(gap, float(gap.max()), float(mdp.start[started] @ gap[started]))


def regret(mdp: FiniteMDP, q: npt.ArrayLike, gamma: float, solution: Solution | None = None) -> float:
    """What one episode from the start loses by acting greedily on `q [S, A]`. Arguments and errors of `policy_gap`."""
    return policy_gap(mdp, q, gamma, solution).regret
