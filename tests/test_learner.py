"""The shared learner against plain arithmetic: target network, clipping, schedules, averaging."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import bellmax as bx
from bellmax.deep import dqn
from bellmax.deep.learner import averaged, make_optimiser
from bellmax.random import make_key
from bellmax.types import Box, Discrete, Transition

SPACE = Box((3,))


def batch(n: int, seed: int = 0) -> tuple[Transition, jax.Array]:
    rng = np.random.default_rng(seed)
    obs, next_obs = rng.normal(size=(2, n, 3)).astype(np.float32)
    action = rng.integers(0, 2, n).astype(np.int32)
    reward = rng.normal(size=n).astype(np.float32)
    discount = np.where(rng.random(n) < 0.3, 0.0, 0.9).astype(np.float32)
    return jax.tree.map(jnp.asarray, (Transition(obs, action, reward, discount, next_obs), np.ones(n, np.float32)))


def learner(**settings):
    config = bx.DQN(**{"net_arch": (8,), "gamma": 0.9, "learning_rate_schedule": "constant", **settings})
    agent = config.make(SPACE, 2, 1000)
    return config, agent, jax.jit(agent.learn), agent.init(make_key(0))


def test_hard_target_is_copied_every_period() -> None:
    _, _, learn, state = learner(target_update_interval=3)
    first = state.target_params
    for k in range(1, 8):
        state, _ = learn(state, batch(16, k), make_key(k))
        if k < 3:
            np.testing.assert_array_equal(state.target_params, first)
        if k % 3 == 0:
            np.testing.assert_array_equal(state.target_params, state.params)
            copied = state.params
        elif k > 3:
            np.testing.assert_array_equal(state.target_params, copied)


def test_the_period_counts_environment_steps() -> None:
    _, _, learn, state = learner(target_update_interval=8, train_freq=2, num_envs=2, gradient_steps=1)
    for k in range(1, 5):  # a gradient step every 4 environment steps, so the copy comes at every second one
        state, _ = learn(state, batch(16, k), make_key(k))
        assert (state.target_params == state.params).all() == (k % 2 == 0)


def test_soft_target_follows() -> None:
    _, _, learn, state = learner(target_update_interval=1, tau=0.25)
    before = state.target_params
    state, _ = learn(state, batch(16), make_key(0))
    np.testing.assert_allclose(state.target_params, 0.25 * state.params + 0.75 * before, rtol=1e-6)


@pytest.mark.parametrize("loss", ["huber", "squared"])
@pytest.mark.parametrize("double", [False, True])
def test_gradient_equals_finite_differences(loss: str, double: bool) -> None:
    config, agent, _, state = learner(loss=loss, double=double, normalization="none")
    other = agent.init(make_key(1))
    transitions, _ = batch(32)

    def value(params: jax.Array) -> jax.Array:
        def net(p):
            return lambda obs: agent.q_values(state._replace(params=p), (), obs)[0]

        one = lambda t: dqn.loss(net(params), net(other.params), t, jnp.float32(1.0), jnp.zeros(0), config)[0]  # noqa: E731
        return jnp.mean(jax.vmap(one)(transitions))

    direction = jax.random.normal(make_key(2), state.params.shape)
    direction /= jnp.linalg.norm(direction)
    slope = jax.grad(value)(state.params) @ direction
    step = 1e-2
    measured = (value(state.params + step * direction) - value(state.params - step * direction)) / (2 * step)
    assert float(slope) == pytest.approx(float(measured), rel=0.05, abs=2e-3)


def test_gradients_are_clipped_by_their_global_norm() -> None:
    optimiser = make_optimiser(bx.DQN(max_grad_norm=1.0, learning_rate_schedule="constant"), 100)
    reference = optax.adam(2.5e-4, eps=1e-5)
    gradient = jnp.array([3.0, 4.0, 0.0])
    ours, _ = optimiser.update(gradient, optimiser.init(gradient))
    theirs, _ = reference.update(gradient / 5.0, reference.init(gradient))
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_linear_schedule_ends_at_zero() -> None:
    config = bx.DQN(learning_rate=1e-2, learning_starts=20, train_freq=4)
    optimiser = make_optimiser(config, 100)  # 20 gradient steps
    state = optimiser.init(jnp.zeros(1))
    sizes = []
    for _ in range(21):
        change, state = optimiser.update(jnp.ones(1), state)
        sizes.append(float(-change[0]))
    assert sizes[0] == pytest.approx(1e-2, rel=1e-2)
    assert sizes[10] == pytest.approx(5e-3, rel=1e-2)
    assert sizes[20] == 0.0


def test_average_weighs_late_parameters_more() -> None:
    values = np.random.default_rng(0).normal(size=200)
    average = jnp.float32(99.0)  # the start counts nothing
    for k, x in enumerate(values, start=1):
        average = averaged(average, jnp.float32(x), jnp.float32(k))
    k = np.arange(1, 201)
    weight = k * (k + 1.0) * (k + 2.0)
    assert float(average) == pytest.approx((weight * values).sum() / weight.sum(), abs=1e-5)


def test_discrete_observations_are_one_hot() -> None:
    agent = bx.DQN(net_arch=()).make(Discrete(4), 2, 100)
    state = agent.init(make_key(0))
    named = agent.parameters(state)
    for obs in range(4):
        expected = named["head.advantage.layers.0.weight"][:, obs] + named["head.advantage.layers.0.bias"]
        np.testing.assert_allclose(agent.q_values(state, (), jnp.int32(obs))[0], expected, rtol=1e-6)
