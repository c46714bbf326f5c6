"""NumPy. Actions and observations as an environment counts them, and as bellmax does: integers from 0.

A `Coding` says how they differ: "start" and "dtype", or "sizes" where an action has several parts, and
"observation_starts"; it is empty where nothing differs, and can be written as JSON.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from bellmax.contracts import Box, Leaf, Space
from bellmax.observations import unnamed
from bellmax.spaces import map_space

Coding: TypeAlias = Mapping[str, Any]


def to_native(actions: npt.ArrayLike, coding: Coding) -> npt.NDArray[Any]:
    """Actions from 0 as the environment counts them, as its `action_space.sample()` would give them: scalars or arrays.

    They count from "start" and have the type "dtype", or are the parts of one of all combinations of "sizes".
    """
    if "sizes" not in coding:
        counted: npt.NDArray[Any] = np.asarray(actions, np.int64) + coding.get("start", 0)
        native: npt.NDArray[Any] = counted.astype(coding.get("dtype", "int64"))[()]
        return native
    sizes, index = np.array(coding["sizes"]), np.asarray(actions, np.int64)
    parts: npt.NDArray[Any] = np.stack(np.unravel_index(index, sizes.ravel()), -1).reshape(*index.shape, *sizes.shape)
    combined: npt.NDArray[Any] = (parts + np.array(coding["start"])).astype(coding["dtype"])
    return combined


def action_number(action: object, coding: Coding, n: int) -> int | None:
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


def from_native(space: Space, obs: Any, coding: Coding) -> Any:
    """An observation (or a batch of them) as an environment gives it, its integers counted from 0."""
    return _shifted(space, obs, coding, -1)


def from_zero(space: Space, obs: Any, coding: Coding) -> Any:
    """The opposite of `from_native`."""
    return _shifted(space, obs, coding, 1)


def _shifted(space: Space, obs: Any, coding: Coding, sign: int) -> Any:
    if "observation_starts" not in coding:
        return obs
    starts = iter(coding["observation_starts"])

    def leaf(kind: Leaf, value: npt.NDArray[Any]) -> npt.NDArray[Any]:
        start = next(starts, 0)  # a mask, which comes last, has none
        return value if isinstance(kind, Box) else np.asarray(value) + sign * np.asarray(start)

    return map_space(leaf, space, unnamed(space, obs))
