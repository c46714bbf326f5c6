"""Targets and losses against rlax, and against the definition by brute force."""

import warnings

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import given, settings

from bellmax import bellman
from bellmax.deep import munchausen

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import rlax

numbers = st.floats(-50, 50, width=32)
values = hnp.arrays(np.float32, 4, elements=numbers)
temperatures = st.sampled_from([0.03, 0.5, 10.0])
fixed = settings(max_examples=50, deadline=None, derandomize=True)


def log_softmax(q: np.ndarray, temperature: float) -> np.ndarray:
    """In float64, where q - max(q) neither overflows nor loses digits that matter."""
    scaled = (q.astype(np.float64) - q.max()) / temperature
    return scaled - np.log(np.exp(scaled).sum())


@fixed
@given(values, values, values, st.integers(0, 3), numbers, st.sampled_from([0.0, 0.9, 1.0]))
def test_targets_and_errors_equal_rlax(q_tm1, q_t, selector, action, reward, discount) -> None:
    r, d, a = jnp.float32(reward), jnp.float32(discount), jnp.int32(action)
    plain = bellman.td_error(q_tm1, a, r + d * bellman.mean_under(bellman.greedy_policy(q_t), q_t))
    np.testing.assert_allclose(plain, rlax.q_learning(q_tm1, a, r, d, q_t), rtol=1e-5, atol=1e-4)
    double = bellman.td_error(q_tm1, a, r + d * bellman.mean_under(bellman.greedy_policy(selector), q_t))
    np.testing.assert_allclose(double, rlax.double_q_learning(q_tm1, a, r, d, q_t, selector), rtol=1e-5, atol=1e-4)


@fixed
@given(numbers)
def test_losses_equal_rlax(error) -> None:
    np.testing.assert_allclose(bellman.huber_loss(jnp.float32(error)), rlax.huber_loss(jnp.float32(error)), rtol=1e-5)
    np.testing.assert_allclose(bellman.squared_loss(jnp.float32(error)), np.float32(error) ** 2, rtol=1e-6)


def test_huber_gradient_is_the_clipped_error() -> None:
    for error in (-3.0, -0.5, 0.0, 0.25, 7.0):
        assert jax.grad(bellman.huber_loss)(error) == np.clip(error, -1, 1)


def test_no_gradient_flows_into_the_target() -> None:
    def error(q_tm1, q_t):
        return bellman.td_error(q_tm1, 1, 1.0 + 0.9 * jnp.max(q_t))

    online, target = jax.grad(error, argnums=(0, 1))(jnp.array([1.0, 2.0]), jnp.array([3.0, 4.0]))
    assert online.tolist() == [0.0, -1.0]
    assert target.tolist() == [0.0, 0.0]


def test_the_value_of_an_action_is_its_row() -> None:
    q = np.arange(12.0, dtype=np.float32).reshape(4, 3)
    for action in range(4):
        assert bellman.value_of(jnp.asarray(q), jnp.int32(action)).tolist() == q[action].tolist()
        assert bellman.value_of(jnp.asarray(q[:, 1]), jnp.int32(action)) == q[action, 1]
    only_legal = bellman.legal(jnp.asarray(q[:, 0]), jnp.array([True, False, True, False]))
    assert bellman.value_of(only_legal, jnp.int32(2)) == q[2, 0]


def test_masks_forbid_actions() -> None:
    q = jnp.array([3.0, 9.0, 3.0, -1.0])
    assert bellman.legal(q, None) is q
    assert bellman.legal(q, jnp.array([True, False, True, True])).tolist() == [3.0, -np.inf, 3.0, -1.0]
    assert bellman.greedy_policy(q).tolist() == [0.0, 1.0, 0.0, 0.0]
    masked = bellman.legal(q, jnp.array([True, False, True, True]))
    assert bellman.greedy_policy(masked).tolist() == [1.0, 0.0, 0.0, 0.0]  # the first among equals
    assert bellman.mean_under(bellman.greedy_policy(masked), masked) == 3.0  # and not NaN by the one that is -inf


