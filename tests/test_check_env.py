"""check_env: a zoo of bad environments, each with what is found and how it is said; and good ones, which are clean."""

from __future__ import annotations

import json
import re
import time
import warnings
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces
from worlds import Bad, Counter, Ends, Spaces

from bellmax.contracts import ConfigError
from bellmax.envs import check as judge
from bellmax.envs import findings
from bellmax.envs.playing import COPY, CRASH, RESET
from bellmax.envs.positions import MIGRATION
from bellmax.machine import resident_mb
from bellmax.report.checking import SEED, check_env

NAN = float("nan")


class Walk(gym.Env):
    """A sound world: a position on a line, noise, ends by termination (at 4) or its own limit. Zoo: `overrides`."""

    observation_space: gym.Space[Any] = spaces.Box(-10, 10, (2,), np.float32)
    action_space: gym.Space[Any] = spaces.Discrete(2)

    def __init__(self) -> None:
        self.t = self.total = 0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.t, self.at = 0, float(self.np_random.uniform(-1, 1))
        return self.observe(), self.info()

    def step(self, action: Any) -> Any:
        self.t, self.total = self.t + 1, self.total + 1
        self.at += float(action) - 0.5 + 0.1 * float(self.np_random.standard_normal())
        return self.observe(), self.reward(), abs(self.at) > 2, self.t == 20, self.info()

    def observe(self) -> Any:
        return np.array([self.at, self.t / 10], np.float32)

    def reward(self) -> Any:
        return self.at

    def info(self) -> Any:
        return {}


def walk(**overrides: Any) -> Callable[[], Walk]:
    """A factory of worlds like Walk, but for some methods or attributes."""
    return type("Walk", (Walk,), overrides)


def found(env: Any, check: str, steps: int = 200) -> list[tuple[str, str, str]]:
    report = check_env(env, steps=steps)
    assert json.loads(json.dumps(report.to_json()))["ok"] == report.ok
    assert str(report).startswith(f"{report.name}: ")
    return [finding[1:] for finding in report.findings if finding.check == check]


def other_errors(env: Any, check: str) -> list[Any]:
    return [one for one in check_env(env, steps=200).findings if one.check != check and one.level == "error"]


@pytest.mark.parametrize("name", ["CartPole-v1", "FrozenLake-v1", "Acrobot-v1", "Blackjack-v1", "Taxi-v4"])
def test_gymnasiums_own_environments_have_no_errors(name: str) -> None:
    report = check_env(name)
    assert report.ok
    assert [one for one in report.findings if one.level == "warning" and one.check != "episodes"] == []
    assert report.facts["steps"] == 1000
    assert report.facts["steps_per_second"] > 100


def test_a_sound_world_is_clean() -> None:
    for env in (Walk, Walk(), lambda: Walk()):
        report = check_env(env, steps=500)
        levels = {one.check: one.level for one in report.findings if one.level != "ok"}
        assert levels in ({}, {"episodes": "hint"}), str(report)
    assert report.name == "Walk"


def test_the_table_and_the_object_for_machines() -> None:
    report = check_env(walk(info=lambda self: None), steps=50)
    lines = str(report).splitlines()
    assert lines[0].startswith("Walk: 50 steps, ")
    assert "ok       constructor   called twice" in lines
    fix = "interface     return {} if it is empty"
    assert lines[-4:-1] == ["What to do", fix, ""] or fix in lines
    assert lines[-1].startswith("1 error, 0 warnings: fix these first")
    data = report.to_json()
    assert (data["name"], data["ok"]) == ("Walk", False)
    assert set(data["findings"][0]) == {"check", "level", "what", "fix"}


AT = "episode 1, step 3, action "


