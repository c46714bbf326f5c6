"""NumPy. What observations are made of: a space is a Box, a Discrete, or a tuple (also a `Masked`) of spaces."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from bellmax.types import Box, ConfigError, Discrete, Masked, Space


def map_space(function: Callable[..., Any], space: Space, *values: Any) -> Any:
    """`function(leaf, *parts)` at every Box and Discrete, in the shape of the space."""
    if isinstance(space, Box | Discrete):
        return function(space, *values)
    parts = [map_space(function, each, *(value[i] for value in values)) for i, each in enumerate(space)]
    return Masked(*parts) if isinstance(space, Masked) else tuple(parts)


def zeros(space: Space) -> Any:
    """One observation of zeros."""
    return map_space(lambda leaf: np.zeros(shape_of(leaf), dtype_of(leaf)), space)


def shape_of(leaf: Box | Discrete) -> tuple[int, ...]:
    """The shape of one observation."""
    return leaf.shape if isinstance(leaf, Box) else ()


def dtype_of(leaf: Box | Discrete) -> str:
    """The type in which observations are kept."""
    return leaf.dtype if isinstance(leaf, Box) else "int32"


def n_features(leaf: Box | Discrete) -> int:
    """How many numbers a flat network sees of one observation: discrete ones are one-hot."""
    return leaf.n if isinstance(leaf, Discrete) else math.prod(leaf.shape)


def visible(seen: Any) -> Any:
    """The part of an observation, or of its space, that a network looks at: all but the mask of actions."""
    return seen.obs if isinstance(seen, Masked) else seen


def read(space: Space, obs: Any) -> tuple[Any, bool]:
    """`obs` as a batch of arrays [B, ...] of the right types, and whether it was a single observation.

    Raises:
        ConfigError: it has neither the shape of one observation nor that of a batch, or is outside the space.
    """
    singles = set()

    def leaf(kind: Box | Discrete, value: Any) -> Any:
        shape = shape_of(kind)
        try:
            array = np.asarray(value)
        except ValueError as error:
            raise ConfigError(f"observation is no array: {error}") from error
        if array.shape != shape and array.shape[1:] != shape:
            raise ConfigError(f"observation of shape {array.shape}; one is {shape}, a batch is [B, *{shape}]")
        if isinstance(kind, Discrete) and not holds(array, kind.n):
            raise ConfigError(f"observation {value!r} is outside the integers from 0 to {kind.n - 1}")
        singles.add(array.shape == shape)
        return (array[None] if array.shape == shape else array).astype(dtype_of(kind), copy=False)

    try:
        batch = map_space(leaf, space, obs)
    except (TypeError, IndexError, KeyError) as error:
        raise ConfigError(f"observation {obs!r} has not the parts of {space}") from error
    if len(singles) > 1:
        raise ConfigError("some parts of the observation are single and some are batches")
    return batch, singles.pop()


def holds(states: Any, n: int) -> bool:
    """Whether all are integers from 0 to n - 1: NumPy would count -1 from the end, and JAX see no state there."""
    return states.size == 0 or (states.dtype.kind in "iu" and states.min() >= 0 and states.max() < n)


def to_json(space: Space) -> dict[str, Any]:
    """A space as JSON."""
    if isinstance(space, Box | Discrete):
        return {"kind": type(space).__name__, **space._asdict()}
    return {"kind": "Masked" if isinstance(space, Masked) else "Tuple", "parts": [to_json(each) for each in space]}


def from_json(card: dict[str, Any]) -> Space:
    """The inverse of `to_json`.

    Raises:
        KeyError, TypeError: it is no space.
    """
    fields = dict(card)
    kind = fields.pop("kind")
    if kind in ("Masked", "Tuple"):
        parts = [from_json(part) for part in fields["parts"]]
        return Masked(*parts) if kind == "Masked" else tuple(parts)
    if kind == "Box":
        return Box(tuple(fields["shape"]), fields["dtype"])
    return {"Discrete": Discrete}[kind](**fields)
