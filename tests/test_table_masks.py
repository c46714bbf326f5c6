"""Action masks of tables: in acting, exploring and targets, of every learner; and the ways in which they are told."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces as native
from gymnasium.vector import AutoresetMode, SyncVectorEnv

import bellmax as bx
from bellmax.catalog import AGENTS
from bellmax.contracts import ConfigError, CorruptCheckpoint, EnvContractError, EnvWarning, Masked
from bellmax.envs.action_masks import combine
from bellmax.envs.host_world import open_world
from bellmax.loops.choosing import make_loop
from bellmax.loops.masking import with_action_masks
from bellmax.sources import find_world
from bellmax.tabular.action_values import greedy, largest, mean_value
from bellmax.tabular.agent import Now
from bellmax.tabular.behavior import find_behavior
from bellmax.tabular.kernel import new_generator
from bellmax.tabular.representation import MaskedTable

QUICK: dict[str, Any] = {"eval_episodes": 0, "final_episodes": 3, "records": 2, "progress": False}
TABULAR = [name for name in AGENTS if AGENTS.place(name).startswith("bellmax.tabular")]


class Lane(gym.Env[Any, Any]):
    """Four states in a ring, left for the next by action 1 or 2 for a reward of 1; which of them may be taken changes.

    With `by_time` it depends on the step, which the observation does not tell. What is not allowed raises. `how` it
    tells: in the info, by a method, in a dictionary observation.
    """

    action_space: Any = native.Discrete(3)

    def __init__(self, by_time: bool = False, how: str = "info", kind: str = "table", empty_at: int = -1) -> None:
        self.by_time, self.how, self.kind, self.empty_at = by_time, how, kind, empty_at
        table = native.Discrete(4) if kind == "table" else native.Box(0, 3, (1,), np.float32)
        self.observation_space = (
            native.Dict(observation=table, action_mask=native.MultiBinary(3)) if how == "dict" else table
        )
        if how == "method":
            self.action_masks = self.mask

    def mask(self) -> Any:
        phase = self.t if self.by_time else self.s
        return np.array([1, phase % 2 == 0, phase % 2], np.int8) * (self.t != self.empty_at)

    def told(self) -> Any:
        obs: Any = self.s if self.kind == "table" else np.array([self.s], np.float32)
        if self.how == "dict":
            obs = {"observation": obs, "action_mask": self.mask()}
        return obs, {"action_mask": self.mask()} if self.how == "info" else {}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.s = self.t = 0
        return self.told()

    def step(self, action: Any) -> Any:
        if self.how != "dict" and not self.mask()[action]:
            raise ValueError(f"illegal {action}")
        self.t += 1
        self.s = (self.s + (action > 0)) % 4
        obs, info = self.told()
        return obs, float(action > 0), False, self.t >= 20, info


@pytest.mark.parametrize("agent", TABULAR)
def test_no_learner_takes_what_is_forbidden(agent: str) -> None:
    settings = {"gamma": 0.5} | ({"r_max": 1.0} if agent in ("r-max", "delayed-q") else {})
    run = bx.train(functools.partial(Lane, by_time=True), agent, steps=800, **QUICK, **settings)
    assert run.scores[0] >= 0.0  # the environment raises at any forbidden action
    if agent == "q-learning":
        assert isinstance(run.policy().space, Masked)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("exploration", ["epsilon-greedy", "boltzmann", "ucb"])
def test_no_behavior_takes_what_is_forbidden(exploration: str, ties: bool) -> None:
    for by_time in (False, True):
        world = functools.partial(Lane, by_time=by_time)
        run = bx.train(world, "q-learning", steps=2_000, exploration=exploration, random_ties=ties, **QUICK)
        assert run.scores[0] >= 0.0


def test_tiles_have_masks() -> None:
    run = bx.train(functools.partial(Lane, kind="box"), "sarsa", steps=2_000, tilings=4, **QUICK)
    assert run.scores == [20.0]


class Trap(gym.Env[Any, Any]):
    """From state 0 to 1, and from there to the end for a reward of 1; all but action 0 is forbidden in state 1."""

    observation_space = native.Discrete(3)
    action_space = native.Discrete(3)

    def info(self) -> Any:
        return {"action_mask": np.array([self.s != 2, self.s == 0, 0], np.int8)}

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.s = 0
        return 0, self.info()

    def step(self, action: Any) -> Any:
        assert self.info()["action_mask"][action]
        self.s += 1
        return self.s, float(self.s == 2), self.s == 2, False, self.info()


@pytest.mark.parametrize("agent", TABULAR)
def test_no_target_counts_what_is_forbidden(agent: str) -> None:
    """Forbidden pairs keep their first value of 10, and would be the best that can follow."""
    optimism = agent in ("r-max", "delayed-q")
    settings: dict[str, Any] = {"gamma": 0.9, "initial_q": 10.0, "exploration_final_eps": 1.0}
    settings |= {"r_max": 1.0, "initial_q": 0.0} if optimism else {"learning_rate": 0.2} if agent != "speedy-q" else {}
    if agent == "monte-carlo":
        settings["learning_rate"] = 1.0
    run = bx.train(Trap, agent, steps=2_000, **QUICK, **settings)
    q = run.policy().arrays["q"]
    assert q[1, 0] == pytest.approx(1.0, abs=0.1)
    assert q[0, :2] == pytest.approx([0.9, 0.9], abs=0.15)
    assert q[1, 1:] == pytest.approx([10.0, 10.0])
    assert run.scores == [1.0]


def test_the_kernels_know_the_mask() -> None:
    q = MaskedTable(np.array([[5.0, 1.0, 2.0, 2.0]]), np.array([[False, True, True, True]]))
    assert (greedy(q, 0), largest(q, 0), mean_value(q, 0)) == (2, 2.0, pytest.approx(5 / 3))
    now = Now(0.3, np.array([[9, 4, 2, 4]]), None, new_generator(0))
    for exploration in ("epsilon-greedy", "boltzmann"):
        for ties in (False, True):
            behavior = find_behavior(bx.QLearning(exploration=exploration, random_ties=ties))
            likely = np.array([behavior.probability(q, 0, action, now) for action in range(4)])
            assert likely.sum() == pytest.approx(1.0)
            assert likely[0] == 0.0
            drawn = np.bincount([behavior.act(q, 0, now) for _ in range(4_000)], minlength=4) / 4_000
            np.testing.assert_allclose(drawn, likely, atol=0.04)
            assert behavior.expected(q, 0, now) == pytest.approx(likely @ q.values[0])
    bad = MaskedTable(np.full((1, 3), np.nan), np.array([[False, False, True]]))
    assert greedy(bad, 0) == 2  # whatever the values have become


@pytest.mark.parametrize("mode", [AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED])
@pytest.mark.parametrize("agent", ["q-learning", "expected-sarsa"])
def test_a_vector_environment_shares_a_table_and_not_its_masks(agent: str, mode: AutoresetMode) -> None:
    vector = SyncVectorEnv([functools.partial(Lane, by_time=True)] * 3, autoreset_mode=mode)
    run = bx.train(vector, agent, steps=1_200, **QUICK)
    assert run.scores[0] >= 0.0


def test_workers_and_the_method_of_sb3(tmp_path: Path) -> None:
    for agent, kind in (("q-learning", "table"), ("dqn", "box")):
        small = {"net_arch": (16,), "learning_starts": 100} if agent == "dqn" else {}
        world = functools.partial(Lane, how="method", kind=kind)
        run = bx.train(world, agent, steps=600, workers=int(agent == "q-learning"), **QUICK, **small)
        assert isinstance(run.policy().space, Masked)
        assert run.scores[0] > 15.0
    vector = SyncVectorEnv([functools.partial(Lane, how="method")] * 2, autoreset_mode=AutoresetMode.NEXT_STEP)
    run = bx.train(vector, "q-learning", steps=1_200, out=tmp_path / "run", **QUICK)
    assert run.scores == [20.0]
    loaded = bx.load(tmp_path / "run").policy()
    assert bx.evaluate(loaded, functools.partial(Lane, how="method"), episodes=2).returns.tolist() == [20.0] * 2
    same = SyncVectorEnv([functools.partial(Lane, how="method")] * 2, autoreset_mode=AutoresetMode.SAME_STEP)
    with pytest.raises(EnvContractError, match=r"the episode was truncated, and in SAME_STEP mode action_masks\(\)"):
        bx.train(same, "q-learning", steps=200, **QUICK)


def test_one_object_that_tells_masks_by_a_method() -> None:
    env = Lane(how="method")
    assert bx.train(env, "q-learning", steps=800, **QUICK).scores == [20.0]


@pytest.mark.parametrize("agent", ["q-learning", "dqn"])
def test_a_mask_in_a_dictionary_is_pointed_to_the_info(agent: str) -> None:
    small = {"net_arch": (8,), "learning_starts": 8, "buffer_size": 100} if agent == "dqn" else {}
    with pytest.warns(EnvWarning, match=r"\['action_mask'\] looks like an action mask.* info\['action_mask'\]"):
        bx.train(functools.partial(Lane, how="dict"), agent, steps=16, eval_episodes=0, final_episodes=0, **small)


def test_masks_that_allow_nothing_say_where() -> None:
    with pytest.raises(
        EnvContractError, match=r"environment 0, episode 1, step 3, action .* not a mask that allows an action"
    ):
        bx.train(functools.partial(Lane, empty_at=3), "q-learning", steps=100, **QUICK)


def test_masks_of_each_part_of_an_action() -> None:
    assert combine((np.array([1, 0]), np.array([0, 1, 1])), 6).tolist() == [False, True, True, False, False, False]
    assert combine([1, 0, 1], 3) == [1, 0, 1]

    class Parts(Lane):
        action_space = native.MultiDiscrete([2, 3])

        def action_masks(self) -> Any:  # sb3-contrib: the flags of all parts in a row
            return np.array([1, 0, 0, 1, 1])

        def told(self) -> Any:
            return self.s, {}

        def step(self, action: Any) -> Any:
            assert action[0] == 0
            assert action[1] != 0
            self.t += 1
            return self.s, 1.0, False, self.t > 5, {}

    world = open_world(Parts)
    world.use_masks()
    assert world.reset(0).mask.tolist() == [[False, True, True, False, False, False]]
    assert bx.train(Parts, "q-learning", steps=100, **QUICK).scores == [6.0]


def test_acting_with_a_mask() -> None:
    policy = bx.train("cliff", "q-learning", steps=20_000, **QUICK).policy()
    best = policy.act(36)
    mask = np.arange(4) != best
    assert policy.act(36, mask) != best
    assert policy.act(36, mask) == np.argmax(np.where(mask, policy.q_values(36), -np.inf))
    assert np.isneginf(policy.q_values(36, mask=mask)).tolist() == (~mask).tolist()
    assert policy.act([36, 24], mask=np.stack([mask, mask])).shape == (2,)
    with pytest.raises(ConfigError, match=r"`mask` must have one flag for each of 4 actions; got shape \(3,\)"):
        policy.act(36, mask[:3])
    with pytest.raises(ConfigError, match="`mask` allows no action in row 1"):
        policy.act([36, 24], np.array([[1, 1, 1, 1], [0, 0, 0, 0]]))


@pytest.mark.parametrize("masked", [False, True])
def test_a_network_acts_with_a_mask(masked: bool) -> None:
    world: Any = functools.partial(Lane, kind="box") if masked else "CartPole-v1"
    small = {"net_arch": (8,), "learning_starts": 8, "buffer_size": 100}
    run = bx.train(world, "dqn", steps=16, eval_episodes=0, final_episodes=0, **small)
    policy = run.policy()
    obs = np.zeros((2, *(policy.space.obs.shape if masked else policy.space.shape)), np.float32)
    for action in range(policy.n_actions):
        mask = np.arange(policy.n_actions) == action
        assert policy.act(obs, mask).tolist() == [action, action]
        assert policy.act(obs[0], mask=mask) == action
    assert np.isfinite(policy.q_values(obs)).all()


def test_the_tutorial_of_gymnasium_on_taxi() -> None:
    said: list[str] = []
    run = bx.train("Taxi-v4", "q-learning", steps=2_000, loop="host", say=said.append, **QUICK)
    assert isinstance(run.policy().space, Masked)
    assert any("Taxi-v4, with its action masks" in line for line in said)
    env = gym.make("Taxi-v4")
    visits = run.policy().arrays["visits"]
    allowed = np.array([env.unwrapped.action_mask(s) for s in range(500)], bool)
    assert visits.sum() == 2_000
    assert not visits[~allowed].any()
    assert visits[allowed].any()
    said.clear()
    compiled = bx.train("Taxi-v4", "q-learning", steps=2_000, say=said.append, **QUICK)
    assert compiled.loop == "compiled"
    assert any("info['action_mask'] is used in evaluation only: loop='host' learns with it" in line for line in said)


@pytest.mark.parametrize("tilings", [1, 4])
def test_masks_go_on_after_a_resume(tilings: int) -> None:
    config = bx.Sarsa(tilings=tilings)
    source = with_action_masks(find_world(functools.partial(Lane, kind="box")))
    loop = make_loop(config, source, "host", 400)
    state, _ = loop.advance(loop.start([0]), 0, 200)
    saved = loop.dump(state)
    again, _ = loop.advance(loop.restore([0], saved), 200, 200)
    assert again.table.q.allowed.any(axis=1).all()
    loop.close(state)
    loop.close(again)
    name = next(name for name in saved if name.endswith(".allowed"))
    with pytest.raises(CorruptCheckpoint, match=r"allowed\[0\] allows no action"):
        loop.restore([0], {**saved, name: np.zeros_like(saved[name])})
