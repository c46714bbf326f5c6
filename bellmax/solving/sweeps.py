"""Numba. Backups of large models: one pass over the outcomes, no q in memory, the states shared out over threads.

A row is summed as SciPy sums it, one outcome after the other, so the error bounds are the same, and the result does
not depend on the number of threads.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import scipy.sparse as sp

from bellmax.compiling import compiled
from bellmax.contracts import FloatArray, IntArray
from bellmax.solving.problem import Problem

ENTRIES_PER_THREAD = 1_000_000  # some milliseconds of work, which starting a thread is worth


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Machine code without the interpreter's lock, kept on disk."""
    return compiled(function, nogil=True, error_model="numpy")


@_compiled
def _backup(indptr, indices, data, reward, gamma, v, new_v, policy, begin, end):  # type: ignore[no-untyped-def]
    """Fill `new_v` and `policy` from state `begin` to `end`; returns the lowest and highest change of a value."""
    low, high = np.inf, -np.inf
    n_actions = reward.shape[1]
    for s in range(begin, end):
        highest, chosen, beaten = -np.inf, 0, -np.inf
        for a in range(n_actions):
            row = s * n_actions + a
            onward = 0.0
            for e in range(indptr[row], indptr[row + 1]):
                onward += data[e] * v[indices[e]]
            q = reward[s, a] + gamma * onward
            highest = max(highest, q)
            if q > beaten + 1e-12 * abs(beaten) or a == 0:  # rounding must not decide, as in `greedy_policy`
                chosen, beaten = a, q
        new_v[s], policy[s] = highest, chosen
        low, high = min(low, highest - v[s]), max(high, highest - v[s])
    return low, high


@_compiled
def _sweep(indptr, indices, data, reward, gamma, v, new_v, begin, end):  # type: ignore[no-untyped-def]
    """The same for a model with one action, of `reward [S]`."""
    low, high = np.inf, -np.inf
    for s in range(begin, end):
        onward = 0.0
        for e in range(indptr[s], indptr[s + 1]):
            onward += data[e] * v[indices[e]]
        new_v[s] = reward[s] + gamma * onward
        low, high = min(low, new_v[s] - v[s]), max(high, new_v[s] - v[s])
    return low, high


@_compiled
def _gauss_seidel(indptr, indices, data, reward, gamma, v):  # type: ignore[no-untyped-def]
    """Back up v [S] in place, state after state; returns the largest change."""
    change = 0.0
    n_actions = reward.shape[1]
    for s in range(v.size):
        highest = -np.inf
        for row in range(s * n_actions, (s + 1) * n_actions):
            onward = 0.0
            for e in range(indptr[row], indptr[row + 1]):
                onward += data[e] * v[indices[e]]
            highest = max(highest, reward[s, row - s * n_actions] + gamma * onward)
        change = max(change, abs(highest - v[s]))
        v[s] = highest
    return change


def backup_in_threads(problem: Problem, v: FloatArray) -> tuple[FloatArray, IntArray, float, float]:
    """T v [S], a greedy policy [S], and the lowest and the highest change of a value."""
    new_v, policy = np.empty_like(v), np.empty(v.size, np.int64)
    arrays = (*_unsigned(problem.onward), problem.reward, problem.gamma, v, new_v, policy)
    return new_v, policy, *_in_threads(_backup, v.size, problem.onward.nnz, arrays)


def sweep_in_threads(
    onward: sp.csr_array[np.float64], reward: FloatArray, gamma: float, v: FloatArray, new_v: FloatArray
) -> tuple[float, float]:
    """Fill `new_v [S]` with r + γ P v; returns the lowest and the highest change of a value."""
    return _in_threads(_sweep, v.size, onward.nnz, (*_unsigned(onward), reward, gamma, v, new_v))


def gauss_seidel_sweep(problem: Problem, v: FloatArray) -> float:
    """Value iteration in place, by one thread; returns the largest change of v [S]. Puterman (1994), section 6.3.3."""
    return float(_gauss_seidel(*_unsigned(problem.onward), problem.reward, problem.gamma, v))


def _in_threads(
    kernel: Callable[..., tuple[float, float]], n_states: int, entries: int, arrays: tuple[Any, ...]
) -> tuple[float, float]:
    """Run `kernel(*arrays, begin, end) -> (low, high)` on a range of states per thread; returns lowest and highest."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = min(cores, max(1, entries // ENTRIES_PER_THREAD))
    if threads == 1:
        low, high = kernel(*arrays, 0, n_states)
        return low, high
    cuts = np.linspace(0, n_states, threads + 1).astype(int).tolist()
    with ThreadPoolExecutor(threads) as pool:
        changes = list(pool.map(lambda *part: kernel(*arrays, *part), cuts[:-1], cuts[1:]))
    return min(low for low, _ in changes), max(high for _, high in changes)


def _unsigned(onward: sp.csr_array[np.float64]) -> tuple[Any, ...]:
    """A matrix for the kernels. Unsigned indices need no test for counting from the end, which is half the time."""
    unsigned = np.uint32 if onward.indices.itemsize == 4 else np.uint64
    return onward.indptr.view(unsigned), onward.indices.view(unsigned), onward.data


def warm_up() -> None:
    """Compile everything now, or read it from the disk: so that what is timed later is not that."""
    onward = sp.csr_array((np.ones(1), np.zeros(1, np.int32), np.array([0, 1], np.int32)), shape=(1, 1))
    problem, v = Problem(onward, np.zeros((1, 1)), 0.5, 1.0, 0.5, 1.0, 0.0, 0.0), np.zeros(1)
    backup_in_threads(problem, v)
    sweep_in_threads(onward, np.zeros(1), 0.5, v, np.zeros(1))
    gauss_seidel_sweep(problem, v)
