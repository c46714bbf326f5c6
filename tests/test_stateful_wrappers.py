"""Wrappers that learn hold state outside the policy: it is refused, with what to use instead."""

from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import FrameStackObservation, NormalizeObservation, NormalizeReward

import bellmax as bx
from bellmax.training.policy import Policy
from bellmax.types import Box

FAST = {"steps": 80, "eval_episodes": 0, "final_episodes": 2, "records": 1}


class Off(gym.Env):
    """Two observations far from 0 and near each other; the action that names them is rewarded."""

    observation_space = gym.spaces.Box(0, 200, (1,), np.float32)
    action_space = gym.spaces.Discrete(2)

    def obs(self) -> Any:
        self.x = int(self.np_random.integers(2))
        return np.array([100 + self.x], np.float32)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self.obs(), {}

    def step(self, a: int) -> Any:
        reward = float(a == self.x)
        return self.obs(), reward, True, False, {}


class Statistics:
    """Somebody's own running mean and variance."""

    def __init__(self) -> None:
        self.mean, self.var, self.count = np.zeros(1), np.ones(1), 1e-4

    def update(self, x: Any) -> None:
        self.mean = self.mean + 0.1 * (x - self.mean)


class Centred(gym.ObservationWrapper):
    """An own wrapper with such an object."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.seen = Statistics()

    def observation(self, obs: Any) -> Any:
        self.seen.update(obs)
        return (obs - self.seen.mean).astype(np.float32)


class Drifting(gym.ObservationWrapper):
    """An own wrapper with a mean of its own making, which no name tells."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.observation_space = gym.spaces.Box(-200, 200, (1,), np.float32)
        self.level, self.n = 0.0, 0

    def observation(self, obs: Any) -> Any:
        self.n += 1
        self.level += (float(obs[0]) - self.level) / self.n
        return (obs - self.level).astype(np.float32)


class OwnStatistics(Off):
    """An environment that scales its own rewards by what it saw."""

    def __init__(self) -> None:
        self.return_rms = Statistics()


class Noisy(gym.ObservationWrapper):
    """Noise without a seed, and a count of episodes: state that changes nothing."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.episodes, self.last = 0, 0.0

    def observation(self, obs: Any) -> Any:
        self.last = float(obs[0])
        return (obs + np.random.normal()).astype(np.float32)

    def reset(self, **kwargs: Any) -> Any:
        self.episodes += 1
        return super().reset(**kwargs)


class Lagging(gym.ObservationWrapper):
    """State within an episode, begun again in reset, as that of a stack of frames."""

    def reset(self, **kwargs: Any) -> Any:
        self.before = np.zeros(1, np.float32)
        return super().reset(**kwargs)

    def observation(self, obs: Any) -> Any:
        self.before = 0.5 * self.before + 0.5 * obs
        return self.before


def frozen() -> gym.Env:
    """Statistics that were fixed beforehand."""
    env = NormalizeObservation(Off())
    env.obs_rms.mean, env.obs_rms.var, env.update_running_mean = np.array([100.5]), np.array([0.25]), False
    return env


def vector(kind: type, mode: str) -> Callable[[], Any]:
    if mode == "sync":
        return lambda: gym.vector.SyncVectorEnv([lambda: kind(Off())] * 2)
    return lambda: gym.vector.AsyncVectorEnv([lambda: kind(Off())] * 2, context="forkserver")


OBSERVATIONS, REWARDS = "normalize_observations=True", "reward_scale or reward_clip"
LEARNING: dict[str, tuple[Any, dict[str, Any], str]] = {
    "by name": (Off, {"wrappers": ["NormalizeObservation"]}, OBSERVATIONS),
    "reward by name": (Off, {"wrappers": ["NormalizeReward"]}, REWARDS),
    "under another": (Off, {"wrappers": ["NormalizeObservation", "FlattenObservation"]}, OBSERVATIONS),
    "own by name": (Off, {"wrappers": ["test_stateful_wrappers:Centred"]}, "Centred learns .*seen"),
    "own without names": (Off, {"wrappers": ["test_stateful_wrappers:Drifting"]}, "Drifting learns .*level"),
    "factory": (lambda: NormalizeObservation(Off()), {}, OBSERVATIONS),
    "factory of rewards": (lambda: NormalizeReward(Off()), {}, REWARDS),
    "object": (NormalizeObservation(Off()), {}, OBSERVATIONS),
    "vector": (lambda: gym.wrappers.vector.NormalizeObservation(gym.vector.SyncVectorEnv([Off] * 2)), {}, OBSERVATIONS),
    "vector of rewards": (
        lambda: gym.wrappers.vector.NormalizeReward(gym.vector.SyncVectorEnv([Off] * 2)),
        {},
        REWARDS,
    ),
    "parts of a vector": (vector(NormalizeObservation, "sync"), {}, OBSERVATIONS),
    "parts in processes": (vector(NormalizeObservation, "async"), {}, "obs_rms"),
    "environment": (OwnStatistics, {}, "OwnStatistics learns .*return_rms"),
    "in workers": (Off, {"wrappers": ["NormalizeObservation"], "workers": 1}, OBSERVATIONS),
}


@pytest.mark.parametrize("case", LEARNING)
def test_what_learns_is_refused_with_the_remedy(case: str) -> None:
    env, options, message = LEARNING[case]
    with pytest.raises(bx.ConfigError, match=message) as caught:
        bx.train(env, "dqn", **options, **FAST)
    assert "begins again in evaluation and in policy.act" in str(caught.value)


def test_tables_as_well() -> None:
    with pytest.raises(bx.ConfigError, match="tables need none"):
        bx.train(Off, "q-learning", wrappers=["NormalizeObservation"], steps=50)


def test_evaluation_and_collection_in_such_an_environment_as_well() -> None:
    policy = Policy("<Off>", bx.DQN(), Box((1,)), 2, {})
    with pytest.raises(bx.ConfigError, match=OBSERVATIONS):
        bx.evaluate(policy, lambda: NormalizeObservation(Off()), episodes=2)
    with pytest.raises(bx.ConfigError, match=OBSERVATIONS):
        bx.collect(None, lambda: NormalizeObservation(Off()), steps=5)


SOUND = {
    "frozen": frozen,
    "noise": lambda: Noisy(Off()),
    "within an episode": lambda: Lagging(Off()),
    "stack": lambda: FrameStackObservation(Off(), 3),
}


@pytest.mark.parametrize("case", SOUND)
def test_what_does_not_learn_is_let_through(case: str) -> None:
    bx.train(SOUND[case], "dqn", **FAST)


@pytest.mark.filterwarnings("ignore:.*had one step")
def test_the_remedy_learns_what_the_wrapper_would() -> None:
    run = bx.train(Off, "dqn", steps=6_000, eval_episodes=0, final_episodes=64, learning_starts=200,
                   normalize_observations=True)  # fmt: skip
    assert run.scores == [1.0]
    assert [run.policy().act(np.array([x], np.float32)) for x in (100, 101)] == [0, 1]


def test_rewards_that_are_not_the_environments_own_are_told() -> None:
    said: list[str] = []
    bx.train(Off, "dqn", wrappers=[{"name": "ClipReward", "min_reward": -1}], say=said.append, **FAST)
    assert any("rewards pass through ClipReward" in line and "reward_clip" in line for line in said)
