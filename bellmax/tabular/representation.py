"""Numba. What a kernel means by `q`: the table itself, a table with fewer actions in some states, tile-coded weights.

Every kernel reads and writes values through the functions below, so that each learner runs on each representation.
All three are linear in binary features, of which a table has one per state.

- a table: an array `[S, A]`; `obs` is the state.
- `Ragged`: the same where state s has only its first `n_allowed[s]` actions.
- `Tiles`: weights `[F, A]` of F tiles; `obs` is a slot of `active [slots, T]`, the T tiles of an observation, for a
  kernel to keep and compare like a state.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numba
import numpy as np
from numba.extending import overload

from bellmax.tabular.kernel import OPTIONS, branch, kernel
from bellmax.types import FloatArray, IntArray


class Ragged(NamedTuple):
    """A table `[S, A]` of which state s has the actions 0 to `n_allowed[s] - 1`; `n_allowed [S]`."""

    values: FloatArray
    n_allowed: IntArray

    def ranges(self, sizes: Any) -> dict[str, Any]:
        """What the integers may be, see `soundness.py`."""
        return {"n_allowed": None}


class Tiles(NamedTuple):
    """`weights [F, A]`, and the tiles `[slots, T]` that are active in the observations now in memory."""

    weights: FloatArray
    active: IntArray

    def ranges(self, sizes: Any) -> dict[str, Any]:
        """What the integers may be, see `soundness.py`."""
        return {"active": (0, sizes.rows - 1)}


def table_of(q: Any) -> FloatArray:
    """The array [F, A] that learns."""
    return q if isinstance(q, np.ndarray) else q[0]


def with_table(q: Any, values: FloatArray) -> Any:
    """The same representation over other values [F, A]; also in kernels, which so keep nothing of `q` twice."""
    return values if isinstance(q, np.ndarray) else q._replace(**{q._fields[0]: values})


def read(q: Any, row: Any, action: Any) -> Any:
    """One weight."""
    raise NotImplementedError  # kernels only: each function here has its meanings below, chosen as a kernel compiles


def add(q: Any, row: Any, action: Any, amount: Any) -> Any:
    """Add to one weight."""
    raise NotImplementedError


def n_actions(q: Any, obs: Any) -> Any:
    """How many actions there are in `obs`."""
    raise NotImplementedError


def n_columns(q: Any) -> Any:
    """A, the most actions that there are in a state."""
    raise NotImplementedError


def n_features(q: Any) -> Any:
    """How many features are active at a time: 1, or the number of tilings."""
    raise NotImplementedError


def feature(q: Any, obs: Any, i: Any) -> Any:
    """The row of the i-th active feature of `obs`."""
    raise NotImplementedError


def _pick(q: Any, table: Any, ragged: Any, tiles: Any) -> Any:
    if isinstance(q, numba.types.Array):
        return table
    return ragged if "n_allowed" in q.fields else tiles


def _add_table(q: Any, row: Any, action: Any, amount: Any) -> Any:
    q[row, action] += amount


def _add_ragged(q: Any, row: Any, action: Any, amount: Any) -> Any:
    q.values[row, action] += amount


def _add_tiles(q: Any, row: Any, action: Any, amount: Any) -> Any:
    q.weights[row, action] += amount


@overload(read, jit_options=OPTIONS, strict=False)
def _read(q: Any, row: Any, action: Any) -> Any:
    return _pick(
        q,
        lambda q, row, action: q[row, action],
        lambda q, row, action: q.values[row, action],
        lambda q, row, action: q.weights[row, action],
    )


@overload(add, jit_options=OPTIONS, strict=False)
def _add(q: Any, row: Any, action: Any, amount: Any) -> Any:
    return _pick(q, _add_table, _add_ragged, _add_tiles)


@overload(with_table, jit_options=OPTIONS, strict=False)
def _with_table(q: Any, values: Any) -> Any:
    return _pick(
        q,
        lambda q, values: values,
        lambda q, values: Ragged(values, q.n_allowed),
        lambda q, values: Tiles(values, q.active),
    )


@overload(n_actions, jit_options=OPTIONS, strict=False)
def _n_actions(q: Any, obs: Any) -> Any:
    return _pick(q, lambda q, obs: q.shape[1], lambda q, obs: q.n_allowed[obs], lambda q, obs: q.weights.shape[1])


@overload(n_columns, jit_options=OPTIONS, strict=False)
def _n_columns(q: Any) -> Any:
    return _pick(q, lambda q: q.shape[1], lambda q: q.values.shape[1], lambda q: q.weights.shape[1])


@overload(n_features, jit_options=OPTIONS, strict=False)
def _n_features(q: Any) -> Any:
    return _pick(q, lambda q: 1, lambda q: 1, lambda q: q.active.shape[1])


@overload(feature, jit_options=OPTIONS, strict=False)
def _feature(q: Any, obs: Any, i: Any) -> Any:
    return _pick(q, lambda q, obs, i: obs, lambda q, obs, i: obs, lambda q, obs, i: q.active[obs, i])


@kernel
def value(q: Any, obs: Any, action: Any) -> Any:
    """Q(s, a): the sum of the weights of the active features."""
    total = 0.0
    for i in range(n_features(q)):
        total += read(q, feature(q, obs, i), action)
    return total


@kernel
def change(q: Any, obs: Any, action: Any, amount: Any) -> Any:
    """Raise Q(s, a) by `amount`, spread evenly over the active features: α is divided by the number of tilings."""
    share = amount / n_features(q)
    for i in range(n_features(q)):
        add(q, feature(q, obs, i), action, share)


@kernel
def greedy(q: Any, obs: Any) -> Any:
    """The action of highest value; the lowest index among equals."""
    n = n_actions(q, obs)
    if n == 4:  # a length known to the compiler is unrolled
        return _first_largest(q, obs, 4)
    if n == 2:
        return _first_largest(q, obs, 2)
    return _first_largest(q, obs, n)


@kernel
def largest(q: Any, obs: Any) -> Any:
    """The highest value of an action in `obs`."""
    n = n_actions(q, obs)
    if n == 4:
        return _maximum(q, obs, 4)
    if n == 2:
        return _maximum(q, obs, 2)
    return _maximum(q, obs, n)


@kernel
def _first_largest(q: Any, obs: Any, n: int) -> Any:
    """A policy seldom changes its mind: real branches, so that the next step begins before the row is compared."""
    best, highest = 0, value(q, obs, 0)
    for action in range(1, n):
        candidate = value(q, obs, action)
        if candidate > highest:
            best, highest = branch(action), candidate
    return best


@kernel
def _maximum(q: Any, obs: Any, n: int) -> Any:
    """No branches: nothing waits for the target, which may be a conditional move away."""
    highest = value(q, obs, 0)
    for action in range(1, n):
        candidate = value(q, obs, action)
        highest = candidate if candidate > highest else highest
    return highest


@kernel
def mean_value(q: Any, obs: Any) -> Any:
    """The mean value of the actions in `obs`."""
    n, total = n_actions(q, obs), 0.0
    for action in range(n):
        total += value(q, obs, action)
    return total / n
