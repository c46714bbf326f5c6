"""Schedules give the same numbers in Python, Numba and JAX; ε-greedy explores as often as it says."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bellmax import schedules
from bellmax.exploration import epsilon_greedy
from bellmax.keys import make_key
from bellmax.tabular import behavior
from bellmax.tabular.kernel import coin_and_choice, kernel, new_generator, uniform


def test_values() -> None:
    assert schedules.linear(0, 1.0, 0.1, 100) == 1.0
    assert schedules.linear(50, 1.0, 0.1, 100) == pytest.approx(0.55)
    assert schedules.linear(100, 1.0, 0.1, 100) == schedules.linear(10**9, 1.0, 0.1, 100) == 0.1
    assert schedules.exponential(0, 1.0, 0.0, 10) == 1.0
    assert schedules.exponential(20, 1.0, 0.0, 10) == pytest.approx(0.25)
    assert schedules.inverse(0, 0.5, 1.0) == 0.5
    assert schedules.inverse(9, 0.5, 1.0) == pytest.approx(0.05)
    assert schedules.inverse(10**6, 0.5, 0.0) == 0.5


@pytest.mark.parametrize("schedule", [schedules.linear, schedules.exponential])
def test_same_in_three_compilers(schedule) -> None:
    compiled = kernel(schedule)
    for t in (0, 1, 37, 99, 100, 101, 5000):
        expected = schedule(t, 1.0, 0.05, 100.0)
        assert compiled(t, 1.0, 0.05, 100.0) == pytest.approx(expected, rel=1e-14)
        assert jax.jit(schedule)(jnp.int32(t), 1.0, 0.05, 100.0) == pytest.approx(expected, abs=1e-6)


def test_beyond_float32_counters() -> None:
    t = 2**40 + 1
    assert kernel(schedules.linear)(t, 1.0, 0.0, float(2**41)) == pytest.approx(0.5, abs=1e-9)


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_network_epsilon_greedy_frequencies(epsilon: float) -> None:
    q = jnp.array([0.0, 2.0, 1.0])
    keys = jax.random.split(make_key(0), 30_000)
    actions = np.asarray(jax.vmap(lambda k: epsilon_greedy(q, epsilon, k))(keys))
    share = np.bincount(actions, minlength=3) / actions.size
    expected = np.array([0, 1 - epsilon, 0]) + epsilon / 3
    np.testing.assert_allclose(share, expected, atol=4 * np.sqrt(0.25 / actions.size))


def test_the_greedy_action_is_the_first_among_equals() -> None:
    assert behavior.greedy(np.array([[1.0, 3.0, 3.0]]), 0) == 1


def test_splitmix64_reference_numbers() -> None:
    """The first outputs for seed 1234567, as published with the reference implementation."""
    from bellmax.tabular.kernel import random_bits

    generator = np.array([1234567], np.uint64)
    drawn = [int(random_bits(generator)) for _ in range(3)]
    assert drawn == [6457827717110365317, 3203168211198807973, 9817491932198370423]


def test_draws_are_uniform() -> None:
    generator = new_generator(0)
    draws = np.array([uniform(generator) for _ in range(20_000)])
    assert draws.min() >= 0.0
    assert draws.max() < 1.0
    assert abs(draws.mean() - 0.5) < 0.01
    coins, choices = np.array([coin_and_choice(generator, 5) for _ in range(20_000)]).T
    assert abs(coins.mean() - 0.5) < 0.01
    assert np.abs(np.bincount(choices.astype(int), minlength=5) / 20_000 - 0.2).max() < 0.012
    assert abs(np.corrcoef(coins, choices)[0, 1]) < 0.03
