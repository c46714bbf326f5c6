"""Each probe's closed-form action values against the Bellman equation on its own step function."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bellmax.contracts import Box
from bellmax.envs.probes import PROBES

PLAIN = {
    name: make for name, make in PROBES.items() if name not in ("probe:mask", "probe:recall")
}  # one number is seen
NAMES = pytest.mark.parametrize("name", list(PLAIN))
KEYS = [jax.random.key(seed) for seed in range(8)]
STEPS = 12  # further than any probe's episode


def values_from_step(world, key, gamma):
    """`{obs: q [A]}` of one start by walking every action sequence; a truncation does not end the walk.

    The walk is cut `depth` steps below an observation, which leaves out at most gamma^depth / (1 - gamma).
    """
    step = jax.jit(world.step)
    table = {}

    def q_values(state, obs, depth):
        values = []
        for action in range(world.n_actions):
            after, seen, reward, terminated, _ = step(state, jnp.int32(action), key)
            goes_on = depth > 1 and not terminated
            values.append(float(reward) + gamma * (max(q_values(after, seen, depth - 1)) if goes_on else 0.0))
        if depth > 100:
            table.setdefault(float(obs[0]), []).append(values)
        return values

    q_values(*world.reset(key), 110)
    return table


@NAMES
@pytest.mark.parametrize("gamma", [0.0, 0.5, 0.8])
def test_closed_form_is_what_the_steps_yield(name, gamma):
    probe = PROBES[name]()
    known = {float(obs[0]): q for obs, q in zip(probe.observations, probe.q(gamma), strict=True)}
    met = set()
    for key in KEYS:
        for obs, rows in values_from_step(probe.world, key, gamma).items():
            met.add(obs)
            for row in rows:
                np.testing.assert_allclose(row, known[obs], rtol=0, atol=1e-8)
    assert met == set(known)


@NAMES
def test_shapes_types_and_name(name):
    probe = PROBES[name]()
    world = probe.world
    assert world.name == name
    assert world.observation_space == Box((1,), "float32")
    assert probe.observations.dtype == np.float32
    assert probe.observations.shape == (len(probe.observations), 1)
    assert probe.q(0.9).shape == (len(probe.observations), world.n_actions)
    assert probe.q(0.9).dtype == np.float64
    assert probe.tests.endswith(".")
    state, obs = world.reset(KEYS[0])
    after, seen, reward, terminated, truncated = jax.jit(world.step)(state, jnp.int32(0), KEYS[0])
    assert jax.tree.map(jnp.result_type, after) == jax.tree.map(jnp.result_type, state)
    assert (obs.shape, obs.dtype) == (seen.shape, seen.dtype) == ((1,), jnp.float32)
    assert (reward.shape, reward.dtype) == ((), jnp.float32)
    assert (terminated.shape, terminated.dtype) == (truncated.shape, truncated.dtype) == ((), jnp.bool_)


def ends(world):
    """The step at which the world first terminates, and at which it is first truncated; None for never."""
    state, _ = world.reset(KEYS[0])
    step, first = jax.jit(world.step), [None, None]
    for t in range(1, STEPS + 1):
        state, _, _, *flags = step(state, jnp.int32(0), KEYS[0])
        first = [t if was is None and flag else was for was, flag in zip(first, flags, strict=True)]
    return tuple(first)


def test_each_probe_ends_in_its_own_way():
    assert {name: ends(make().world) for name, make in PLAIN.items()} == {
        "probe:constant": (1, None),
        "probe:observation": (1, None),
        "probe:delay": (2, None),
        "probe:action": (1, None),
        "probe:match": (1, None),
        "probe:termination": (3, None),
        "probe:time-limit": (None, 10),
        "probe:autoreset": (None, 2),
    }
    limits = {name: make().world.max_episode_steps for name, make in PROBES.items()}
    assert {k: v for k, v in limits.items() if v} == {"probe:time-limit": 10, "probe:autoreset": 2}


@pytest.mark.parametrize("name", ["probe:observation", "probe:match"])
def test_the_coin_is_fair(name):
    _, obs = jax.vmap(PROBES[name]().world.reset)(jax.random.split(KEYS[0], 10_000))
    assert set(np.unique(obs)) == {-1.0, 1.0}
    assert abs(float(obs.mean())) < 0.03


def test_autoreset_sees_a_leak_that_the_time_limit_probe_cannot():
    """The value learned if the next start stands in for the final observation is far from the true one."""
    gamma = 0.9
    true = PROBES["probe:autoreset"]().q(gamma)[1, 0]
    leaked = 1 / (1 - gamma**2)  # q(1) = 1 + γ q(0), q(0) = γ q(1)
    assert true - leaked > 4
