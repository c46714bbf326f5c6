"""NumPy and SciPy sparse. γ = 1: episodes that end, and what is undiscounted about those that need not.

What is solved. The value of a policy is its expected total reward. An optimal policy must end the episode, or stay
forever where staying is free: in a set of states that it need not leave and in which every step has an expected
reward of 0 (a goal that loops on itself; the safe corner of FrozenLake). There the rest is worth 0, or more if a way
out is worth more. So such a set counts as one state, which has all ways out and one row more, "stay", worth 0. What
is left is a stochastic shortest path problem. Where every loop of it loses, V* is the one solution of Bellman's
equation, and is reached by policy iteration from a policy that ends (Bertsekas and Tsitsiklis 1991). A loop that
gains, or a state from which nothing ends, is an error: there is no finite answer. Of a loop of nonzero rewards that
sum to 0, V* is the best value among the policies that leave it, and the bound is infinite.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from bellmax.contracts import BoolArray, ConfigError, FloatArray, IntArray
from bellmax.mdp.model import FiniteMDP
from bellmax.mdp.outcomes import per_pair
from bellmax.solving.backup import action_values, greedy_actions
from bellmax.solving.chain import name_states
from bellmax.solving.problem import EPSILON, Problem
from bellmax.solving.shortest_path import Endless, Rows, chain_values, ending_choice, improve, improve_choice
from bellmax.solving.structure import free_loops

TIES = (1e-6, 1e-8, 1e-10, 1e-12)  # of the largest value: which rows the proof takes for equally good, tried in turn


class Episodic(NamedTuple):
    """A model at γ = 1. Rows are the S*A pairs, then S rows for staying where it is free.

    Attributes:
        rows: of all pairs and stays, [S*A + S] of them, leading to states.
        group: [S] the states that count as one share a number.
        inside: [S*A + S] pairs that stay in their free set.
        exists: [S*A + S] pairs of the model and stays that are allowed.
    """

    rows: Rows
    group: IntArray
    inside: BoolArray
    exists: BoolArray


def make_episodic(mdp: FiniteMDP, problem: Problem) -> Episodic:
    """Finds the free sets. An expected reward counts as 0 if it is nothing but rounding."""
    S, A = problem.reward.shape
    exists = np.isfinite(problem.reward.ravel())
    paid = per_pair(mdp, mdp.probability * np.abs(mdp.reward))
    ends = per_pair(mdp, mdp.probability * mdp.terminated)
    reward = np.where(exists, problem.reward.ravel(), 0.0)
    free = exists & (np.abs(reward) <= problem.unit * paid) & (ends == 0)
    reward[free] = 0.0
    owner = np.repeat(np.arange(S), A)
    group, inside = free_loops(problem.onward, owner, free)
    onward = sp.csr_array(sp.vstack([problem.onward, sp.csr_array((S, S))]))
    can_stay = inside.reshape(S, A).any(axis=1)
    rows = Rows(
        onward,
        np.concatenate([reward, np.zeros(S)]),
        np.concatenate([ends > 0, can_stay]),
        np.concatenate([owner, np.arange(S)]),
    )
    return Episodic(rows, group, np.concatenate([inside, ~can_stay]), np.concatenate([exists, can_stay]))


def select(rows: Rows, chosen: BoolArray, group: IntArray) -> tuple[Rows, IntArray]:
    """Only the `chosen [R]` rows, between groups of nodes, sorted; and which rows those are."""
    index = np.flatnonzero(chosen)
    index = index[np.argsort(group[rows.owner[index]], kind="stable")]
    part = rows.onward[index]
    shape = (index.size, int(group.max()) + 1)
    onward = sp.csr_array((part.data, group[part.indices].astype(part.indices.dtype), part.indptr), shape=shape)
    onward.sum_duplicates()
    return Rows(onward, rows.reward[index], rows.ends[index], group[rows.owner[index]]), index


def solve_episodic(mdp: FiniteMDP, problem: Problem) -> tuple[FloatArray, FloatArray, IntArray, float, int]:
    """`(v [S], q [S, A], policy [S], bound, policy evaluations)` at γ = 1.

    The policy is optimal and ends the episode: of the actions that are as good as the best, it takes one of those
    that end soonest, and of these the lowest. (Not every greedy policy is optimal here: standing still for
    nothing, with the goal in reach, is as good as the best by Bellman's equation.)

    The bound. Let P_r be row r's probabilities between the groups, and e the rounding error of a backup. For some
    w >= 0 let δ be such that v_g + δ w_g >= r + P_r (v + δ w) for all rows of all groups g. Then v + δ w is at least
    the value of every policy that ends (Puterman 1994, Theorem 7.2.2), so V* <= v + δ w. The chosen rows π with
    (I - P_π) w >= c > 0 have a value of at least v - (ρ + e) w / c, ρ the largest v - (r + P_π v). As w serve the
    most steps that can be spent on rows that are as good as the best within a tolerance θ; rows that are worse by
    more than θ must fulfil the first condition too, and are tested. Is none of a few θ good enough, the bound is
    infinite. Probabilities of the rows inside a free set are taken to sum to 1.

    Raises:
        ConfigError: no policy ends from some states, or a loop gains; it names them.
    """
    game = make_episodic(mdp, problem)
    rows, index = select(game.rows, game.exists & ~game.inside, game.group)
    first = ending_choice(rows)
    if (never := np.isin(game.group, np.flatnonzero(first < 0))).any():
        raise ConfigError(
            f"gamma=1: no policy ever ends the episode from {name_states(mdp, np.flatnonzero(never))}, so the total "
            "reward has no bound; use gamma < 1, a horizon, or the average reward"
        )
    try:
        v, choice, iterations = improve_choice(rows, first, problem.unit)
    except Endless as endless:
        raise ConfigError(_gaining(mdp, index[endless.rows])) from None
    error = _prove(rows, v, choice, problem.unit)
    value = v[game.group]
    q = action_values(problem, value)
    rounding = problem.rounding(value)
    bound = problem.mass * error + rounding
    new_v = improve(rows, rows.reward + rows.onward @ v)[0][game.group]
    earned = chain_values(rows.onward[choice], np.abs(rows.reward[choice]))[game.group]
    chosen = np.zeros(game.exists.size, np.bool_)
    chosen[index[choice]] = True
    return new_v, q, _soonest(game, value, q, bound, problem.unit, earned, chosen), bound, iterations


def _gaining(mdp: FiniteMDP, rows: IntArray) -> str:
    """Where the loop is, by states and actions."""
    pairs = np.sort(rows[rows < mdp.n_states * mdp.n_actions])
    words = mdp.action_names or tuple(str(a) for a in range(mdp.n_actions))
    steps = [f"state {pair // mdp.n_actions} action {words[pair % mdp.n_actions]}" for pair in pairs[:10]]
    more = f" and {pairs.size - 10} more" if pairs.size > 10 else ""
    return (
        f"gamma=1: the value is unbounded, because a loop collects reward forever: {', '.join(steps)}{more}; "
        "use gamma < 1, a horizon, or the average reward"
    )


def _prove(rows: Rows, v: FloatArray, choice: IntArray, unit: float) -> float:
    """How far v [N] is from V* at most, as in `solve_episodic`."""
    q = rows.reward + rows.onward @ v
    over = q - v[rows.owner]
    mass = float(rows.onward.sum(axis=1).max())
    size = float(np.abs(v).max()) + float(np.abs(rows.reward).max())
    rounding = unit * (1 + mass) * size
    for tie in TIES:
        tied = over >= -max(tie * size, 4 * rounding)
        tied[choice] = True
        part, index = select(rows._replace(reward=np.ones(over.size)), tied, np.arange(v.size))
        try:
            w = improve_choice(part, np.searchsorted(index, choice), unit)[0]
        except Endless:
            continue
        slack = w[rows.owner] - rows.onward @ w - unit * (1 + mass) * float(w.max())
        if w.min() < 0 or slack[choice].min() <= 0:
            continue
        falling = slack > 0
        upper = float(((over[falling] + rounding) / slack[falling]).max())
        lower = float((rounding - over[choice]).max()) / float(slack[choice].min())
        delta = max(upper, lower, 0.0)
        if np.all(over[~falling] + rounding <= delta * slack[~falling]):
            return delta * float(w.max()) * (1 + 8 * EPSILON)
    return np.inf


def _soonest(
    game: Episodic, value: FloatArray, q: FloatArray, bound: float, unit: float, earned: FloatArray, chosen: BoolArray
) -> IntArray:
    """[S]: an optimal policy that ends the episode, as in `solve_episodic`; states that had best stay, stay.

    `earned [S]` is the sum of the absolute rewards on the way: where they cancel, a value near 0 has the rounding
    errors of that sum. The `chosen [S*A + S]` rows of policy iteration are as good as the best, whatever rounding says.
    """
    S, A = q.shape
    size = np.maximum(np.abs(value), np.max(np.abs(np.where(np.isfinite(q), q, 0.0)), axis=1))
    size = np.maximum(size, earned)
    good = value - np.clip(2 * bound, 1e-12 * size, 1e-9 * size)
    stays = game.exists[S * A :] & (good <= 0)
    allowed = np.concatenate([((q >= good[:, None]) & ~stays[:, None]).ravel(), stays])
    allowed |= chosen & ~np.concatenate([np.repeat(stays, A), stays])
    rows, index = select(game.rows._replace(reward=-np.ones(allowed.size)), allowed, np.arange(S))
    first = ending_choice(rows)
    policy = greedy_actions(q, bound)
    inside = game.inside[: S * A].reshape(S, A)
    policy[stays] = np.argmax(inside[stays], axis=1)
    if (first < 0).any():
        return policy
    steps = improve_choice(rows, first, unit)[0]
    time = np.full(allowed.size, -np.inf)
    time[index] = rows.reward + rows.onward @ steps
    return np.where(stays, policy, greedy_actions(time[: S * A].reshape(S, A)))
