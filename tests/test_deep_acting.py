"""How networks act as they ship: an ensemble by one member, a noisy network by its noise, a cell by its state."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellmax as bx
from bellmax.contracts import Box, Masked
from bellmax.deep.building import build_network
from bellmax.deep.state import Carry
from bellmax.keys import make_key
from bellmax.networks.network import with_noise

SPACE, ACTIONS = Box((3,)), 3
GREEDY = {"exploration_initial_eps": 0.0, "exploration_final_eps": 0.0, "net_arch": (8,)}


def observations(n: int, masked: bool = False) -> Any:
    rng = np.random.default_rng(0)
    obs, mask = jnp.asarray(rng.normal(size=(n, 3)), jnp.float32), jnp.asarray(rng.random((n, ACTIONS)) < 0.6)
    return Masked(obs, mask.at[:, 1].set(True)) if masked else obs


def made(config: Any, masked: bool = False) -> tuple[Any, Any, Any]:
    """(agent, state, the module of parameters)."""
    space = Masked(SPACE, Box((ACTIONS,), "bool")) if masked else SPACE
    agent = config.make(space, ACTIONS, 1_000)
    return agent, agent.init(make_key(0)), build_network(config, config.method(), space, ACTIONS).module


@pytest.mark.parametrize("masked", [False, True], ids=["all allowed", "masked"])
def test_an_episode_follows_one_member_of_the_ensemble(masked: bool) -> None:
    agent, state, network = made(bx.BootstrappedDQN(n_members=4, **GREEDY), masked)
    obs = observations(50, masked)
    members = np.asarray(jax.vmap(network(state.params))(obs.obs if masked else obs))  # [50, K, A]
    allowed = np.asarray(obs.mask) if masked else np.ones((50, ACTIONS), bool)
    act = jax.jit(jax.vmap(lambda k, o: agent.act(state, Carry(member=k), o, make_key(1), 0), (None, 0)))
    best = np.where(allowed[:, None], members, -np.inf).argmax(axis=2)
    for k in range(4):
        actions, carry = act(jnp.int32(k), obs)
        np.testing.assert_array_equal(actions, best[:, k])
        assert (np.asarray(carry.member) == k).all()  # to the episode's end
    assert all((best[:, k] != best[:, 0]).any() for k in (1, 2, 3))
    values = jax.vmap(lambda o: agent.q_values(state, Carry(member=jnp.int32(2)), o)[0])(obs)
    np.testing.assert_allclose(values, np.where(allowed, members.mean(axis=1), -np.inf), rtol=1e-4, atol=1e-5)


def test_each_episode_draws_its_member() -> None:
    agent, *_ = made(bx.BootstrappedDQN(n_members=4, **GREEDY))
    drawn = jax.vmap(lambda key: agent.begin(key, 0.0).member)(jax.random.split(make_key(0), 800))
    counts = np.bincount(drawn, minlength=4)
    assert np.abs(counts - 200).max() < 4 * np.sqrt(800 * 0.25 * 0.75)


def test_a_noisy_network_acts_by_fresh_noise_each_step() -> None:
    """As often one way or the other as networks with noise drawn on them do; and judged without noise."""
    agent, state, network = made(bx.DQN(noisy=True, **GREEDY))
    obs, keys = observations(6), jax.random.split(make_key(3), 2_000)
    act = jax.jit(jax.vmap(lambda key: jax.vmap(lambda o: agent.act(state, (), o, key, 0)[0])(obs)))
    noisy = jax.jit(jax.vmap(lambda key: jax.vmap(with_noise(network(state.params), key))(obs)))
    acted, expected = np.asarray(act(keys)), np.argmax(noisy(jax.random.split(make_key(4), 2_000)), axis=2)
    shares = [[(actions == a).mean(axis=0) for a in range(ACTIONS)] for actions in (acted, expected)]
    assert (np.max(shares[0], axis=0) < 1.0).any()
    np.testing.assert_allclose(*shares, atol=4.5 * np.sqrt(0.5 / 2_000))
    np.testing.assert_array_equal(act(keys[:50]), acted[:50])
    plain = jax.vmap(network(state.params))(obs)
    np.testing.assert_allclose(jax.vmap(lambda o: agent.q_values(state, (), o)[0])(obs), plain, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_memory_cell_sees_the_episode_so_far(cell: str) -> None:
    config = bx.DQN(recurrent=cell, **GREEDY)
    agent, state, network = made(config)
    module, carry = network(state.params), agent.begin(make_key(0), 0.0)
    inner, graded = module.begin(), carry
    act = jax.jit(lambda carry, o: agent.act(state, carry, o, make_key(1), 0))
    judge = jax.jit(lambda carry, o: agent.q_values(state, carry, o))
    for obs in observations(5):
        for one, other in zip(jax.tree.leaves(agent.remembered(carry)), jax.tree.leaves(inner), strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-6)
        inner, seen = module.remember(inner, module.features(obs))
        action, carry = act(carry, obs)
        q, graded = judge(graded, obs)
        np.testing.assert_allclose(q, module.head(seen), rtol=1e-4, atol=1e-6)
        assert action == jnp.argmax(module.head(seen))


def test_recipes_explore_and_weigh_as_in_their_papers() -> None:
    """An ensemble explores by its members only; R2D2's importance weights do not anneal."""
    ensemble, recurrent = bx.BootstrappedDQN(), bx.R2D2()
    assert [ensemble.epsilon(t, 1_000) for t in (0, 50, 1_000)] == [0.0, 0.0, 0.0]
    assert (recurrent.priority_beta, recurrent.priority_beta_final) == (0.6, 0.6)
