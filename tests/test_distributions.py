"""Distributions of returns: the projection and both losses against rlax, closed forms and finite differences."""

import warnings

import hypothesis.extra.numpy as hnp
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from bellmax import distributions

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import rlax

N_ATOMS = 11
SUPPORT = distributions.support(-2.0, 3.0, N_ATOMS)
fixed = settings(max_examples=50, deadline=None, derandomize=True)
atoms = hnp.arrays(np.float32, 7, elements=st.floats(-6, 6, width=32))
inner_atoms = hnp.arrays(np.float32, 7, elements=st.floats(-2, 3, width=32))
masses = hnp.arrays(np.float32, 7, elements=st.floats(0, 1, width=32)).filter(lambda p: p.sum() > 0.1)
project = jax.jit(distributions.project)
cross_entropy_and_slope = jax.jit(jax.value_and_grad(distributions.cross_entropy, argnums=1))


def normalized(p: np.ndarray) -> np.ndarray:
    return p / p.sum()


def test_the_support_is_evenly_spaced_from_end_to_end() -> None:
    z = np.asarray(distributions.support(-10.0, 10.0, 51))
    assert (z[0], z[25], z[-1], z.size) == (-10.0, 0.0, 10.0, 51)
    np.testing.assert_allclose(np.diff(z), 0.4, rtol=1e-5)


@fixed
@given(atoms, masses)
def test_projection_equals_rlax(z_p, p) -> None:
    order = np.argsort(z_p)  # rlax wants them in order
    z_p, p = z_p[order], normalized(p)[order]
    ours = project(z_p, p, SUPPORT)
    np.testing.assert_allclose(ours, rlax.categorical_l2_project(z_p, p, SUPPORT), atol=2e-6)


@fixed
@given(atoms, masses)
def test_projection_is_a_distribution(z_p, p) -> None:
    projected = np.asarray(project(z_p, normalized(p), SUPPORT))
    assert projected.min() >= 0.0
    assert projected.sum() == pytest.approx(1.0, abs=1e-6)


@fixed
@given(inner_atoms, masses)
def test_projection_keeps_the_mean_inside_the_support(z_p, p) -> None:
    p = normalized(p)
    mean = project(z_p, p, SUPPORT) @ SUPPORT
    assert float(mean) == pytest.approx(float(p.astype(np.float64) @ z_p), abs=5e-6)


def test_projection_of_the_support_itself_is_the_identity() -> None:
    p = normalized(np.arange(1.0, N_ATOMS + 1, dtype=np.float32))
    np.testing.assert_allclose(project(SUPPORT, p, SUPPORT), p, atol=1e-6)


def test_what_lies_outside_goes_to_the_ends() -> None:
    z_p = jnp.array([-1e6, -2.0, -1.875, 3.0, 1e6])
    projected = project(z_p, jnp.array([0.1, 0.2, 0.4, 0.1, 0.2]), SUPPORT)
    expected = np.zeros(N_ATOMS)
    expected[[0, 1, -1]] = [0.1 + 0.2 + 0.3, 0.1, 0.3]  # -1.875 is a quarter of the way from -2 to -1.5
    np.testing.assert_allclose(projected, expected, atol=1e-6)


@fixed
@given(masses, hnp.arrays(np.float32, 7, elements=st.floats(-20, 20, width=32)))
def test_cross_entropy_equals_rlax(p, logits) -> None:
    p = normalized(p)
    ours, gradient = cross_entropy_and_slope(p, logits)
    with pytest.warns(PendingDeprecationWarning, match="distrax"):
        theirs = rlax.categorical_cross_entropy(p, logits)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
    odds = np.exp(logits.astype(np.float64) - logits.max())
    np.testing.assert_allclose(gradient, odds / odds.sum() - p, atol=1e-5)


def test_cross_entropy_of_a_sure_thing_stays_finite() -> None:
    assert distributions.cross_entropy(jnp.array([1.0, 0.0]), jnp.array([0.0, 300.0])) == 300.0


@pytest.mark.parametrize("n", [1, 2, 32, 51])
def test_midpoints(n: int) -> None:
    expected = [(2 * i + 1) / (2 * n) for i in range(n)]
    np.testing.assert_allclose(distributions.midpoints(n), expected, rtol=1e-6)


