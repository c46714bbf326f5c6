"""NumPy. Gymnasium environments as bellmax sees them: N of any kind, stepped together.

Plain environments, in this process or in workers, are reset at once (`side_by_side.py`); a vector environment resets
itself in one of three ways (`vectored.py`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, final

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector import VectorEnv

from bellmax.coding import to_native
from bellmax.contracts import ArrayDict, Box, ConfigError, CorruptCheckpoint, HostObs, Masked, NonFiniteError, counted
from bellmax.envs.action_masks import masks_in
from bellmax.envs.episode_log import EpisodeLog
from bellmax.envs.host_steps import Checks, Handling, HostStep
from bellmax.envs.in_process import InProcess
from bellmax.envs.making import Env, Made, Source, make
from bellmax.envs.native_spaces import bounds, read_spaces
from bellmax.envs.raising import close_anyway
from bellmax.envs.side_by_side import SideBySide
from bellmax.envs.stateful import refuse_learning, reward_wrappers
from bellmax.envs.vectored import Vectored
from bellmax.envs.workers import Workers
from bellmax.spaces import leaf_arrays, leaves_of, limits_of

__all__ = ["Handling", "HostStep", "HostWorld", "open_world"]


@final
class HostWorld:
    """N environments of Gymnasium in step; made by `open_world`.

    Attributes:
        name: Gymnasium's id, or the class of the environment.
        n: how many environments.
        observation_space: in bellmax's words: float32 arrays (bytes and flags stay what they are), integers from 0,
            or a tuple of such.
        n_actions: actions are the integers 0 to n_actions - 1; `coding` maps them to those of the environment.
        coding: how the environment itself counts them, for `coding.to_native`.
        max_episode_steps: the time limit, if one is known.
        bounds: (lowest, highest) [k], of all numbers of the Boxes in an observation, in order.
        reward_wrappers: the names of wrappers that change its rewards.
        native: the plain environments, or the vector, as they were made.
        mask_part: the name of a part of the observations that looks like a mask of the actions, or None.
        seconds: that the last step took, with the checks of what the environments answered.
    """

    def __init__(self, made: Made, owned: bool = True, handling: Handling | None = None) -> None:
        """What `make` made; an environment that was given as an object stays its owner's to close, if not `owned`."""
        handling, world = handling or Handling(), made.world
        worlds: list[Any] = [world] if isinstance(world, VectorEnv) else world
        try:
            refuse_learning(made.name, world)
        except ConfigError:
            for one in worlds if owned else ():
                close_anyway(one)
            raise
        self.reward_wrappers, self.native = reward_wrappers(world), world
        n = made.n or (world.num_envs if isinstance(world, VectorEnv) else len(world))
        spaces = read_spaces(made.name, worlds, isinstance(world, VectorEnv))
        self._owned, self._checks = owned, Checks(made.name, n, spaces, handling)
        self.name, self.max_episode_steps, self.n = made.name, made.limit, n
        self.observation_space, self.n_actions, self.coding = spaces.observation, spaces.n_actions, spaces.coding
        self.bounds, self.wide_bounds = bounds(spaces), bounds(spaces, wide=True)
        self.mask_part = masks_in(spaces.native, spaces.n_actions)
        self.seconds = 0.0
        self._worlds: SideBySide | Vectored
        if isinstance(world, VectorEnv):
            if handling.workers:
                raise ConfigError(f"{made.name}: workers={handling.workers} needs plain environments, not a vector")
            self._worlds = Vectored(self._checks, world)
        elif handling.workers:
            self._worlds = SideBySide(self._checks, _workers(made, world, n, handling))
        else:
            if handling.env_restarts and made.again is None:
                raise ConfigError(f"{made.name}: env_restarts cannot recreate an object; pass its class or id")
            stepper = InProcess(made.name, world, made.again, handling.env_restarts)
            self._worlds = SideBySide(self._checks, stepper)

    @property
    def gives_masks(self) -> bool:
        """Whether its last reset returned info["action_mask"]."""
        return self._checks.gives_masks

    @property
    def misnamed_mask(self) -> str | None:
        """The entry of its last reset's info that looks like a mask by another name, or None."""
        return self._checks.misnamed

    @property
    def innermost(self) -> gym.Env[Any, Any] | None:
        """The first of its plain environments in this process, without its wrappers; None if there is none."""
        stepper = getattr(self._worlds, "stepper", None)
        return stepper.worlds[0].unwrapped if isinstance(stepper, InProcess) else None

    @property
    def dropped(self) -> int:
        """Steps that were left out because of a failure, so far."""
        return self._checks.dropped

    def use_masks(self, *, if_given: bool = False) -> None:
        """From the next reset on, observations are `Masked`: they come with info["action_mask"].

        `if_given`: only if that reset gives any.
        """
        self._checks.may_mask = if_given
        self._checks.masks = None if if_given else np.ones((self.n, self.n_actions), np.bool_)

    def reset(self, seed: int) -> HostObs:
        """Restart all; environment i is seeded with seed + i, unless a vector environment seeds them itself.

        Later resets, at the ends of episodes, continue these random streams.
        """
        self._checks.positions.start(seed)
        self._checks.log = EpisodeLog(self.n)
        return self._worlds.reset(seed)

    def step(self, actions: npt.ArrayLike) -> HostStep:
        """`actions [N]`, integers 0 to n_actions - 1.

        Raises:
            EnvCrashed: the environment raised (the original is the cause), or its worker died.
            EnvTimeout: a worker did not answer in time.
            EnvContractError: the environment returned what its spaces or Gymnasium's interface exclude.
            NonFiniteError: a NaN or an infinity in a reward or an observation.
        """
        chosen = np.array(actions, np.int64)
        if chosen.shape != (self.n,):
            raise ValueError(f"{self.name}: actions of shape {chosen.shape} for {counted(self.n, 'environment')}")
        native = to_native(chosen, self.coding)
        self._checks.positions.tick(native)
        begin = time.perf_counter()
        self._checks.log.step(chosen)
        try:
            step = self._worlds.step(native)
        except NonFiniteError as error:
            self._checks.log.undo()
            keys = ", ".join(sorted(map(str, self._checks.positions.info)))
            if not keys:
                raise
            raise NonFiniteError(f"{error}; its info has {keys}") from None
        except BaseException:
            self._checks.log.undo()
            raise
        self.seconds = time.perf_counter() - begin
        return step

    def save(self, obs: HostObs) -> ArrayDict:
        """What `put_back` needs, by name; `obs` are the last observations that it returned."""
        worlds = self._worlds
        generators = worlds.stepper.generators() if isinstance(worlds, SideBySide) else [None] * self.n
        parts = leaf_arrays(obs.obs if isinstance(obs, Masked) else obs)
        self._checks.log.unseen = worlds.unseen if isinstance(worlds, SideBySide) else []
        counts = [self.dropped, worlds.stepper.restarted if isinstance(worlds, SideBySide) else 0]
        return {
            **self._checks.log.to_arrays(generators),
            **{f"obs.{k}": part for k, part in enumerate(parts)},
            "counts": np.array(counts, np.int64),
        }

    def put_back(self, arrays: ArrayDict, seed: int) -> tuple[HostObs, dict[int, str]]:
        """Bring all environments to where they were at `save`; the inverse of it.

        Those that cannot be are reset with `seed` + i.

        Returns:
            The observations to act on, and for each environment that began a new episode, by number, why.

        Raises:
            CorruptCheckpoint: the arrays are not what `save` returned.
        """
        checks, worlds = self._checks, self._worlds
        log = EpisodeLog.from_arrays(arrays, self.n, self.n_actions)
        saved = self._read_saved(arrays)
        checks.log = meanwhile = EpisodeLog(self.n)
        obs, why = worlds.put_back(log, seed, saved)
        checks.positions.start(None)
        checks.log, (checks.dropped, restarted) = log, arrays["counts"].tolist()
        if isinstance(worlds, SideBySide):
            worlds.stepper.restore({i: log.seed + i for i in range(self.n)}, restarted)
        for i in why:  # as it was noted when it was reset
            log.take(i, meanwhile)
        return obs, why

    def _read_saved(self, arrays: ArrayDict) -> HostObs:
        """The observations in what `save` returned; raises as `put_back`."""
        empty = self._checks.see.empty(self.n)
        for k, (leaf, room) in enumerate(zip(leaves_of(self.observation_space), leaf_arrays(empty), strict=True)):
            part = arrays.get(f"obs.{k}")
            if part is None or (part.dtype, part.shape) != (room.dtype, room.shape):
                raise CorruptCheckpoint(f"`world.obs.{k}` of the checkpoint is not an observation of {self.name}")
            within = np.isfinite(part) if isinstance(leaf, Box) else (part >= 0) & (part < limits_of(leaf))
            if not within.all():
                raise CorruptCheckpoint(f"`world.obs.{k}` of the checkpoint has numbers that {self.name} does not have")
            room[...] = part
        counts = arrays.get("counts")
        if (
            counts is None
            or counts.dtype != np.int64
            or counts.shape != (2,)
            or ((counts < 0) | (counts > 2**53)).any()
        ):
            raise CorruptCheckpoint("`world.counts` of the checkpoint does not count how often environments failed")
        return empty

    def close(self) -> None:
        """Free what the environments hold; an environment that was given as an object stays its owner's to close."""
        if self._owned:
            self._worlds.close()
        elif isinstance(self._worlds, SideBySide) and isinstance(self._worlds.stepper, InProcess):
            self._worlds.stepper.rest()

    def kill(self) -> None:
        """Kill its worker processes at once; it cannot be used afterwards."""
        if isinstance(self._worlds, SideBySide) and isinstance(self._worlds.stepper, Workers):
            self._worlds.stepper.kill()


