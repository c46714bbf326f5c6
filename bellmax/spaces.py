"""NumPy. What observations are made of: a space is a leaf, or a tuple of spaces, perhaps with names or a mask."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from bellmax.contracts import Box, Discrete, HostObs, IntArray, Leaf, Masked, MultiDiscrete, Named, Space

LEAVES = (Box, Discrete, MultiDiscrete)
MOST_NUMBERS = 1 << 24  # in one Box of a file: checking a network makes one observation


def map_space(function: Callable[..., Any], space: Space, *values: Any) -> Any:
    """`function(leaf, *parts)` at every leaf, in the shape of the space's observations."""
    if isinstance(space, LEAVES):
        return function(space, *values)
    mapped = [map_space(function, each, *(value[i] for value in values)) for i, each in enumerate(parts_of(space))]
    return Masked(*mapped) if isinstance(space, Masked) else tuple(mapped)


def parts_of(space: Masked[Space, Space] | Named | tuple[Space, ...]) -> tuple[Space, ...]:
    """The parts of a space that is not a leaf."""
    return space.parts if isinstance(space, Named) else tuple(space)


def leaves_of(space: Space) -> list[Leaf]:
    """All leaves, in order."""
    found: list[Leaf] = []
    map_space(found.append, space)
    return found


def leaf_arrays(batch: HostObs) -> list[npt.NDArray[Any]]:
    """The arrays of a batch of observations, in order."""
    if not isinstance(batch, tuple):
        return [batch]
    return [array for part in batch for array in leaf_arrays(part)]


def zeros(space: Space) -> HostObs:
    """One observation of zeros."""
    nothing: HostObs = map_space(lambda leaf: np.zeros(shape_of(leaf), dtype_of(leaf)), space)
    return nothing


def shape_of(leaf: Leaf) -> tuple[int, ...]:
    """The shape of one observation."""
    return leaf.shape if isinstance(leaf, Box) else (len(leaf.ns),) if isinstance(leaf, MultiDiscrete) else ()


def dtype_of(leaf: Leaf) -> str:
    """The type in which observations are kept."""
    return leaf.dtype if isinstance(leaf, Box) else "int32"


def limits_of(leaf: Discrete | MultiDiscrete) -> IntArray:
    """How many values each integer has, as an array of the observation's shape."""
    return np.array(leaf.n if isinstance(leaf, Discrete) else leaf.ns)


def bounds_of(leaf: Box) -> tuple[IntArray, IntArray] | None:
    """(low, high) of integers, an int64 array [k] each of one number for each entry; None of other numbers."""
    if leaf.dtype not in ("uint8", "int32"):
        return None
    ends = (0, 255) if leaf.low is None else (leaf.low, leaf.high)
    low, high = (np.broadcast_to(np.asarray(end, np.int64), math.prod(leaf.shape)) for end in ends)
    return low, high


def far_starts(leaf: Leaf) -> IntArray | None:
    """What a network subtracts from each of a vector of integers [k]: the lower bound where 0 is far; None if nowhere.

    Far is farther from the nearest bound than the bounds are apart. Images are scaled by their bounds instead.
    """
    small = isinstance(leaf, Box) and (len(leaf.shape) < 2 or (len(leaf.shape) == 2 and min(leaf.shape) < 16))
    if not isinstance(leaf, Box) or not small or leaf.low is None or (ends := bounds_of(leaf)) is None:
        return None
    low, high = ends
    far = np.maximum(low, -high) > high - low
    return np.where(far, low, 0) if far.any() and max(-low.min(), high.max()) <= 2**24 else None


def fits(known: Space, space: Space) -> bool:
    """Whether one who learned observations of the space `known` can be given those of `space`.

    The same, or what they were called before integers had bounds: those were bytes of any bounds, or float32, as were
    the flags of a Box.
    """
    known, space = visible(known), visible(space)
    if isinstance(known, Box) and isinstance(space, Box) and (known.dtype, space.dtype) == ("float32", "bool"):
        return known.shape == space.shape
    if isinstance(known, Box) and isinstance(space, Box) and known.low is None and space.low is not None:
        return known.shape == space.shape and known.dtype in ("float32", space.dtype)
    if isinstance(known, LEAVES) or isinstance(space, LEAVES):
        return known == space
    if isinstance(known, Named) != isinstance(space, Named):
        return False
    same_names = not isinstance(known, Named) or not isinstance(space, Named) or known.names == space.names
    parts = parts_of(known), parts_of(space)
    return same_names and len(parts[0]) == len(parts[1]) and all(map(fits, *parts))


