"""Gymnasium environments are put back into the middle of their episodes, to the bit, or it is said why not."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import jax
import numpy as np
import pytest

import bellmax as bx
from bellmax.contracts import CorruptCheckpoint, EnvCrashed
from bellmax.envs import episode_log
from bellmax.envs.host_world import Handling, HostWorld, open_world
from bellmax.sources import find_world

IMAGES = {"wrappers": ["minigrid.wrappers:ImgObsWrapper"]}
KINDS: dict[str, tuple[str, dict[str, Any], int]] = {  # id, arguments, workers
    "plain": ("CartPole-v1", {}, 0),
    "random numbers in each step": ("FrozenLake-v1", {}, 0),
    "two side by side": ("Acrobot-v1", {"n": 2}, 0),
    "a vector of its own": ("CartPole-v1", {"n": 3}, 0),
    "integers in a tuple": ("Blackjack-v1", {}, 0),
    "a physics engine": ("LunarLander-v3", {"n": 2}, 0),
    "moving obstacles": ("MiniGrid-Dynamic-Obstacles-5x5-v0", {"env_kwargs": IMAGES}, 0),
    "workers": ("FrozenLake-v1", {"n": 3}, 2),
    "games": ("ALE/Pong-v5", {"n": 2}, 0),
}


def opened(env: Any, workers: int = 0, **arguments: Any) -> HostWorld:
    return open_world(env, handling=Handling(workers=workers, training=True), **arguments)


def played(world: HostWorld, actions: Any) -> tuple[Any, list[Any]]:
    """The last observation, and everything that was seen."""
    obs, seen = None, []
    for chosen in actions:
        step = world.step(chosen)
        obs = step.obs
        seen.append(step)
    return obs, seen


def assert_same(one: Any, other: Any) -> None:
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(a, b)


def twice(make: Callable[[], HostWorld], steps: int = 90, more: int = 60) -> tuple[dict[int, str], Any, Any]:
    """Why environments began new episodes, and the steps after that of the first world and of the one put back."""
    world = make()
    world.reset(7)
    actions = np.random.default_rng(0).integers(world.n_actions, size=(steps + more, world.n))
    obs, _ = played(world, actions[:steps])
    saved = world.save(obs)
    _, whole = played(world, actions[steps:])
    world.close()
    other = make()
    other.reset(1)
    again, why = other.put_back(saved, 99)
    if not why:
        assert_same(obs, again)
    _, rest = played(other, actions[steps:])
    other.close()
    return why, whole, rest


@pytest.mark.filterwarnings("ignore:builtin type:DeprecationWarning")  # of Box2D as it is imported
@pytest.mark.parametrize("kind", KINDS)
def test_an_environment_goes_on_where_it_was(kind: str) -> None:
    name, arguments, workers = KINDS[kind]
    why, whole, rest = twice(lambda: opened(name, workers, **arguments))
    assert why == {}
    assert_same(whole, rest)


@pytest.mark.parametrize("alone", [False, True])
def test_a_compiled_environment_is_put_back(alone: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if alone:  # its episode, without those before
        monkeypatch.setattr(episode_log, "LONGEST", 60)
    world = find_world("CartPole-v1").compile()
    why, whole, rest = twice(lambda: opened(lambda: bx.as_gymnasium(world)), steps=200)
    assert why == {}
    assert_same(whole, rest)


def test_environments_of_one_world_share_its_programs() -> None:
    world = find_world("CartPole-v1").compile()
    one, other = bx.as_gymnasium(world), bx.as_gymnasium(world)
    assert (one._reset, one._step) == (other._reset, other._step)


def test_it_can_be_saved_and_put_back_again_and_again() -> None:
    world = opened("FrozenLake-v1")
    world.reset(3)
    actions = np.random.default_rng(1).integers(4, size=(120, 1))
    _, whole = played(world, actions)
    world.close()
    seen: list[Any] = []
    saved: Any = None
    for part in np.split(actions, 6):
        world = opened("FrozenLake-v1")
        world.reset(3)
        if saved is not None:
            assert world.put_back(saved, 99)[1] == {}
        obs, steps = played(world, part)
        saved, seen = world.save(obs), [*seen, *steps]
        world.close()
    assert_same(whole, seen)


class Walk(gym.Env[Any, Any]):
    """A random walk, whose numbers come from `draw`."""

    def __init__(self) -> None:
        self.observation_space, self.action_space = gym.spaces.Box(-9, 9, (1,)), gym.spaces.Discrete(2)

    def begin(self, seed: int | None) -> None:
        """Seed the random numbers, if they can be."""

    def draw(self) -> float:
        raise NotImplementedError

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.begin(seed)
        self.t = 0
        return self.seen()

    def seen(self) -> Any:
        return np.array([self.draw()], np.float32), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        obs, info = self.seen()
        return obs, 1.0, self.t == 12, False, info


class Elsewhere(Walk):
    """Draws from a generator of its own, which a seed sets."""

    def begin(self, seed: int | None) -> None:
        if seed is not None:
            self.dice = np.random.default_rng(seed)

    def draw(self) -> float:
        return float(self.dice.random())


class Unseeded(Walk):
    """Draws from Python's own generator."""

    def draw(self) -> float:
        return random.random()


