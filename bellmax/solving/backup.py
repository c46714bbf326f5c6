"""NumPy and SciPy sparse; Numba for models of millions of outcomes. One Bellman backup, and its rounding error."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from bellmax.contracts import FloatArray, IntArray
from bellmax.solving.problem import EPSILON, Problem

COMPILED_ENTRIES = 1_000_000  # from here on Numba's threads save more than importing Numba costs
SWEEPS = 50  # with one policy, at most, between two Bellman backups


class Backup(NamedTuple):
    """T v of some v: `v [S]`, a greedy `policy [S]`, and how far the values fell and rose at most.

    `q [S, A]` is None where it was not needed as a whole.
    """

    v: FloatArray
    policy: IntArray
    low: float
    high: float
    q: FloatArray | None

    @property
    def residual(self) -> float:
        """‖T v - v‖∞, the Bellman residual."""
        return max(self.high, -self.low)


def action_values(problem: Problem, v: FloatArray) -> FloatArray:
    """Q [S, A] of acting once, then being worth v [S]: r + γ P v."""
    q = np.asarray(problem.onward @ v)
    q *= problem.gamma
    q += problem.reward.ravel()
    return q.reshape(problem.reward.shape)


def backup(problem: Problem, v: FloatArray) -> Backup:
    """The Bellman operator: max_a (r + γ P v), Puterman (1994), equation 6.2.3."""
    if problem.onward.nnz >= COMPILED_ENTRIES:
        from bellmax.solving.sweeps import backup_in_threads

        new_v, policy, low, high = backup_in_threads(problem, v)
        return Backup(new_v, policy, low, high, None)
    q = action_values(problem, v)
    new_v = best(q)
    change = new_v - v
    return Backup(new_v, _lowest(q, new_v - 1e-12 * np.abs(new_v)), float(change.min()), float(change.max()), q)


def evaluation_sweeps(problem: Problem, policy: IntArray, v: FloatArray, enough: float, *, lift: bool) -> FloatArray:
    """Backs up a policy [S] from v [S], `SWEEPS` times or until a sweep changes no value by more than `enough`.

    With `lift`, what all values change alike counts only as far as `sure_gain` cannot foresee it, and is added last.
    """
    # The rows are copied, for reading them where they lie apart costs as much as reading all.
    chosen = chosen_rows(problem, policy)
    compiled = problem.onward.nnz >= COMPILED_ENTRIES
    spare = [np.empty_like(v), np.empty_like(v)]  # fresh memory for each sweep would cost more than the sweep
    for sweep in range(SWEEPS):
        new_v = spare[sweep % 2]
        low, high = (_sweep_in_threads if compiled else _sweep)(*chosen, problem.gamma, v, new_v)
        v, change = new_v, max(high, -low)
        if (min(change, high - low + (1 - problem.least) * change) if lift else change) <= enough:
            break
    return v + sure_gain(problem, low, high) if lift else v


def _sweep(
    onward: sp.csr_array[np.float64], reward: FloatArray, gamma: float, v: FloatArray, new_v: FloatArray
) -> tuple[float, float]:
    """Fills `new_v [S]` with r + γ P v; returns the lowest and the highest change of a value."""
    new_v[:] = reward + gamma * (onward @ v)
    change = new_v - v
    return float(change.min()), float(change.max())


def _sweep_in_threads(
    onward: sp.csr_array[np.float64], reward: FloatArray, gamma: float, v: FloatArray, new_v: FloatArray
) -> tuple[float, float]:
    from bellmax.solving.sweeps import sweep_in_threads

    return sweep_in_threads(onward, reward, gamma, v, new_v)


def sure_gain(problem: Problem, low: float, high: float) -> float:
    """What all values will gain at least, in all, after a backup that changed them by `low` to `high`.

    The next backup lifts them by γ min P(go on) times `low` or more, and so on (MacQueen 1966); as for losses.
    """
    least = problem.gamma * problem.least
    return (max(low, 0.0) + min(high, 0.0)) * least / max(1 - least, EPSILON)


def chosen_rows(problem: Problem, policy: IntArray) -> tuple[sp.csr_array[np.float64], FloatArray]:
    """`(P_π [S, S], r_π [S])` of a policy [S]."""
    states = np.arange(policy.size)
    return problem.onward[states * problem.reward.shape[1] + policy], problem.reward[states, policy]


def best(q: FloatArray) -> FloatArray:
    """max_a q, [S]. Columns, for NumPy reduces short rows one by one."""
    v = q[:, 0].copy()
    for a in range(1, q.shape[1]):
        np.maximum(v, q[:, a], out=v)
    return v


def cancelled(problem: Problem, v: FloatArray, q: FloatArray) -> FloatArray:
    """[S]: of what size the terms are that a row of `q [S, A]`, the backup of `v [S]`, adds up to almost nothing.

    0 in all other states. Their sum has the rounding errors of its terms, so these say which of its digits count.
    """
    size, A = np.zeros(v.size), q.shape[1]
    small = np.flatnonzero(np.abs(best(q)) < 1e-6 * max(problem.scale, float(np.abs(v).max())))
    if small.size:
        pairs = (small[:, None] * A + np.arange(A)).ravel()
        paid = np.abs(problem.reward[small])
        terms = (problem.gamma * (problem.onward[pairs] @ np.abs(v))).reshape(-1, A) + np.where(paid < np.inf, paid, 0)
        size[small] = terms.max(axis=1)
    return size


def greedy_actions(q: FloatArray, error: float = 0.0, terms: FloatArray | None = None) -> IntArray:
    """[S] int64: the best action of `q [S, A]`; of actions as good as the best, the lowest index.

    "As good" is within twice `error` (two values that are each wrong by at most `error`), but never less than
    1e-12 nor more than 1e-9 of the row's largest value: rounding must not decide, and small values must. What a row
    was added up from, `terms [S]`, counts like a value of it.
    """
    highest = best(q)
    size = np.abs(highest)
    for a in range(1, q.shape[1]):
        np.maximum(size, np.abs(q[:, a]), out=size, where=q[:, a] > -np.inf)  # -inf: the state lacks the action
    if terms is not None:
        np.maximum(size, terms, out=size)
    good = highest - np.clip(2 * error, 1e-12 * size, 1e-9 * size)
    return _lowest(q, good)


def _lowest(q: FloatArray, good: FloatArray) -> IntArray:
    """[S] int64: the lowest action whose `q [S, A]` is at least `good [S]`."""
    short = q[:, 0] < good
    policy = short.astype(np.int64)
    for a in range(1, q.shape[1] - 1):  # each action that falls short sends a state on to the next; masks are slower
        short &= q[:, a] < good
        policy += short
    return policy
