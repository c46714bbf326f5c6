"""NumPy. Whether arrays that were read from a file can be the state of a learner, before any kernel indexes with them.

Kernels check no index: a state 17 of 16 would be read, and written, outside of its array. So whatever owns an array of
integers declares beside it what it may hold: a method `ranges(sizes)` of its NamedTuple, {field: (lowest, highest)},
each end a number or an array of the field's shape; None stands for "as in a fresh run". What must hold between arrays
comes from a method `faults()`, one sentence each. Numbers of other arrays must be finite, but -inf where a fresh run
also has it: the value of an action that a state does not have.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias, runtime_checkable

import numpy as np

from bellmax.contracts import CorruptCheckpoint

MOST = 2**62  # of a counter
Range: TypeAlias = "tuple[float | list[int], float | list[int]] | None"


class Sizes(NamedTuple):
    """What indices are compared with: how many observations, rows of the table, and actions there are."""

    obs: int
    rows: int
    actions: int


@runtime_checkable
class HasRanges(Protocol):
    """A part of a state with integers."""

    def ranges(self, sizes: Sizes) -> Mapping[str, Range]:
        """What each field of integers may hold."""


@runtime_checkable
class HasFaults(Protocol):
    """A part of a state whose arrays belong together."""

    def faults(self) -> Iterable[str]:
        """One sentence for each way in which they do not."""


def check_state(state: tuple[object, ...], fresh: tuple[object, ...], sizes: Sizes, where: str) -> None:
    """Refuse a state with an index out of its range, a number that is none, or parts that do not belong together.

    `fresh` is the state before the first step.

    Raises:
        CorruptCheckpoint: names the array, what it holds and what it may hold.
    """
    for fault in find_state_faults(state, fresh, sizes):
        raise CorruptCheckpoint(f"{where}: {fault}")


def find_undeclared(node: tuple[object, ...], sizes: Sizes) -> Iterator[str]:
    """Yield what to write for each array of integers in a state of NamedTuples that declares no range."""
    ranges = node.ranges(sizes) if isinstance(node, HasRanges) else {}
    for name, part in zip(getattr(node, "_fields", range(len(node))), node, strict=True):
        if isinstance(part, tuple):
            yield from find_undeclared(part, sizes)
        elif (array := np.asarray(part)).dtype.kind in "iu" and name not in ranges:
            what = type(node).__name__
            if what == "tuple":
                yield f"part {name} of `memory` is an {array.dtype} array; make `memory` a NamedTuple with `ranges`"
            else:
                yield (
                    f"{what}.{name} is an {array.dtype} array, and `ranges` of {what} does not say what it may hold; "
                    f"write in {what}: def ranges(self, sizes): return {{{name!r}: (lowest, highest)}}, such as "
                    "(-1, sizes.obs - 1) for an observation"
                )


def find_state_faults(
    node: tuple[object, ...], fresh: tuple[object, ...], sizes: Sizes, path: str = "state"
) -> Iterator[str]:
    """One sentence for each fault of a state of NamedTuples of arrays."""
    ranges = node.ranges(sizes) if isinstance(node, HasRanges) else {}
    sound = True
    for name, part, start in zip(getattr(node, "_fields", range(len(node))), node, fresh, strict=True):
        inner = f"{path}.{name}"
        if isinstance(part, tuple) and isinstance(start, tuple):
            found = list(find_state_faults(part, start, sizes, inner))
        else:
            found = list(_of_array(np.asarray(part), np.asarray(start), ranges, name, inner))
        sound = sound and not found
        yield from found
    if sound and isinstance(node, HasFaults):
        yield from (f"{path}: {fault}" for fault in node.faults())


def _of_array(
    array: np.ndarray[Any, Any], fresh: np.ndarray[Any, Any], ranges: Mapping[str, Range], name: str, path: str
) -> Iterator[str]:
    if array.dtype.kind == "f":
        bad = ~(np.isfinite(array) | (np.isneginf(array) & np.isneginf(fresh)))
        if bad.any():
            yield f"{path} has {array[bad].flat[0]} where only a finite number can be"
    elif array.dtype.kind in "iu" and name not in ranges:
        yield f"{path} declares no range, so its {array.dtype} cannot be checked"
    if name not in ranges:
        return
    ends = ranges[name]
    if ends is None:
        if not np.array_equal(array, fresh):
            yield f"{path} differs from that of this run's environment"
        return
    low, high = (np.broadcast_to(end, array.shape) for end in ends)
    bad = (array < low) | (array > high)
    if bad.any():
        place = tuple(np.argwhere(bad)[0])
        index = f"[{', '.join(map(str, place))}]"
        yield f"{path}{index} is {array[place]}; it can be {low[place]} to {high[place]}"
