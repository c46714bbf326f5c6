"""NumPy. From Gymnasium's spaces to bellmax's: which part of an observation is where, and which action a number is."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import gymnasium as gym
import numpy as np

from bellmax.contracts import Box, ConfigError, Discrete, Leaf, MultiDiscrete, Named, Space

MOST_ACTIONS = 4_096  # combinations of a MultiDiscrete action that one network still has an output each for


class NativePart(NamedTuple):
    """One leaf of an observation.

    Attributes:
        path: the keys that lead to it.
        leaf: what bellmax sees there.
        native: Gymnasium's space there.
        low: the first value of a Discrete, those of a MultiDiscrete, else 0.
    """

    path: tuple[Any, ...]
    leaf: Leaf
    native: gym.Space[Any]
    low: Any


class Spaces(NamedTuple):
    """An environment's spaces in bellmax's words, and in Gymnasium's for messages.

    Attributes:
        observation: what bellmax sees.
        native: Gymnasium's observation space.
        parts: its leaves, in order.
        n_actions: actions are 0 to n_actions - 1 here.
        action: Gymnasium's action space.
        coding: how the environment counts them, as JSON; see `to_native`.
    """

    observation: Space
    native: gym.Space[Any]
    parts: tuple[NativePart, ...]
    n_actions: int
    action: gym.Space[Any]
    coding: dict[str, Any]


def read_spaces(name: str, worlds: Sequence[Any], vector: bool) -> Spaces:
    """The spaces of one of the environments called `name`, which all have the same; or of one vector environment.

    Raises:
        ConfigError: bellmax cannot learn in such spaces.
    """
    for world in worlds:
        for space in ("observation_space", "action_space"):
            space = f"single_{space}" if vector else space
            if not isinstance(getattr(world, space, None), gym.Space):
                raise ConfigError(
                    f"{name}: {space} is {getattr(world, space, None)!r}, not a space of gymnasium.spaces"
                )
    if vector:
        return _spaces(name, worlds[0].single_observation_space, worlds[0].single_action_space)
    first, *others = (_spaces(name, env.observation_space, env.action_space) for env in worlds)
    for other in others:
        if (other.observation, other.action) != (first.observation, first.action):  # bounds may differ
            raise ConfigError(f"{name}: environments with different spaces; make all {one_line(first.native)}")
    return first


def _spaces(name: str, observation: gym.Space[Any], action: gym.Space[Any]) -> Spaces:
    n_actions, coding = _actions(name, action)
    parts: list[NativePart] = []
    space = _space(name, observation, observation, (), parts)
    starts = [np.asarray(part.low).tolist() for part in parts]
    if any(np.any(part.low) for part in parts):
        coding["observation_starts"] = starts
    return Spaces(space, observation, tuple(parts), n_actions, action, coding)


def _actions(name: str, space: gym.Space[Any]) -> tuple[int, dict[str, Any]]:
    """How many actions, and what each is in the environment; all combinations where an action has several parts."""
    if isinstance(space, gym.spaces.Discrete):
        first: dict[str, Any] = {"start": int(space.start)} if space.start else {}
        return int(space.n), first if space.dtype == np.int64 else {**first, "dtype": str(space.dtype)}
    if isinstance(space, gym.spaces.MultiDiscrete | gym.spaces.MultiBinary):
        sizes = np.asarray(getattr(space, "nvec", np.full(space.shape, 2)))
        n = math.prod(int(size) for size in sizes.ravel())
        if n > MOST_ACTIONS:
            raise ConfigError(
                f"{name}: action space {one_line(space)} has {n:,} combinations, and bellmax gives each a value "
                f"(up to {MOST_ACTIONS:,}): wrap the environment to offer fewer"
            )
        start = np.broadcast_to(np.asarray(getattr(space, "start", 0)), sizes.shape)
        return n, {"sizes": sizes.tolist(), "start": start.tolist(), "dtype": str(space.dtype)}
    raise ConfigError(
        f"{name}: action space {one_line(space)} is not Discrete; bellmax chooses among finitely many actions: "
        + _finite(space)
    )


def _finite(space: gym.Space[Any]) -> str:
    """How to make actions finitely many, where Gymnasium can."""
    size = math.prod(space.shape or ())
    bins = min(5, int(MOST_ACTIONS ** (1.0 / max(size, 1)) + 1e-9))
    bounded = isinstance(space, gym.spaces.Box) and np.issubdtype(space.dtype, np.floating) and space.is_bounded()
    if not bounded or bins < 2 or "DiscretizeAction" not in dir(gym.wrappers):
        return "wrap the environment to offer a few of them"
    wrapper = {"name": "DiscretizeAction", "bins": bins}
    return (
        f"give wrappers=[{wrapper}], on the command line --wrapper '{json.dumps(wrapper)}', for {bins**size:,} "
        f"actions, {bins} values in each dimension"
    )


def _space(
    name: str, whole: gym.Space[Any], space: gym.Space[Any], path: tuple[Any, ...], parts: list[NativePart]
) -> Space:
    """One space, its leaves added to `parts`."""
    if isinstance(space, gym.spaces.Dict | gym.spaces.Tuple):
        named = isinstance(space, gym.spaces.Dict)
        inner: Any = space.spaces
        items: list[tuple[Any, Any]] = list(inner.items()) if named else list(enumerate(inner))
        if not items:
            raise ConfigError(f"{name}: observation space {one_line(whole)} has an empty part; leave it out")
        seen = tuple(_space(name, whole, part, (*path, key), parts) for key, part in items)
        return Named(tuple(map(str, inner)), seen) if named else seen
    leaf, low = _leaf(name, whole, space)
    parts.append(NativePart(path, leaf, space, low))
    return leaf


def _leaf(name: str, whole: gym.Space[Any], space: gym.Space[Any]) -> tuple[Leaf, Any]:
    if isinstance(space, gym.spaces.Discrete):
        if int(space.n) > np.iinfo(np.int32).max:
            raise ConfigError(f"{name}: observation space {space} has too many states to number in int32")
        return Discrete(int(space.n)), int(space.start)
    if isinstance(space, gym.spaces.Box) and 0 in space.shape:
        raise ConfigError(f"{name}: observation space {one_line(whole)} has a Box without numbers; leave it out")
    if isinstance(space, gym.spaces.Box):
        return _box(space), 0
    if isinstance(space, gym.spaces.MultiBinary):
        return Box(space.shape, "bool"), 0
    if isinstance(space, gym.spaces.MultiDiscrete):
        if space.nvec.ndim != 1:
            raise ConfigError(f"{name}: observation space {one_line(space)} has several axes; flatten it in a wrapper")
        return MultiDiscrete(tuple(int(n) for n in space.nvec)), np.asarray(space.start, np.int64)
    part = "" if space is whole else f" has a part {one_line(space)}, which"
    raise ConfigError(
        f"{name}: observation space {one_line(whole)}{part} is none of Box, Discrete, MultiBinary, MultiDiscrete, Dict "
        "and Tuple; wrap the environment to turn it into one of them"
    )


def _box(space: gym.spaces.Box) -> Box:
    """A Box in bellmax's words: integers keep their bounds, where there are any that int32 can hold; flags are bool."""
    if np.dtype(space.dtype).kind == "b":
        return Box(space.shape, "bool")
    if np.dtype(space.dtype).kind not in "iu":
        return Box(space.shape, "float32")
    low, high = (np.ravel(end).tolist() for end in (space.low, space.high))
    if space.dtype == np.uint8 and {*low} == {0} and {*high} == {255} and len(space.shape) not in (2, 4):
        return Box(space.shape, "uint8")  # as in files of older versions, to which the others were no images
    held = np.iinfo(np.int32)
    if min(low) <= held.min or max(high) >= held.max:  # Gymnasium's infinity for integers, or too large
        return Box(space.shape, "float32")
    ends = (end[0] if len({*end}) == 1 else tuple(end) for end in (low, high))
    return Box(space.shape, "uint8" if space.dtype == np.uint8 else "int32", *ends)