@fixed
@given(values, temperatures)
def test_soft_policy_and_its_logarithm_without_overflow(q, temperature) -> None:
    expected = log_softmax(q, temperature)
    np.testing.assert_allclose(munchausen.soft_policy(q, temperature), np.exp(expected), rtol=2e-4, atol=1e-30)
    np.testing.assert_allclose(munchausen.soft_log_policy(q, temperature), temperature * expected, rtol=1e-5, atol=1e-5)


@fixed
@given(values, temperatures)
def test_mean_and_entropy_make_the_soft_maximum(q, temperature) -> None:
    """Haarnoja et al. (2017), equation 3: Σ π q - τ Σ π ln π = τ ln Σ exp(q / τ)."""
    soft_value = bellman.mean_under(munchausen.soft_policy(q, temperature), q) + munchausen.entropy_bonus(
        q, temperature
    )
    top = q.astype(np.float64).max()
    expected = top + temperature * np.log(np.exp((q - top) / temperature).sum())
    np.testing.assert_allclose(soft_value, expected, rtol=1e-5, atol=1e-4)


@fixed
@given(values, st.integers(0, 3), temperatures, st.sampled_from([0.3, 0.9]), st.sampled_from([-1.0, -20.0]))
def test_munchausen_bonus_equals_its_formula(q, action, temperature, alpha, clip) -> None:
    bonus = munchausen.munchausen_bonus(q, jnp.int32(action), temperature, alpha, clip)
    expected = alpha * np.clip(temperature * log_softmax(q, temperature)[action], clip, 0.0)
    np.testing.assert_allclose(bonus, expected, rtol=1e-5, atol=1e-5)


@fixed
@given(values, values, st.integers(0, 3), numbers)
def test_munchausen_target_equals_equation_2(q_tm1, q_t, action, reward) -> None:
    """r + α [τ ln π(a|s)] + γ Σ π' (q' - τ ln π'), the pieces put together as the learner does."""
    temperature, alpha, clip, discount = 0.5, 0.9, -1.0, 0.99
    bonus = munchausen.munchausen_bonus(q_tm1, jnp.int32(action), temperature, alpha, clip)
    value = bellman.mean_under(munchausen.soft_policy(q_t, temperature), q_t) + munchausen.entropy_bonus(
        q_t, temperature
    )
    target = reward + bonus + discount * value
    log_policy = log_softmax(q_t, temperature)
    expected = reward + alpha * np.clip(temperature * log_softmax(q_tm1, temperature)[action], clip, 0.0)
    expected += discount * (np.exp(log_policy) * (q_t - temperature * log_policy)).sum()
    np.testing.assert_allclose(target, expected, rtol=1e-5, atol=1e-4)


def test_forbidden_actions_count_nothing_in_a_mean() -> None:
    q, some = jnp.array([1.0, -np.inf, 3.0]), jnp.array([1.0, 3.0])
    assert bellman.mean_under(jnp.array([0.25, 0.0, 0.75]), q) == 2.5
    policy = munchausen.soft_policy(q, 0.5)
    assert policy[1] == 0.0
    np.testing.assert_allclose(policy[np.array([0, 2])], munchausen.soft_policy(some, 0.5), rtol=1e-6)
    np.testing.assert_allclose(munchausen.entropy_bonus(q, 0.5), munchausen.entropy_bonus(some, 0.5), rtol=1e-6)
    for action, same in ((0, 0), (2, 1)):
        ours = munchausen.munchausen_bonus(q, jnp.int32(action), 0.5, 0.9, -10.0)
        np.testing.assert_allclose(ours, munchausen.munchausen_bonus(some, jnp.int32(same), 0.5, 0.9, -10.0), rtol=1e-6)
    assert munchausen.munchausen_bonus(q, jnp.int32(1), 0.5, 0.9, -10.0) == -9.0  # clipped, not infinite
    rows = jnp.array([[1.0, 2.0], [-np.inf, np.inf], [5.0, 6.0]])
    assert bellman.mean_under(jnp.array([0.5, 0.0, 0.5]), rows).tolist() == [3.0, 4.0]