@pytest.mark.parametrize(
    ("space", "wrong", "level", "what", "fix"),
    [
        (spaces.Box(-1, 1, (2,)), np.zeros(3, np.float32), "error",
         "observation is ndarray of shape (3,) and dtype float32, but its space is Box(-1.0, 1.0, (2,), float32)",
         judge.AGREE),
        (spaces.Box(-1, 1, (2,)), np.zeros(2, object), "error",
         "observation is ndarray of shape (2,) and dtype object, but its space is Box(-1.0, 1.0, (2,), float32)",
         judge.AGREE),
        (spaces.Box(-1, 1, (2,)), np.zeros(2), "warning",
         "observation is ndarray of shape (2,) and dtype float64, but its space is Box(-1.0, 1.0, (2,), float32)",
         judge.CAST),
        (spaces.Box(-1, 1, (2,)), [0.0, 0.0], "warning",
         "observation is list of 2, but its space is Box(-1.0, 1.0, (2,), float32)", judge.CAST),
        (spaces.Box(-1, 1, (2,)), np.array([0, NAN], np.float32), "error",
         "observation[1] is nan, not a finite float32", judge.FINITE.format("observation")),
        (spaces.Box(-np.inf, np.inf, (2,)), np.array([np.inf, 0], np.float32), "error",
         "observation[0] is inf, not a finite float32", judge.FINITE.format("observation")),
        (spaces.Box(-1, 1, (2,)), np.array([1.5, -7], np.float32), "warning",
         "observation[1] is -7.0, outside -1.0 to 1.0", judge.BOUNDS),
        (spaces.Box(0, 255, (2,), np.uint8), np.array([0, 256]), "error",
         "observation is ndarray of shape (2,) and dtype int64, but its space is Box(0, 255, (2,), uint8)",
         judge.AGREE),
        (spaces.Discrete(4, start=1), 5, "error", "observation is 5, outside 1 to 4", judge.AGREE),
        (spaces.Discrete(4), 1.0, "error", "observation is float, but its space is Discrete(4)", judge.AGREE),
        (spaces.MultiDiscrete([2, 3]), np.array([1, 3]), "error",
         "observation[1] is 3, outside 0 to 2", judge.AGREE),
        (spaces.MultiBinary(2), np.array([1, 2], np.int8), "error",
         "observation[1] is 2, outside 0 to 1", judge.AGREE),
        (spaces.Dict(a=spaces.Discrete(2), b=spaces.Tuple((spaces.Box(0, 1, (1,)),))),
         {"a": 1, "b": (np.array([NAN], np.float32),)}, "error",
         "observation['b'][0][0] is nan, not a finite float32", judge.FINITE.format("observation")),
        (spaces.Dict(a=spaces.Discrete(2)), {"c": 1}, "error",
         "observation is a dict of ['c'], but its space is Dict('a': Discrete(2))", judge.AGREE),
        (spaces.Tuple((spaces.Discrete(2),)), (1, 2), "error",
         "observation is tuple of 2, but its space is Tuple(Discrete(2))", judge.AGREE),
        (spaces.Tuple((spaces.Discrete(2),)), (2,), "error", "observation[0] is 2, outside 0 to 1", judge.AGREE),
    ],
)  # fmt: skip
def test_observations_outside_their_space(space: gym.Space[Any], wrong: Any, level: str, what: str, fix: str) -> None:
    good = space.sample()

    def observe(self: Walk) -> Any:
        return wrong if self.t == 3 and self.total == 3 else good

    [one] = found(walk(observation_space=space, observe=observe), "observations")
    assert (one[0], one[2]) == (level, fix)
    assert one[1].startswith(AT)
    assert one[1].split(": ", 1)[1] == what


def test_the_worst_of_many_is_told_and_they_are_counted() -> None:
    def observe(self: Walk) -> Any:
        return np.array([0, 10 + (self.total == 7)], np.float32) + (self.total in (3, 7))

    [(level, what, _)] = found(walk(observe=observe), "observations")
    assert level == "warning"
    assert what.endswith("observation[1] is 12.0, outside -10.0 to 10.0 (2 times)")