def bounds(spaces: Spaces, *, wide: bool = False) -> tuple[Any, Any]:
    """(low, high) [k] of all numbers of the Boxes in an observation, in order; infinite where open. Flags have none.

    Integers that int32 cannot hold count as open, unless `wide`.
    """
    ends: tuple[list[Any], list[Any]] = ([np.zeros(0)], [np.zeros(0)])
    for part in spaces.parts:
        if isinstance(part.native, gym.spaces.Box) and np.dtype(part.native.dtype).kind != "b":
            for end, given, infinite in zip(ends, (part.native.low, part.native.high), (-np.inf, np.inf), strict=True):
                integers = np.dtype(part.native.dtype).kind in "iu"
                open_ = integers and isinstance(part.leaf, Box) and part.leaf.dtype == "float32"
                numbers = np.asarray(given, np.float64).ravel()
                if open_:
                    held = np.iinfo(part.native.dtype)  # whose ends are Gymnasium's infinity
                    numbers = np.where(np.ravel((given > held.min) & (given < held.max) & wide), numbers, infinite)
                end.append(numbers)
    return np.concatenate(ends[0]), np.concatenate(ends[1])


def one_line(value: object) -> str:
    """Any value as one line of text."""
    text = " ".join((str(value) if isinstance(value, gym.Space) else repr(value)).split())
    return text if len(text) <= 120 else text[:117] + "..."
