"""Compiled worlds of one's own: checked before they run, opened as Gymnasium environments, learned in by all agents."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium as gym
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env as gymnasium_check

import bellmax as bx
from bellmax.contracts import Array, Box, Discrete, Masked, MultiDiscrete, Named
from bellmax.envs.compiled_gymnasium import as_gymnasium
from bellmax.envs.findings import Findings
from bellmax.envs.native_spaces import read_spaces
from bellmax.envs.probes import PROBES
from bellmax.envs.world_contract import find_faults
from bellmax.registry import WORLDS
from bellmax.report.checking_worlds import check_world
from bellmax.report.world_starts import find_starts
from bellmax.sources import register_world


class State(NamedTuple):
    x: Array
    time: Array


def walk(**changes: Any) -> bx.World:
    """Left or right on a line; reward 1 at the right end."""

    def reset(key: Array) -> Any:
        return State(jnp.float32(0.0), jnp.int32(0)), jnp.zeros(1)

    def step(state: State, action: Array, key: Array) -> Any:
        x = jnp.clip(state.x + 0.25 * (2 * action - 1), -1.0, 1.0)
        state = State(x, state.time + 1)
        return state, x[None], jnp.where(x >= 1.0, 1.0, 0.0), x >= 1.0, state.time >= 30

    return bx.World("walk", reset, step, Box((1,), low=-1.0, high=1.0), 2, 30)._replace(**changes)


def changed(*places: int, by: Any) -> bx.World:
    """The walk, whose `step` returns something else in some places."""
    plain = walk()

    def step(*args: Any) -> Any:
        return tuple(by(x) if i in places else x for i, x in enumerate(plain.step(*args)))

    return plain._replace(step=step)


def half(x: Array) -> Array:
    return x.astype(jnp.float16)


def grown(state: State) -> State:
    return state._replace(x=state.x[None])


FAULTY = {
    "four values": (walk(step=lambda *args: walk().step(*args)[:4]), "step returns 4 values, not 5", "terminated"),
    "a list": (walk(step=lambda *args: list(walk().step(*args))), "step returns a list, not 5", "return state, obs"),
    "reset": (walk(reset=lambda key: jnp.zeros(1)), "reset returns a", "return state, obs"),
    "float16": (changed(1, by=half), "step: observation is float16", "astype(jnp.float32)"),
    "reward of shape [1]": (changed(2, by=lambda r: r[None]), "reward has shape (1,)", "such as reward[0]"),
    "reward float16": (changed(2, by=half), "reward is float16, not float32", "jnp.float32(reward)"),
    "reward bool": (changed(2, by=lambda r: r > 0), "reward is bool, not float32", "jnp.float32(reward)"),
    "flag": (changed(3, by=jnp.float32), "terminated is float32, not bool", "comparison"),
    "flag of shape": (changed(4, by=lambda f: f[None]), "truncated has shape (1,)", "truncated[0]"),
    "space": (walk(observation_space=Box((3,))), "observation has shape (1,), and observation_space", "shape (3,)"),
    "integers": (walk(observation_space=Discrete(4)), "observation has shape (1,)", "return shape ()"),
    "of gymnasium": (walk(observation_space=gym.spaces.Box(-1, 1, (1,))), "a space of Gymnasium", "extend.Box"),
    "dtype": (walk(observation_space=Box((1,), "float64")), "dtype 'float64'", "float32"),
    "state": (changed(0, by=grown), "state.x has shape (1,)", "return shape ()"),
    "state parts": (changed(0, by=tuple), "the state is tuple", "same parts"),
    "actions": (walk(n_actions=2.0), "n_actions is 2.0", "an int from 1"),
    "limit": (walk(max_episode_steps=0), "max_episode_steps is 0", "or None"),
    "if": (walk(step=lambda s, a, k: walk().step(s, a, k) if a > 0 else 0), "step raises Tracer", "jax.lax.cond"),
    "mask": (walk(observation_space=Masked(Box((1,)), Box((3,), "bool"))), "mask's space is", "Box((2,), 'bool')"),
}


@pytest.mark.parametrize("fault", FAULTY)
def test_a_broken_world_is_named_with_its_remedy(fault: str) -> None:
    world, said, remedy = FAULTY[fault]
    report = check_world(world, steps=10)
    assert not report.ok
    (found, *_) = [each for each in report.findings if each.level == "error"]
    assert said in found.what
    assert remedy in found.fix
    with pytest.raises(bx.EnvContractError) as raised:  # the same words
        bx.train(world, "dqn", steps=100)
    assert f"{found.what}; {found.fix}" in str(raised.value)


def test_a_good_world_has_no_faults() -> None:
    report = check_world(walk(), steps=2_000)
    assert report.ok, str(report)
    assert report.facts["episodes"] > 10
    assert {"time", "determinism", "episodes", "rewards", "observations"} <= {each.check for each in report.findings}
    for name in PROBES:
        assert find_faults(PROBES[name]().world) == [], name
        assert check_world(PROBES[name]().world, steps=200).ok, name


def test_check_env_gives_compiled_worlds_to_check_world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "walks_abc.py").write_text("from test_own_worlds import walk, FAULTY\nbroken = FAULTY['flag'][0]\n")
    monkeypatch.syspath_prepend(tmp_path)
    for world in (walk(), walk, "walks_abc:walk"):
        report = bx.check_env(world, steps=200)
        assert report.ok
        assert "compile_seconds" in report.facts
    assert "terminated is float32, not bool" in str(bx.check_env("walks_abc:broken", steps=20))


def test_what_only_playing_shows() -> None:
    nan = changed(1, by=lambda obs: jnp.where(obs < -0.3, jnp.nan, obs))
    report = str(check_world(nan, steps=500))
    assert re.search(r"observations +episode \d+, step [1-9]\d*: an observation contains nan", report), report
    outside = walk(observation_space=Box((1,), low=0.0, high=1.0))
    assert "are outside Box" in str(check_world(outside, steps=500))
    endless = changed(3, 4, by=lambda flag: flag & False)._replace(max_episode_steps=None)
    assert "episodes" in {each.check for each in check_world(endless).findings if each.level in ("warning", "error")}
    count = iter(range(100))
    impure = changed(2, by=lambda r: r + next(count))
    assert [each.check for each in check_world(impure, steps=50).findings if each.level == "error"] == ["determinism"]
    infinite = changed(2, by=lambda r: jnp.where(r > 0, r / 0.0, r))
    assert re.search(r"rewards +episode \d+, step \d+: reward is inf", str(check_world(infinite, steps=500)))
    with pytest.raises(bx.ConfigError, match="check_env checks others"):
        check_world("CartPole-v1")  # type: ignore[arg-type]


def test_the_episode_of_a_value_that_is_not_finite_is_the_one_in_which_it_occurs() -> None:
    """Of a walk whose third episode begins with it, and of one whose third episode ends with it."""

    def reset(key: Array) -> Any:
        bad = jax.random.uniform(key) < 0.3
        return State(jnp.float32(0.0), jnp.int32(0)), jnp.where(bad, jnp.nan, jnp.zeros(1))

    def step(state: State, action: Array, key: Array) -> Any:
        ends = state.time == 2
        return state._replace(time=state.time + 1), jnp.where(ends, jnp.nan, jnp.zeros(1)), 0.0, ends, ends & False

    report = str(check_world(walk(reset=reset), steps=500, seed=1))
    assert re.search(r"observations +episode [2-9], reset: an observation contains nan", report), report
    assert "episode 1, step 3: an observation contains nan" in str(check_world(walk(step=step), steps=9))


def resetting(world: bx.World, truncated: bool) -> bx.World:
    """The same world, but its step returns the next episode's first state and observation when one ends."""

    def step(state: Any, action: Array, key: Array) -> Any:
        after, obs, reward, *flags = world.step(state, action, key)
        over = flags[0] | (flags[1] if truncated else False)
        begin = world.reset(key)
        chosen = jax.tree.map(lambda new, old: jnp.where(over, new, old), begin, (after, obs))
        return *chosen, reward, *flags

    return world._replace(step=step)


