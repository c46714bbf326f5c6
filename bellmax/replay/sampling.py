"""JAX. Which slots of a ring are sampled: all equally often. Those with large errors more often: prioritized.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, Protocol, TypeVar

import jax
import jax.numpy as jnp

from bellmax.contracts import Array
from bellmax.replay.ring import Ring, RingState

State = TypeVar("State")


class Added(Protocol[State]):
    """Learn which slots of a ring were written."""

    def __call__(self, state: State, rows: RingState, slots: Array, lost: Array | tuple[()] = (), /) -> State:
        """Return the state after `slots` [N] were written, and others were `lost` before their turn."""


class Sampler(NamedTuple, Generic[State]):
    """Functions on a state of their own.

    Attributes:
        init: `init() -> state`.
        added: `added(state, ring state, slots [N], lost=()) -> state`, after these slots were written, and others
            given up before their turn.
        sample: `sample(state, ring state, key) -> (slots [B], weight [B])`.
        update: `update(state, slots [B], priority [B]) -> state`, after learning from them.
    """

    init: Callable[[], State]
    added: Added[State]
    sample: Callable[[State, RingState, Array], tuple[Array, Array]]
    update: Callable[[State, Array, Array], State]


def uniform(ring: Ring, batch_size: int, window: int = 1) -> Sampler[tuple[()]]:
    """Every slot as likely that has `window` steps from it on, with replacement. Mnih et al. (2015)."""

    def sample(state: tuple[()], rows: RingState, key: Array) -> tuple[Array, Array]:
        del state
        return ring.draw(rows, jax.random.uniform(key, (batch_size,)), window), jnp.ones(batch_size)

    return Sampler(lambda: (), lambda state, rows, slots, lost=(): state, sample, lambda state, slots, priority: state)
