"""A zoo of small Gymnasium environments: one that counts, so that each transition is known, and many bad ones."""

from __future__ import annotations

import copy
import os
import time
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np


class Counter(gym.Env):
    """Observation [episode, step, last action]; reward = 100 episode + 10 step + action.

    Episodes end after `length` + (episode mod 3) steps, by termination in even episodes, by truncation in odd
    ones, and in every fourth by both. The first episode is `spacing` times the seed.
    """

    observation_space: gym.Space[Any] = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space: gym.Space[Any] = gym.spaces.Discrete(2)

    def __init__(self, length: int = 3, start: int = 0, reuse: bool = False, spacing: int = 10) -> None:
        self.action_space = gym.spaces.Discrete(2, start=start)
        self.length, self.start, self.reuse, self.spacing = length, start, reuse, spacing
        self.buffer = np.zeros(3, np.float32)
        self.episode = self.time = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode = self.episode + 1 if seed is None else self.spacing * seed
        self.time = 0
        return self.observe(0), {"episode": self.episode}

    def step(self, action: Any) -> tuple[Any, ...]:
        assert self.action_space.contains(action)
        self.time += 1
        over = self.time == self.length + self.episode % 3
        reward = 100.0 * self.episode + 10 * self.time + int(action)
        terminated, truncated = self.episode % 2 == 0 or self.episode % 4 == 3, self.episode % 2 == 1
        return self.observe(int(action)), reward, over and terminated, over and truncated, {}

    def observe(self, action: int) -> np.ndarray:
        if not self.reuse:
            return np.array([self.episode, self.time, action], np.float32)
        self.buffer[:] = self.episode, self.time, action
        return self.buffer


class Filmed(Counter):
    """The counter on film: the last three frames, in each of which the first pixels tell (episode, step, action)."""

    observation_space: gym.Space[Any] = gym.spaces.Box(0, 255, (3, 8, 8), np.uint8)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        self.film: list[np.ndarray] = []
        return super().reset(seed=seed)

    def observe(self, action: int) -> np.ndarray:
        frame = np.full((8, 8), 7, np.uint8)
        frame[0, :4] = self.episode // 256, self.episode % 256, self.time, action
        self.film = ([*self.film, frame] if self.film else [frame] * 3)[-3:]
        return np.stack(self.film)


class Hiccup(Counter):
    """The counter, but step `at` of every episode in `episodes` (None: of all) returns `wrong` in `field`.

    Or it raises it ("raise"), hangs ("hang"), or kills its process ("kill"), this once only, where a file `once`, which
    then tells the time, is given.
    """

    def __init__(self, field: str, wrong: Any, at: int, episodes: Any = None, once: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.field, self.wrong, self.at, self.episodes, self.once = field, wrong, at, episodes, once

    def step(self, action: Any) -> tuple[Any, ...]:
        obs, *rest = super().step(action)
        if self.time != self.at or (self.episodes is not None and self.episode not in self.episodes):
            return obs, *rest
        if self.once:
            try:
                with Path(self.once).open("x") as file:  # of several at a time only one
                    file.write(str(time.time()))
            except FileExistsError:
                return obs, *rest
        if self.field == "raise":
            raise self.wrong
        if self.field == "hang":
            time.sleep(self.wrong)
        elif self.field == "kill":
            os.kill(os.getpid(), self.wrong)
        elif self.field == "obs":
            obs = obs.copy()
            obs[0] = self.wrong
        elif self.field == "reward":
            rest[0] = self.wrong
        return obs, *rest


class Cue(gym.Env):
    """One of two cues at random in every of five steps; to the first `answers[0]` is right, and worth 1."""

    def __init__(self, space: gym.Space[Any], cues: Any, actions: gym.Space[Any] | None = None, answers: Any = (0, 1)):
        self.observation_space, self.cues, self.answers = space, cues, answers
        self.action_space = gym.spaces.Discrete(2) if actions is None else actions

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.time = 0
        return self.observe(), {}

    def step(self, action: Any) -> tuple[Any, ...]:
        reward = float(np.array_equal(action, self.answers[self.cue]))
        self.time += 1
        return self.observe(), reward, self.time == 5, False, {}

    def observe(self) -> Any:
        self.cue = int(self.np_random.integers(2))
        return copy.deepcopy(self.cues[self.cue])


class Bad(gym.Env):
    """A good world but for one thing: `step` number `at` returns (or raises) `wrong`, in `field`."""

    action_space: gym.Space[Any] = gym.spaces.Discrete(3)

    def __init__(self, field: str, wrong: Any, at: int = 3, space: gym.Space[Any] | None = None) -> None:
        self.observation_space = space or gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)
        self.field, self.wrong, self.at, self.time = field, wrong, at, 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.time = 0
        if self.field == "reset":
            if isinstance(self.wrong, Exception):
                raise self.wrong
            return self.wrong
        return self.good(), {}

    def good(self) -> Any:
        discrete = isinstance(self.observation_space, gym.spaces.Discrete)
        return (
            self.observation_space.start
            if discrete
            else np.zeros(self.observation_space.shape, self.observation_space.dtype)
        )

    def step(self, action: Any) -> Any:
        self.time += 1
        answer = {"obs": self.good(), "reward": 1.0, "terminated": False, "truncated": False, "info": {}}
        if self.time == self.at:
            if self.field == "raise":
                raise self.wrong
            if self.field == "answer":
                return self.wrong
            answer[self.field] = self.wrong
        return tuple(answer.values())


class Ends(gym.Env):
    """Ends at every step; after `resets` resets they raise."""

    observation_space = gym.spaces.Discrete(4, start=-2)
    action_space = gym.spaces.Discrete(1)

    def __init__(self, resets: int = 1) -> None:
        self.resets = resets

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        if self.resets == 0:
            raise OSError("no more")
        self.resets -= 1
        return np.int32(-2), {}

    def step(self, action: Any) -> Any:
        return np.array(1), np.float32(0.5), np.bool_(True), np.array(False), {}


class Spaces(gym.Env):
    """Nothing but its spaces."""

    def __init__(self, observation: gym.Space[Any], action: gym.Space[Any]) -> None:
        self.observation_space, self.action_space = observation, action
