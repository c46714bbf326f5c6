"""NumPy. Whether arrays that were read from a file can be the state of a learner, before any kernel indexes with them.

Kernels check no index: a state 17 of 16 would be read, and written, outside of its array. So whatever owns an array of
integers declares beside it what it may hold: a method `ranges(sizes)` of its NamedTuple, {field: (lowest, highest)},
each end a number or an array of the field's shape; None stands for "as in a fresh run". What must hold between arrays
comes from a method `faults()`, one sentence each. Numbers of other arrays must be finite, but -inf where a fresh run
also has it: the value of an action that a state does not have.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from bellmax.contracts import CorruptCheckpoint
from bellmax.tabular.representation import MaskedTiles, Tiles, table_of

MOST = 2**62  # of a counter


class Sizes(NamedTuple):
    """What indices are held against: how many observations, rows of the table, and actions there are."""

    obs: int
    rows: int
    actions: int


def sizes_of(q: Any) -> Sizes:
    """The sizes of a representation."""
    rows, actions = table_of(q).shape
    return Sizes(len(q.active) if isinstance(q, Tiles | MaskedTiles) else rows, rows, actions)


def check_state(state: Any, fresh: Any, where: str) -> None:
    """Refuse a state with an index out of its range, a number that is none, or parts that do not belong together.

    Raises:
        CorruptCheckpoint: names the array, what it holds and what it may hold.
    """
    for fault in find_faults(state, fresh, sizes_of(fresh.q)):
        raise CorruptCheckpoint(f"{where}: {fault}")


def find_faults(node: Any, fresh: Any, sizes: Sizes, path: str = "state") -> Iterator[str]:
    """One sentence for each fault of a state of NamedTuples of arrays; `fresh` is the state before the first step."""
    ranges = node.ranges(sizes) if hasattr(node, "ranges") else {}
    sound = True
    for name, part, start in zip(getattr(node, "_fields", range(len(node))), node, fresh, strict=True):
        inner = f"{path}.{name}"
        if isinstance(part, tuple):
            found = list(find_faults(part, start, sizes, inner))
        else:
            found = list(_of_array(part, start, ranges, name, inner))
        sound = sound and not found
        yield from found
    if sound and hasattr(node, "faults"):
        yield from (f"{path}: {fault}" for fault in node.faults())


def _of_array(array: Any, fresh: Any, ranges: dict[Any, Any], name: Any, path: str) -> Iterator[str]:
    if array.dtype.kind == "f":
        bad = ~(np.isfinite(array) | (np.isneginf(array) & np.isneginf(fresh)))
        if bad.any():
            yield f"{path} has {array[bad].flat[0]} where only a finite number can be"
    elif array.dtype.kind in "iu" and name not in ranges:
        yield f"{path} declares no range, so its {array.dtype} cannot be checked"
    if name not in ranges:
        return
    if ranges[name] is None:
        if not np.array_equal(array, fresh):
            yield f"{path} differs from that of this run's environment"
        return
    low, high = (np.broadcast_to(end, array.shape) for end in ranges[name])
    bad = (array < low) | (array > high)
    if bad.any():
        place = tuple(np.argwhere(bad)[0])
        index = f"[{', '.join(map(str, place))}]"
        yield f"{path}{index} is {array[place]}; it can be {low[place]} to {high[place]}"
