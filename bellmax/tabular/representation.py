"""Numba. What a kernel means by `q`: the table itself, a table with fewer actions in some states, tile-coded weights.

Every kernel reads and writes values through the functions below, so that each learner runs on each representation.
All three are linear in binary features, of which a table has one per state.

- a table: an array `[S, A]`; `obs` is the state.
- `Ragged`: the same where state s has only its first `n_allowed[s]` actions.
- `Tiles`: weights `[F, A]` of F tiles; `obs` is a slot of `active [slots, T]`, the T tiles of an observation, for a
  kernel to keep and compare like a state.
- `MaskedTable` and `MaskedTiles`: the same with the allowed actions, which the loop notes before a kernel looks.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import numba
import numpy as np
from numba.extending import overload

from bellmax.contracts import BoolArray, FloatArray, IntArray
from bellmax.tabular.kernel import OPTIONS, Index, branch, kernel


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


def _faults_of(allowed: BoolArray) -> list[str]:
    rows = np.flatnonzero(~allowed.any(axis=1))
    return [f"allowed[{rows[0]}] allows no action"] if rows.size else []


class MaskedTable(NamedTuple):
    """A table `[S, A]`, and the actions that the latest mask of each state allows, `allowed [S, A]`."""

    values: FloatArray
    allowed: BoolArray

    def faults(self) -> list[str]:
        """What is wrong between the parts."""
        return _faults_of(self.allowed)


class MaskedTiles(NamedTuple):
    """`Tiles`, and the actions that are allowed in each slot, `allowed [slots, A]`."""

    weights: FloatArray
    active: IntArray
    allowed: BoolArray

    def ranges(self, sizes: Any) -> dict[str, Any]:
        """Of `active` as of `Tiles`; see `soundness.py`."""
        return Tiles(self.weights, self.active).ranges(sizes)

    def faults(self) -> list[str]:
        """What is wrong between the parts."""
        return _faults_of(self.allowed)


Representation: TypeAlias = FloatArray | Ragged | Tiles | MaskedTable | MaskedTiles


def table_of(q: Representation) -> FloatArray:
    """The array [F, A] that learns."""
    return q if isinstance(q, np.ndarray) else q[0]


def with_table(q: Representation, values: FloatArray) -> Representation:
    """The same representation over other values [F, A]; also in kernels, which so keep nothing of `q` twice."""
    old: Any = q
    return values if isinstance(q, np.ndarray) else old._replace(**{old._fields[0]: values})


def read(q: Representation, row: Index, action: Index) -> float:
    """One weight."""
    raise NotImplementedError  # kernels only: each function here has its meanings below, chosen as a kernel compiles


def add(q: Representation, row: Index, action: Index, amount: float) -> None:
    """Add to one weight."""
    raise NotImplementedError


def n_actions(q: Representation, obs: Index) -> int:
    """How many actions there are in `obs`."""
    raise NotImplementedError


def is_allowed(q: Representation, obs: Index, action: Index) -> bool:
    """Whether one of the `n_actions` may be taken in `obs`."""
    raise NotImplementedError


def n_choices(q: Representation, obs: Index) -> int:
    """How many actions may be taken in `obs`."""
    raise NotImplementedError


def choice_of(q: Representation, obs: Index, number: Index) -> int:
    """The action that has this number, from 0, among those that may be taken in `obs`."""
    raise NotImplementedError


def set_allowed(q: Representation, obs: Index, masks: Any, which: Index, i: Index) -> None:
    """Note `masks[which, i]` as the actions that may be taken in `obs`; nothing where no masks are used."""
    raise NotImplementedError


def n_columns(q: Representation) -> int:
    """A, the most actions that there are in a state."""
    raise NotImplementedError


def n_features(q: Representation) -> int:
    """How many features are active at a time: 1, or the number of tilings."""
    raise NotImplementedError


def feature(q: Representation, obs: Index, i: Index) -> int:
    """The row of the i-th active feature of `obs`."""
    raise NotImplementedError


def _pick(q: Any, table: Any, ragged: Any, tiles: Any, masked: Any = None, masked_tiles: Any = None) -> Any:
    """By the type of `q`; a masked one is by default like the plain one of the same first field."""
    if isinstance(q, numba.types.Array):
        return table
    if "allowed" not in q.fields:
        return ragged if "n_allowed" in q.fields else tiles
    return (masked_tiles or tiles) if "active" in q.fields else (masked or ragged)


def _count_allowed(q: MaskedTable | MaskedTiles, obs: Index) -> int:
    count = 0
    for action in range(q.allowed.shape[1]):
        count += q.allowed[obs, action]
    return count


def _find_allowed(q: MaskedTable | MaskedTiles, obs: Index, number: Index) -> int:
    chosen, left = 0, number
    for action in range(q.allowed.shape[1]):
        if q.allowed[obs, action]:
            if left == 0:
                chosen = action
            left -= 1
    return chosen


def _copy_allowed(q: MaskedTable | MaskedTiles, obs: Index, masks: Any, which: Index, i: Index) -> int:
    for action in range(q.allowed.shape[1]):
        q.allowed[obs, action] = masks[which, i, action]
    return 0


def _add_table(q: FloatArray, row: Index, action: Index, amount: float) -> None:
    q[row, action] += amount


def _add_ragged(q: Ragged | MaskedTable, row: Index, action: Index, amount: float) -> None:
    q.values[row, action] += amount


def _add_tiles(q: Tiles | MaskedTiles, row: Index, action: Index, amount: float) -> None:
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
        lambda q, values: MaskedTable(values, q.allowed),
        lambda q, values: MaskedTiles(values, q.active, q.allowed),
    )


@overload(n_actions, jit_options=OPTIONS, strict=False)
def _n_actions(q: Any, obs: Any) -> Any:
    return _pick(
        q,
        lambda q, obs: q.shape[1],
        lambda q, obs: q.n_allowed[obs],
        lambda q, obs: q.weights.shape[1],
        lambda q, obs: q.values.shape[1],
    )


@overload(is_allowed, jit_options=OPTIONS, strict=False)
def _is_allowed(q: Any, obs: Any, action: Any) -> Any:
    always, looked_up = (lambda q, obs, action: True), (lambda q, obs, action: q.allowed[obs, action])
    return _pick(q, always, always, always, looked_up, looked_up)


@overload(n_choices, jit_options=OPTIONS, strict=False)
def _n_choices(q: Any, obs: Any) -> Any:
    every = lambda q, obs: n_actions(q, obs)  # noqa: E731 - one of several meanings
    return _pick(q, every, every, every, _count_allowed, _count_allowed)


@overload(choice_of, jit_options=OPTIONS, strict=False)
def _choice_of(q: Any, obs: Any, number: Any) -> Any:
    itself = lambda q, obs, number: number  # noqa: E731
    return _pick(q, itself, itself, itself, _find_allowed, _find_allowed)


@overload(set_allowed, jit_options=OPTIONS, strict=False)
def _set_allowed(q: Any, obs: Any, masks: Any, which: Any, i: Any) -> Any:
    nothing = lambda q, obs, masks, which, i: 0  # noqa: E731
    return _pick(q, nothing, nothing, nothing, _copy_allowed, _copy_allowed)


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
def value(q: Representation, obs: Index, action: Index) -> float:
    """Q(s, a): the sum of the weights of the active features."""
    total = 0.0
    for i in range(n_features(q)):
        total += read(q, feature(q, obs, i), action)
    return total


@kernel
def change(q: Representation, obs: Index, action: Index, amount: float) -> None:
    """Raise Q(s, a) by `amount`, spread evenly over the active features: α is divided by the number of tilings."""
    share = amount / n_features(q)
    for i in range(n_features(q)):
        add(q, feature(q, obs, i), action, share)


@kernel
def greedy(q: Representation, obs: Index) -> int:
    """The action of highest value; the lowest index among equals."""
    n = n_actions(q, obs)
    if n == 4:  # a length known to the compiler is unrolled
        return _first_largest(q, obs, 4)
    if n == 2:
        return _first_largest(q, obs, 2)
    return _first_largest(q, obs, n)


@kernel
def largest(q: Representation, obs: Index) -> float:
    """The highest value of an action in `obs`."""
    n = n_actions(q, obs)
    if n == 4:
        return _maximum(q, obs, 4)
    if n == 2:
        return _maximum(q, obs, 2)
    return _maximum(q, obs, n)


@kernel
def _first_largest(q: Representation, obs: Index, n: int) -> int:
    """A policy seldom changes its mind: real branches, so that the next step begins before the row is compared."""
    best, highest = 0, value(q, obs, 0)
    for action in range(1, n):
        candidate = value(q, obs, action)
        if is_allowed(q, obs, action) and (candidate > highest or not is_allowed(q, obs, best)):
            best, highest = branch(action), candidate
    return best


@kernel
def _maximum(q: Representation, obs: Index, n: int) -> float:
    """No branches: nothing waits for the target, which may be a conditional move away."""
    highest = value(q, obs, 0) if is_allowed(q, obs, 0) else -np.inf
    for action in range(1, n):
        candidate = value(q, obs, action) if is_allowed(q, obs, action) else -np.inf
        highest = candidate if candidate > highest else highest
    return highest


@kernel
def mean_value(q: Representation, obs: Index) -> float:
    """The mean value of the actions in `obs`."""
    total = 0.0
    for action in range(n_actions(q, obs)):
        total += value(q, obs, action) if is_allowed(q, obs, action) else 0.0
    return total / n_choices(q, obs)