@fixed
@given(st.floats(-1e6, 1e6, width=32), st.sampled_from([1e-3, 1e-2]))
def test_squeeze_and_its_inverse_equal_rlax(x, epsilon) -> None:
    """rlax's inverse cancels in float32, so it is asked in float64."""
    with jax.enable_x64(True):
        wide = jnp.float64(x)
        squeezed, unsqueezed = rlax.signed_hyperbolic(wide, epsilon), rlax.signed_parabolic(wide, epsilon)
    narrow = jnp.float32(x)
    np.testing.assert_allclose(bellman.squeeze(narrow, epsilon), squeezed, rtol=1e-5, atol=1e-7)
    # (inner^2 - 1) loses what is small beside 1
    np.testing.assert_allclose(bellman.unsqueeze(narrow, epsilon), unsqueezed, rtol=1e-5, atol=1e-6)
    there_and_back = bellman.unsqueeze(bellman.squeeze(narrow, epsilon), epsilon)
    np.testing.assert_allclose(there_and_back, x, rtol=1e-5, atol=1e-6)


def n_step_by_loop(r, discount, stops) -> tuple[float, float, int]:
    total, product = 0.0, 1.0
    for k in range(len(r)):
        total += product * r[k]
        product *= discount[k]
        if stops[k]:
            break
    return total, product, k


@fixed
@given(st.data(), st.sampled_from([1, 2, 5]))
def test_n_step_equals_a_loop_over_random_ends(data, n) -> None:
    r = data.draw(hnp.arrays(np.float32, n, elements=numbers))
    discount = data.draw(hnp.arrays(np.float32, n, elements=st.sampled_from([0.0, 0.5, 0.99, 1.0]).map(np.float32)))
    stops = data.draw(hnp.arrays(bool, n)) | (discount == 0)
    reward, product, last = jax.jit(bellman.n_step)(r, discount, stops)
    expected = n_step_by_loop(r.astype(np.float64), discount.astype(np.float64), stops)
    np.testing.assert_allclose([reward, product, last], expected, rtol=1e-5, atol=1e-4)


def test_what_follows_a_stop_is_not_looked_at() -> None:
    r, discount = jnp.array([1.0, 2.0, jnp.nan]), jnp.array([0.5, 0.5, jnp.inf])
    reward, product, last = bellman.n_step(r, discount, jnp.array([False, True, False]))
    assert (float(reward), float(product), int(last)) == (2.0, 0.25, 1)


@fixed
@given(st.data(), st.sampled_from([0.0, 0.7, 1.0]))
def test_lambda_returns_equal_rlax_where_no_episode_ends(data, lambda_) -> None:
    r, v = (data.draw(hnp.arrays(np.float32, 6, elements=numbers)) for _ in range(2))
    discount = np.full(6, 0.9, np.float32)
    ours = jax.jit(bellman.lambda_returns)(r, discount, v, np.zeros(6, bool), lambda_)
    np.testing.assert_allclose(ours, jax.jit(rlax.lambda_returns)(r, discount, v, lambda_), rtol=1e-5, atol=1e-4)


def lambda_returns_by_definition(r, discount, v, over, lambda_) -> list[float]:
    """The weighted mean of all n-step returns up to the episode's end: Sutton and Barto (2018), equation 12.3."""
    returns = []
    for t in range(len(r)):
        g, product, total, weight = 0.0, 1.0, 0.0, 1.0
        for k in range(t, len(r)):
            g += product * r[k]
            product *= discount[k]
            last = over[k] or k == len(r) - 1
            total += weight * (1.0 if last else 1.0 - lambda_) * (g + product * v[k])
            weight *= lambda_
            if last:
                break
        returns.append(total)
    return returns


@fixed
@given(st.data(), st.sampled_from([0.0, 0.7, 1.0]))
def test_lambda_returns_equal_their_definition_with_ends(data, lambda_) -> None:
    """Some ends are terminations (discount 0), some are time limits (bootstrapped)."""
    r, v = (data.draw(hnp.arrays(np.float32, 6, elements=numbers)) for _ in range(2))
    terminated, truncated = (data.draw(hnp.arrays(bool, 6)) for _ in range(2))
    discount = np.where(terminated, 0.0, 0.9).astype(np.float32)
    over = terminated | truncated
    ours = jax.jit(bellman.lambda_returns)(r, discount, v, over, lambda_)
    wide = [x.astype(np.float64) for x in (r, discount, v)]
    np.testing.assert_allclose(ours, lambda_returns_by_definition(*wide, over, lambda_), rtol=1e-5, atol=1e-3)
