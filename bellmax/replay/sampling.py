"""JAX. Which slots of a ring are sampled: all equally often. Those with large errors more often: prioritized.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bellmax.contracts import Array
from bellmax.replay.ring import Ring, RingState


class Sampler(NamedTuple):
    """Functions on a state of their own.

    Attributes:
        init: `init() -> state`.
        added: `added(state, ring state, slots [N], lost=()) -> state`, after these slots were written, and others
            given up before their turn.
        sample: `sample(state, ring state, key) -> (slots [B], weight [B])`.
        update: `update(state, slots [B], priority [B]) -> state`, after learning from them.
    """

    init: Callable[[], Any]
    added: Callable[..., Any]
    sample: Callable[..., tuple[Array, Array]]
    update: Callable[..., Any]


def uniform(ring: Ring, batch_size: int, window: int = 1) -> Sampler:
    """Every slot as likely that has `window` steps from it on, with replacement. Mnih et al. (2015)."""

    def sample(state: tuple[()], rows: RingState, key: Array) -> tuple[Array, Array]:
        del state
        return ring.draw(rows, jax.random.uniform(key, (batch_size,)), window), jnp.ones(batch_size)

    return Sampler(tuple, lambda state, rows, slots, lost=(): state, sample, lambda state, slots, priority: state)
