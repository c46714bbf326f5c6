"""JAX. Bellman targets and errors for ONE transition; `vmap` at the call site makes the batch.

Names state the time: `q_tm1` and `a_tm1` belong to the observation before a step; `r_t`, `discount_t` and `q_t` to the
one after it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from bellmax.contracts import Array


def value_of(q: Array, action: Array) -> Array:
    """Return the entry q[action] of q [A], or the row q[action] of q [A, ...].

    It is a masked sum, because the gradient of an index is a scatter, which XLA runs as a loop on a CPU.
    """
    chosen = (jnp.arange(q.shape[0]) == action).reshape(-1, *[1] * (q.ndim - 1))
    return jnp.sum(jnp.where(chosen, q, 0.0), axis=0)


def legal(q: Array, mask: Array | None) -> Array:
    """Return the values q [A], with -inf where `mask` [A] forbids the action."""
    return q if mask is None else jnp.where(mask, q, -jnp.inf)


def greedy_policy(q: Array) -> Array:
    """Return the policy [A] that takes the best action of q [A], the one with the lowest index among equals."""
    return (jnp.arange(q.shape[0]) == jnp.argmax(q)).astype(q.dtype)


def mean_under(policy: Array, q: Array) -> Array:
    """Return the mean of q [A, ...] under policy [A]; an action of probability 0 adds 0, even if its value is -inf."""
    shape = (-1, *[1] * (q.ndim - 1))
    return jnp.sum(jnp.where(policy.reshape(shape) > 0, policy.reshape(shape) * q, 0.0), axis=0)


def td_error(q_tm1: Array, a_tm1: Array, target: Array) -> Array:
    """Return the error target - q(s, a); no gradient flows into the target."""
    return jax.lax.stop_gradient(target) - value_of(q_tm1, a_tm1)


def squared_loss(error: Array) -> Array:
    """Return error², not halved, as in PyTorch's MSELoss."""
    return jnp.square(error)


def huber_loss(error: Array, threshold: float = 1.0) -> Array:
    """Return error²/2 up to the threshold, then linear; its gradient is the clipped error. Huber (1964)."""
    magnitude = jnp.abs(error)
    quadratic = jnp.minimum(magnitude, threshold)
    return 0.5 * jnp.square(quadratic) + threshold * (magnitude - quadratic)


def squeeze(x: Array, epsilon: float = 1e-3) -> Array:
    """Return h(x) = sign(x) (√(|x| + 1) - 1) + εx, which compresses large values. Pohlen et al. (2018)."""
    return jnp.sign(x) * (jnp.sqrt(jnp.abs(x) + 1.0) - 1.0) + epsilon * x


def unsqueeze(x: Array, epsilon: float = 1e-3) -> Array:
    """Return the inverse of `squeeze`. Pohlen et al. (2018), proposition A.2."""
    root = jnp.sqrt(1.0 + 4.0 * epsilon * (jnp.abs(x) + 1.0 + epsilon))
    # (root - 1) / 2ε, without the cancellation of root and 1 that would ruin it in float32
    inner = 2.0 * (jnp.abs(x) + 1.0 + epsilon) / (root + 1.0)
    return jnp.sign(x) * (jnp.square(inner) - 1.0)


def n_step(r_t: Array, discount_t: Array, stops: Array) -> tuple[Array, Array, Array]:
    """Return (Σ γ^k r_k, γ^n, the index of the last step) of n steps [n], up to the first that `stops`.

    That step counts, and the last of the n always stops. Sutton and Barto (2018), equation 7.1.
    """
    stops = stops.at[-1].set(True)
    last = jnp.argmax(stops)
    counted = jnp.arange(r_t.shape[0]) <= last
    so_far = jnp.cumprod(jnp.where(counted, discount_t, 1.0))
    before = jnp.concatenate([jnp.ones(1, so_far.dtype), so_far[:-1]])
    return jnp.sum(jnp.where(counted, before * r_t, 0.0)), so_far[-1], last


def lambda_returns(r_t: Array, discount_t: Array, v_t: Array, over: Array, lambda_: Array | float) -> Array:
    """Return the λ-returns [T] of consecutive steps; `v_t` [T] is the value of the observation after each step.

    G = r + γ ((1 - λ) v + λ G'), where G' is that of the next step. At the end of an episode (`over` [T]) and at the
    last step, all weight is on v. Sutton and Barto (2018), equation 12.20.
    """

    def back(following: Array, step: tuple[Array, ...]) -> tuple[Array, Array]:
        r, discount, v, ended = step
        total = r + discount * jnp.where(ended, v, (1.0 - lambda_) * v + lambda_ * following)
        return total, total

    over = over.at[-1].set(True)
    return jax.lax.scan(back, jnp.zeros_like(v_t[-1]), (r_t, discount_t, v_t, over), reverse=True)[1]
