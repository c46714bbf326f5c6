"""JAX. Replay buffers: a ring, a sampler, and what a slot stands for: a transition of n steps, or a sequence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple, TypeAlias, TypeVar

import jax
import jax.numpy as jnp

from bellmax import bellman
from bellmax.contracts import Array, Batch, Experience, Memory, Transition
from bellmax.replay.ring import Ring, RingState, make_ring
from bellmax.replay.sampling import Sampler
from bellmax.trees import tree_map

State = TypeVar("State")  # of a sampler
Tree = TypeVar("Tree")


class ReplayState(NamedTuple, Generic[State]):
    """The states of the ring and of the sampler."""

    ring: RingState
    sampler: State


Horizon: TypeAlias = Callable[[Array], tuple[Array, Array]]  # gradient steps -> (n, γ)


def make_replay(
    example: Experience,
    capacity: int,
    n_worlds: int,
    make_sampler: Callable[[Ring], Sampler[State]],
    window: int = 1,
    horizon: Horizon | None = None,
    sequences: bool = False,
) -> Memory[ReplayState[State]]:
    """Return a replay buffer of `capacity` experiences like `example`.

    A sample is a transition of `window` steps, or of fewer that bootstrap where an episode or the stored steps end.
    `horizon` changes n, up to the window, and γ with the gradient steps. With `sequences` a sample is instead the
    experience of `window` steps in a row, [B, window, ...], which can span several episodes.
    """
    ring = make_ring(example, capacity, n_worlds)
    sampler = make_sampler(ring)

    def init() -> ReplayState[State]:
        return ReplayState(ring.init(), sampler.init())

    def add(state: ReplayState[State], experience: Experience, valid: Array | None = None) -> ReplayState[State]:
        rows, slots = ring.add(state.ring, experience, valid)
        return ReplayState(rows, sampler.added(state.sampler, rows, slots))

    def several(rows: RingState, slots: Array, updates: Array) -> Transition:
        span = jnp.arange(window)
        n: Array | int = window
        gamma: Array | None = None
        if horizon is not None:
            n, gamma = horizon(updates)
        within = jax.vmap(ring.after, (None, 0), 1)(slots, span)  # [B, window]
        here = jnp.minimum(ring.following(rows, slots), n)
        kept = ring.read(rows, within)
        stops = kept.over.astype(bool) | (span[None, :] >= here[:, None] - 1)
        discount = kept.transition.discount
        if gamma is not None:
            discount = jnp.where(discount > 0, gamma, 0.0)
        reward, product, last = jax.vmap(bellman.n_step)(kept.transition.reward, discount, stops)
        first = tree_map(lambda x: x[:, 0], kept.transition)
        return Transition(first.obs, first.action, reward, product, pick(kept.transition.next_obs, last))

    def sample(state: ReplayState[State], key: Array, updates: Array) -> tuple[Batch, Array, Array]:
        slots, weight = sampler.sample(state.sampler, state.ring, key)
        if sequences:
            return ring.read(state.ring, jax.vmap(ring.after, (None, 0), 1)(slots, jnp.arange(window))), weight, slots
        if window == 1 and horizon is None:
            return ring.read(state.ring, slots).transition, weight, slots
        return several(state.ring, slots, updates), weight, slots

    def update(state: ReplayState[State], index: Array, priority: Array) -> ReplayState[State]:
        return ReplayState(state.ring, sampler.update(state.sampler, index, priority))

    def close(state: ReplayState[State]) -> ReplayState[State]:
        return ReplayState(ring.close(state.ring), state.sampler)

    return Memory(init, add, sample, update, close)


def pick(tree: Tree, index: Array) -> Tree:
    """Return entry `index` [B] along the second axis of every array [B, n, ...]."""
    return tree_map(lambda x: jax.vmap(lambda row, i: row[i])(x, index), tree)
