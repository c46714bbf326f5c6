"""Wrappers that learn hold state outside the policy: it is refused, with what to use instead."""

import functools
from collections import deque
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.wrappers import FrameStackObservation, NormalizeObservation, NormalizeReward

import bellmax as bx
from bellmax.contracts import Box
from bellmax.envs.replaying import carrier, may_carry
from bellmax.training.policy import Policy

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


class Centered(gym.ObservationWrapper):
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


class Wide(gym.ObservationWrapper):
    """Room for any number."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.observation_space = gym.spaces.Box(-1e3, 1e3, (1,), np.float32)

    def observation(self, obs: Any) -> Any:
        return obs


class Recent(Wide):
    """The mean of the last observations, which a deque holds."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.last = deque([0.0], maxlen=30)

    def observation(self, obs: Any) -> Any:
        self.last.append(float(obs[0]))
        return (obs - np.mean(self.last)).astype(np.float32)


class Mean:
    """A function with state, in names of its own."""

    def __init__(self) -> None:
        self.m, self.n = 0.0, 0

    def __call__(self, x: Any) -> Any:
        self.n += 1
        self.m += (float(np.mean(x)) - self.m) / self.n
        return np.asarray(x - self.m, np.float32)


class Helped(Wide):
    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.st = Mean()

    def observation(self, obs: Any) -> Any:
        return self.st(obs)


class Highest(Wide):
    """An integer that grows with what was seen."""

    highest = 1

    def observation(self, obs: Any) -> Any:
        self.highest = max(self.highest, int(obs[0]))
        return np.asarray(obs / self.highest, np.float32)


class LearnsInSteps(gym.Wrapper):
    """Statistics that resets leave as they are."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.observation_space = gym.spaces.Box(-1e3, 1e3, (1,), np.float32)
        self.st = Mean()

    def step(self, action: Any) -> Any:
        obs, *rest = self.env.step(action)
        return (self.st(obs), *rest)


class Relative(gym.RewardWrapper):
    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.st = Mean()

    def reward(self, reward: Any) -> Any:
        return float(self.st(reward))


class OfVectors(gym.vector.VectorObservationWrapper):
    def __init__(self, env: Any) -> None:
        super().__init__(env)
        self.st = Mean()

    def observations(self, observations: Any) -> Any:
        return np.clip(self.st(observations) + 100, 0, 200)


def closure() -> Callable[[Any], Any]:
    level = 0.0

    def centre(obs: Any) -> Any:
        nonlocal level
        level += 0.1 * (float(obs[0]) - level)
        return (obs - level).astype(np.float32)

    return centre


def through(function: Any) -> gym.Env:
    """Off, seen through a function."""
    return gym.wrappers.TransformObservation(Off(), function, gym.spaces.Box(-1e3, 1e3, (1,), np.float32))


class OwnDice(Wide):
    """Noise from a generator of its own, which a reset does not seed."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.dice = np.random.default_rng(7)

    def observation(self, obs: Any) -> Any:
        return (obs + self.dice.normal()).astype(np.float32)


class Seeded(Wide):
    """Noise from the environment's generator."""

    def observation(self, obs: Any) -> Any:
        return (obs + self.np_random.normal()).astype(np.float32)


class Counting(gym.Wrapper):
    """The steps of the episode, in the observation."""

    def __init__(self, env: gym.Env) -> None:
        super().__init__(env)
        self.observation_space = gym.spaces.Box(-1e3, 1e3, (2,), np.float32)

    def reset(self, **kwargs: Any) -> Any:
        self.t = 0
        obs, info = self.env.reset(**kwargs)
        return np.array([*obs, 0], np.float32), info

    def step(self, action: Any) -> Any:
        self.t += 1
        obs, *rest = self.env.step(action)
        return (np.array([*obs, self.t], np.float32), *rest)


