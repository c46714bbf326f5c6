"""NumPy. What observations are made of: a space is a leaf, or a tuple of spaces, perhaps with names or a mask."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bellmax.contracts import Box, ConfigError, Discrete, Leaf, Masked, MultiDiscrete, Named, NonFiniteError, Space

LEAVES = (Box, Discrete, MultiDiscrete)


def map_space(function: Callable[..., Any], space: Space, *values: Any) -> Any:
    """`function(leaf, *parts)` at every leaf, in the shape of the space's observations."""
    if isinstance(space, LEAVES):
        return function(space, *values)
    mapped = [map_space(function, each, *(value[i] for value in values)) for i, each in enumerate(parts_of(space))]
    return Masked(*mapped) if isinstance(space, Masked) else tuple(mapped)


def parts_of(space: Any) -> tuple[Space, ...]:
    """The parts of a space that is not a leaf."""
    return space.parts if isinstance(space, Named) else tuple(space)


def leaves_of(space: Space) -> list[Leaf]:
    """All leaves, in order."""
    found: list[Leaf] = []
    map_space(found.append, space)
    return found


def leaf_arrays(batch: Any) -> list[Any]:
    """The arrays of a batch of observations, in order."""
    if not isinstance(batch, tuple):
        return [batch]
    return [array for part in batch for array in leaf_arrays(part)]


def zeros(space: Space) -> Any:
    """One observation of zeros."""
    return map_space(lambda leaf: np.zeros(shape_of(leaf), dtype_of(leaf)), space)


def shape_of(leaf: Leaf) -> tuple[int, ...]:
    """The shape of one observation."""
    return leaf.shape if isinstance(leaf, Box) else (len(leaf.ns),) if isinstance(leaf, MultiDiscrete) else ()


def dtype_of(leaf: Leaf) -> str:
    """The type in which observations are kept."""
    return leaf.dtype if isinstance(leaf, Box) else "int32"


def limits_of(leaf: Discrete | MultiDiscrete) -> Any:
    """How many values each integer has, as an array of the observation's shape."""
    return np.array(leaf.n if isinstance(leaf, Discrete) else leaf.ns)


def bounds_of(leaf: Box) -> Any:
    """(low, high) of integers, an int64 array [k] each of one number for each entry; None of other numbers."""
    if leaf.dtype not in ("uint8", "int32"):
        return None
    ends = (0, 255) if leaf.low is None else (leaf.low, leaf.high)
    return tuple(np.broadcast_to(np.asarray(end, np.int64), math.prod(leaf.shape)) for end in ends)


def far_starts(leaf: Leaf) -> Any:
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


def n_features(leaf: Leaf) -> int:
    """How many numbers a flat network sees of one observation: integers are one-hot."""
    return math.prod(leaf.shape) if isinstance(leaf, Box) else int(limits_of(leaf).sum())


def visible(seen: Any) -> Any:
    """The part of an observation, or of its space, that a network looks at: all but the mask of actions."""
    return seen.obs if isinstance(seen, Masked) else seen


def read(space: Space, obs: Any) -> tuple[Any, bool]:
    """`obs` as a batch of arrays [B, ...] of the right types, and whether it was a single observation.

    Parts with names are also taken from a dictionary.

    Raises:
        ConfigError: it has neither the shape of one observation nor that of a batch, or is outside the space.
        NonFiniteError: there is a NaN or an infinity in it.
    """
    singles = set()

    def leaf(kind: Leaf, value: Any) -> Any:
        shape = shape_of(kind)
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise ConfigError(f"the observation is not an array: {error}") from error
        if array.shape != shape and array.shape[1:] != shape:
            raise ConfigError(f"observation of shape {array.shape}; one is {shape}, a batch is [B, *{shape}]")
        if array.dtype.kind not in "biuf":
            raise ConfigError(f"observation of dtype {array.dtype}; give numbers")
        if isinstance(kind, Box) and kind.dtype == "float32" and not np.isfinite(array).all():
            bad = array[~np.isfinite(array)].flat[0]
            raise NonFiniteError(f"observation contains {bad:g}, for which nothing was learned; give finite numbers")
        if isinstance(kind, Box) and not survives(array, kind.dtype):
            raise ConfigError(f"observation of dtype {array.dtype} is not {kind.dtype} without loss; give {kind.dtype}")
        if not isinstance(kind, Box) and array.dtype.kind == "b" and np.all(limits_of(kind) == 2):  # a flag
            array = array.astype(np.int64)
        if not isinstance(kind, Box) and not holds(array, limits_of(kind)):
            raise ConfigError(f"observation {value!r} is outside the integers from 0 to {limits_of(kind) - 1}")
        singles.add(array.shape == shape)
        return (array[None] if array.shape == shape else array).astype(dtype_of(kind), copy=False)

    try:
        batch = map_space(leaf, space, unnamed(space, obs))
    except (TypeError, IndexError, KeyError) as error:
        raise ConfigError(f"observation {obs!r} does not have the parts of {space}") from error
    if len(singles) > 1:
        raise ConfigError("some parts of the observation are single and some are batches")
    return batch, singles.pop()