class Raising(Walk):
    """Cannot be asked twice."""

    count = 0

    def draw(self) -> float:
        Raising.count += 1
        if Raising.count > 200:
            raise OSError("the device is gone")
        return 0.5


@pytest.mark.parametrize("lives", [True, False])
def test_games_are_put_back_without_the_games_before(lives: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episode_log, "LONGEST", 130)
    short = {"max_num_frames_per_episode": 400, "repeat_action_probability": 0.25, "episodic_life": lives}
    why, whole, rest = twice(lambda: opened("ALE/Breakout-v5", n=2, env_kwargs=short), steps=230, more=130)
    assert why == {}
    assert_same(whole, rest)
    assert any(step.truncated.any() for step in rest)  # the next games are the same, too


def test_each_game_begins_with_a_seed_of_its_own() -> None:
    world = opened("ALE/Breakout-v5", n=2, env_kwargs={"max_num_frames_per_episode": 120})
    world.reset(5)
    _, steps = played(world, np.zeros((200, 2), int))
    starts = [step.obs[i].tobytes() for step in steps for i in np.flatnonzero(step.begins)]
    assert len(starts) >= 6
    assert len(set(starts)) > len(starts) / 2  # after other numbers of no-ops


class Slippery(gym.Env[Any, Any]):
    """Eight places, of which one observation says little; its random numbers are its own."""

    observation_space, action_space = gym.spaces.Discrete(8), gym.spaces.Discrete(2)

    def reset(self, *, seed: Any = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        if seed is not None:
            self.dice = np.random.default_rng(seed)
        self.x, self.t = 0, 0
        return self.x, {}

    def step(self, action: Any) -> Any:
        self.t += 1
        self.x = max(0, min(7, self.x + (1 if (self.dice.random() < 0.7) == bool(action) else -1)))
        return self.x, 0.0, self.x == 7, self.t == 30, {}


@pytest.mark.parametrize("steps", range(200, 212))
def test_one_observation_that_happens_to_agree_is_not_enough(steps: int) -> None:
    why, whole, rest = twice(lambda: opened(Slippery), steps=steps)
    assert why == {}
    assert_same(whole, rest)


class Growing(Walk):
    """Episodes that become longer."""

    episodes = 0

    def draw(self) -> float:
        return self.episodes / 10 + float(self.np_random.random())

    def begin(self, seed: int | None) -> None:
        self.episodes += 1


@pytest.mark.parametrize("steps", [3, 90])
def test_what_an_environment_keeps_over_episodes_is_repeated(steps: int) -> None:
    why, whole, rest = twice(lambda: opened(Growing), steps=steps)
    assert why == {}
    assert_same(whole, rest)


class Fragile(Walk):
    """Fails now and then."""

    def draw(self) -> float:
        if self.t and self.np_random.random() < 0.05:
            raise RuntimeError("broken")
        return float(self.np_random.random())


@pytest.mark.parametrize("workers", [0, 1])
@pytest.mark.filterwarnings("ignore:.*was recreated")
def test_environments_are_recreated_with_the_same_seeds(workers: int) -> None:
    def make() -> HostWorld:
        handling = Handling(workers=workers, training=True, env_restarts=1_000)
        return open_world(Fragile, n=2, handling=handling)

    why, whole, rest = twice(make, steps=150)
    assert why == {}
    assert_same(whole, rest)


@pytest.mark.filterwarnings("ignore:.*was recreated")
def test_restarts_are_counted_over_all_of_the_run() -> None:
    world = open_world(Fragile, handling=Handling(training=True, env_restarts=3))
    last = [world.reset(0)]

    def play() -> None:
        for _ in range(1_000):
            last[0] = world.step([0]).obs

    with pytest.raises(EnvCrashed):
        play()
    other = open_world(Fragile, handling=Handling(training=True, env_restarts=3))
    assert other.put_back(world.save(last[0]), 1)[1] == {}
    with pytest.raises(EnvCrashed):
        other.step([0])


class Gaps(Walk):
    """Some observations are no numbers."""

    def draw(self) -> float:
        drawn = float(self.np_random.random())
        return np.nan if drawn < 0.2 and self.t else drawn

    def begin(self, seed: int | None) -> None:
        self.t = 0


@pytest.mark.parametrize("steps", range(60, 70))
def test_a_step_that_was_left_out_stays_left_out(steps: int) -> None:
    def make() -> HostWorld:
        return open_world(Gaps, handling=Handling(training=True, on_nonfinite="skip"))

    why, whole, rest = twice(make, steps=steps)
    assert why == {}
    assert_same(whole, rest)


def test_numbers_from_elsewhere_are_drawn_again_since_the_seed() -> None:
    why, whole, rest = twice(lambda: opened(Elsewhere))
    assert why == {}
    assert_same(whole, rest)


def test_numbers_without_a_seed_begin_a_new_episode_and_say_so() -> None:
    why, _, rest = twice(lambda: opened(Unseeded, n=2))
    assert {i: "does not return the same" in text for i, text in why.items()} == {0: True, 1: True}
    assert np.flatnonzero([step.terminated[0] for step in rest])[0] == 11  # a whole new episode


class Paying(Slippery):
    """One reward of each environment of this class is of no seed."""

    made = 0

    def __init__(self) -> None:
        type(self).made += 1
        self.bonus, self.count = float(self.made), 0

    def step(self, action: Any) -> Any:
        self.count += 1
        obs, reward, *rest = super().step(action)
        return obs, reward + self.bonus * (self.count == 20), *rest


def test_one_reward_that_differs_is_enough() -> None:
    why, _, _ = twice(lambda: opened(Paying), steps=25)
    assert "does not return the same" in why[0]


def test_an_environment_that_fails_meanwhile_says_how() -> None:
    Raising.count = 40
    world = opened(Raising)
    world.reset(0)
    obs, _ = played(world, np.zeros((30, 1), int))
    saved = world.save(obs)
    Raising.count = 200
    other = opened(Raising)
    with pytest.raises(EnvCrashed, match="the device is gone"):
        other.put_back(saved, 5)


@pytest.mark.parametrize("n", [1, 3])
def test_too_long_an_episode_begins_again(n: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episode_log, "LONGEST", 20)

    def make() -> HostWorld:
        return opened("CartPole-v1" if n > 1 else "MountainCar-v0", n=n)

    why, _, _ = twice(make, steps=50)
    assert sorted(why) == list(range(n))
    assert all("more than" in text or "longer than" in text for text in why.values())


def test_memory_of_the_log_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(episode_log, "LONGEST", 50)
    world = opened("FrozenLake-v1")
    world.reset(0)
    played(world, np.random.default_rng(0).integers(4, size=(1_000, 1)))
    log = world._checks.log
    assert len(log.actions) <= 101
    assert len(log.resets[0]) <= 102
    saved = world.save(world.step([0]).obs)
    assert len(saved["actions"]) == 50
    assert opened("FrozenLake-v1").put_back(saved, 1)[1] == {}  # by the generator's state


@pytest.mark.parametrize(
    ("name", "array"),
    [
        ("log", np.zeros(0, np.uint8)),
        ("log", np.frombuffer(b'{"first": 0}', np.uint8)),
        ("log", np.frombuffer(b"[" * 5_000, np.uint8)),
        ("actions", np.full((5, 1), 4)),
        ("actions", np.full((5, 1), -1)),
        ("actions", np.zeros((5, 2), np.int64)),
        ("actions", np.zeros((5, 1))),
        ("obs.0", np.zeros(1)),
        ("counts", np.zeros(3, np.int64)),
    ],
    ids=["no log", "half a log", "deep", "too high", "negative", "two rows", "floats", "observation", "counts"],
)
def test_other_arrays_are_refused(name: str, array: Any) -> None:
    world = opened("FrozenLake-v1")
    world.reset(0)
    obs, _ = played(world, np.zeros((5, 1), int))
    saved = world.save(obs)
    with pytest.raises(CorruptCheckpoint):
        opened("FrozenLake-v1").put_back({**saved, name: array}, 1)