def scattered() -> bx.World:
    """The walk, from any place near the middle, without a clock in its state."""

    def reset(key: Array) -> Any:
        x = jax.random.uniform(key, minval=-0.1, maxval=0.1)
        return x, x[None]

    def step(x: Array, action: Array, key: Array) -> Any:
        x = x + 0.1 * jax.random.normal(key) + 0.2 * (2 * action - 1)
        return x, x[None], 1.0 * (x > 1), jnp.abs(x) > 1, False

    return walk(reset=reset, step=step, max_episode_steps=None, observation_space=Box((1,)))


RESETTING = {
    "walk": (walk(), ""),
    "scattered": (scattered(), ""),
    "match": (PROBES["probe:match"]().world, ""),
    "autoreset": (PROBES["probe:autoreset"]().world, ""),
    "truncated walk": (resetting(walk(), True), "error warning"),
    "terminated walk": (resetting(walk(), False), "warning"),
    "terminated scattered": (resetting(scattered(), False), "warning"),
}


@pytest.mark.parametrize("case", RESETTING)
def test_a_step_that_resets_the_world_is_found(case: str) -> None:
    world, levels = RESETTING[case]
    report = check_world(world, steps=1_000)
    found = [each for each in report.findings if each.check == "resets"]
    assert [each.level for each in found] == levels.split(), str(report)
    assert all("in a state from which episodes begin: step resets itself" in each.what for each in found)


