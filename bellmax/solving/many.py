"""NumPy and SciPy sparse. Many deterministic policies of one model, valued exactly side by side.

The value of a policy has the same bits whatever other policies are valued with it: sums are of one row, and a linear
system is factorized for each policy by itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from bellmax.contracts import BoolArray, FloatArray, IntArray
from bellmax.mdp.model import FiniteMDP
from bellmax.mdp.outcomes import continuation, expected_reward, reachable
from bellmax.solving.methods import DIRECT_STATES, linear_solve
from bellmax.solving.structure import Matrix, closed_classes, leading_to, sources

Valuation = Callable[[IntArray], FloatArray]  # V [m, R] of policies [m, R]

BLOCK = 1 << 16  # rows of all chains at a time; bounds the memory, and is far beyond what calls cost
DENSE_STATES = 64  # up to here a dense factorisation costs less than a sparse one, and no threads
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
    n_states = model.states.size

    def value(block: IntArray) -> FloatArray:
        if gamma == 1.0 or n_states <= DIRECT_STATES:
            return _solve(model, block, gamma)
        chain, reward, _ = _chain(model, block)
        v, done = _sweep(gamma * chain, reward, n_states)
        if not done.all():
            v[~done] = _solve(model, block[~done], gamma)
        return v

    return _in_blocks(model, policies, value)


def start_returns(model: Occurring, policies: IntArray, horizon: int) -> FloatArray:
    """[m]: the expected sum of the first `horizon` rewards of each of m policies [m, R]."""

    def sweep(block: IntArray) -> FloatArray:
        chain, reward, _ = _chain(model, block)
        v = np.zeros_like(reward)
        for _ in range(horizon):
            new_v = reward + chain @ v
            if np.array_equal(new_v, v):
                break
            v = new_v
        return v.reshape(block.shape)

    return _in_blocks(model, policies, sweep)


def weighted_sums(values: FloatArray, weight: FloatArray) -> FloatArray:
    """[n]: Σ_k weight [k] values [n, k], each in the same order whatever n is, which a product by BLAS is not."""
    return np.asarray(np.sum(np.ascontiguousarray(values) * weight, axis=1), np.float64)


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
    """[m]: the values of the policies, averaged over the start states."""
    begin, size = np.flatnonzero(model.start), max(1, BLOCK // model.states.size)
    results = [np.zeros(0)]
    for first in range(0, len(policies), size):
        v = value(policies[first : first + size])
        results.append(weighted_sums(v[:, begin], model.start[begin]))
    return np.concatenate(results)


def _solve(model: Occurring, policies: IntArray, gamma: float) -> FloatArray:
    """V [m, R]: each system (I - γ P) v = r; with γ = 1 over the states that are sure to leave for good."""
    chain, reward, ends = _chain(model, policies)
    solved, v = np.ones(reward.size, np.bool_), np.zeros(reward.size)
    if gamma == 1.0:
        caught = closed_classes(chain, ends) >= 0
        ruined = leading_to(chain, caught & (reward != 0.0))
        v[ruined] = -np.inf
        solved = ~caught & ~ruined  # in the other sets that are never left nothing is gained and nothing lost
        chain.data[~(solved[sources(chain)] & solved[chain.indices])] = 0.0
        chain.eliminate_zeros()
    right = np.where(solved, reward, 0.0).reshape(policies.shape)
    solve = _solve_dense if policies.shape[1] <= DENSE_STATES else _solve_sparse
    return np.where(solved, solve(gamma * chain, right).ravel(), v).reshape(policies.shape)


def _solve_dense(discounted: Matrix, right: FloatArray) -> FloatArray:
    """V [m, R] of m systems (I - γ P) v = right [m, R], whose matrices γ P stand on the diagonal of one."""
    m, n_states = right.shape
    row = sources(discounted)
    systems = np.tile(np.eye(n_states), (m, 1, 1))
    np.subtract.at(systems, (row // n_states, row % n_states, discounted.indices % n_states), discounted.data)
    return np.asarray(np.linalg.solve(systems, right[:, :, None])[:, :, 0], np.float64)


def _solve_sparse(discounted: Matrix, right: FloatArray) -> FloatArray:
    """The same as `_solve_dense`, for matrices that are mostly 0."""
    m, n_states = right.shape
    columns = sp.csc_array(sp.eye_array(m * n_states, format="csr") - discounted)
    v = np.empty_like(right)
    for i in range(m):
        pointers = columns.indptr[i * n_states : (i + 1) * n_states + 1]
        own = slice(pointers[0], pointers[-1])
        parts = columns.data[own], columns.indices[own] - i * n_states, pointers - pointers[0]
        v[i] = linear_solve(sp.csc_array(parts, shape=(n_states, n_states)), right[i])
    return v


def _sweep(discounted: Matrix, reward: FloatArray, n_states: int) -> tuple[FloatArray, BoolArray]:
    """V [m, R] by sweeps v <- r + γ P v, to 1e-12 of a policy's largest value; and [m], which are done.

    If a sweep changed the values of a policy by d, they will change by Σ_k (γ P)^k d more. With b the least and B the
    largest row sum of its γ P, that is between min d · b / (1 - b) and max d · B / (1 - B), b and B swapped where the
    change is negative (MacQueen 1966; Puterman 1994, section 6.6.2).
    """
    sums: FloatArray = np.asarray(discounted.sum(axis=1)).reshape(-1, n_states)
    least, most = (end / (1.0 - end) for end in (sums.min(axis=1), sums.max(axis=1)))
    v, result, done = np.zeros_like(reward), np.zeros_like(sums), np.zeros(len(sums), np.bool_)
    for sweep in range(1, MOST_SWEEPS + 1):
        new_v: FloatArray = reward + discounted @ v
        if sweep % 8 == 0:
            change, values = (new_v - v).reshape(-1, n_states), new_v.reshape(-1, n_states)
            low, high = change.min(axis=1), change.max(axis=1)
            low, high = low * np.where(low > 0, least, most), high * np.where(high > 0, most, least)
            fresh = ~done & (high - low <= 1e-12 * np.abs(values).max(axis=1))
            result[fresh] = values[fresh] + (low + high)[fresh, None] / 2
            done |= fresh
            if done.all():
                break
        v = new_v
    return result, done
