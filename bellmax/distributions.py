"""JAX. Distributions of returns for ONE transition: on fixed atoms, or as quantiles."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from bellmax.contracts import Array


def support(v_min: float, v_max: float, n_atoms: int) -> Array:
    """Return the atoms z [N], evenly spaced. Bellemare et al. (2017), section 4."""
    return jnp.asarray(np.linspace(v_min, v_max, n_atoms), jnp.float32)  # by NumPy, so it is a constant


def project(z_p: Array, p: Array, z: Array) -> Array:
    """Return the probabilities [N] on evenly spaced atoms z [N] of a distribution with probabilities p [M] on z_p [M].

    Each atom divides its mass between its two neighbors, more to the nearer; mass outside the range goes to the ends.
    Bellemare et al. (2017), equation 7.
    """
    n = z.shape[0]
    place = (jnp.clip(z_p, z[0], z[-1]) - z[0]) / (z[1] - z[0])
    below = jnp.clip(jnp.floor(place), 0, n - 2).astype(jnp.int32)
    share = place - below
    # on a CPU, additions at indices are several times faster than the product with an [N, M] matrix
    return jnp.zeros(n).at[below].add(p * (1.0 - share)).at[below + 1].add(p * share)


def cross_entropy(p: Array, logits: Array) -> Array:
    """Return -Σ p ln softmax(logits)."""
    return -jnp.sum(p * jax.nn.log_softmax(logits))


def midpoints(n: int) -> Array:
    """Return the levels τ̂ [n] = (2i + 1) / 2n of n quantiles. Dabney et al. (2018a), lemma 2."""
    return (jnp.arange(n, dtype=jnp.float32) + 0.5) / n


def quantile_loss(quantiles: Array, levels: Array, targets: Array, kappa: float) -> Array:
    """Return the quantile Huber loss of quantiles [N] at levels [N] for samples of the target [M].

    It is summed over the quantiles and averaged over the samples: Dabney et al. (2018a), equation 10, divided by kappa
    as in Dabney et al. (2018b), equation 3. With kappa = 0 it is the loss of quantile regression. Only the quantiles
    have a gradient.
    """
    return _quantile_loss(kappa, quantiles, levels, jax.lax.stop_gradient(targets))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _quantile_loss(kappa: float, quantiles: Array, levels: Array, targets: Array) -> Array:
    return _loss_and_slope(kappa, quantiles, levels, targets)[0]


def _loss_and_slope(kappa: float, quantiles: Array, levels: Array, targets: Array) -> tuple[Array, Array]:
    """Return the loss and its gradient [N], in one pass over the pairs [N, M].

    Means are products with a vector, which are several times faster than sums of rows on a CPU.
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
