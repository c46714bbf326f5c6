"""JAX. The memory of on-policy agents, which learn once from the steps since the last round."""

from __future__ import annotations

from typing import TypeAlias

import jax.numpy as jnp

from bellmax.contracts import Array, Experience, Memory
from bellmax.trees import tree_map

RolloutState: TypeAlias = tuple[tuple[Experience, Array], Array]  # (steps, whether each counts) [T, N], the next row


def make_rollout(example: Experience, length: int, n_worlds: int) -> Memory[RolloutState]:
    """Return a memory whose sample is every step since the last round of learning, [length, N, ...]."""

    def init() -> RolloutState:
        blank = tree_map(lambda x: jnp.zeros((length, n_worlds, *jnp.shape(x)), jnp.result_type(x)), example)
        return (blank, jnp.zeros((length, n_worlds))), jnp.int32(0)

    def add(state: RolloutState, experience: Experience, valid: Array | None = None) -> RolloutState:
        (steps, counts), t = state
        counted = jnp.ones(n_worlds) if valid is None else valid.astype(jnp.float32)
        steps = tree_map(lambda old, new: old.at[t].set(new), steps, experience)
        if valid is not None:  # the step before a row that does not count ends its episode
            before = jnp.maximum(t - 1, 0)
            steps = steps._replace(over=steps.over.at[before].max((~valid & (t > 0)).astype(jnp.int32)))
        return (steps, counts.at[t].set(counted)), jnp.where(t + 1 >= length, 0, t + 1)

    def sample(state: RolloutState, key: Array, updates: Array) -> tuple[Experience, Array, Array]:
        del key, updates
        return *state[0], jnp.zeros(0, jnp.int32)

    def close(state: RolloutState) -> RolloutState:
        (steps, counts), t = state
        return (steps._replace(over=steps.over.at[t - 1].set(1)), counts), t

    return Memory(init, add, sample, lambda state, index, priority: state, close)