def test_a_reset_that_draws_in_vain_is_remarked() -> None:
    def used(key: Array) -> Any:
        x = jax.random.uniform(key)
        return State(x, jnp.int32(0)), x[None]

    def own_key(key: Array) -> Any:
        return used(jax.random.key(0))

    def split(key: Array) -> Any:
        return walk().reset(jax.random.split(key)[0])

    for reset, level in ((walk().reset, "ok"), (used, "ok"), (own_key, "hint"), (split, "hint")):
        findings = Findings()
        find_starts(walk(reset=reset), 0, findings)
        (found,) = findings.all()
        assert found.level == level
        assert ("returns the same state for 64 different keys" in found.what) == (level == "hint")


@pytest.mark.filterwarnings("ignore:.*A Box observation space m:UserWarning")  # without bounds, as they are
@pytest.mark.parametrize("name", PROBES)
def test_any_compiled_world_is_a_gymnasium_environment(name: str) -> None:
    world = PROBES[name]().world
    env = as_gymnasium(world)
    gymnasium_check(env, skip_render_check=True)
    seen = read_spaces(name, [env], False)
    space = world.observation_space
    assert seen.observation == (space.obs if isinstance(space, Masked) else space)
    assert seen.n_actions == world.n_actions


def test_its_steps_are_the_worlds() -> None:
    env = as_gymnasium(PROBES["probe:match"]().world)
    for seed in range(4):
        obs, info = env.reset(seed=seed)
        np.testing.assert_array_equal(obs, env.reset(seed=seed)[0])
        _, reward, terminated, truncated, _ = env.step(1)
        assert (reward, terminated, truncated) == (obs[0], True, False)
        assert info == {}
    assert as_gymnasium(PROBES["probe:mask"]().world).reset(seed=0)[1]["action_mask"].tolist() == [1, 1, 0]
    with pytest.raises(ValueError, match="not an integer from 0 to 1"):
        env.step(2)
    with pytest.raises(bx.ConfigError, match=r"compiled bellmax\.World"):
        as_gymnasium("walk")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("space", "native"),
    [
        (Discrete(3), gym.spaces.Discrete(3)),
        (MultiDiscrete((2, 3)), gym.spaces.MultiDiscrete([2, 3])),
        (Box((2,), "bool"), gym.spaces.Box(0, 1, (2,), np.bool_)),
        (Box((2,), "int32", (0, 1), (5, 6)), gym.spaces.Box(np.array([0, 1]), np.array([5, 6]), dtype=np.int32)),
        (Box((4, 4), "uint8", 0, 255), gym.spaces.Box(0, 255, (4, 4), np.uint8)),
        ((Discrete(3), Box((2,))), None),
        (Named(("b", "a"), (Discrete(3), Box((2,)))), None),
    ],
)
def test_spaces_there_and_back(space: Any, native: Any) -> None:
    world = walk(observation_space=space)
    env = as_gymnasium(world)
    assert native is None or env.observation_space == native
    assert read_spaces("walk", [env], False).observation == space


