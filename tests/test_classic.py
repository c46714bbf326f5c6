"""Each twin against Gymnasium's own environment, over at least 10,000 steps."""

from __future__ import annotations

import functools
import math
from collections import namedtuple
from collections.abc import Callable
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from bellmax.contracts import Box
from bellmax.envs.classic import CLASSIC, ClassicState
from bellmax.envs.functional import World

Policy = Callable[[Any, Any], Any]  # (physics, random integer) -> action; NumPy and JAX alike


class Case(NamedTuple):
    """What a world is played with, and how far float32 may stray."""

    policies: tuple[tuple[Policy, int], ...]  # with the number of episodes
    margin: Callable[[Any], Any]  # physics [..., k] -> distance from the termination threshold
    one_step: float  # tolerance of an observation after one step from the same state
    growth: float  # an error grows by at most this factor a step (the fastest instability of the physics)
    widest: tuple[float, ...]  # physics to throw the world into: ± these
    start: tuple[float, float, int]  # bounds of the uniform start, and how many numbers are drawn


def balance(physics: Any, draw: Any) -> Any:
    return (0.1 * physics[0] + 0.3 * physics[1] + 2.0 * physics[2] + 0.6 * physics[3] > 0) * 1


CASES = {
    "CartPole-v1": Case(
        ((lambda physics, draw: draw, 250), (balance, 15)),
        margin=lambda x: np.minimum(abs(abs(x[..., 0]) - 2.4), abs(abs(x[..., 2]) - math.radians(12))),
        one_step=6e-7,
        growth=1.083,  # the pole falls with exp(t sqrt(g / (l (4/3 - m/M)))), t = 0.02 s
        widest=(2.6, 4.0, 0.25, 4.0),
        start=(-0.05, 0.05, 4),
    ),
    "MountainCar-v0": Case(
        ((lambda physics, draw: draw, 25), (lambda physics, draw: (physics[1] >= 0) * 2, 50)),
        margin=lambda x: abs(x[..., 0] - 0.5),
        one_step=3e-7,
        growth=1.02,  # measured; the valley is stable, its rim is not
        widest=(1.2, 0.07),
        start=(-0.6, -0.4, 1),
    ),
    "Acrobot-v1": Case(
        (
            (lambda physics, draw: draw, 12),
            (lambda physics, draw: 1, 2),
            (lambda physics, draw: (physics[3] >= 0) * 2, 60),
        ),
        margin=lambda x: abs(-np.cos(x[..., 0]) - np.cos(x[..., 0] + x[..., 1]) - 1),
        one_step=6e-6,
        growth=1.14,  # measured; chaos once it swings high
        widest=(math.pi, math.pi, 4 * math.pi, 9 * math.pi),
        start=(-0.1, 0.1, 4),
    ),
}
WORLDS = pytest.mark.parametrize("name", list(CASES))


# One episode of Gymnasium: physics [T + 1, k] in float64, the rest [T, ...].
Episode = namedtuple("Episode", "physics action obs reward terminated truncated")


def play(env: gymnasium.Env, policy: Policy, seed: int) -> Episode:
    env.reset(seed=seed)
    states, rows = [np.array(env.unwrapped.state, np.float64)], []
    for draw in np.random.default_rng(seed).integers(env.action_space.n, size=1_000):
        action = int(policy(states[-1], draw))
        obs, reward, terminated, truncated, _ = env.step(action)
        states.append(np.array(env.unwrapped.state, np.float64))
        rows.append((action, obs, reward, terminated, truncated))
        if terminated or truncated:
            break
    return Episode(np.array(states), *map(np.array, zip(*rows, strict=True)))


@functools.cache
def episodes(name: str) -> list[Episode]:
    with gymnasium.make(name, disable_env_checker=True) as env:
        policies = [policy for policy, count in CASES[name].policies for _ in range(count)]
        return [play(env, policy, seed) for seed, policy in enumerate(policies)]


