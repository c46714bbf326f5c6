"""NumPy and SciPy sparse. Many deterministic policies of one model, valued exactly in one linear system."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from bellmax.contracts import BoolArray, FloatArray, IntArray
from bellmax.mdp.model import FiniteMDP
from bellmax.mdp.outcomes import continuation, expected_reward, reachable
from bellmax.solving.methods import DIRECT_STATES, linear_solve
from bellmax.solving.structure import Matrix, closed_classes, leading_to

Valuation = Callable[[Matrix, FloatArray, BoolArray], FloatArray]  # of (chain [N, N], reward [N], ends [N]), V [N]

BLOCK = 1 << 18  # rows of one system; bounds the memory, and is far beyond what calls cost
MOST_SWEEPS = 10_000  # then factorise all the same


class Occurring(NamedTuple):
    """A model without the states that no policy ever acts in; R are left.

    Attributes:
        states: [R] int64, their numbers in the model.
        onward: [R*A, R], the probability to be in a state next and go on.
        reward: [R, A], the mean reward of a pair.
        ends: [R, A], whether the episode may end there.
        start: [R], the distribution of the first state.
    """

    states: IntArray
    onward: Matrix
    reward: FloatArray
    ends: BoolArray
    start: FloatArray


def occurring(mdp: FiniteMDP) -> Occurring:
    """The part of `mdp` that matters from its start."""
    states = np.flatnonzero(reachable(mdp))
    pairs = (states[:, None] * mdp.n_actions + np.arange(mdp.n_actions)).ravel()
    ending = np.bincount(mdp.pair, mdp.terminated, mdp.n_states * mdp.n_actions) > 0
    onward = sp.csr_array(continuation(mdp)[pairs][:, states])
    shape = (states.size, mdp.n_actions)
    return Occurring(states, onward, expected_reward(mdp)[states], ending[pairs].reshape(shape), mdp.start[states])


def start_values(model: Occurring, policies: IntArray, gamma: float) -> FloatArray:
    """[m]: the value from the start of each of m policies [m, R], discounted by γ in [0, 1].

    With γ = 1 it is the expected sum of all rewards. A policy that may be caught forever among states whose
    rewards are not all 0 has the value -inf: where a model can be solved with γ = 1, such a sum has no better limit.
    """

    def solve(chain: Matrix, reward: FloatArray, ends: BoolArray) -> FloatArray:
        v = None
        if gamma < 1.0 and model.states.size > DIRECT_STATES:
            v = _sweep(gamma * chain, reward, model.states.size)
        return _solve(chain, reward, ends, gamma) if v is None else v

    return _in_blocks(model, policies, solve)


def start_returns(model: Occurring, policies: IntArray, horizon: int) -> FloatArray:
    """[m]: the expected sum of the first `horizon` rewards of each of m policies [m, R]."""

    def sweep(chain: Matrix, reward: FloatArray, ends: BoolArray) -> FloatArray:
        del ends
        v = np.zeros_like(reward)
        for _ in range(horizon):
            new_v = reward + chain @ v
            if np.array_equal(new_v, v):
                break
            v = new_v
        return v

    return _in_blocks(model, policies, sweep)


def start_occupancy(model: Occurring, policy: IntArray, gamma: float) -> FloatArray:
    """[R]: the expected discounted number of steps that a policy [R] spends in each state.

    With γ = 1, what is spent in sets of states that it never leaves again is left out.
    """
    chain, _, ends = _chain(model, policy[None])
    if gamma < 1.0 and policy.size > DIRECT_STATES:
        forward, alive, total = sp.csr_array(gamma * chain.T), model.start, np.zeros(policy.size)
        while alive.sum() > 1e-10 * (1 - gamma) * total.sum():
            total, alive = total + alive, np.asarray(forward @ alive)
        return total
    kept = np.flatnonzero(closed_classes(chain, ends) < 0 if gamma == 1.0 else np.ones(policy.size, np.bool_))
    system = sp.eye_array(kept.size) - gamma * chain[kept][:, kept].T
    time = np.zeros(policy.size)
    time[kept] = linear_solve(system, model.start[kept])
    return time


def _chain(model: Occurring, policies: IntArray) -> tuple[Matrix, FloatArray, BoolArray]:
    """(P [m*R, m*R], reward [m*R], ends [m*R]) of m policies [m, R], side by side."""
    m, n_states = policies.shape
    pairs = (np.arange(n_states) * model.reward.shape[1] + policies).ravel()
    rows = model.onward[pairs]
    shift = np.repeat(np.arange(m) * n_states, np.diff(rows.indptr[::n_states]))
    chain = sp.csr_array((rows.data, rows.indices + shift, rows.indptr), shape=(pairs.size, pairs.size))
    return chain, model.reward.ravel()[pairs], model.ends.ravel()[pairs]


def _in_blocks(model: Occurring, policies: IntArray, value: Valuation) -> FloatArray:
    """[m]: the values of the policies' chains, averaged over the start states."""
    begin, size = np.flatnonzero(model.start), max(1, BLOCK // model.states.size)
    results = [np.zeros(0)]
    for first in range(0, len(policies), size):
        block = policies[first : first + size]
        v = value(*_chain(model, block)).reshape(block.shape)
        results.append(v[:, begin] @ model.start[begin])
    return np.concatenate(results)


def _solve(chain: Matrix, reward: FloatArray, ends: BoolArray, gamma: float) -> FloatArray:
    """V [N]: the system (I - γ P) v = r; with γ = 1 over the states that are sure to leave for good."""
    solved = np.ones(reward.size, np.bool_)
    v = np.zeros(reward.size)
    if gamma == 1.0:
        caught = closed_classes(chain, ends) >= 0
        ruined = leading_to(chain, caught & (reward != 0.0))
        v[ruined] = -np.inf
        solved = ~caught & ~ruined  # in the other sets that are never left nothing is gained and nothing lost
    kept = np.flatnonzero(solved)
    if kept.size:
        system = sp.eye_array(kept.size) - gamma * chain[kept][:, kept]
        v[kept] = linear_solve(system, reward[kept])
    return v


def _sweep(discounted: Matrix, reward: FloatArray, n_states: int) -> FloatArray | None:
    """V [m*R] by sweeps v <- r + γ P v, to 1e-12 of the largest value; None where `MOST_SWEEPS` are not enough.

    If a sweep changed the values of a policy by d, they will change by Σ_k (γ P)^k d more. With b the least and B the
    largest row sum of γ P, that is between min d · b / (1 - b) and max d · B / (1 - B), b and B swapped where the
    change is negative (MacQueen 1966; Puterman 1994, section 6.6.2).
    """
    sums: FloatArray = np.asarray(discounted.sum(axis=1))
    least, most = (end / (1.0 - end) for end in (float(sums.min()), float(sums.max())))
    v = np.zeros_like(reward)
    for sweep in range(1, MOST_SWEEPS + 1):
        new_v: FloatArray = reward + discounted @ v
        if sweep % 8 == 0:
            change = (new_v - v).reshape(-1, n_states)
            low, high = change.min(axis=1), change.max(axis=1)
            low, high = low * np.where(low > 0, least, most), high * np.where(high > 0, most, least)
            if (high - low).max() <= 1e-12 * np.abs(new_v).max():
                new_v += np.repeat((low + high) / 2, n_states)
                return new_v
        v = new_v
    return None