class Levels(gym.Wrapper):
    """Each episode is another one of the environment: what changes is the environment, not how it is seen."""

    level = 0

    def reset(self, **kwargs: Any) -> Any:
        self.level += 1
        return self.env.reset(seed=self.level % 5)


class MasksInInfo(gym.Wrapper):
    """Masks that change from episode to episode."""

    episodes = 0

    def reset(self, **kwargs: Any) -> Any:
        self.episodes += 1
        return self.env.reset(**kwargs)[0], {"action_mask": self.mask()}

    def step(self, action: Any) -> Any:
        return (*self.env.step(action)[:4], {"action_mask": self.mask()})

    def mask(self) -> Any:
        return np.array([1, self.episodes % 2], np.int8)


def plain(obs: Any) -> Any:
    return obs


def noisy(dice: Any, obs: Any) -> Any:
    return np.asarray(obs + dice.normal(), np.float32)


def frozen() -> gym.Env:
    """Statistics that were fixed beforehand."""
    env = NormalizeObservation(Off())
    env.obs_rms.mean, env.obs_rms.var, env.update_running_mean = np.array([100.5]), np.array([0.25]), False
    return env


def vector(kind: type, mode: str) -> Callable[[], Any]:
    if mode == "sync":
        return lambda: gym.vector.SyncVectorEnv([lambda: kind(Off())] * 2)
    return lambda: gym.vector.AsyncVectorEnv([lambda: kind(Off())] * 2, context="forkserver")


class Late(gym.ActionWrapper):
    """Each action one step late, and the first of an episode is the last of the one before."""

    last = 0

    def action(self, action: Any) -> Any:
        last, self.last = self.last, action
        return last


class Slipping(gym.ActionWrapper):
    """Now and then another action, by the environment's generator and by that of the action space."""

    def action(self, action: Any) -> Any:
        return self.action_space.sample() if self.np_random.random() < 0.3 else action


SHARED = Mean()
OBSERVATIONS, REWARDS = "normalize_observations=True", "reward_scale or reward_clip"
LEARNING: dict[str, tuple[Any, dict[str, Any], str]] = {
    "by name": (Off, {"wrappers": ["NormalizeObservation"]}, OBSERVATIONS),
    "reward by name": (Off, {"wrappers": ["NormalizeReward"]}, REWARDS),
    "under another": (Off, {"wrappers": ["NormalizeObservation", "FlattenObservation"]}, OBSERVATIONS),
    "own by name": (Off, {"wrappers": ["test_stateful_wrappers:Centered"]}, "Centered learns .*seen"),
    "own without names": (Off, {"wrappers": ["test_stateful_wrappers:Drifting"]}, "Drifting learns"),
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
    "deque": (lambda: Recent(Off()), {}, "Recent learns"),
    "under a sound one": (lambda: Counting(Recent(Off())), {}, "Recent learns"),
    "function with state": (lambda: through(Mean()), {}, "TransformObservation learns"),
    "one function for all": (lambda: through(SHARED), {}, "TransformObservation learns"),
    "closure": (lambda: through(closure()), {}, "TransformObservation learns"),
    "function of rewards": (lambda: gym.wrappers.TransformReward(Off(), Mean()), {}, "TransformReward learns"),
    "helper": (lambda: Helped(Off()), {}, "Helped learns"),
    "integer": (lambda: Highest(Off()), {}, "Highest learns"),
    "of actions": (lambda: Late(Off()), {}, "Late learns"),
    "in steps": (lambda: LearnsInSteps(Off()), {}, "LearnsInSteps learns"),
    "own reward": (lambda: Relative(Off()), {}, "Relative learns .*reward_scale"),
    "own object": (Recent(Off()), {}, "Recent learns"),
    "object with a closure": (through(closure()), {}, "TransformObservation learns"),
    "object under names": (Recent(Off()), {"wrappers": ["FlattenObservation"]}, "Recent learns"),
    "own parts of a vector": (vector(Recent, "sync"), {}, "Recent learns"),
    "own parts of an object": (vector(Recent, "sync")(), {}, "Recent learns"),
    "own parts in processes": (vector(Recent, "async"), {}, "Recent learns"),
    "own around a vector": (lambda: OfVectors(gym.vector.SyncVectorEnv([Off] * 2)), {}, "OfVectors learns"),
    "own around an object": (OfVectors(gym.vector.SyncVectorEnv([Off] * 2)), {}, "OfVectors learns"),
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
    "own generator": lambda: OwnDice(Off()),
    "own generator, object": OwnDice(Off()),
    "generator of the environment": lambda: Seeded(Off()),
    "steps of the episode": lambda: Counting(Off()),
    "levels": lambda: Levels(Off()),
    "noise of actions": lambda: Slipping(Off()),
    "noise of actions, object": Slipping(Off()),
    "masks": lambda: MasksInInfo(Off()),
    "plain function": lambda: through(plain),
    "function with a generator": lambda: through(functools.partial(noisy, np.random.default_rng(3))),
    "limit and statistics": lambda: gym.wrappers.TimeAwareObservation(
        gym.wrappers.RecordEpisodeStatistics(gym.wrappers.TimeLimit(Wide(Lagging(Off())), 5))
    ),
}


