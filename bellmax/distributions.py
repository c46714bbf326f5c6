"""JAX. Distributions of returns for ONE transition: on fixed atoms, and by quantiles."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from bellmax.contracts import Array


def support(v_min: float, v_max: float, n_atoms: int) -> Array:
    """The atoms z [N], evenly spaced. Bellemare et al. (2017), section 4."""
    return jnp.asarray(np.linspace(v_min, v_max, n_atoms), jnp.float32)  # NumPy's: a constant, not a computation


def project(z_p: Array, p: Array, z: Array) -> Array:
    """Probabilities [N] on the evenly spaced atoms z [N] of a distribution with atoms z_p [M] of probability p [M].

    Each atom gives its mass to its two neighbors in proportion to nearness; what lies outside goes to the ends.
    Bellemare et al. (2017), equation 7.
    """
    n = z.shape[0]
    place = (jnp.clip(z_p, z[0], z[-1]) - z[0]) / (z[1] - z[0])
    below = jnp.clip(jnp.floor(place), 0, n - 2).astype(jnp.int32)
    share = place - below
    # additions at indices: several times sooner on a CPU than the product with an [N, M] matrix
    return jnp.zeros(n).at[below].add(p * (1.0 - share)).at[below + 1].add(p * share)


def cross_entropy(p: Array, logits: Array) -> Array:
    """-Σ p ln softmax(logits)."""
    return -jnp.sum(p * jax.nn.log_softmax(logits))


def midpoints(n: int) -> Array:
    """The levels τ̂ [n] = (2i + 1) / 2n at which quantiles stand. Dabney et al. (2018a), lemma 2."""
    return (jnp.arange(n, dtype=jnp.float32) + 0.5) / n


def quantile_loss(quantiles: Array, levels: Array, targets: Array, kappa: float) -> Array:
    """Quantile Huber loss of quantiles [N] at levels [N] against samples of the target [M].

    Summed over the quantiles, averaged over the samples: Dabney et al. (2018a), equation 10, divided by kappa as in
    Dabney et al. (2018b), equation 3. With kappa = 0 the loss of quantile regression itself. Only the
    quantiles have a gradient.
    """
    return _quantile_loss(kappa, quantiles, levels, jax.lax.stop_gradient(targets))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _quantile_loss(kappa: float, quantiles: Array, levels: Array, targets: Array) -> Array:
    return _loss_and_slope(kappa, quantiles, levels, targets)[0]


def _loss_and_slope(kappa: float, quantiles: Array, levels: Array, targets: Array) -> tuple[Array, Array]:
    """The loss and its gradient [N] in one pass over the pairs [N, M].

    Means are products with a vector, which XLA on a CPU does several times faster than a sum along rows.
    """
    error = targets[None, :] - quantiles[:, None]
    slope = jnp.clip(error / kappa, -1.0, 1.0) if kappa else jnp.sign(error)
    tilted = jnp.abs(levels[:, None] - (error < 0.0)) * slope
    mean = jnp.full(targets.shape, 1.0 / targets.shape[0])
    return jnp.sum((tilted * (error - 0.5 * kappa * slope)) @ mean), -tilted @ mean


def _forward(kappa: float, quantiles: Array, levels: Array, targets: Array) -> tuple[Array, Array]:
    return _loss_and_slope(kappa, quantiles, levels, targets)


def _backward(kappa: float, slope: Array, cotangent: Array) -> tuple[Array, None, None]:
    del kappa
    return cotangent * slope, None, None


_quantile_loss.defvjp(_forward, _backward)
