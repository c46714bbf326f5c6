"""NumPy and SciPy sparse. Where a chain spends its time in the long run, and what it earns there."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import scipy.sparse as sp

from bellmax.contracts import FloatArray, IntArray
from bellmax.solving.methods import linear_solve
from bellmax.solving.structure import Matrix, closed_classes


class Recurrence(NamedTuple):
    """A chain of N nodes taken apart; nodes may take no time (such as the restart of an episode).

    Attributes:
        chain: [N, N] transition probabilities; rows sum to 1.
        time: [N] 1, or 0 for a node that takes no time.
        label: [N] the closed class that a node is in, -1 for transient nodes.
        system: I - P of the recurrent nodes; one column of each class holds `time` instead, so that the unknown
            of that node, whose bias is set to 0, is the gain of the class (Puterman 1994, section 8.6.1).
        reference: the position of those columns among the recurrent nodes.
    """

    chain: Matrix
    time: FloatArray
    label: IntArray
    system: Matrix
    reference: IntArray


def take_apart(chain: Matrix, time: FloatArray) -> Recurrence:
    """Finds the closed classes of a chain [N, N]."""
    label = closed_classes(chain, np.zeros(time.size, np.bool_))
    recurrent = np.flatnonzero(label >= 0)
    classes, size = label[recurrent], recurrent.size
    able = np.flatnonzero(time[recurrent] > 0)
    reference = able[np.unique(classes[able], return_index=True)[1]]
    keep = np.ones(size)
    keep[reference] = 0.0
    gains = sp.csr_array((time[recurrent], (np.arange(size), reference[classes])), shape=(size, size))
    plain = sp.eye_array(size) - chain[recurrent][:, recurrent]
    return Recurrence(chain, time, label, sp.csr_array(plain @ sp.diags_array(keep) + gains), reference)


def gain_and_bias(parts: Recurrence, reward: FloatArray) -> tuple[FloatArray, FloatArray]:
    """`(g [N], h [N])` with g = P g and g time + h = r + P h, h = 0 at the reference node of each class."""
    chain, label = parts.chain, parts.label
    recurrent, transient = np.flatnonzero(label >= 0), np.flatnonzero(label < 0)
    g, h = np.zeros((2, label.size))
    x = linear_solve(parts.system, reward[recurrent])
    g[recurrent] = x[parts.reference][label[recurrent]]
    x[parts.reference] = 0.0
    h[recurrent] = x
    if transient.size:
        system = sp.eye_array(transient.size) - chain[transient][:, transient]
        into = chain[transient][:, recurrent]
        g[transient] = linear_solve(system, np.asarray(into @ g[recurrent], np.float64))
        earned = reward[transient] - parts.time[transient] * g[transient]
        h[transient] = linear_solve(system, earned + into @ h[recurrent])
    return g, h


def long_run(parts: Recurrence, start: FloatArray) -> FloatArray:
    """[N]: the fraction of time spent in each node in the long run, from the distribution `start [N]`."""
    chain, label = parts.chain, parts.label
    recurrent, transient = np.flatnonzero(label >= 0), np.flatnonzero(label < 0)
    arriving = start[recurrent]
    if transient.size:
        system = sp.eye_array(transient.size) - chain[transient][:, transient]
        arriving = arriving + chain[transient][:, recurrent].T @ linear_solve(sp.csr_array(system.T), start[transient])
    caught = np.zeros(recurrent.size)
    caught[parts.reference] = np.bincount(label[recurrent], arriving)
    share = np.zeros(label.size)
    share[recurrent] = linear_solve(sp.csr_array(parts.system.T), caught)
    return share * parts.time


def stationary(chain: Matrix) -> FloatArray:
    """[n]: the stationary distribution of a chain that is one closed class."""
    n = chain.shape[0]
    return long_run(take_apart(chain, np.ones(n)), np.full(n, 1 / n))
