"""JAX. How a network acts, for ONE observation."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from bellmax.types import Array


def epsilon_greedy(q: Array, epsilon: Array, key: Array) -> Array:
    """With probability epsilon uniform over all actions, else the best of q [A]; int32."""
    coin, choice = jax.random.uniform(key, (2,))
    explored = (choice * q.shape[0]).astype(jnp.int32)  # choice < 1, so explored < A: floats round down here
    return jnp.where(coin < epsilon, explored, jnp.argmax(q).astype(jnp.int32))