@pytest.mark.parametrize(
    ("reward", "check", "level", "what", "fix"),
    [
        (NAN, "rewards", "error", "reward is nan, not a finite float32", judge.FINITE.format("reward")),
        (1e39, "rewards", "error", "reward is 1e+39, not a finite float32", judge.FINITE.format("reward")),
        (10**400, "rewards", "error", f"reward is 1{'0' * 39}, not a finite float32", judge.FINITE.format("reward")),
        (np.ones(1), "interface", "error", "reward is array([1.]) (ndarray of shape (1,) and dtype float64)",
         "return float(reward)"),
        (None, "interface", "error", "reward is None (NoneType)", "return float(reward)"),
    ],
)  # fmt: skip
def test_rewards_that_are_no_finite_numbers(reward: Any, check: str, level: str, what: str, fix: str) -> None:
    env = walk(reward=lambda self: reward if self.total == 3 else self.at)
    [one] = found(env, check)
    assert one[0] == level
    assert one[1].startswith(AT)
    assert one[1].split(": ", 1)[1] == what
    assert one[2] == fix


def test_large_and_constant_rewards() -> None:
    [large] = found(walk(reward=lambda self: 2e6 * (self.total == 9)), "rewards")
    assert large == ("warning", "0 to 2e+06", "scale them down; large numbers are hard to learn")
    assert found(walk(reward=lambda self: 0), "rewards") == [("hint", "all 200 rewards are 0", judge.RARE)]
    assert found(walk(reward=lambda self: 1), "rewards") == [("ok", "1 to 1", "")]  # the length of an episode tells


def test_an_observation_that_is_overwritten() -> None:
    [(level, what, fix)] = found(lambda: Counter(reuse=True), "aliasing")
    assert level == "warning"
    assert what.startswith("episode 1, step 1, action ")
    assert ": the previous observation was overwritten: observation[1] is 0.0 and 1.0 (" in what
    assert fix == COPY
    blank = np.zeros(2, np.float32)
    [(level, what, fix)] = found(walk(observe=lambda self: blank), "aliasing")
    assert level == "hint"
    assert "it shares memory with the previous observation, unchanged so far (" in what

    def observe(self: Walk) -> Any:
        self.state = getattr(self, "state", {"a": np.zeros(1, np.float32)})
        self.state["a"][0] = self.t
        return self.state

    space = spaces.Dict(a=spaces.Box(0, 99, (1,)))
    [(level, what, _)] = found(walk(observation_space=space, observe=observe), "aliasing")
    assert level == "warning"
    assert "observation['a'][0] is 0.0 and 1.0" in what


def test_environments_that_do_not_repeat_themselves() -> None:
    rng = np.random.default_rng(0)
    [(level, what, fix)] = found(walk(reward=lambda self: rng.normal()), "determinism")
    assert level == "error"
    assert what.startswith("seed 0, the same actions, in one environment: episode 1, step 1, action ")
    assert ": reward is 0." in what or ": reward is -" in what
    assert fix == SEED
    made = iter(range(9))

    def init(self: Walk) -> None:
        Walk.__init__(self)
        self.twist = next(made)

    env = walk(__init__=init, observe=lambda self: np.array([self.twist, self.t], np.float32) / 9)
    [(level, what, _)] = found(env, "determinism")
    assert level == "error"
    assert what.startswith("seed 0, the same actions, in two environments: episode 1, reset: observation[0] is 0.0 and")
    assert [one[0] for one in found(env(), "determinism")] == ["ok"]
    one = Counter(length=5)
    one.spec = gym.envs.registration.EnvSpec("Counter-v0", nondeterministic=True)
    one.observe = lambda action: rng.normal(size=3).astype(np.float32)  # type: ignore[method-assign]
    assert [level for level, _, _ in found(one, "determinism")] == ["hint"]


