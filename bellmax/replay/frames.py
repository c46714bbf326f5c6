"""JAX. A replay buffer that stores each frame once, for observations that are stacks of frames. Mnih et al. (2015).

The steps are in a ring as in any replay buffer, but an observation is there a number: the slot of its newest frame in a
second ring, of frames, in which the older ones come before it. Samplers, n steps and sequences work unchanged.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, NamedTuple

import jax
import jax.numpy as jnp

from bellmax.contracts import Array, Batch, BoolArray, ConfigError, Experience, HostObs, Memory, Obs, counted
from bellmax.replay.memory import Horizon, ReplayState, State, make_replay
from bellmax.replay.ring import NOWHERE, Ring, RingState, make_ring, row_codec
from bellmax.replay.sampling import Sampler


class Frames(NamedTuple):
    """Frames [T N, words]; for each environment [N] the newest one, and whether its next step begins an episode."""

    rows: Array
    newest: Array
    fresh: Array


class FrameState(NamedTuple, Generic[State]):
    """The states of the ring of steps, the sampler and the ring of frames."""

    ring: RingState
    sampler: State
    frames: Frames


class FrameStore(NamedTuple):
    """Functions on `Frames`.

    Attributes:
        depth: k, the number of frames in an observation.
        ring: of the steps, with as many slots as there are frames; their observations are slots.
        init: `init() -> frames`, empty.
        add: `add(frames, experience [N], valid [N]) -> (frames, experience with slots for observations [N], new [N])`,
            where `new` counts the frames that each environment added.
        stacks: `stacks(frames, slots) -> observations [..., k, *frame]`, for slots of any shape.
    """

    depth: int
    ring: Ring
    init: Callable[[], Frames]
    add: Callable[[Frames, Experience, Array], tuple[Frames, Experience, Array]]
    stacks: Callable[[Frames, Array], Array]


def make_store(example: Experience, capacity: int, n_worlds: int) -> FrameStore:
    """Return a store of `capacity` frames, rounded down to a multiple of `n_worlds`; see `make_frame_replay`.

    Raises:
        ConfigError: an environment has no room for the two stacks of one step.
    """
    stack = single(example.transition.obs)
    length, depth = capacity // n_worlds, jnp.shape(stack)[0]
    if length < 2 * depth:
        raise ConfigError(
            f"buffer_size={capacity} gives each environment {counted(length, 'frame')}, too few for stacks of {depth}; "
            f"give at least {2 * depth * n_worlds}"
        )
    pack, unpack, width = row_codec(stack[0])
    slot = jnp.int32(0)
    ring = make_ring(with_observations(example, slot, slot), capacity, n_worlds)
    back, world = jnp.arange(1 - depth, 1), jnp.arange(n_worlds)
    newest_of_both = jnp.zeros((1, 2, depth), jnp.bool_).at[0, 1, -1].set(True)

    def init() -> Frames:
        rows = jnp.zeros((ring.capacity, width), jnp.uint32)
        return Frames(rows, jnp.zeros(n_worlds, jnp.int32), jnp.ones(n_worlds, jnp.bool_))

    def add(frames: Frames, experience: Experience, valid: Array) -> tuple[Frames, Experience, Array]:
        both = jnp.stack([single(experience.transition.obs), single(experience.transition.next_obs)], axis=1)
        words = jax.vmap(jax.vmap(jax.vmap(pack)))(both)  # [N, 2, k, width]
        shifted = jnp.all(words[:, 0, 1:] == words[:, 1, :-1], axis=(1, 2))  # compares bits, so -0.0 is not 0.0
        before, after = jnp.where(frames.fresh, depth, 0), jnp.where(shifted, 1, depth)
        ends = frames.newest[:, None] + jnp.stack([before, before + after], axis=1)  # of both stacks [N, 2]
        places = jnp.mod(ends[:, :, None] + back[None, None, :], length)
        slots = places * n_worlds + world[:, None, None]
        whole = jnp.stack([frames.fresh, ~shifted], axis=1)  # all frames of the stack are new
        new = (whole[:, :, None] | newest_of_both) & valid[:, None, None]
        written = jnp.where(new, slots, NOWHERE).reshape(-1)
        rows = frames.rows.at[written].set(words.reshape(-1, width), mode="drop")
        newest = jnp.where(valid, places[:, 1, -1], frames.newest)
        fresh = experience.over.astype(bool) | ~valid  # a row that is left out breaks the stacks
        named = with_observations(experience, slots[:, 0, -1], slots[:, 1, -1])
        return Frames(rows, newest, fresh), named, jnp.where(valid, before + after, 0)

    def stacks(frames: Frames, slots: Array) -> Array:
        # forward by the rest of the ring is k - 1 steps back
        within = jax.vmap(ring.after, (None, 0), -1)(slots, length + back)
        rows = frames.rows.at[within.reshape(-1)].get(mode="promise_in_bounds")
        flat = jax.vmap(unpack)(rows)
        return flat.reshape(*within.shape, *flat.shape[1:])

    return FrameStore(depth, ring, init, add, stacks)


def make_frame_replay(
    example: Experience,
    capacity: int,
    n_worlds: int,
    make_sampler: Callable[[Ring], Sampler[State]],
    window: int = 1,
    horizon: Horizon | None = None,
    sequences: bool = False,
) -> Memory[FrameState[State]]:
    """Return what `make_replay` does for observations [k, *frame], oldest frame first, in 1 / 2k of the space.

    `capacity` counts frames. A step needs one frame, the newest of its next observation. The first step of an episode
    needs k more, for its observation, and a step that does not shift the stack by exactly one frame needs k. So samples
    equal those of `make_replay`, bit for bit, for any padding of the stacks, and even if observations are not stacks.
    The oldest steps are dropped when their frames are overwritten.

    Within an episode the observation of a step must be the next observation of the step before, as in both loops. After
    a row that is not valid, it can be any observation.
    """
    store = make_store(example, capacity, n_worlds)
    ring, depth = store.ring, store.depth
    sampler, length = make_sampler(ring), ring.capacity // n_worlds
    slot = jnp.int32(0)
    steps = make_replay(
        with_observations(example, slot, slot), capacity, n_worlds, lambda _: sampler, window, horizon, sequences
    )

    def init() -> FrameState[State]:
        rows, priorities = steps.init()
        return FrameState(rows, priorities, store.init())

    def add(state: FrameState[State], experience: Experience, valid: Array | None = None) -> FrameState[State]:
        everywhere = jnp.ones(n_worlds, jnp.bool_) if valid is None else valid
        frames, named, new = store.add(state.frames, experience, everywhere)
        rows, slots = ring.add(state.ring, named, valid)
        size, lost = overwritten(rows, state.frames.newest, new)
        rows = rows._replace(size=size)
        return FrameState(rows, sampler.added(state.sampler, rows, slots, lost), frames)

    def overwritten(rows: RingState, newest: Array, new: Array) -> tuple[Array, Array]:
        """Return how many steps of each environment [N] are complete, and the slots of the others, else `NOWHERE`."""
        age = jnp.arange(2 * depth)[None, :]  # from the oldest; at most 2k frames are new
        places = jnp.mod((rows.position - rows.size)[:, None] + age, length)
        slots = places * n_worlds + jnp.arange(n_worlds)[:, None]
        place = single(ring.read(rows, slots).transition.obs) // n_worlds
        passed = jnp.mod(newest[:, None] - place, length) + new[:, None]
        lost = (passed > length - depth) & (age < rows.size[:, None] - 1)  # the step just added is complete
        return rows.size - jnp.sum(lost, axis=1, dtype=jnp.int32), jnp.where(lost, slots, NOWHERE).reshape(-1)

    def sample(state: FrameState[State], key: Array, updates: Array) -> tuple[Batch, Array, Array]:
        batch, weight, index = steps.sample(ReplayState(state.ring, state.sampler), key, updates)
        named = batch.transition if isinstance(batch, Experience) else batch
        obs, next_obs = (store.stacks(state.frames, single(slots)) for slots in (named.obs, named.next_obs))
        if isinstance(batch, Experience):
            return with_observations(batch, obs, next_obs), weight, index
        return batch._replace(obs=obs, next_obs=next_obs), weight, index

    def update(state: FrameState[State], index: Array, priority: Array) -> FrameState[State]:
        kept = ring.following(state.ring, index) <= state.ring.size[index % n_worlds]
        rows, priorities = steps.update(
            ReplayState(state.ring, state.sampler), jnp.where(kept, index, NOWHERE), priority
        )
        return FrameState(rows, priorities, state.frames)

    def close(state: FrameState[State]) -> FrameState[State]:
        frames = state.frames._replace(fresh=jnp.ones_like(state.frames.fresh))
        return FrameState(ring.close(state.ring), state.sampler, frames)

    return Memory(init, add, sample, update, close)


def with_observations(experience: Experience, obs: Obs, next_obs: Obs) -> Experience:
    """Return the experience with these observations."""
    return experience._replace(transition=experience.transition._replace(obs=obs, next_obs=next_obs))


def single(obs: Obs) -> Array:
    """Return the array of an observation: a stack of frames, or the slot of its newest one."""
    if isinstance(obs, tuple):
        raise TypeError(f"a stack of frames is one array; got {type(obs).__name__}")
    return obs


def shares_frames(obs: Obs | HostObs) -> bool:
    """Whether observations look like stacks of byte images [k, H, W], which are stored frame by frame.

    If they are something else, such as channels, this costs no more than storing them whole.
    """
    if isinstance(obs, tuple):
        return False
    return obs.dtype == jnp.uint8 and len(obs.shape) == 3 and obs.shape[0] < min(obs.shape[1:])


def room_for(obs: HostObs, next_obs: HostObs, over: BoolArray) -> int:
    """Return the slots that a replay buffer of these steps [n] of one environment needs: steps, or frames."""
    n = len(over)
    if not n or isinstance(obs, tuple) or isinstance(next_obs, tuple) or not shares_frames(obs[0]):
        return n
    depth = obs.shape[1]
    jumps = (obs[:, 1:] != next_obs[:, :-1]).reshape(n, -1).any(axis=1)
    return int(n + depth * (1 + over.sum()) + (depth - 1) * jumps.sum())