@pytest.mark.parametrize(
    ("agent", "settings"),
    [
        ("q-learning", {"bins": 9}),
        ("sarsa-lambda", {"bins": 5, "tilings": 4}),
        ("dqn", {"loop": "host", "net_arch": (8,), "learning_starts": 50}),
        ("dqn", {"net_arch": (8,), "learning_starts": 50}),
    ],
)
def test_all_agents_learn_in_it(agent: str, settings: dict, tmp_path: Path) -> None:
    run = bx.train(walk(), agent, steps=600, out=tmp_path / "run", progress=False, records=2, **settings)
    assert run.loop == ("compiled" if settings.get("loop") is None and agent == "dqn" else "host")
    assert len(run.scores) == 1
    assert bx.evaluate(bx.load(tmp_path / "run").policy(), walk(), episodes=3).returns.shape == (3,)


def test_a_table_learns_a_masked_world_through_gymnasium() -> None:
    run = bx.train("probe:mask", "q-learning", steps=3_000, bins=3, progress=False, eval_episodes=2, obs_low=(-1, 0),
                   obs_high=(1, 1))  # fmt: skip
    assert run.evaluations[0].returns.mean() == 1.0


def test_a_world_by_a_name_of_ones_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(WORLDS, "my-walk", None)  # so that it is gone afterwards
    monkeypatch.setitem(WORLDS, "my-chain", None)
    register_world("my-walk", walk)
    register_world("my-chain", bx.chain)
    run = bx.train("my-walk", "dqn", steps=300, out=tmp_path / "run", progress=False, net_arch=(8,), records=1)
    assert (run.world, run.loop) == ("my-walk", "compiled")
    assert bx.evaluate(tmp_path / "run", episodes=2).returns.shape == (2,)
    solved = bx.train("my-chain", "q-learning", steps=300, env_kwargs={"n_states": 4}, progress=False)
    assert solved.policy().arrays["q"].shape[0] == 4
    monkeypatch.delitem(WORLDS, "my-walk")
    with pytest.raises(
        bx.IncompatibleCheckpoint, match=r"'my-walk' is not registered here.*import the module that registers"
    ):
        bx.evaluate(tmp_path / "run", episodes=2)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("cliff", "a name of bellmax's own"), ("Dyna Maze", "a name of bellmax's own"), ("dqn", "bellmax's own"),
        ("delay", "bellmax's own"), ("probe:delay", "must have only letters"), ("x=1", "got 'x=1'"),
        ("Walk-v1", "leave '-v1' out"), ("", "a string"),
    ],
)  # fmt: skip
def test_a_name_that_a_world_cannot_have(name: str, said: str) -> None:
    with pytest.raises(bx.ConfigError, match=re.escape(said)):
        register_world(name, walk)


def test_jax_of_the_host_program_is_left_alone() -> None:
    with jax.enable_x64(True):
        assert find_faults(walk()) == []
        assert as_gymnasium(walk()).reset(seed=0)[0].dtype == np.float32
