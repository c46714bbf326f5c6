"""JAX. Distributions of returns for ONE transition: on fixed atoms, and by quantiles."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from bellmax.bellman import huber_loss
from bellmax.types import Array


def support(v_min: float, v_max: float, n_atoms: int) -> Array:
    """The atoms z [N], evenly spaced. Bellemare et al. (2017), section 4."""
    return jnp.linspace(v_min, v_max, n_atoms, dtype=jnp.float32)


def project(z_p: Array, p: Array, z: Array) -> Array:
    """Probabilities [N] on the evenly spaced atoms z [N] of a distribution with atoms z_p [M] of probability p [M].

    Each atom gives its mass to its two neighbours in proportion to nearness; what lies outside goes to the ends.
    Bellemare et al. (2017), equation 7.
    """
    gap = z[1] - z[0]
    inside = jnp.clip(z_p, z[0], z[-1])
    share = jnp.clip(1.0 - jnp.abs(inside[None, :] - z[:, None]) / gap, 0.0, 1.0)  # [N, M]
    return jnp.sum(share * p[None, :], axis=1)


def cross_entropy(p: Array, logits: Array) -> Array:
    """-Σ p ln softmax(logits)."""
    return -jnp.sum(p * jax.nn.log_softmax(logits))


def midpoints(n: int) -> Array:
    """The levels τ̂ [n] = (2i + 1) / 2n at which quantiles stand. Dabney et al. (2018a), lemma 2."""
    return (jnp.arange(n, dtype=jnp.float32) + 0.5) / n


def quantile_loss(quantiles: Array, levels: Array, targets: Array, kappa: float) -> Array:
    """Quantile Huber loss of quantiles [N] at levels [N] against samples of the target [M].

    Summed over the quantiles, averaged over the samples: Dabney et al. (2018a), equation 10. With kappa = 0 the loss
    of quantile regression itself. No gradient flows into the targets.
    """
    error = jax.lax.stop_gradient(targets)[None, :] - quantiles[:, None]  # [N, M]
    size = jnp.abs(error) if kappa == 0 else huber_loss(error, kappa) / kappa
    tilt = jnp.abs(levels[:, None] - (error < 0.0))
    return jnp.sum(jnp.mean(tilt * size, axis=1))
