"""JAX. The memory of agents that learn only from what they have just done."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from bellmax.contracts import Array, Experience, Memory


def rollout(example: Experience, length: int, n_worlds: int) -> Memory:
    """No memory: what the environments did since the last round of learning, [length, N, ...], all of it, once."""

    def init() -> tuple[Any, Array]:
        blank = jax.tree.map(lambda x: jnp.zeros((length, n_worlds, *jnp.shape(x)), jnp.result_type(x)), example)
        return (blank, jnp.zeros((length, n_worlds))), jnp.int32(0)

    def add(state: tuple[Any, Array], experience: Experience, valid: Array | None = None) -> tuple[Any, Array]:
        (steps, counts), t = state
        counted = jnp.ones(n_worlds) if valid is None else valid.astype(jnp.float32)
        steps = jax.tree.map(lambda old, new: old.at[t].set(new), steps, experience)
        if valid is not None:  # what came before a row that does not count goes no further
            before = jnp.maximum(t - 1, 0)
            steps = steps._replace(over=steps.over.at[before].max((~valid & (t > 0)).astype(jnp.int32)))
        return (steps, counts.at[t].set(counted)), jnp.where(t + 1 >= length, 0, t + 1)

    def sample(state: tuple[Any, Array], key: Array, updates: Array) -> tuple[Any, Array, Array]:
        del key, updates
        return *state[0], jnp.zeros(0, jnp.int32)

    def close(state: tuple[Any, Array]) -> tuple[Any, Array]:
        (steps, counts), t = state
        return (steps._replace(over=steps.over.at[t - 1].set(1)), counts), t

    return Memory(init, add, sample, lambda state, index, priority: state, close)