def test_seeds_that_make_no_difference_or_too_much() -> None:
    [(level, what, _)] = found(walk(reset=lambda self, seed=None, options=None: Walk.reset(self, seed=7)), "seeds")
    assert (level, what) == ("hint", "0, 1 and 2 give the same steps")

    def reset(self: Walk, seed: int | None = None, options: Any = None) -> Any:
        self.first = seed if seed is not None else self.first
        return Walk.reset(self, seed=self.first)

    [(level, what, _)] = found(walk(reset=reset), "seeds")
    assert (level, what) == ("hint", "reset() without a seed starts each episode like the first")


def ended(terminated: Any, truncated: Any) -> Callable[[Walk, Any], Any]:
    """A step whose flags are functions of the episode's step."""

    def step(self: Walk, action: Any) -> Any:
        obs, reward, _, _, info = Walk.step(self, action)
        return obs, reward, terminated(self.t), truncated(self.t), info

    return step


def never(t: int) -> bool:
    return False


def test_time_limits_and_ends() -> None:
    env = walk(step=ended(lambda t: t >= 10, never), observation_space=spaces.Box(-99, 99, (2,)))
    first = found(env, "episodes")[0]
    assert first == ("warning", "all 20 episodes terminated after exactly 10 steps, as at a limit", judge.ENDS)
    both = found(walk(step=ended(lambda t: t % 7 == 6, lambda t: t % 7 == 6)), "episodes")
    said = "an episode was both terminated and truncated"
    assert ("hint", said, "bellmax uses terminated; return only one") in both
    limited = env()
    limited.spec = gym.envs.registration.EnvSpec("Walk-v0", max_episode_steps=10)
    said = "an episode terminated at the time limit of 10 steps without truncated"
    assert ("error", said, judge.ENDS) in found(limited, "episodes")
    limited.spec = gym.envs.registration.EnvSpec("Walk-v0", max_episode_steps=5)
    fix = "create it with gymnasium.make, or wrap it in gymnasium.wrappers.TimeLimit"
    assert found(limited, "episodes")[0] == ("error", "an episode had 10 steps, and the time limit is 5", fix)
    assert found(gym.wrappers.TimeLimit(env(), 10), "episodes")[0][0] != "error"
    [endless] = found(walk(step=ended(never, never)), "episodes")
    said = "no episode ended in 200 steps, and the environment has no time limit"
    assert endless == ("hint", said, "add a TimeLimit if it should end")
    [short] = found(lambda: Ends(resets=10**6), "episodes")
    assert short == ("warning", "200 of 200 episodes had one step", "check what ends them")
    late = found(walk(step=ended(lambda t: t % 7 == 6, never)), "episodes")
    assert late[-1][:2] == ("hint", "a step after the end, without reset, continues as before")


@pytest.mark.parametrize(
    ("answer", "what", "fix"),
    [
        ((np.zeros(2, np.float32), 1.0, False, {}), "step returned 4 values, not 5", MIGRATION),
        (None, "step returned NoneType, not a tuple of 5 values", MIGRATION),
        ((np.zeros(2, np.float32), 1.0, False, False, None),
         "info is NoneType, not a dict", "return {} if it is empty"),
        ((np.zeros(2, np.float32), 1.0, 0, False, {}), "terminated is 0 (int)", "return True or False"),
        ((np.zeros(2, np.float32), 1.0, False, np.zeros(1, bool), {}),
         "truncated is array([False]) (ndarray of shape (1,) and dtype bool)", "return True or False"),
    ],
)  # fmt: skip
def test_a_step_that_breaks_the_interface(answer: Any, what: str, fix: str) -> None:
    for env in (lambda: Bad("answer", answer), Bad("answer", answer)):
        [one] = found(env, "interface", steps=20)
        assert one[0] == "error"
        assert one[1].startswith(AT)
        assert one[1].split(": ", 1)[1].removesuffix(" (3 times)") == what
        assert one[2] == fix


