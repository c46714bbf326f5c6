"""JAX. A ring of transitions on the device, sampled uniformly with replacement. Lin (1992); Mnih et al. (2015)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bellmax.types import Array, Transition


class Memory(NamedTuple):
    """A replay memory: pure functions on one state.

    Attributes:
        init: `init() -> state`, empty.
        add: `add(state, transitions, valid=None) -> state`, for one transition of every world [N]; rows that are
            not `valid` [N] are left out.
        sample: `sample(state, key) -> (batch, weight [B], index [B])`.
        update: `update(state, index, priority) -> state`, after learning.
    """

    init: Callable[[], Any]
    add: Callable[..., Any]
    sample: Callable[..., Any]
    update: Callable[..., Any]


class RingState(NamedTuple):
    """Rows of 32-bit words [capacity, width], the next row to write, and how many rows hold something."""

    rows: Array
    position: Array
    size: Array


def uniform_replay(example: Transition, capacity: int, batch_size: int, n_worlds: int = 1) -> Memory:
    """A ring of `capacity` transitions shaped like `example` (one transition, no batch axis).

    `capacity` is rounded down to a multiple of `n_worlds`, so that a batch never straddles the ring's end.
    """
    capacity -= capacity % n_worlds
    pack, unpack, width = row_codec(example)

    def init() -> RingState:
        return RingState(jnp.zeros((capacity, width), jnp.uint32), jnp.int32(0), jnp.int32(0))

    def add(state: RingState, transitions: Transition, valid: Array | None = None) -> RingState:
        words, count = jax.vmap(pack)(transitions), jnp.int32(n_worlds)
        if valid is None:  # the fast way: all rows in one slice
            rows = jax.lax.dynamic_update_slice(state.rows, words, (state.position, 0))
        else:
            count = jnp.sum(valid, dtype=jnp.int32)
            slot = (state.position + jnp.cumsum(valid, dtype=jnp.int32) - 1) % capacity
            rows = state.rows.at[jnp.where(valid, slot, capacity)].set(words, mode="drop")
        position = state.position + count
        position = jnp.where(position >= capacity, position - capacity, position)
        return RingState(rows, position, jnp.minimum(state.size + count, capacity))

    def sample(state: RingState, key: Array) -> tuple[Transition, Array, Array]:
        index = (jax.random.uniform(key, (batch_size,)) * state.size).astype(jnp.int32)
        index = jnp.minimum(index, state.size - 1)  # u * size may round up to size in float32
        rows = state.rows.at[index].get(mode="promise_in_bounds")
        return jax.vmap(unpack)(rows), jnp.ones(batch_size), index

    def update(state: RingState, index: Array, priority: Array) -> RingState:
        del index, priority
        return state

    return Memory(init, add, sample, update)


def row_codec(
    example: Transition,
) -> tuple[Callable[[Transition], Array], Callable[[Array], Transition], int]:
    """How one transition becomes one row of 32-bit words and back, bit for bit.

    One row is one write and one gather a step, where five arrays would be five of each.
    """
    leaves, tree = jax.tree.flatten(example)
    shapes = [np.shape(leaf) for leaf in leaves]
    dtypes = [jnp.result_type(leaf) for leaf in leaves]
    sizes = [math.prod(shape) for shape in shapes]
    narrow = [dtype for dtype in dtypes if dtype.itemsize != 4]
    if narrow:
        raise TypeError(f"a row holds 32-bit values; got {narrow[0]}")
    ends = np.cumsum(sizes)

    def pack(transition: Transition) -> Array:
        words = [
            jax.lax.bitcast_convert_type(jnp.asarray(leaf, dtype), jnp.uint32).reshape(-1)
            for leaf, dtype in zip(jax.tree.leaves(transition), dtypes, strict=True)
        ]
        return jnp.concatenate(words)

    def unpack(row: Array) -> Transition:
        parts = jnp.split(row, ends[:-1])
        restored = [
            jax.lax.bitcast_convert_type(part.reshape(shape), dtype)
            for part, shape, dtype in zip(parts, shapes, dtypes, strict=True)
        ]
        return jax.tree.unflatten(tree, restored)  # type: ignore[no-any-return]

    return pack, unpack, int(ends[-1])
