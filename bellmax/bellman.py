"""JAX. Bellman targets and errors for ONE transition; `vmap` at the call site makes the batch.

Time is in the names: `q_tm1`, `a_tm1` belong to the observation acted upon, `r_t`, `discount_t`, `q_t` to the next.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from bellmax.types import Array


def value_of(q: Array, action: Array) -> Array:
    """The entry q[action] of q [A].

    Written as a masked sum: the gradient of an index is a scatter, which XLA on a CPU runs as a loop.
    """
    return jnp.sum(jnp.where(jnp.arange(q.shape[0]) == action, q, 0.0))


def max_target(r_t: Array, discount_t: Array, q_t: Array) -> Array:
    """The target r + γ max_a q(s', a). Mnih et al. (2015), equation 1; `q_t` [A] is of the target network."""
    return r_t + discount_t * jnp.max(q_t)


def double_target(r_t: Array, discount_t: Array, q_t: Array, selector_t: Array) -> Array:
    """The target r + γ q(s', argmax_a selector(s', a)). van Hasselt et al. (2016), equation 4; both [A]."""
    return r_t + discount_t * value_of(q_t, jnp.argmax(selector_t))


def td_error(q_tm1: Array, a_tm1: Array, target: Array) -> Array:
    """The error target - q(s, a); no gradient flows into the target."""
    return jax.lax.stop_gradient(target) - value_of(q_tm1, a_tm1)


def squared_loss(error: Array) -> Array:
    """The error² (not halved, as in PyTorch's MSELoss)."""
    return jnp.square(error)


def huber_loss(error: Array) -> Array:
    """The error²/2 up to 1, then linear. Huber (1964); its gradient is the error clipped to [-1, 1]."""
    magnitude = jnp.abs(error)
    quadratic = jnp.minimum(magnitude, 1.0)
    return 0.5 * jnp.square(quadratic) + (magnitude - quadratic)