def read_mask(mask: Any, n: int, n_actions: int) -> Any:
    """Flags of the allowed actions of `n` observations, as a bool array [n, n_actions]; one row may stand for all.

    Raises:
        ConfigError: there is not one flag for each action, or a row allows none.
    """
    flags = np.asarray(mask)
    if flags.shape not in ((n_actions,), (n, n_actions)) or flags.dtype.kind not in "biuf":
        raise ConfigError(
            f"`mask` must have one flag for each of {n_actions} actions; got shape {flags.shape} of {flags.dtype}"
        )
    flags = np.broadcast_to(flags.astype(np.bool_), (n, n_actions))
    if not flags.any(axis=1).all():
        raise ConfigError(f"`mask` allows no action in row {int(np.argmin(flags.any(axis=1)))}; allow at least one")
    return flags


def survives(array: Any, dtype: str) -> bool:
    """Whether numbers stay what they are as bytes or flags; 0.5 would be 0, as would 256. Floats may be rounded."""
    if dtype == "float32" or array.dtype == dtype:
        return True
    with np.errstate(invalid="ignore"):
        return bool((array.astype(dtype) == array).all())


def unnamed(space: Space, obs: Any) -> Any:
    """`obs` with its dictionaries as tuples, in the order of the space."""
    if isinstance(space, LEAVES):
        return obs
    if isinstance(space, Named) and isinstance(obs, Mapping):
        obs = tuple(obs[name] for name in space.names)
    parts = [unnamed(part, obs[i]) for i, part in enumerate(parts_of(space))]
    return Masked(*parts) if isinstance(space, Masked) else tuple(parts)


def named(space: Space, obs: Any) -> Any:
    """The inverse of `unnamed`: tuples as dictionaries where the space has names."""
    if isinstance(space, LEAVES):
        return obs
    parts = [named(part, value) for part, value in zip(parts_of(space), obs, strict=True)]
    return dict(zip(space.names, parts, strict=True)) if isinstance(space, Named) else tuple(parts)


def holds(states: Any, n: Any) -> bool:
    """Whether all are integers from 0 to n - 1: NumPy would count -1 from the end, and JAX see no state there."""
    return bool(states.size == 0 or (states.dtype.kind in "iu" and (states >= 0).all() and (states < n).all()))


def describe(space: Space) -> str:
    """A space in words of at most a line."""
    if isinstance(space, Masked):
        return f"{describe(space.obs)} with a mask"
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
        KeyError, TypeError: it is not a space.
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
        return Box(box.shape) if network and "counted" not in fields and far_starts(box) is not None else box
    if kind == "MultiDiscrete":
        return MultiDiscrete(tuple(fields["ns"]))
    return {"Discrete": Discrete}[kind](**fields)


def to_native(actions: Any, coding: Mapping[str, Any]) -> Any:
    """Actions from 0 as the environment counts them, as its `action_space.sample()` would give them: scalars or arrays.

    They count from "start" and have the type "dtype", or are the parts of one of all combinations of "sizes".
    """
    if "sizes" not in coding:
        return (np.asarray(actions, np.int64) + coding.get("start", 0)).astype(coding.get("dtype", "int64"))[()]
    sizes = np.array(coding["sizes"])
    parts = np.stack(np.unravel_index(actions, sizes.ravel()), -1).reshape(*np.shape(actions), *sizes.shape)
    return (parts + np.array(coding["start"])).astype(coding["dtype"])


def action_number(action: Any, coding: Mapping[str, Any], n: int) -> int | None:
    """The number from 0 to n - 1 of an action as the environment counts it: the opposite of `to_native`. Else None."""
    try:
        given = np.asarray(action)
    except ValueError:  # parts of different lengths
        return None
    if given.dtype.kind not in "iu":
        return None
    sizes = np.array(coding.get("sizes", n))
    parts = given.astype(np.int64) - np.array(coding.get("start", 0)) if given.shape == sizes.shape else None
    if parts is None or np.any((parts < 0) | (parts >= sizes)):
        return None
    return int(np.ravel_multi_index(tuple(parts.ravel()), tuple(sizes.ravel())))


def from_native(space: Space, obs: Any, coding: Mapping[str, Any]) -> Any:
    """An observation (or a batch of them) as an environment gives it, its integers counted from 0."""
    return _shifted(space, obs, coding, -1)


def from_zero(space: Space, obs: Any, coding: Mapping[str, Any]) -> Any:
    """The opposite of `from_native`."""
    return _shifted(space, obs, coding, 1)


def _shifted(space: Space, obs: Any, coding: Mapping[str, Any], sign: int) -> Any:
    if "observation_starts" not in coding:
        return obs
    starts = iter(coding["observation_starts"])

    def leaf(kind: Leaf, value: Any) -> Any:
        start = next(starts, 0)  # a mask, which comes last, has none
        return value if isinstance(kind, Box) else np.asarray(value) + sign * np.asarray(start)

    return map_space(leaf, space, unnamed(space, obs))
