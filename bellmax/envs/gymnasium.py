"""NumPy. Gymnasium's worlds as bellmax sees them: the one file that knows auto-reset and final observations.

A world of one vector environment resets itself in one of three ways; a plain environment is reset at once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, final

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium.vector import AutoresetMode, VectorEnv

from bellmax.envs.contract import LARGEST, Contract, Diary, Values
from bellmax.envs.making import Env, Vector, make, read_spaces
from bellmax.types import BoolArray, EnvContractError, IntArray, Masked


class HostStep(NamedTuple):
    """One step of N worlds. The arrays never change afterwards; `obs` is `next_obs` where no episode ended.

    Attributes:
        obs: `[N, ...]`, the observation to act on next: a new episode's first one where an episode ended. A `Masked`
            with the allowed actions [N, A], if masks are used.
        next_obs: `[N, ...]`, the true observation after this step, final where an episode ended.
        reward: `[N]` float32.
        terminated: `[N]` bool, the world ended: no value follows.
        truncated: `[N]` bool, the time was up: the value of `next_obs` follows.
        valid: `[N]` bool, False where the world ignored the action and reset itself (a vector environment in
            NEXT_STEP mode, one step after an end): no experience, reward 0, and both flags False.
    """

    obs: Any
    next_obs: Any
    reward: npt.NDArray[np.float32]
    terminated: BoolArray
    truncated: BoolArray
    valid: BoolArray


@final
class HostWorld:
    """N worlds of Gymnasium in step; made by `open_world`.

    Attributes:
        name: Gymnasium's id, or the class of the world.
        n: how many worlds.
        observation_space: `Box` (float32, whatever the world returns) or `Discrete` (int32, from 0).
        n_actions: actions are the integers 0 to n_actions - 1, also where the world counts from elsewhere.
        max_episode_steps: the time limit, if one is known.
        bounds: lowest and highest observation as the world gives them, or None where it is discrete.
        gives_masks: its last reset told info["action_mask"].
    """

    def __init__(self, name: str, world: list[Env] | Vector, limit: int | None, owned: bool = True) -> None:
        """Plain environments, which are stepped one by one and reset at once, or one vector environment."""
        self._owned = owned
        self._vector: Vector | None = world if isinstance(world, VectorEnv) else None
        self._plain: list[Env] = [] if isinstance(world, VectorEnv) else world
        self._mode = AutoresetMode.DISABLED if self._vector is None else _autoreset_mode(name, self._vector)
        self.name, self.max_episode_steps = name, limit
        self.n = len(self._plain) if self._vector is None else self._vector.num_envs
        spaces = read_spaces(name, world)
        self.observation_space, self.n_actions = spaces.observation, spaces.n_actions
        native = spaces.native
        self.bounds = (native.low, native.high) if isinstance(native, gym.spaces.Box) else None
        self._first_action = spaces.first_action
        self._diary = Diary(name, self.n)
        self._contract = Contract(spaces, self._diary.place)
        self._shape = (self.n, *self._contract.shape)
        self._waiting: BoolArray = np.zeros(self.n, np.bool_)  # NEXT_STEP: worlds that will reset themselves
        self.gives_masks = False
        self._masks: BoolArray | None = None  # the allowed actions [N, A] of the present observations, if used
        self._all, self._none = np.ones(self.n, np.bool_), np.zeros(self.n, np.bool_)
        self._all.setflags(write=False)  # both are given away at every step
        self._none.setflags(write=False)

    def use_masks(self) -> None:
        """From the next reset on, observations are `Masked`: they come with info["action_mask"]."""
        self._masks = np.ones((self.n, self.n_actions), np.bool_)

    def reset(self, seed: int) -> Any:
        """Start anew: world i is seeded with seed + i, unless a vector environment has its own way.

        Later resets, at the ends of episodes, continue these random streams.
        """
        self._diary.start(seed)
        self._waiting = np.zeros(self.n, np.bool_)
        if self._vector is not None:
            return self._with(self._contract.read(self._vector_reset(self._vector, seed=seed), self.n))
        obs = np.empty(self._shape, self._contract.dtype)
        for i in range(self.n):
            self._reset_into(obs, i, seed + i)
        return self._with(obs)

    def step(self, actions: npt.ArrayLike) -> HostStep:
        """`actions [N]`, integers 0 to n_actions - 1.

        Raises:
            EnvCrashed: the world raised; the original is the cause.
            EnvContractError: the world returned what its spaces or Gymnasium's interface exclude.
            NonFiniteError: a NaN or an infinity in a reward or an observation.
        """
        chosen = np.array(actions, np.int64)
        if chosen.shape != (self.n,):
            raise ValueError(f"{self.name}: actions of shape {chosen.shape} for {self.n} worlds")
        if self._first_action:
            chosen += self._first_action
        self._diary.actions.append(chosen)
        self._diary.t += 1
        return self._step_plain(chosen) if self._vector is None else self._step_vector(self._vector, chosen)

    def close(self) -> None:
        """Free what the worlds hold; an environment that was given as an object stays its owner's to close."""
        if not self._owned:
            return
        for world in self._plain if self._vector is None else [self._vector]:
            world.close()

    def _step_plain(self, actions: IntArray) -> HostStep:
        contract = self._contract
        next_obs = np.empty(self._shape, contract.dtype)
        rewards = np.empty(self.n, np.float32)
        ended = []
        for i, env in enumerate(self._plain):
            try:
                answer: Any = env.step(actions[i])
            except Exception as error:
                self._diary.crash("step", error, i)
            if type(answer) is not tuple or len(answer) != 5 or type(answer[4]) is not dict:
                answer = contract.five(answer, i)
            obs, reward, terminated, truncated, info = answer
            contract.write(obs, next_obs, i)
            if type(reward) is not float or not -LARGEST <= reward <= LARGEST:
                reward = contract.reward(reward, i)
            rewards[i] = reward
            if terminated is not False or truncated is not False:
                flags = contract.flag("terminated", terminated, i), contract.flag("truncated", truncated, i)
                if True in flags:
                    ended.append((i, *flags))
            if self._masks is not None:
                self._masks[i] = contract.mask(info, self.n_actions, i, bool(ended) and ended[-1][0] == i)
        last = self._with(next_obs)
        if not ended:
            return HostStep(last, last, rewards, self._none, self._none, self._all)
        obs, terminations, truncations = next_obs.copy(), self._none.copy(), self._none.copy()
        for i, terminations[i], truncations[i] in ended:
            self._diary.begin(i)
            self._reset_into(obs, i, None)
        return HostStep(self._with(obs), last, rewards, terminations, truncations, self._all)

    def _step_vector(self, env: Vector, actions: IntArray) -> HostStep:
        contract, n, waiting = self._contract, self.n, self._waiting
        if self._mode is AutoresetMode.NEXT_STEP:
            self._diary.begin(waiting)  # this step is their reset
        try:
            answer: Any = env.step(actions)
        except Exception as error:
            self._diary.crash("step", error, None)
        raw, reward, terminated, truncated, info = contract.five(answer, None)
        reward = contract.rewards(reward, n)
        terminated = contract.flags("terminated", terminated, n)
        truncated = contract.flags("truncated", truncated, n)
        over = terminated | truncated
        valid = self._all
        if self._mode is AutoresetMode.NEXT_STEP:
            self._note_masks(info, self._all, over)
            obs = next_obs = self._with(contract.read(raw, n))
            self._waiting = over
            if waiting.any():
                valid = ~waiting
                reward[waiting], terminated[waiting], truncated[waiting] = 0, False, False
        elif not over.any():
            self._note_masks(info, self._all, over)
            obs = next_obs = self._with(contract.read(raw, n))
        elif self._mode is AutoresetMode.SAME_STEP:
            finals = self._finals(env, info, over)
            self._diary.begin(over)
            read = contract.read(raw, n)
            self._note_masks(info.get("final_info", {}), over, over)
            self._note_masks(info, ~over, over)
            next_obs = self._with(np.where(over.reshape(n, *[1] * (read.ndim - 1)), finals, read))
            self._note_masks(info, over, self._none)
            obs = self._with(read)
        else:
            read = contract.read(raw, n)
            self._note_masks(info, self._all, over)
            next_obs = self._with(read.copy())
            self._diary.begin(over)
            fresh = contract.read(self._vector_reset(env, options={"reset_mask": over.copy()}), n)
            read[over] = fresh[over]
            obs = self._with(read)
        return HostStep(obs, next_obs, reward, terminated, truncated, valid)

    def _with(self, obs: Values) -> Any:
        """The observations, with the masks if they are used."""
        return obs if self._masks is None else Masked(obs, self._masks.copy())

    def _note_masks(self, info: Mapping[str, Any], rows: BoolArray, over: BoolArray) -> None:
        """Take the masks [N, A] of a vector environment's info for some of its worlds."""
        if self._masks is not None:
            given = info.get("action_mask")
            for i in np.flatnonzero(rows).tolist():
                row = {} if given is None else {"action_mask": given[i]}
                self._masks[i] = self._contract.mask(row, self.n_actions, i, bool(over[i]))

    def _finals(self, env: Vector, info: Mapping[str, Any], over: BoolArray) -> Values:
        """`[N, ...]`, the final observations in SAME_STEP mode; zeros where no episode ended."""
        finals = np.zeros(self._shape, self._contract.dtype)
        given, present = info.get("final_obs"), getattr(env.unwrapped, "_env_obs", None)
        for i in np.flatnonzero(over).tolist():
            final_obs = None if given is None else given[i]
            if final_obs is None:
                raise EnvContractError(
                    f"{self._diary.place(i)}: the episode ended, but info['final_obs'] has no observation; "
                    "SAME_STEP mode must give the final one there: use AutoresetMode.NEXT_STEP or DISABLED"
                )
            reset_obs = None if present is None else present[i]
            if isinstance(final_obs, np.ndarray) and np.may_share_memory(final_obs, reset_obs):
                raise EnvContractError(
                    f"{self._diary.place(i)}: the world reuses its observation array, so in SAME_STEP mode "
                    "its reset overwrote the final observation: return copies, or use AutoresetMode.NEXT_STEP"
                )
            self._contract.write(final_obs, finals, i)
        return finals

    def _reset_into(self, obs: Values, i: int, seed: int | None) -> None:
        try:
            answer: Any = self._plain[i].reset(seed=seed) if seed is not None else self._plain[i].reset()
        except Exception as error:
            self._diary.crash("reset", error, i)
        self._contract.write(self._contract.two(answer, i), obs, i)
        self.gives_masks = "action_mask" in answer[1]
        if self._masks is not None:
            self._masks[i] = self._contract.mask(answer[1], self.n_actions, i, False)

    def _vector_reset(self, env: Vector, **kwargs: Any) -> Any:
        try:
            answer: Any = env.reset(**kwargs)
        except Exception as error:
            self._diary.crash("reset", error, None)
        obs = self._contract.two(answer, None)
        self.gives_masks = "action_mask" in answer[1]
        options = kwargs.get("options") or {}
        self._note_masks(answer[1], options.get("reset_mask", self._all), self._none)
        return obs


def open_world(
    env: str | Env | Vector | Callable[..., Env | Vector],
    *,
    n: int = 1,
    env_kwargs: Mapping[str, Any] | None = None,
) -> HostWorld:
    """N worlds of an id, an environment class or another callable; or one environment, plain or vector.

    An id with n > 1 takes the vector environment that is registered for it, if any; else n plain ones.

    Raises:
        ConfigError: there is no such world, it cannot be made so, or bellmax cannot learn in its spaces.
        EnvContractError: a vector environment does not say how it resets itself.
        EnvCrashed: its constructor raised.
    """
    owned = not isinstance(env, gym.Env | VectorEnv)
    return HostWorld(*make(env, n, dict(env_kwargs or {})), owned=owned)


def _autoreset_mode(name: str, env: Vector) -> AutoresetMode:
    given = env.metadata.get("autoreset_mode")
    try:
        return AutoresetMode(given)
    except ValueError:
        raise EnvContractError(
            f"{name}: metadata['autoreset_mode'] is {given!r}; without the true one, ends of episodes would "
            f"be learnt wrongly: set it to one of {', '.join(map(str, AutoresetMode))}"
        ) from None
