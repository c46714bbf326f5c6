"""NumPy and SciPy sparse. The average reward per step; an episode that terminates begins again at the start.

Howard's multichain policy iteration (Puterman 1994, section 9.2). Beginning again is a node of its own that takes no
time, so that a start spread over all states leaves the chain sparse.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from bellmax.contracts import BoolArray, ConfigError, FloatArray, IntArray
from bellmax.mdp.model import FiniteMDP
from bellmax.mdp.outcomes import per_pair
from bellmax.solving.asking import check_model
from bellmax.solving.chain import Chain, make_chain, name_states
from bellmax.solving.methods import linear_solve
from bellmax.solving.problem import Problem, check_gamma, make_problem
from bellmax.solving.recurrence import Recurrence, gain_and_bias, long_run, take_apart
from bellmax.solving.shortest_path import MOST_POLICIES, Rows, improve
from bellmax.solving.showing import show


class Average(NamedTuple):
    """The best average reward of a model.

    Attributes:
        gain: [S] the average reward per step in the long run, from each state.
        bias: [S] how much more is collected from a state than at the rate of its gain, up to a number that is the
            same for all states that the policy joins; 0 at one state of each recurrent class.
        policy: [S] int64.
        bound: no gain is further than this from the best one. Wide where the gain depends on the state.
        iterations: policies evaluated.
        start_gain: `gain` averaged over the start distribution.
    """

    gain: FloatArray
    bias: FloatArray
    policy: IntArray
    bound: float
    iterations: int
    start_gain: float

    def __repr__(self) -> str:
        return show(self)


def solve_average(mdp: FiniteMDP) -> Average:
    """The policy of the highest average reward per step, where episodes that terminate begin again.

    Policy iteration on the multichain equations g = max P g, g + h = max (r + P h), the second over the actions
    that keep the first (Puterman 1994, equations 9.1.1 and 9.1.2). An action is given up only for one that is better
    by more than rounding. The gain is the best possible within `bound`: with T the backup of h at γ = 1, no policy
    earns more than max (T h - h) per step, and this one no less than min (T_π h - h) (Theorem 8.5.5).

    Linear systems of all states are factorized, so it is for some ten thousand states.
    """
    mdp = check_model(mdp)
    problem = make_problem(mdp, 1.0)
    rows, time, action = _restarting_rows(mdp, problem)
    choice = rows.first
    for iteration in itertools.count(1):
        gain, bias = gain_and_bias(take_apart(rows.onward[choice], time), rows.reward[choice])
        better, other = _better_rows(rows, time, choice, gain, bias, problem.unit)
        if not better.any() or iteration == MOST_POLICIES:
            break
        choice = np.where(better, other, choice)
    gain, bias = gain[:-1], bias[:-1]
    bound = _prove(mdp, problem, rows, choice, gain, bias)
    return Average(gain, bias, action[choice[:-1]], bound, iteration, float(mdp.start @ gain))


def evaluate_average(mdp: FiniteMDP, policy: npt.ArrayLike) -> tuple[FloatArray, FloatArray]:
    """`(gain [S], bias [S])` of a policy, as in `Average`.

    Raises:
        ConfigError: the policy is not one for this model.
    """
    chain = make_chain(mdp, policy)
    gain, bias = gain_and_bias(_restarting(mdp, chain), np.append(chain.reward, 0.0))
    return gain[:-1], bias[:-1]


def stationary_distribution(mdp: FiniteMDP, policy: npt.ArrayLike) -> FloatArray:
    """[S]: the fraction of time that a policy acts in each state in the long run, over episodes that begin again.

    If the policy can be caught in one of several sets of states, they are mixed as likely as they are from the start.

    Raises:
        ConfigError: the policy is not one for this model.
    """
    return long_run(_restarting(mdp, make_chain(mdp, policy)), np.append(mdp.start, 0.0))[:-1]


def occupancy(mdp: FiniteMDP, policy: npt.ArrayLike, gamma: float) -> FloatArray:
    """[S, A]: the discounted state-action occupancy, Σ_t γ^t P(S_t = s, A_t = a) from the start distribution.

    It sums to 1 / (1 - γ) where nothing terminates; at γ = 1, to the expected length of an episode. The policy's
    value is the sum of occupancy x expected reward: the dual linear program (Puterman 1994, section 6.9.2).

    Raises:
        ConfigError: gamma is outside [0, 1], the policy is not one for this model, or it may stay in some states
            forever and γ = 1.
    """
    mdp, gamma = check_model(mdp), check_gamma(gamma)
    chain = make_chain(mdp, policy)
    seen = chain.seen_from(mdp.start > 0)
    if gamma == 1 and (caught := np.flatnonzero(seen & (chain.loops >= 0))).size:
        raise ConfigError(f"gamma=1: the policy never ends the episode from {name_states(mdp, caught)}; use gamma < 1")
    visits = np.zeros(seen.size)
    system = sp.eye_array(int(seen.sum())) - gamma * chain.onward[seen][:, seen].T
    visits[seen] = linear_solve(system, mdp.start[seen])
    return np.asarray(visits @ chain.choice, np.float64).reshape(mdp.n_states, mdp.n_actions)


def _restarting(mdp: FiniteMDP, chain: Chain) -> Recurrence:
    """The chain with one node more, behind the states: the end of an episode, which leads to the start."""
    blocks: Any = [[chain.onward, chain.end[:, None]], [mdp.start[None, :], None]]
    onward: Any = sp.block_array(blocks)
    return take_apart(sp.csr_array(onward), np.append(np.ones(mdp.n_states), 0.0))


def _restarting_rows(mdp: FiniteMDP, problem: Problem) -> tuple[Rows, FloatArray, IntArray]:
    """`(rows of all pairs and the restart, time [S+1] of a node, action [R] of a row)`."""
    S, A = problem.reward.shape
    end = per_pair(mdp, mdp.probability * mdp.terminated)
    exists = np.flatnonzero(np.isfinite(problem.reward.ravel()))
    blocks: Any = [[problem.onward[exists], end[exists, None]], [mdp.start[None, :], None]]
    onward: Any = sp.block_array(blocks)
    reward = np.append(problem.reward.ravel()[exists], 0.0)
    rows = Rows(sp.csr_array(onward), reward, np.zeros(reward.size, np.bool_), np.append(exists // A, S))
    return rows, np.append(np.ones(S), 0.0), np.append(exists % A, -1)


def _better_rows(
    rows: Rows, time: FloatArray, choice: IntArray, gain: FloatArray, bias: FloatArray, unit: float
) -> tuple[BoolArray, IntArray]:
    """`(nodes that improve, the rows that they take)`: for the gain, or if no gain improves, for the bias."""
    reach = np.asarray(rows.onward @ gain)
    highest, other = improve(rows, reach)
    noise = 8 * unit * float(np.abs(gain).max()) + 4 * float(np.abs(reach[choice] - gain).max())
    better = highest > gain + noise
    if better.any():
        return better, other
    q = rows.reward - (time * gain)[rows.owner] + rows.onward @ bias
    noise_h = 8 * unit * float(np.abs(rows.reward).max() + np.abs(bias).max()) + 4 * float(
        np.abs(q[choice] - bias).max()
    )
    highest, other = improve(rows, np.where(reach >= gain[rows.owner] - noise, q, -np.inf))
    return highest > bias + noise_h, other


def _prove(mdp: FiniteMDP, problem: Problem, rows: Rows, choice: IntArray, gain: FloatArray, bias: FloatArray) -> float:
    """How far a gain can be from the best, as in `solve_average`."""
    worth = np.append(bias, mdp.start @ bias)  # of beginning again: exactly this, not what the solver made of it
    rise = (rows.reward + rows.onward @ worth - worth[rows.owner])[:-1]
    rounding = 4 * (problem.unit + mdp.n_states * 2.0**-53) * float(problem.scale + np.abs(bias).max())
    high, low = float(rise.max()) + rounding, float(rise[choice[:-1]].min()) - rounding
    return max(high - float(gain.min()), float(gain.max()) - low)
