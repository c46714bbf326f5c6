"""A zoo of small Gymnasium environments: one that counts, so that each transition is known, and many bad ones."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np


class Counter(gym.Env):
    """Observation [episode, step, last action]; reward = 100 episode + 10 step + action.

    Episodes end after `length` + (episode mod 3) steps, by termination in even episodes, by truncation in odd
    ones, and in every fourth by both. The first episode is `first + seed`.
    """

    observation_space: gym.Space[Any] = gym.spaces.Box(-np.inf, np.inf, (3,), np.float32)
    action_space: gym.Space[Any] = gym.spaces.Discrete(2)

    def __init__(self, length: int = 3, start: int = 0, reuse: bool = False) -> None:
        self.action_space = gym.spaces.Discrete(2, start=start)
        self.length, self.start, self.reuse = length, start, reuse
        self.buffer = np.zeros(3, np.float32)
        self.episode = self.time = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self.episode = self.episode + 1 if seed is None else 10 * seed
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
    """Ends at every step; the second reset raises."""

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