@pytest.mark.parametrize("case", SOUND)
def test_what_does_not_learn_is_let_through(case: str) -> None:
    bx.train(SOUND[case], "dqn", **FAST)


def test_sound_parts_of_a_vector_are_let_through() -> None:
    bx.train(vector(Counting, "sync"), "dqn", num_envs=2, **FAST)


def test_the_search_leaves_an_object_and_the_random_numbers_of_others_alone() -> None:
    env, function = Seeded(Off()), Mean()
    np.random.seed(5)
    expected = np.random.RandomState(5).random_sample(3)
    assert carrier(lambda: env, given=True) is None
    assert not hasattr(env.unwrapped, "x")  # never reset
    assert carrier(lambda: through(function), given=True) == "TransformObservation"
    assert function.n == 0
    assert np.array_equal(np.random.random_sample(3), expected)


def test_nothing_is_drawn_or_recorded_for_the_search() -> None:
    class Shown(Off):
        render_mode = "human"

    assert not may_carry(Recent(Shown()))
    assert may_carry(Recent(Off()))


@pytest.mark.filterwarnings("ignore:.*had one step")
def test_the_remedy_learns_what_the_wrapper_would() -> None:
    run = bx.train(Off, "dqn", steps=6_000, eval_episodes=0, final_episodes=64, learning_starts=200,
                   normalize_observations=True)  # fmt: skip
    assert run.scores == [1.0]
    assert [run.policy().act(np.array([x], np.float32)) for x in (100, 101)] == [0, 1]


def test_rewards_that_are_not_the_environments_own_are_told() -> None:
    said: list[str] = []
    bx.train(Off, "dqn", wrappers=[{"name": "ClipReward", "min_reward": -1}], say=said.append, **FAST)
    assert any("ClipReward changes the rewards" in line and "reward_clip" in line for line in said)


@pytest.mark.parametrize("case", ["factory", "object", "environment", "integer", "own object", "of actions"])
def test_the_check_of_an_environment_reports_what_training_refuses(case: str) -> None:
    report = bx.check_env(LEARNING[case][0], steps=50)
    found = [one for one in report.findings if one.check == "wrappers"]
    assert [(one.level, one.fix.startswith("leave it out: ")) for one in found] == [("error", True)]
    assert " learns while it is stepped" in found[0].what
    assert not report.ok


@pytest.mark.parametrize("case", ["frozen", "noise", "own generator", "noise of actions", "limit and statistics"])
def test_the_check_of_an_environment_does_not_report_what_training_accepts(case: str) -> None:
    assert not [one for one in bx.check_env(SOUND[case], steps=50).findings if one.check == "wrappers"]
