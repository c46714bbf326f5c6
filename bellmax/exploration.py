"""JAX. How a network acts, for ONE observation. Values of -inf are actions that are not allowed."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from bellmax.contracts import Array


def epsilon_greedy(q: Array, epsilon: Array, key: Array, mask: Array | None = None) -> Array:
    """With probability epsilon uniform over the allowed actions, else the best of q [A]; int32."""
    coin, choice = jax.random.uniform(key, (2,))
    if mask is None:
        explored = (choice * q.shape[0]).astype(jnp.int32)  # choice < 1, so explored < A: floats round down here
    else:
        rank = jnp.floor(choice * jnp.sum(mask)).astype(jnp.int32)
        explored = jnp.argmax(jnp.cumsum(mask) > rank).astype(jnp.int32)
    return jnp.where(coin < epsilon, explored, jnp.argmax(q).astype(jnp.int32))


def boltzmann(q: Array, temperature: Array, key: Array) -> Array:
    """An action with probability proportional to exp(q / temperature); int32."""
    return jax.random.categorical(key, q / temperature).astype(jnp.int32)


def ladder(epsilon: Array, rank: Array, spread: float = 7.0) -> Array:
    """ε^(1 + spread · rank): the ε of the environment of `rank` in [0, 1]. Horgan et al. (2018), section 4."""
    return epsilon ** (1.0 + spread * rank)
