"""JAX. A ring buffer of experience on the device: the newest T steps of each of N environments. Lin (1992).

A slot is one row. The rows of one environment are N apart, so the step after slot s is in slot s + N.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from bellmax.contracts import Array, Experience
from bellmax.trees import tree_map

NOWHERE = 2**31 - 1  # a slot outside every ring: nothing is written there

Row = TypeVar("Row")


class RingState(NamedTuple):
    """Rows of 32-bit words [T N, width]; for each environment [N] the next step to write, and how many are filled."""

    rows: Array
    position: Array
    size: Array


class Write(Protocol):
    """Write one step of every environment into a ring."""

    def __call__(
        self, state: RingState, experience: Experience, valid: Array | None = None, /
    ) -> tuple[RingState, Array]:
        """Return the ring, and the slots [N] that were written."""


class Draw(Protocol):
    """Draw slots of a ring."""

    def __call__(self, state: RingState, u: Array, window: int = 1, /) -> Array:
        """Return the slots [B] for numbers `u` [B] in [0, 1)."""


class Ring(NamedTuple):
    """Functions on a `RingState`.

    Attributes:
        capacity: slots, T N.
        init: `init() -> state`, empty.
        add: `add(state, experience [N], valid [N] or None) -> (state, slots [N])`. Where a row is not valid, the slot
            is `NOWHERE`, nothing is stored, and the newest step of that environment ends its episode.
        read: `read(state, slots) -> experience`, for slots of any shape.
        draw: `draw(state, u [B], window=1) -> slots [B]`, from numbers in [0, 1): uniform over the slots at which
            `window` steps of one environment begin.
        after: `after(slots, k) -> slots`, k steps later in the same environment.
        following: `following(state, slots) -> counts`, the steps from each slot to the newest of its environment.
        filled: `filled(state) -> n`, the number of filled slots.
        close: `close(state) -> state`, in which the newest step of each environment ends its episode.
    """

    capacity: int
    init: Callable[[], RingState]
    add: Write
    read: Callable[[RingState, Array], Experience]
    draw: Draw
    after: Callable[[Array, Array | int], Array]
    following: Callable[[RingState, Array], Array]
    filled: Callable[[RingState], Array]
    close: Callable[[RingState], RingState]


def make_ring(example: Experience, capacity: int, n_worlds: int = 1) -> Ring:
    """Return a ring of `capacity` experiences like `example`, rounded down to a multiple of `n_worlds`."""
    length = capacity // n_worlds
    capacity = length * n_worlds
    pack, unpack, width = row_codec(example)
    over = row_codec(example.transition)[2]  # the column after the transition's

    def newest(state: RingState) -> Array:
        """Return the slot of the newest step of each environment."""
        return jnp.where(state.position > 0, state.position - 1, length - 1) * n_worlds + jnp.arange(n_worlds)

    def init() -> RingState:
        counters = [jnp.zeros(n_worlds, jnp.int32) for _ in range(2)]
        return RingState(jnp.zeros((capacity, width), jnp.uint32), *counters)

    def add(state: RingState, experience: Experience, valid: Array | None = None) -> tuple[RingState, Array]:
        words = jax.vmap(pack)(experience)
        slots = state.position * n_worlds + jnp.arange(n_worlds)
        step: Array | int = 1
        if valid is None:  # fast: all environments are at the same position, so their rows are one slice
            rows = jax.lax.dynamic_update_slice(state.rows, words, (slots[0], 0))
        else:
            cut = jnp.where(valid | (state.size == 0), NOWHERE, newest(state))
            slots, step = jnp.where(valid, slots, NOWHERE), valid.astype(jnp.int32)
            rows = state.rows.at[slots].set(words, mode="drop").at[cut, over].set(1, mode="drop")
        position = state.position + step
        position = jnp.where(position >= length, 0, position)
        return RingState(rows, position, jnp.minimum(state.size + step, length)), slots

    def read(state: RingState, slots: Array) -> Experience:
        rows = state.rows.at[slots.reshape(-1)].get(mode="promise_in_bounds")
        flat = jax.vmap(unpack)(rows)
        return tree_map(lambda x: x.reshape(*slots.shape, *x.shape[1:]), flat)

    def draw(state: RingState, u: Array, window: int = 1) -> Array:
        starts = jnp.maximum(state.size - (window - 1), 0)
        ends = jnp.cumsum(starts)
        # u * n may round up to n in float32
        place = jnp.minimum((u * ends[-1]).astype(jnp.int32), ends[-1] - 1)
        if n_worlds == 1:
            world, age = jnp.zeros_like(place), place
        else:
            world = jnp.sum(place[:, None] >= ends[None, :], axis=1, dtype=jnp.int32)
            age = place - jnp.where(world > 0, ends[world - 1], 0)
        oldest = state.position - state.size
        step = jnp.where(oldest < 0, oldest + length, oldest)[world] + age
        return jnp.where(step >= length, step - length, step) * n_worlds + world

    def after(slots: Array, k: Array | int) -> Array:
        moved = slots + k * n_worlds
        return jnp.where(moved >= capacity, moved - capacity, moved)

    def following(state: RingState, slots: Array) -> Array:
        place, newest = slots // n_worlds, state.position[slots % n_worlds]
        return jnp.mod(newest - place - 1, length) + 1

    def close(state: RingState) -> RingState:
        return state._replace(rows=state.rows.at[newest(state), over].set(1))

    def filled(state: RingState) -> Array:
        return jnp.sum(state.size)

    return Ring(capacity, init, add, read, draw, after, following, filled, close)


def row_codec(example: Row) -> tuple[Callable[[Row], Array], Callable[[Array], Row], int]:
    """Return (pack, unpack, width) between an experience and a row of 32-bit words, bit for bit; a word has 4 bytes.

    A row takes one write and one gather; five arrays would take five of each.
    """
    leaves, tree = jax.tree.flatten(example)
    shapes = [np.shape(leaf) for leaf in leaves]
    dtypes = [jnp.result_type(leaf) for leaf in leaves]
    strange = [dtype for dtype in dtypes if dtype.itemsize != 4 and dtype not in (jnp.uint8, jnp.bool_)]
    if strange:
        raise TypeError(f"a replay buffer stores 32-bit values, bytes and flags; got {strange[0]}")
    sizes = [math.ceil(math.prod(shape) * dtype.itemsize / 4) for shape, dtype in zip(shapes, dtypes, strict=True)]
    ends = np.cumsum(sizes)

    def to_words(leaf: jax.typing.ArrayLike, dtype: np.dtype[Any], size: int) -> Array:
        if dtype.itemsize == 4:
            return jax.lax.bitcast_convert_type(jnp.asarray(leaf, dtype), jnp.uint32).reshape(-1)
        octets = jnp.asarray(leaf, jnp.uint8).reshape(-1)
        octets = jnp.concatenate([octets, jnp.zeros(4 * size - octets.size, jnp.uint8)])
        return jax.lax.bitcast_convert_type(octets.reshape(size, 4), jnp.uint32)

    def from_words(words: Array, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Array:
        if dtype.itemsize == 4:
            return jax.lax.bitcast_convert_type(words.reshape(shape), dtype)
        octets = jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(-1)
        return octets[: math.prod(shape)].reshape(shape).astype(dtype)

    def pack(experience: Row) -> Array:
        parts = zip(jax.tree.leaves(experience), dtypes, sizes, strict=True)
        return jnp.concatenate([to_words(*part) for part in parts])

    def unpack(row: Array) -> Row:
        parts = jnp.split(row, ends[:-1])
        restored = [from_words(*part) for part in zip(parts, shapes, dtypes, strict=True)]
        filled: Row = jax.tree.unflatten(tree, restored)
        return filled

    return pack, unpack, int(ends[-1])
