"""NumPy and SciPy sparse graphs. Which states are never left, which can reach an end, which loop for nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp
from scipy.sparse import csgraph

from bellmax.contracts import BoolArray, IntArray

Matrix = sp.csr_array[np.float64]


def components(edges_from: IntArray, edges_to: npt.NDArray[Any], n: int) -> IntArray:
    """[n]: the strongly connected component of each node."""
    graph = sp.csr_array((np.ones(edges_from.size, np.int8), (edges_from, edges_to)), shape=(n, n))
    return np.asarray(csgraph.connected_components(graph, connection="strong")[1], np.int64)


def sources(matrix: Matrix) -> IntArray:
    """[entries]: the row of each entry of a sparse matrix."""
    return np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))


def closed_classes(chain: Matrix, ends: BoolArray) -> IntArray:
    """[S]: which set of states that the chain enters never to leave, 0, 1, ...; -1 for all others.

    `chain [S, S]` has the probabilities to go on, `ends [S]` is true where the episode may end.
    """
    row, label = sources(chain), components(sources(chain), chain.indices, chain.shape[0])
    is_open = np.zeros(int(label.max()) + 1, np.bool_)
    is_open[label[row[label[row] != label[chain.indices]]]] = True
    is_open[label[ends]] = True
    number = np.where(is_open, -1, np.cumsum(~is_open) - 1)
    return number[label]


def reaching(chain: Matrix, owner: IntArray, goal: BoolArray, n: int) -> IntArray:
    """[n]: the node through which each node comes nearer to a goal, by some row of its own.

    `chain [rows, n]` leads from the rows to nodes, `owner [rows]` says whose they are, `goal [rows]` which of them
    may lead to the goal directly: their owners get n itself. -1 where no way leads to the goal.
    """
    begin = np.concatenate([chain.indices, np.full(int(goal.sum()), n)])
    end = np.concatenate([owner[sources(chain)], owner[goal]])
    backward = sp.csr_array((np.ones(begin.size, np.int8), (begin, end)), shape=(n + 1, n + 1))
    parent = csgraph.breadth_first_order(backward, n, return_predecessors=True)[1]
    return np.where(parent[:n] < 0, -1, parent[:n]).astype(np.int64)


def leading_to(chain: Matrix, goal: BoolArray) -> BoolArray:
    """[S]: from which states a `chain [S, S]` may come to a state of the `goal [S]`, these included."""
    return reaching(chain, np.arange(goal.size), goal, goal.size) >= 0


def free_loops(onward: Matrix, owner: IntArray, candidates: BoolArray) -> tuple[IntArray, BoolArray]:
    """Sets of states in which one can stay forever by `candidates [rows]`: the maximal end components.

    Returns:
        group: [S], the states of one set share a number, every other state has its own; 0, 1, ...
        inside: [rows], the candidates that stay in their set.

    Source: de Alfaro (1997), Formal verification of probabilistic systems, section 3.3.
    """
    n = onward.shape[1]
    row, inside = sources(onward), candidates.copy()
    while True:
        used = inside[row]
        label = components(owner[row[used]], onward.indices[used], n)
        leaves = np.zeros(inside.size, np.bool_)
        leaves[row[label[owner[row]] != label[onward.indices]]] = True
        if not (inside & leaves).any():
            return label, inside
        inside &= ~leaves
