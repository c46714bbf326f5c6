"""Targets and losses against rlax, and against the definition by brute force."""

import warnings

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings

from bellmax import bellman

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import rlax

numbers = st.floats(-50, 50, width=32)
values = hnp.arrays(np.float32, 4, elements=numbers)


@settings(max_examples=50, deadline=None)
@given(values, values, values, st.integers(0, 3), numbers, st.sampled_from([0.0, 0.9, 1.0]))
def test_targets_and_errors_equal_rlax(q_tm1, q_t, selector, action, reward, discount) -> None:
    r, d, a = jnp.float32(reward), jnp.float32(discount), jnp.int32(action)
    plain = bellman.td_error(q_tm1, a, bellman.max_target(r, d, q_t))
    np.testing.assert_allclose(plain, rlax.q_learning(q_tm1, a, r, d, q_t), rtol=1e-5, atol=1e-4)
    double = bellman.td_error(q_tm1, a, bellman.double_target(r, d, q_t, selector))
    np.testing.assert_allclose(double, rlax.double_q_learning(q_tm1, a, r, d, q_t, selector), rtol=1e-5, atol=1e-4)


@settings(deadline=None)
@given(numbers)
def test_losses_equal_rlax(error) -> None:
    np.testing.assert_allclose(bellman.huber_loss(jnp.float32(error)), rlax.huber_loss(jnp.float32(error)), rtol=1e-5)
    np.testing.assert_allclose(bellman.squared_loss(jnp.float32(error)), np.float32(error) ** 2, rtol=1e-6)


def test_huber_gradient_is_the_clipped_error() -> None:
    for error in (-3.0, -0.5, 0.0, 0.25, 7.0):
        assert jax.grad(bellman.huber_loss)(error) == np.clip(error, -1, 1)


def test_no_gradient_flows_into_the_target() -> None:
    def error(q_tm1, q_t):
        return bellman.td_error(q_tm1, 1, bellman.max_target(1.0, 0.9, q_t))

    online, target = jax.grad(error, argnums=(0, 1))(jnp.array([1.0, 2.0]), jnp.array([3.0, 4.0]))
    assert online.tolist() == [0.0, -1.0]
    assert target.tolist() == [0.0, 0.0]