def step_all(world: World, state: ClassicState, action: np.ndarray) -> tuple[Any, ...]:
    """One step of a whole batch of states, as NumPy arrays."""
    step = jax.jit(jax.vmap(lambda state, action: world.step(state, action, None)))
    with jax.enable_x64(state.physics.dtype == np.float64):
        return jax.tree.map(np.asarray, step(state, action.astype(np.int32)))


@functools.cache
def free_run(name: str, double: bool) -> tuple[np.ndarray, ...]:
    """The twin from Gymnasium's starts under its actions, in one call: each `[episodes, limit, ...]`."""
    world, played = CLASSIC[name](), episodes(name)
    actions = np.ones((len(played), world.max_episode_steps), np.int32)
    for i, episode in enumerate(played):
        actions[i, : len(episode.action)] = episode.action

    def run(start, actions):
        def body(state, action):
            state, *seen = world.step(state, action, None)
            return state, tuple(seen)

        return jax.lax.scan(body, ClassicState(start, jnp.int32(0)), actions)[1]

    with jax.enable_x64(double):
        starts = jnp.asarray([e.physics[0] for e in played], jnp.float64 if double else jnp.float32)
        return tuple(np.asarray(x) for x in jax.jit(jax.vmap(run))(starts, actions))


@WORLDS
def test_one_step_from_the_same_state(name):
    world, case, played = CLASSIC[name](), CASES[name], episodes(name)
    before = np.concatenate([e.physics[:-1] for e in played]).astype(np.float32)
    after = np.concatenate([e.physics[1:] for e in played])
    time = np.concatenate([np.arange(len(e.action), dtype=np.int32) for e in played])
    action, obs, reward, terminated, truncated = (
        np.concatenate([e[i] for e in played]) for i in range(1, len(Episode._fields))
    )
    assert len(action) >= 10_000
    assert min(terminated.sum(), truncated.sum()) >= 10
    state, *seen = step_all(world, ClassicState(before, time), action)
    assert (state.time == time + 1).all()
    np.testing.assert_allclose(seen[0], obs, rtol=0, atol=case.one_step)
    clear = case.margin(after) >= 1e-5
    assert clear.mean() > 0.999
    np.testing.assert_array_equal(seen[1][clear], reward[clear])
    np.testing.assert_array_equal(seen[2][clear], terminated[clear])
    np.testing.assert_array_equal(seen[3], truncated)


@WORLDS
def test_one_step_from_anywhere(name):
    """Walls, speed limits and whole turns, which policies seldom meet; in float64, to the last digit."""
    world, case = CLASSIC[name](), CASES[name]
    generator = np.random.default_rng(0)
    before = generator.uniform(-np.array(case.widest), case.widest, (1_000, len(case.widest)))
    action, rows = generator.integers(world.n_actions, size=1_000), []
    with gymnasium.make(name, disable_env_checker=True) as env:
        for physics, a in zip(before, action, strict=True):
            env.reset()
            env.unwrapped.state = physics
            rows.append(env.step(int(a))[:3])
    obs, reward, terminated = map(np.array, zip(*rows, strict=True))
    state, *seen = step_all(world, ClassicState(before, np.zeros(1_000, np.int32)), action)
    np.testing.assert_allclose(seen[0], obs, rtol=2e-7, atol=1e-9)
    np.testing.assert_array_equal(seen[1], reward)
    np.testing.assert_array_equal(seen[2], terminated)
    if name == "Acrobot-v1":
        assert abs(state.physics[:, :2]).max() <= np.pi


@WORLDS
@pytest.mark.parametrize("double", [False, True], ids=["float32", "float64"])
def test_whole_episodes_from_the_same_start(name, double):
    """An error may grow as fast as the physics lets it, and is compared until it could be as large as 0.01.
    An open-loop pole or a fast acrobot forgets its start within a few hundred steps: in float64 too.
    """
    case, played = CASES[name], episodes(name)
    rounding, compared, same_end = 1e-15 if double else case.one_step, 0, []
    for episode, obs, _, terminated, truncated in zip(played, *free_run(name, double), strict=True):
        n = len(episode.action)
        tolerance = rounding * case.growth ** np.arange(1, n + 1)
        told = tolerance < 1e-2
        compared += told.sum()
        error = abs(obs[:n] - episode.obs).max(axis=1)
        within = tolerance + np.spacing(abs(episode.obs).max(axis=1))  # and the observation's own rounding
        np.testing.assert_array_less(error[told], within[told])
        clear = told & (case.margin(episode.physics[1:]) > 3 * tolerance)
        np.testing.assert_array_equal(terminated[:n][clear], episode.terminated[clear])
        np.testing.assert_array_equal(truncated[:n], episode.truncated)
        same_end.append(np.array_equal(terminated[:n], episode.terminated))
    assert compared > (8_000 if double else 4_000)
    assert np.mean(same_end) > 0.9  # to the very step, whatever the tolerance