def unbounded(space: Space) -> Space:
    """The space without the bounds of real numbers, which an agent does not store."""
    if isinstance(space, LEAVES):
        return Box(space.shape, space.dtype) if isinstance(space, Box) and bounds_of(space) is None else space
    parts = [unbounded(part) for part in parts_of(space)]
    if isinstance(space, Named):
        return Named(space.names, tuple(parts))
    return Masked(*parts) if isinstance(space, Masked) else tuple(parts)


def box_bounds(space: Space) -> tuple[Any, Any]:
    """(low, high) [k] of all numbers of the Boxes in an observation, in order; infinite where open. Flags have none."""
    ends: tuple[list[Any], list[Any]] = ([np.zeros(0)], [np.zeros(0)])
    for leaf in leaves_of(visible(space)):
        if isinstance(leaf, Box) and leaf.dtype != "bool":
            given = bounds_of(leaf) or tuple(
                end if own is None else own for own, end in zip((leaf.low, leaf.high), (-np.inf, np.inf), strict=True)
            )
            for end, numbers in zip(ends, given, strict=True):
                end.append(np.broadcast_to(np.ravel(np.asarray(numbers, np.float64)), math.prod(leaf.shape)))
    return np.concatenate(ends[0]), np.concatenate(ends[1])


def leaf_size(leaf: Leaf) -> int:
    """How many numbers a flat network sees of one observation: integers are one-hot."""
    return math.prod(leaf.shape) if isinstance(leaf, Box) else int(limits_of(leaf).sum())


def visible(seen: Any) -> Any:
    """The part of an observation, or of its space, that a network looks at: all but the mask of actions."""
    return seen.obs if isinstance(seen, Masked) else seen


def in_words(space: Space) -> str:
    """A space in words of at most a line."""
    if isinstance(space, Masked):
        return f"{in_words(space.obs)} with a mask"
    text = str(space)
    return text if len(text) <= 80 else f"{type(space).__name__} of {len(leaves_of(space))} parts"


def to_json(space: Space) -> dict[str, Any]:
    """A space as JSON."""
    if isinstance(space, LEAVES):
        counted = {} if far_starts(space) is None else {"counted": True}
        return {"kind": type(space).__name__, **{k: v for k, v in space._asdict().items() if v is not None}, **counted}
    names = {"names": space.names} if isinstance(space, Named) else {}
    kind = type(space).__name__ if isinstance(space, Masked | Named) else "Tuple"
    return {"kind": kind, **names, "parts": [to_json(each) for each in parts_of(space)]}


def from_json(card: dict[str, Any], *, network: bool = False) -> Space:
    """The inverse of `to_json`; for a `network` of an older version, integers far from 0 are numbers as they are.

    Raises:
        KeyError, TypeError, ValueError: it is not a space, or none that fits in memory.
    """
    fields = dict(card)
    kind = fields.pop("kind")
    if kind in ("Masked", "Tuple", "Named"):
        parts = tuple(from_json(part, network=network) for part in fields["parts"])
        if kind == "Named":
            return Named(tuple(fields["names"]), parts)
        return Masked(*parts) if kind == "Masked" else parts
    if kind == "Box":
        ends = (tuple(end) if isinstance(end, list) else end for end in map(fields.get, ("low", "high")))
        box = Box(tuple(fields["shape"]), fields["dtype"], *ends)
        if math.prod(box.shape) > MOST_NUMBERS or min(box.shape, default=0) < 0:
            raise ValueError(f"an observation of the shape {list(box.shape)} is not one that bellmax saved")
        return Box(box.shape) if network and "counted" not in fields and far_starts(box) is not None else box
    if kind == "MultiDiscrete":
        return MultiDiscrete(tuple(fields["ns"]))
    return {"Discrete": Discrete}[kind](**fields)
