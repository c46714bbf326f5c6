"""JAX. Prioritized replay: slots with large errors are sampled more often. Schaul et al. (2016)."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp

from bellmax.contracts import Array
from bellmax.replay.ring import NOWHERE, Ring, RingState
from bellmax.replay.sampling import Sampler
from bellmax.replay.tree import make_tree


class Priorities(NamedTuple):
    """The tree of p^α, the largest p^α so far, and the number of steps added, over all environments."""

    levels: tuple[Array, ...]
    largest: Array
    added: Array


def prioritized_sampler(
    ring: Ring,
    batch_size: int,
    *,
    alpha: float,
    beta: tuple[float, float],
    epsilon: float,
    steps: int,
    window: int = 1,
) -> Sampler[Priorities]:
    """Return a sampler in proportion to p^α, p = |δ| + ε: one draw from each of `batch_size` equal parts of the sum.

    New slots have the largest priority so far. The weight of a draw is (n P)^-β, divided by the largest in the batch; β
    moves from its first to its last value over `steps` environment steps. Schaul et al. (2016), sections 3.3 and 3.4.

    With `window` > 1 a slot stands for the `window` steps that begin there. It can be drawn once all are stored.
    """
    tree = make_tree(ring.capacity)

    def init() -> Priorities:
        return Priorities(tree.init(), jnp.float32(1.0), jnp.int32(0))

    def added(state: Priorities, rows: RingState, slots: Array, gone: Array | tuple[()] = ()) -> Priorities:
        n, lost = slots.shape[0], jnp.asarray(gone, jnp.int32)
        fresh, nothing = jnp.full(n, state.largest), jnp.zeros(lost.shape)
        if window == 1:
            # in one write: XLA would copy the tree between two
            levels = tree.set(state.levels, jnp.concatenate([slots, lost]), jnp.concatenate([fresh, nothing]))
        else:
            valid = slots < ring.capacity
            first = ring.after(
                slots, ring.capacity // n - window + 1
            )  # forward by the rest of the ring is a window back
            complete = valid & (rows.size >= window)
            levels = tree.set(state.levels, jnp.concatenate([slots, lost]), jnp.zeros(n + lost.size))
            levels = tree.set(levels, jnp.where(complete, first, NOWHERE), fresh)
        count = jnp.sum(slots < ring.capacity, dtype=jnp.int32)
        return Priorities(levels, state.largest, state.added + count)

    def sample(state: Priorities, rows: RingState, key: Array) -> tuple[Array, Array]:
        total = tree.total(state.levels)
        part = (jnp.arange(batch_size) + jax.random.uniform(key, (batch_size,))) / batch_size
        slots, found = tree.find(state.levels, part * total)
        probability = found / total
        progress = jnp.minimum(state.added / steps, 1.0)
        weight = (ring.filled(rows) * probability) ** -(beta[0] + (beta[1] - beta[0]) * progress)
        return slots, weight / jnp.max(weight)

    def update(state: Priorities, slots: Array, priority: Array) -> Priorities:
        powered = (priority + epsilon) ** alpha
        largest = jnp.maximum(state.largest, jnp.max(powered))
        return Priorities(tree.set(state.levels, slots, powered), largest, state.added)

    return Sampler(init, added, sample, update)
