"""NumPy and SciPy sparse. Stochastic shortest paths: policy iteration without discount, among policies that end.

Bertsekas and Tsitsiklis (1991), An analysis of stochastic shortest path problems, Math. of Operations Research 16.
"""

from __future__ import annotations

import itertools
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, bicgstab

from bellmax.contracts import BoolArray, FloatArray, IntArray
from bellmax.solving.methods import linear_solve
from bellmax.solving.structure import Matrix, closed_classes, reaching, sources

DIRECT_CHAIN = 300  # states; of larger chains the LU factors may fill the memory, so BiCGSTAB comes first

MOST_POLICIES = 1_000  # a few dozen are usual; the bound tells if it was not enough


class Rows(NamedTuple):
    """What there is to choose from: R rows, each of one of N nodes, sorted by node; every node has a row.

    Attributes:
        onward: [R, N] the probabilities to go on to each node.
        reward: [R] expected.
        ends: [R] whether the row may end the episode.
        owner: [R] the node whose row it is.
    """

    onward: Matrix
    reward: FloatArray
    ends: BoolArray
    owner: IntArray

    @property
    def first(self) -> IntArray:
        """[N]: the first row of each node."""
        return np.flatnonzero(np.diff(self.owner, prepend=-1))


class Endless(Exception):
    """A better choice of rows never ends: there is a loop that gains. `rows` lists the loop's."""

    def __init__(self, rows: IntArray) -> None:
        self.rows = rows


def ending_choice(rows: Rows) -> IntArray:
    """[N]: a row for each node so that all episodes end; -1 where no choice can reach an end."""
    n = rows.first.size
    nearer = reaching(rows.onward, rows.owner, rows.ends, n)
    row = sources(rows.onward)
    useful = rows.ends & (nearer[rows.owner] == n)
    useful[row[rows.onward.indices == nearer[rows.owner[row]]]] = True
    useful &= nearer[rows.owner] >= 0
    choice = np.full(n, -1)
    candidates = np.flatnonzero(useful)[::-1]
    choice[rows.owner[candidates]] = candidates  # the last assignment, and so the lowest row, stays
    return choice


def improve(rows: Rows, q: FloatArray) -> tuple[FloatArray, IntArray]:
    """`(the highest q of each node's rows [N], the lowest row that has it [N])`, of `q [R]`."""
    highest = np.maximum.reduceat(q, rows.first)
    candidates = np.flatnonzero(q == highest[rows.owner])[::-1]
    choice = np.empty(highest.size, np.int64)
    choice[rows.owner[candidates]] = candidates
    return highest, choice


def improve_choice(rows: Rows, choice: IntArray, unit: float) -> tuple[FloatArray, IntArray, int]:
    """The best values [N] and choice [N] among the choices that end, from one that does; and the evaluations.

    A row is given up only for one that is better by more than rounding and what the solver left. Then a choice that
    does not end must gain on the way round: v <= r + P v with a strict sign somewhere, averaged over the loop, is a
    gain > 0.

    Raises:
        Endless: it found a loop that gains, so the values have no bound.
    """
    scale = float(np.abs(rows.reward).max())
    for iteration in itertools.count(1):
        v = chain_values(rows.onward[choice], rows.reward[choice])
        q = rows.reward + rows.onward @ v
        highest, other = improve(rows, q)
        residual = float(np.abs(q[choice] - v).max())
        better = highest > v + max(8 * unit * (scale + float(np.abs(v).max())), 4 * residual)
        if not better.any() or iteration == MOST_POLICIES:
            break
        choice = np.where(better, other, choice)
        loop = closed_classes(rows.onward[choice], rows.ends[choice]) >= 0
        if loop.any():
            raise Endless(choice[loop])
    return v, choice, iteration


def chain_values(chain: Matrix, reward: FloatArray) -> FloatArray:
    """V [N] of a chain in which all episodes end: (I - P) v = r. BiCGSTAB if it is large, LU if that fails."""
    system = sp.csr_array(sp.eye_array(reward.size) - chain)
    if reward.size > DIRECT_CHAIN:
        pivot, v = system.diagonal(), np.zeros(reward.size)
        jacobi = LinearOperator(system.shape, matvec=lambda x: x / pivot, dtype=np.float64)
        for _ in range(4):  # each time with what the time before has left
            v = v + bicgstab(system, reward - system @ v, rtol=1e-8, atol=0.0, maxiter=200, M=jacobi)[0]
            size = float(np.abs(reward).max() + np.abs(v).max())
            if not np.isfinite(size):
                break
            if float(np.abs(reward - system @ v).max()) <= 1e-14 * size:
                return np.asarray(v, np.float64)
    return linear_solve(system, reward)