@WORLDS
def test_time_limit_and_spaces_are_gymnasiums(name):
    world = CLASSIC[name]()
    assert (world.name, world.max_episode_steps) == (name, gymnasium.spec(name).max_episode_steps)
    with gymnasium.make(name) as env:
        assert world.observation_space == Box(env.observation_space.shape, "float32")
        assert world.n_actions == env.action_space.n
    episode = next(e for e in episodes(name) if e.terminated[-1])
    last = np.tile(episode.physics[-2].astype(np.float32), (3, 1))
    times = np.array([0, world.max_episode_steps - 2, world.max_episode_steps - 1], np.int32)
    *_, terminated, truncated = step_all(world, ClassicState(last, times), np.tile(episode.action[-1], 3))
    assert terminated.all()
    assert truncated.tolist() == [False, False, True]


def test_a_balanced_pole_lasts_exactly_to_the_limit():
    world = CLASSIC["CartPole-v1"]()

    @jax.jit
    def run(key):
        def body(state, _):
            state, *_, terminated, truncated = world.step(state, balance(state.physics, 0), key)
            return state, (terminated, truncated)

        return jax.lax.scan(body, world.reset(key)[0], None, 500)[1]

    terminated, truncated = jax.vmap(run)(jax.random.split(jax.random.key(0), 32))
    assert not terminated.any()
    assert (truncated == (jnp.arange(1, 501) == 500)[None]).all()


@WORLDS
def test_start_distribution(name):
    world, (low, high, n_random) = CLASSIC[name](), CASES[name].start
    state, obs = jax.jit(jax.vmap(world.reset))(jax.random.split(jax.random.key(0), 10_000))
    drawn, still = np.split(np.asarray(state.physics), [n_random], axis=1)
    assert obs.dtype == drawn.dtype == np.float32
    assert low <= drawn.min() < low + 1e-3 < high - 1e-3 < drawn.max() <= high
    assert not still.any() | state.time.any()
    with gymnasium.make(name, disable_env_checker=True) as env:
        env.reset(seed=0)
        theirs = np.array([env.reset()[0] for _ in range(2_000)])
    for mine, other in zip(np.asarray(obs).T, theirs.T, strict=True):
        assert scipy.stats.ks_2samp(mine, other).pvalue > 0.01
    assert abs(np.corrcoef(drawn.T) - np.eye(n_random)).max() < 0.05


@WORLDS
def test_step_is_straight_arithmetic_with_fixed_types(name):
    world = CLASSIC[name]()
    state, _ = world.reset(jax.random.key(0))
    jaxpr = str(jax.make_jaxpr(world.step)(state, jnp.int32(0), None))
    costly = ("gather", "while[", "cond[", "scan[", "dynamic_slice", "scatter", "random_")
    assert not [name for name in costly if name in jaxpr]
    for dtype in (jnp.int32, jnp.uint8):  # an unsigned 0 - 1 would push the wrong way
        after, obs, *rest = world.step(state, jnp.zeros((), dtype), None)
        dtypes = " ".join(str(x.dtype) for x in (*after, obs, *rest))
        assert dtypes == "float32 int32 float32 float32 bool bool"
        assert [x.shape for x in (*after, *rest)] == [state.physics.shape, (), (), (), ()]
        assert obs.shape == world.observation_space.shape
        np.testing.assert_array_equal(obs, world.step(state, jnp.int32(0), None)[1])