def _workers(made: Made, worlds: list[Env], n: int, handling: Handling) -> Workers:
    """Worker processes that create their environments; those created to read their spaces are closed."""
    if made.again is None:
        raise ConfigError(f"{made.name}: one object cannot be sent to workers={handling.workers}; pass its class or id")
    for world in worlds:
        close_anyway(world)
    return Workers(
        made.name, made.again, n, processes=min(handling.workers, n), timeout=handling.env_timeout,
        restarts=handling.env_restarts,
    )  # fmt: skip


def open_world(
    env: Source,
    *,
    n: int = 1,
    env_kwargs: Mapping[str, Any] | None = None,
    handling: Handling | None = None,
) -> HostWorld:
    """N environments of an id, an environment class or another callable; or one environment, plain or vector.

    An id with n > 1 takes the vector environment that is registered for it, if any; else n plain ones. Among
    `env_kwargs`, "wrappers" is a list of wrappers by name, from the innermost: "FlattenObservation",
    {"name": "FrameStackObservation", "stack_size": 4}, or "module:Class".

    Raises:
        ConfigError: the environment is unknown, cannot be created like this, or has a space that is not supported.
        EnvContractError: a vector environment does not say how it resets itself.
        EnvCrashed: its constructor raised.
    """
    owned = not isinstance(env, gym.Env | VectorEnv)
    handling = handling or Handling()
    made = make(env, n, dict(env_kwargs or {}), plain=bool(handling.workers), training=handling.training)
    return HostWorld(made, owned=owned, handling=handling)