def test_four_values_under_a_wrapper_and_a_reset_without_info() -> None:
    wrapped = gym.wrappers.TimeLimit(Bad("answer", (np.zeros(2), 1.0, False, {})), 9)
    [(level, what, fix)] = found(wrapped, "crashes")
    assert (level, fix) == ("error", MIGRATION)
    assert "step raised ValueError: not enough values to unpack (expected 5, got 4)" in what
    old = walk(reset=lambda self, seed=None, options=None: Walk.reset(self, seed=seed)[0])
    first, *rest = found(old, "interface")
    assert first[0] == "error"
    assert first[1].startswith("episode 1, reset: reset returned ndarray of shape (2,) and dtype float32, not (obs, i")
    assert rest == other_errors(old, "interface") == []  # and all else went on
    unseeded = walk(reset=lambda self: Walk.reset(self))
    [(level, what, fix)] = found(unseeded, "interface")
    assert (level, fix) == ("error", RESET)
    assert what.startswith("episode 1, reset: reset raised TypeError: ")
    assert check_env(unseeded, steps=50).facts["steps"] == 50


def info(mask: Callable[[Walk], Any]) -> Callable[[Walk], Any]:
    return lambda self: {"action_mask": mask(self)} if mask(self) is not None else {}


def test_masks() -> None:
    def check(mask: Callable[[Walk], Any]) -> list[tuple[str, str]]:
        return [(level, what.split(": ", 1)[-1]) for level, what, _ in found(walk(info=info(mask)), "masks")]

    name, one = "info['action_mask']", np.array([True, False])
    assert check(lambda self: None) == [("ok", "none")]
    assert check(lambda self: one) == [("ok", "one at every reset and step")]
    assert check(lambda self: one[:1] if self.total == 3 else one) == [
        ("error", f"{name} is ndarray of shape (1,) and dtype bool, not 2 flags")
    ]
    assert check(lambda self: ~one & one if self.total == 3 else one) == [("error", f"{name} allows no action")]
    assert check(lambda self: None if self.total == 3 else one) == [
        ("error", f"{name} is missing, but the first reset had one")
    ]
    assert check(lambda self: one if self.total == 3 else None) == [
        ("error", f"{name} appears after the first reset only")
    ]
    assert check(lambda self: np.array([5, 0]) if self.total == 3 else one) == [
        ("warning", f"{name} is array([5, 0]) (ndarray of shape (2,) and dtype int64)")
    ]


def test_masked_actions_are_not_taken() -> None:
    taken = []

    def step(self: Walk, action: Any) -> Any:
        taken.append(int(action))
        return Walk.step(self, action)

    allowed = spaces.Discrete(3)
    mask = info(lambda self: np.array([self.t % 2 == 0, self.t % 2 == 1, False], np.int8))
    check_env(walk(step=step, action_space=allowed, info=mask), steps=100)
    assert set(taken) == {0, 1}


@pytest.mark.parametrize(
    ("observation", "action", "what", "fix"),
    [
        (spaces.Discrete(2), spaces.Box(0, 1, (1,)), "action space Box(0.0, 1.0, (1,), float32) is not Discrete",
         "DiscretizeAction"),
        (spaces.Text(5), spaces.Discrete(2), "observation space Text(", "wrap the environment"),
        (spaces.Sequence(spaces.Discrete(2)), spaces.Discrete(2), "observation space Sequence(", "wrap"),
    ],
)  # fmt: skip
def test_spaces_that_bellmax_cannot_use(observation: Any, action: Any, what: str, fix: str) -> None:
    sample = observation.sample()
    env = walk(observation_space=observation, action_space=action, observe=lambda self: sample,
               step=lambda self, action: (sample, 1.0, False, False, {}))  # fmt: skip
    [one] = found(env, "spaces", steps=20)
    assert one[0] == "error"
    assert one[1].startswith(what)
    assert fix in one[2]
    assert other_errors(env, "spaces") == []  # all else was looked at


def test_missing_spaces() -> None:
    env = type("Empty", (gym.Env,), {"observation_space": spaces.Discrete(2)})
    [one] = found(env, "spaces")
    assert one == ("error", "no action_space", "set it in the class or its constructor")


