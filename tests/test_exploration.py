"""How networks explore: frequencies against probabilities, and never an action that is not allowed."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from bellmax.exploration import boltzmann, epsilon_greedy, ladder
from bellmax.keys import make_key

Q = jnp.array([5.0, -1.0, 2.0, 0.0, 2.0, 9.0])
N = 20_000


def frequencies(act: Callable[[jax.Array], jax.Array], seed: int = 0) -> np.ndarray:
    """How often each action was taken in N draws."""
    actions = jax.jit(jax.vmap(act))(jax.random.split(make_key(seed), N))
    assert actions.dtype == jnp.int32
    return np.bincount(np.asarray(actions), minlength=Q.size)


@pytest.mark.parametrize("allowed", [[1, 3], [0, 2, 4], [0, 1, 2, 3, 4, 5]])
def test_exploring_is_uniform_over_the_allowed_actions(allowed: list[int]) -> None:
    mask = jnp.zeros(Q.size, bool).at[jnp.array(allowed)].set(True)
    counts = frequencies(lambda key: epsilon_greedy(Q, jnp.float32(1.0), key, mask))
    assert np.delete(counts, allowed).sum() == 0
    assert chisquare(counts[allowed]).pvalue > 1e-3


@pytest.mark.parametrize("only", [0, 3, 5])
def test_a_single_allowed_action_is_always_taken(only: int) -> None:
    mask = jnp.arange(Q.size) == only
    assert frequencies(lambda key: epsilon_greedy(Q, jnp.float32(1.0), key, mask))[only] == N


def test_without_a_mask_it_explores_as_with_a_full_one() -> None:
    def both(key):
        full = jnp.ones(Q.size, bool)
        return epsilon_greedy(Q, jnp.float32(0.7), key), epsilon_greedy(Q, jnp.float32(0.7), key, full)

    free, masked = jax.jit(jax.vmap(both))(jax.random.split(make_key(3), 1000))
    assert free.tolist() == masked.tolist()
    assert set(free.tolist()) == set(range(Q.size))


def test_greedy_is_the_best_allowed_action_and_shares_the_rest() -> None:
    """The values come masked, as the learner gives them."""
    mask = jnp.array([False, True, True, False, True, False])
    q = jnp.where(mask, Q, -jnp.inf)
    counts = frequencies(lambda key: epsilon_greedy(q, jnp.float32(0.3), key, mask))
    assert counts[[0, 3, 5]].sum() == 0
    expected = N * np.array([0.1, 0.8, 0.1])  # the first of the two best
    assert chisquare(counts[[1, 2, 4]], expected).pvalue > 1e-3
    greedy = frequencies(lambda key: epsilon_greedy(q, jnp.float32(0.0), key, mask))
    assert greedy[2] == N


@pytest.mark.parametrize("temperature", [0.5, 3.0])
def test_boltzmann_frequencies_are_the_softmax(temperature: float) -> None:
    q = jnp.array([0.0, 1.0, -jnp.inf, 0.5, 1.0, -jnp.inf])
    counts = frequencies(lambda key: boltzmann(q, jnp.float32(temperature), key))
    odds = np.exp(np.asarray(q, np.float64) / temperature)
    assert counts[[2, 5]].sum() == 0
    seen = [0, 1, 3, 4]
    assert chisquare(counts[seen], N * odds[seen] / odds.sum()).pvalue > 1e-3


def test_a_cold_boltzmann_policy_is_greedy() -> None:
    assert frequencies(lambda key: boltzmann(Q, jnp.float32(1e-9), key))[5] == N


def test_ladder_values() -> None:
    """ε^(1 + 7 i / (N - 1)) with ε = 0.4, as in the paper: from 0.4 down to 0.4^8."""
    assert ladder(0.4, 0.0) == 0.4
    assert ladder(0.4, 1.0) == pytest.approx(0.4**8)
    assert ladder(0.4, 0.5) == pytest.approx(0.4**4.5)
    assert ladder(0.4, 1.0, spread=3.0) == pytest.approx(0.4**4)
    ranks = jnp.linspace(0.0, 1.0, 8)
    np.testing.assert_allclose(ladder(jnp.float32(0.4), ranks), [0.4 ** (1 + i) for i in range(8)], rtol=1e-5)
