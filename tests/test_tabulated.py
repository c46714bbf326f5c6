"""A model as a world: noisy rewards and missing actions, compiled and in Gymnasium's form."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellmax as bx
from bellmax.envs.tabulated import TabulatedState, as_world

NOISY = bx.FiniteMDP.from_successors(
    [[[(0.5, 0, 1.0, False, 0.5), (0.5, 1, -1.0, True)], [(1.0, 1, 3.0, True, 2.0)]], [[(1.0, 1, 0.0, True)]]]
)


def rewards_of_compiled(action: int, draws: int) -> tuple[np.ndarray, np.ndarray]:
    world = as_world(NOISY)

    def one(key):
        _, obs, reward, _, _ = world.step(TabulatedState(jnp.int32(0), jnp.int32(0)), jnp.int32(action), key)
        return obs, reward

    return tuple(map(np.asarray, jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(1), draws))))


def rewards_of_host(action: int, draws: int) -> tuple[np.ndarray, np.ndarray]:
    env = bx.TabulatedEnv(NOISY)
    env.reset(seed=3)
    steps = []
    for _ in range(draws):
        env.obs = 0
        steps.append(env.step(action)[:2])
    return tuple(map(np.array, zip(*steps, strict=True)))


@pytest.mark.parametrize("rewards_of", [rewards_of_compiled, rewards_of_host])
def test_the_noise_of_a_reward_is_that_of_its_outcome(rewards_of) -> None:
    n = 4000
    obs, reward = rewards_of(0, n)
    stayed = reward[obs == 0]
    assert (reward[obs == 1] == -1.0).all(), "this outcome has no noise"
    assert abs(stayed.size - n / 2) < 5 * np.sqrt(n) / 2
    assert stayed.mean() == pytest.approx(1.0, abs=5 * 0.5 / np.sqrt(stayed.size))
    assert stayed.std() == pytest.approx(0.5, rel=0.1)
    assert np.corrcoef(stayed[:-1], stayed[1:])[0, 1] == pytest.approx(0.0, abs=0.12)
    _, reward = rewards_of(1, n)
    assert (reward.mean(), reward.std()) == pytest.approx((3.0, 2.0), abs=0.2)


def test_a_world_without_noise_draws_no_more_than_before() -> None:
    jaxpr = str(jax.make_jaxpr(as_world(bx.cliff()).step)(TabulatedState(0, 0), jnp.int32(0), jax.random.key(0)))
    assert "random" not in jaxpr
    assert "erf_inv" in str(jax.make_jaxpr(as_world(NOISY).step)(TabulatedState(0, 0), jnp.int32(0), jax.random.key(0)))


def test_a_missing_action_counts_as_the_states_last() -> None:
    mdp = bx.maximization_bias()
    world, env = as_world(mdp), bx.TabulatedEnv(mdp)
    env.reset(seed=0)
    for action, (to, ends) in {0: (1, False), 1: (2, True), 2: (2, True), 9: (2, True)}.items():
        _, obs, reward, terminated, _ = world.step(
            TabulatedState(jnp.int32(0), jnp.int32(0)), jnp.int32(action), jax.random.key(0)
        )
        assert (int(obs), float(reward), bool(terminated)) == (to, 0.0, ends)
        env.reset()
        assert env.step(action)[:3] == (to, 0.0, ends)