def test_what_raises_is_told_in_one_line() -> None:
    def step(self: Walk, action: Any) -> Any:
        raise RuntimeError("motor\nburnt out")

    [(level, what, fix)] = found(walk(step=step), "crashes")
    assert (level, fix) == ("error", CRASH)
    assert what.startswith("episode 1, step 1, action ")
    assert what.endswith(": step raised RuntimeError: motor burnt out (3 times)")
    [(_, what, _)] = found(lambda: Ends(), "crashes")
    assert what == "episode 2, reset: reset raised OSError: no more (3 times)"
    assert found(lambda: Bad("reset", KeyError("x")), "crashes")[0][1].startswith("episode 1, reset: reset raised KeyE")
    assert check_env(lambda: Spaces(spaces.Discrete(2), spaces.Discrete(2)), steps=9).facts["steps"] == 0

    def broken() -> Any:
        raise RuntimeError("boom")

    fix = "repair it; every run and evaluation calls it"
    assert found(broken, "constructor") == [("error", "broken: its constructor raised RuntimeError: boom", fix)]
    made = iter([Walk()])
    [(level, what, _)] = found(lambda: next(made), "constructor")
    assert level == "error"
    assert what.startswith("the second time: <lambda>: its constructor raised StopIteration")


def test_what_cannot_be_made_is_a_config_error() -> None:
    with pytest.raises(ConfigError, match="did you mean 'CartPole-v1'"):
        check_env("CartPol-v1")
    with pytest.raises(ConfigError, match="come too late"):
        check_env(Walk(), env_kwargs={"a": 1})
    with pytest.raises(ConfigError, match="a vector environment; pass one of its plain"):
        check_env(gym.make_vec("CartPole-v1", 2))  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="`steps` must be a positive integer; got 0"):
        check_env(Walk, steps=0)
    assert check_env("CartPole-v1", steps=50, env_kwargs={"max_episode_steps": 5}).ok


def test_slow_and_leaking_environments() -> None:
    def step(self: Walk, action: Any) -> Any:
        time.sleep(1e-3 * (self.total > 150))
        return Walk.step(self, action)

    [(level, what, _)] = found(walk(step=step), "time")
    assert level == "warning"
    assert re.match(r"steps get slower: 0\.\d+ ms at the beginning, [1-9]", what)
    if resident_mb() == 0:  # not Linux
        return
    kept: list[Any] = []

    def leak(self: Walk) -> Any:
        kept.append(np.ones(100_000))
        return 1.0

    [(level, what, fix)] = found(walk(reward=leak), "memory")
    assert (level, fix) == ("warning", "check whether it accumulates state")
    assert what.startswith("grew by 1")


def test_closing() -> None:
    def close(self: Walk) -> None:
        del self.total

    [(level, what, _)] = found(walk(close=close), "close")
    assert level == "hint"
    assert what.startswith("close raised AttributeError: ")
    assert what.endswith(" when called again")
    closed = walk(close=lambda self: 1 / 0)
    assert [level for level, _, _ in found(closed, "close")] == ["error", "hint"]
    assert found(closed(), "close") == []  # an object is its owner's to close


def test_warnings_of_the_environment_are_told() -> None:
    def observe(self: Walk) -> Any:
        warnings.warn("\x1b[33mWARN: hot\x1b[0m", UserWarning, stacklevel=1)
        return Walk.observe(self)

    [(level, what, _)] = found(walk(observe=observe), "warnings")
    assert (level, what) == ("hint", "UserWarning: WARN: hot")


class Stubborn:
    def __array__(self, *args: Any, **kwargs: Any) -> Any:
        raise OSError("no array")


def test_values_that_cannot_be_looked_at_do_not_end_the_check() -> None:
    report = check_env(walk(observe=lambda self: Stubborn()), steps=20)
    assert not report.ok
    [one] = [one for one in report.findings if one.check == "observations"]
    assert one.what.startswith("episode 1, reset: cannot be checked: OSError: no array (")
    assert one.fix == findings.PLAIN
    assert report.facts["steps"] == 20
