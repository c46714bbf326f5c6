"""JAX. Which slots of a ring are sampled: here all equally often; by priority in prioritized.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp

from bellmax.contracts import Array
from bellmax.replay.ring import Ring, RingState

State = TypeVar("State")


class Added(Protocol[State]):
    """Take note of the slots of a ring that were written."""

    def __call__(self, state: State, rows: RingState, slots: Array, lost: Array | tuple[()] = (), /) -> State:
        """Return the state after `slots` [N] were written, and the `lost` ones were given up early."""


class Sampler(NamedTuple, Generic[State]):
    """Functions on the state of a sampler.

    Attributes:
        init: `init() -> state`.
        added: `added(state, ring state, slots [N], lost=()) -> state`, after these slots were written, and the `lost`
            ones were given up early.
        sample: `sample(state, ring state, key) -> (slots [B], weight [B])`.
        update: `update(state, slots [B], priority [B]) -> state`, after learning from them.
    """

    init: Callable[[], State]
    added: Added[State]
    sample: Callable[[State, RingState, Array], tuple[Array, Array]]
    update: Callable[[State, Array, Array], State]


def uniform_sampler(ring: Ring, batch_size: int, window: int = 1) -> Sampler[tuple[()]]:
    """Return a sampler, uniform over the slots at which `window` steps begin, with replacement. Mnih et al. (2015)."""

    def sample(state: tuple[()], rows: RingState, key: Array) -> tuple[Array, Array]:
        del state
        return ring.draw(rows, jax.random.uniform(key, (batch_size,)), window), jnp.ones(batch_size)

    return Sampler(lambda: (), lambda state, rows, slots, lost=(): state, sample, lambda state, slots, priority: state)
