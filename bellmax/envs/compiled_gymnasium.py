"""JAX. A compiled world as a Gymnasium environment: what the host loop, tables, tiles and check-env step."""

from __future__ import annotations

import functools
import math
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import jax
import numpy as np
import numpy.typing as npt

from bellmax import spaces
from bellmax.arguments import describe
from bellmax.contracts import Array, Box, ConfigError, Discrete, Leaf, Masked, MultiDiscrete, Named, Obs, Space
from bellmax.dispatch import in_32_bits, near
from bellmax.envs.functional import World
from bellmax.keys import make_key
from bellmax.observations import named


def as_gymnasium(world: World[Any]) -> CompiledEnv:
    """Open a compiled world as a Gymnasium environment, whose steps are the world's, each a call of a compiled program.

    A mask of actions is in `info["action_mask"]`. A step costs tens of microseconds.

    Raises:
        ConfigError: `world` is not a compiled World.
    """
    return CompiledEnv(world)


class CompiledEnv(gym.Env[Any, Any]):
    """See `as_gymnasium`."""

    def __init__(self, world: World[Any]) -> None:
        if not isinstance(world, World):
            raise ConfigError(f"`world` must be a compiled bellmax.World; got {describe(world)}")
        self.world, self.masked = world, isinstance(world.observation_space, Masked)
        self._space = spaces.visible(world.observation_space)
        self.observation_space = to_gymnasium(self._space)
        self.action_space = gym.spaces.Discrete(world.n_actions)
        self._state: Any = None
        self._key: Any = None

        self._reset, self._step = programs(world.reset, world.step)

    @in_32_bits
    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Begin an episode."""
        super().reset(seed=seed, options=options)
        self._key = near(make_key(int(self.np_random.integers(2**31))))  # of each episode, so that it can be repeated
        self._key, self._state, obs = self._reset(self._key)
        return self._seen(obs)

    @in_32_bits
    def step(self, action: int | np.integer[Any]) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """One step of the world."""
        if self._state is None:
            raise ValueError("step before reset: call reset first")
        if not 0 <= action < self.world.n_actions:
            raise ValueError(f"action {action!r} is not an integer from 0 to {self.world.n_actions - 1}")
        self._key, self._state, obs, *rest = self._step(self._state, np.int32(action), self._key)
        reward, terminated, truncated = jax.device_get(rest)
        obs, info = self._seen(obs)
        return obs, float(reward), bool(terminated), bool(truncated) and not bool(terminated), info

    def _seen(self, obs: Obs) -> tuple[Any, dict[str, Any]]:
        """An observation as Gymnasium's spaces have it, and the mask."""
        seen, info = jax.device_get(obs), {}
        if self.masked:
            seen, info = seen.obs, {"action_mask": np.asarray(seen.mask, np.int8)}
        return named(self._space, spaces.map_space(_native, self._space, seen)), info


@functools.lru_cache(maxsize=64)
def programs(reset: Callable[..., Any], step: Callable[..., Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """The compiled functions of a world, the same ones for all environments that open it; each splits its key."""

    def begin(key: Array) -> tuple[Any, ...]:
        key, now = jax.random.split(key)
        return key, *reset(now)

    def go_on(state: Any, action: Array, key: Array) -> tuple[Any, ...]:
        key, now = jax.random.split(key)
        return key, *step(state, action, now)

    return jax.jit(begin), jax.jit(go_on)


def _native(leaf: Leaf, value: npt.NDArray[Any]) -> npt.NDArray[Any] | np.int64:
    if isinstance(leaf, Discrete):
        return np.int64(value)
    return np.asarray(value, np.int64 if isinstance(leaf, MultiDiscrete) else leaf.dtype)


def to_gymnasium(space: Space) -> gym.Space[Any]:
    """A space without a mask as Gymnasium's; the ends of a Box that has none are as wide as its type."""
    if isinstance(space, Discrete):
        return gym.spaces.Discrete(space.n)
    if isinstance(space, MultiDiscrete):
        return gym.spaces.MultiDiscrete(np.array(space.ns))
    if isinstance(space, Box):
        held: Any = np.iinfo(space.dtype) if np.dtype(space.dtype).kind in "iu" else None
        ends = (held.min, held.max) if held else (0, 1) if space.dtype == "bool" else (-np.inf, np.inf)
        low, high = (end if given is None else given for given, end in zip((space.low, space.high), ends, strict=True))
        kind: Any = np.dtype(space.dtype).type
        n = math.prod(space.shape)
        low, high = (np.broadcast_to(np.ravel(end).astype(kind), n).reshape(space.shape) for end in (low, high))
        return gym.spaces.Box(low, high, space.shape, kind)
    parts = [to_gymnasium(part) for part in spaces.parts_of(space)]
    if isinstance(space, Named):
        return gym.spaces.Dict(OrderedDict(zip(space.names, parts, strict=True)))
    return gym.spaces.Tuple(parts)