def loss_by_loop(quantiles, levels, targets, kappa: float) -> float:
    """Dabney et al. (2018b), equation 3: |τ - [u < 0]| L(u) / κ, one pair at a time."""
    total = 0.0
    for theta, tau in zip(quantiles, levels, strict=True):
        for target in targets:
            u = target - theta
            if kappa == 0.0:
                size = abs(u)
            elif abs(u) <= kappa:
                size = 0.5 * u * u / kappa
            else:
                size = abs(u) - 0.5 * kappa
            total += abs(tau - (u < 0)) * size / len(targets)
    return total


def example(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Quantiles [5], levels [5] and targets [8]; no error is nearer than 0.05 to 0, 0.5 or 1, where slopes jump."""
    rng = np.random.default_rng(seed)
    quantiles = rng.integers(-8, 8, 5) / 4.0
    targets = rng.integers(-8, 8, 8) / 4.0 + 0.1
    return quantiles, rng.random(5), targets


def as_float32(*arrays: np.ndarray) -> list[jax.Array]:
    return [jnp.asarray(array, jnp.float32) for array in arrays]


@pytest.mark.parametrize("kappa", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_quantile_loss_equals_rlax_and_a_loop(kappa: float, seed: int) -> None:
    """rlax does not divide by κ, so that its loss vanishes with κ."""
    case = example(seed)
    ours = distributions.quantile_loss(*as_float32(*case), kappa)
    np.testing.assert_allclose(ours, loss_by_loop(*case, kappa), rtol=1e-5)
    quantiles, levels, targets = as_float32(*case)
    theirs = rlax.quantile_regression_loss(quantiles, levels, targets, kappa)
    np.testing.assert_allclose(ours, theirs / (kappa or 1.0), rtol=1e-5)


@pytest.mark.parametrize("kappa", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("seed", range(5))
def test_quantile_gradient_equals_finite_differences(kappa: float, seed: int) -> None:
    quantiles, levels, targets = example(seed)
    step = 1e-6
    expected = []
    for i in range(quantiles.size):
        up, down = quantiles.copy(), quantiles.copy()
        up[i] += step
        down[i] -= step
        rise = loss_by_loop(up, levels, targets, kappa) - loss_by_loop(down, levels, targets, kappa)
        expected.append(rise / (2 * step))
    gradient = jax.grad(distributions.quantile_loss)(*as_float32(quantiles, levels, targets), kappa)
    np.testing.assert_allclose(gradient, expected, atol=2e-6)
    theirs = jax.grad(rlax.quantile_regression_loss)(*as_float32(quantiles, levels, targets), kappa)
    np.testing.assert_allclose(gradient, theirs / (kappa or 1.0), atol=2e-6)


def test_a_weight_scales_the_gradient_under_vmap() -> None:
    cases = [as_float32(*example(seed)) for seed in range(3)]
    batch, weight = [jnp.stack(parts) for parts in zip(*cases, strict=True)], jnp.array([0.0, 0.5, 3.0])

    def total(quantiles):
        losses = jax.vmap(lambda *case: distributions.quantile_loss(*case, 1.0))(quantiles, *batch[1:])
        return weight @ losses

    together = jax.grad(total)(batch[0])
    for row, w, case in zip(together, weight, cases, strict=True):
        np.testing.assert_allclose(row, w * jax.grad(distributions.quantile_loss)(*case, 1.0), atol=1e-6)


def test_only_the_quantiles_have_a_gradient() -> None:
    gradients = jax.grad(distributions.quantile_loss, argnums=(0, 1, 2))(*as_float32(*example(0)), 1.0)
    assert [bool(jnp.any(g != 0.0)) for g in gradients] == [True, False, False]


def test_the_gradient_of_quantile_regression_is_cdf_minus_level() -> None:
    """So the loss is least where the quantiles are those of the targets."""
    targets = jnp.arange(10.0)
    quantiles, levels = jnp.array([-0.5, 2.5, 6.5, 9.5]), jnp.array([0.1, 0.3, 0.9, 0.6])
    gradient = jax.grad(distributions.quantile_loss)(quantiles, levels, targets, 0.0)
    np.testing.assert_allclose(gradient, np.array([0.0, 0.3, 0.7, 1.0]) - levels, atol=1e-6)
