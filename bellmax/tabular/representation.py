"""Numba. How Q is stored, and how kernels read and change it: each function here has a meaning for each representation.

All representations are linear in binary features, of which a table has one per state.

- a table: an array `[S, A]`; `obs` is the state.
- `Ragged`: the same where state s has only its first `n_allowed[s]` actions.
- `Tiles`: weights `[F, A]` of F tiles; `obs` is a slot of `active [slots, T]`, the T tiles of an observation, which a
  kernel stores and compares like a state.
- `MaskedTable` and `MaskedTiles`: the same with the allowed actions, which the loop notes before a kernel looks.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import numba
import numpy as np
from numba.extending import overload

from bellmax.contracts import BoolArray, FloatArray, IntArray
from bellmax.tabular.kernel import OPTIONS, Index
from bellmax.tabular.soundness import Range, Sizes


class Ragged(NamedTuple):
    """A table `[S, A]` of which state s has the actions 0 to `n_allowed[s] - 1`; `n_allowed [S]`."""

    values: FloatArray
    n_allowed: IntArray

    def ranges(self, sizes: Sizes) -> dict[str, Range]:
        """What the integers may be, see `soundness.py`."""
        return {"n_allowed": None}


class Tiles(NamedTuple):
    """`weights [F, A]`, and the tiles `[slots, T]` that are active in the observations now in memory."""

    weights: FloatArray
    active: IntArray

    def ranges(self, sizes: Sizes) -> dict[str, Range]:
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

    def ranges(self, sizes: Sizes) -> dict[str, Range]:
        """Of `active` as of `Tiles`; see `soundness.py`."""
        return Tiles(self.weights, self.active).ranges(sizes)

    def faults(self) -> list[str]:
        """What is wrong between the parts."""
        return _faults_of(self.allowed)


Representation: TypeAlias = FloatArray | Ragged | Tiles | MaskedTable | MaskedTiles


def table_of(q: Representation) -> FloatArray:
    """The array [F, A] that learns."""
    return q if isinstance(q, np.ndarray) else q[0]


def sizes_of(q: Representation) -> Sizes:
    """What indices into a representation are compared with."""
    rows, actions = table_of(q).shape
    return Sizes(len(q.active) if isinstance(q, Tiles | MaskedTiles) else rows, rows, actions)


def with_table(q: Representation, values: FloatArray) -> Representation:
    """The same representation over other values [F, A]; also in kernels, which so store nothing of `q` twice."""
    old: Any = q
    return values if isinstance(q, np.ndarray) else old._replace(**{old._fields[0]: values})


def weight(q: Representation, row: Index, action: Index) -> float:
    """One weight."""
    raise NotImplementedError  # kernels only: each function here has its meanings below, chosen as a kernel compiles


def add(q: Representation, row: Index, action: Index, amount: float) -> None:
    """Add to one weight."""
    raise NotImplementedError


def n_actions(q: Representation, obs: Index) -> int:
    """How many actions there are in `obs`."""
    raise NotImplementedError


def is_allowed(q: Representation, obs: Index, action: Index) -> bool:
    """Whether one of the `n_actions` is allowed in `obs`."""
    raise NotImplementedError


def n_choices(q: Representation, obs: Index) -> int:
    """How many actions are allowed in `obs`."""
    raise NotImplementedError


def choice_of(q: Representation, obs: Index, number: Index) -> int:
    """The action that has this number, from 0, among those that are allowed in `obs`."""
    raise NotImplementedError


def set_allowed(q: Representation, obs: Index, masks: BoolArray, which: Index, i: Index) -> None:
    """Note `masks[which, i]` as the actions that are allowed in `obs`; nothing without masks."""
    raise NotImplementedError


def n_columns(q: Representation) -> int:
    """A, the most actions that there are in a state."""
    raise NotImplementedError


def n_active(q: Representation) -> int:
    """How many features are active at a time: 1, or the number of tilings."""
    raise NotImplementedError


def feature(q: Representation, obs: Index, i: Index) -> int:
    """The row of the i-th active feature of `obs`."""
    raise NotImplementedError


Meaning: TypeAlias = Callable[..., object]


def _define(
    function: Meaning,
    table: Meaning,
    ragged: Meaning,
    tiles: Meaning,
    masked: Meaning | None = None,
    masked_tiles: Meaning | None = None,
) -> None:
    """What a function does for each type of `q`; a masked one is by default like the plain one of that first field."""

    def choose(q: numba.types.Type, *others: numba.types.Type) -> Meaning:
        if isinstance(q, numba.types.Array):
            return table
        fields = getattr(q, "fields", ())
        if "allowed" not in fields:
            return ragged if "n_allowed" in fields else tiles
        return (masked_tiles or tiles) if "active" in fields else (masked or ragged)

    overload(function, jit_options=OPTIONS, strict=False)(choose)


def _add_table(q: FloatArray, row: Index, action: Index, amount: float) -> None:
    q[row, action] += amount


def _add_ragged(q: Ragged | MaskedTable, row: Index, action: Index, amount: float) -> None:
    q.values[row, action] += amount


def _add_tiles(q: Tiles | MaskedTiles, row: Index, action: Index, amount: float) -> None:
    q.weights[row, action] += amount


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


def _copy_allowed(q: MaskedTable | MaskedTiles, obs: Index, masks: BoolArray, which: Index, i: Index) -> None:
    for action in range(q.allowed.shape[1]):
        q.allowed[obs, action] = masks[which, i, action]


def _no_masks(q: Representation, obs: Index, masks: BoolArray, which: Index, i: Index) -> None:
    pass


def _always(q: Representation, obs: Index, action: Index) -> bool:
    return True


def _looked_up(q: MaskedTable | MaskedTiles, obs: Index, action: Index) -> bool:
    return bool(q.allowed[obs, action])


def _all_of_them(q: Representation, obs: Index) -> int:
    return n_actions(q, obs)


def _the_number(q: Representation, obs: Index, number: Index) -> Index:
    return number


_define(
    weight,
    lambda q, row, action: q[row, action],
    lambda q, row, action: q.values[row, action],
    lambda q, row, action: q.weights[row, action],
)
_define(
    with_table,
    lambda q, values: values,
    lambda q, values: Ragged(values, q.n_allowed),
    lambda q, values: Tiles(values, q.active),
    lambda q, values: MaskedTable(values, q.allowed),
    lambda q, values: MaskedTiles(values, q.active, q.allowed),
)
_define(
    n_actions,
    lambda q, obs: q.shape[1],
    lambda q, obs: q.n_allowed[obs],
    lambda q, obs: q.weights.shape[1],
    lambda q, obs: q.values.shape[1],
)
_define(add, _add_table, _add_ragged, _add_tiles)
_define(n_columns, lambda q: q.shape[1], lambda q: q.values.shape[1], lambda q: q.weights.shape[1])
_define(n_active, lambda q: 1, lambda q: 1, lambda q: q.active.shape[1])
_define(feature, lambda q, obs, i: obs, lambda q, obs, i: obs, lambda q, obs, i: q.active[obs, i])
_define(is_allowed, _always, _always, _always, _looked_up, _looked_up)
_define(n_choices, _all_of_them, _all_of_them, _all_of_them, _count_allowed, _count_allowed)
_define(choice_of, _the_number, _the_number, _the_number, _find_allowed, _find_allowed)
_define(set_allowed, _no_masks, _no_masks, _no_masks, _copy_allowed, _copy_allowed)
