"""The ring against a plain Python deque for each world, and the rows of its codec bit for bit."""

import collections
from typing import Any

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from scipy.stats import chisquare

from bellmax.contracts import Experience, Transition
from bellmax.replay.ring import NOWHERE, Ring, RingState, make_ring, row_codec

EXAMPLE = Experience(Transition(jnp.zeros(3), jnp.int32(0), jnp.float32(0), jnp.float32(0), jnp.zeros(3)), jnp.int32(0))
SHAPES = [(1, 1), (4, 1), (7, 2), (15, 3)]  # (capacity, worlds)
RINGS = {shape: make_ring(EXAMPLE, *shape) for shape in SHAPES}
ADD = {shape: jax.jit(ring.add) for shape, ring in RINGS.items()}
DRAW = {ring.capacity: jax.jit(ring.draw, static_argnums=2) for ring in RINGS.values()}
Deques = list[collections.deque[int]]
fixed = settings(max_examples=25, deadline=None, derandomize=True)


def numbered(numbers: np.ndarray) -> Experience:
    """Experience that bears its numbers [N]."""
    obs = np.stack([numbers, -numbers, 0.5 * numbers], axis=-1).astype(np.float32)
    reward, discount = numbers.astype(np.float32) / 3, np.full(numbers.shape, 0.9, np.float32)
    over = (numbers % 3 == 0).astype(np.int32)
    return Experience(Transition(obs, numbers.astype(np.int32), reward, discount, obs + 1), over)


def filled_at_random(shape: tuple[int, int], masks: list[list[bool]]) -> tuple[Ring, RingState, Deques]:
    """A ring and its deques after adding the rows that the masks let through; world w's k-th number is 100 k + w."""
    ring, n_worlds = RINGS[shape], shape[1]
    state: RingState = ring.init()
    deques: Deques = [collections.deque(maxlen=ring.capacity // n_worlds) for _ in range(n_worlds)]
    for k, mask in enumerate(masks):
        numbers = 100 * k + np.arange(n_worlds)
        state, slots = ADD[shape](state, numbered(numbers), jnp.array(mask[:n_worlds]))
        for world, valid in enumerate(mask[:n_worlds]):
            assert (int(slots[world]) < ring.capacity) == valid
            assert valid or int(slots[world]) == NOWHERE
            if valid:
                deques[world].append(int(numbers[world]))
    return ring, state, deques


def slots_in_order(ring: Ring, state: RingState, world: int, n_worlds: int) -> np.ndarray:
    """The filled slots of one world from its oldest step to its newest."""
    length, size = ring.capacity // n_worlds, int(state.size[world])
    steps = (int(state.position[world]) - size + np.arange(size)) % length
    return steps * n_worlds + world


@st.composite
def histories(draw: Any) -> tuple[Ring, RingState, Deques]:
    """From nearly empty to well wrapped."""
    rounds, seed, shape = draw(st.integers(1, 16)), draw(st.integers(0, 2**32 - 1)), draw(st.sampled_from(SHAPES))
    share = np.array([0.9, 0.6, 0.3])
    return filled_at_random(shape, (np.random.default_rng(seed).random((rounds, 3)) < share).tolist())


@fixed
@given(histories())
def test_each_world_holds_its_newest_steps_in_order(history) -> None:
    ring, state, deques = history
    assert state.size.tolist() == [len(each) for each in deques]
    assert int(ring.filled(state)) == sum(len(each) for each in deques)
    for world, expected in enumerate(deques):
        slots = slots_in_order(ring, state, world, len(deques))
        held = ring.read(state, jnp.asarray(slots, jnp.int32))
        wanted = numbered(np.array(expected, int))._replace(over=held.over)  # of which a test of its own speaks
        for before, after in zip(jax.tree.leaves(wanted), jax.tree.leaves(held), strict=True):
            np.testing.assert_array_equal(before, after)


def test_a_row_that_is_left_out_cuts_what_came_before_in_its_world() -> None:
    ring = RINGS[(15, 3)]
    state, over = ring.init(), np.zeros(3, np.int32)
    for k, valid in enumerate([[1, 1, 0], [1, 0, 1], [1, 1, 1], [0, 1, 1]]):
        row = numbered(np.full(3, 3 * k + 1))._replace(over=over)
        state, _ = ADD[(15, 3)](state, row, jnp.array(valid, bool))
    cuts = [
        np.asarray(ring.read(state, jnp.asarray(slots_in_order(ring, state, w, 3))).over).tolist() for w in range(3)
    ]
    assert cuts == [[0, 0, 1], [1, 0, 0], [0, 0, 0]]


@fixed
@given(histories())
def test_after_and_following_walk_along_one_world(history) -> None:
    ring, state, deques = history
    for world in range(len(deques)):
        slots = slots_in_order(ring, state, world, len(deques))
        for age, slot in enumerate(slots):
            rest = slots[age:]
            assert int(ring.following(state, jnp.array([slot]))[0]) == len(rest)
            assert ring.after(jnp.int32(slot), jnp.arange(len(rest))).tolist() == rest.tolist()


@fixed
@given(histories(), st.integers(1, 3))
def test_evenly_spread_numbers_draw_every_complete_window_equally_often(history, window) -> None:
    ring, state, deques = history
    expected = [
        slot
        for world in range(len(deques))
        for slot in slots_in_order(ring, state, world, len(deques))[: max(0, len(deques[world]) - window + 1)]
    ]
    if expected:
        n = 3 * len(expected)
        u = np.resize((np.arange(n) + 0.5) / n, 45)  # always so many, that nothing is compiled anew
        drawn = DRAW[ring.capacity](state, jnp.asarray(u, jnp.float32), window)
        assert sorted(drawn[:n].tolist()) == sorted(3 * expected)


def test_random_numbers_draw_uniformly_from_worlds_out_of_step() -> None:
    rng = np.random.default_rng(5)
    masks = (rng.random((12, 3)) < [0.9, 0.5, 0.2]).tolist()
    ring, state, deques = filled_at_random((15, 3), masks)
    assert (state.size.tolist(), state.position.tolist()) == ([5, 5, 3], [1, 1, 3]), "two have wrapped, one is filling"
    for window in (1, 3):
        drawn = ring.draw(state, jnp.asarray(rng.random(20_000), jnp.float32), window)
        slots, counts = np.unique(np.asarray(drawn), return_counts=True)
        assert slots.size == sum(max(0, len(each) - window + 1) for each in deques)
        assert chisquare(counts).pvalue > 1e-3
        assert (ring.following(state, jnp.asarray(slots)) >= window).all()


@pytest.mark.parametrize("size", [3, 1000, 2**20 - 1])
def test_the_ends_of_the_unit_interval_stay_inside(size: int) -> None:
    ring = make_ring(EXAMPLE._replace(transition=jnp.int32(0)), 2**20)
    state = ring.init()._replace(size=jnp.array([size], jnp.int32), position=jnp.array([size], jnp.int32))
    assert ring.draw(state, jnp.array([0.0, np.nextafter(np.float32(1), np.float32(0))])).tolist() == [0, size - 1]


def test_worlds_in_step_take_the_fast_way_to_the_same_state() -> None:
    ring, slow, fast = RINGS[15, 3], RINGS[15, 3].init(), RINGS[15, 3].init()
    for k in range(8):  # beyond the end of the ring
        rows = numbered(100 * k + np.arange(3))
        slow, slots = ADD[15, 3](slow, rows, jnp.ones(3, bool))
        fast, same = ADD[15, 3](fast, rows)
        assert slots.tolist() == same.tolist()
        for one, other in zip(slow, fast, strict=True):
            np.testing.assert_array_equal(one, other)
    assert fast.position.tolist() == [3, 3, 3]
    assert int(ring.filled(fast)) == ring.capacity == 15


def test_capacity_is_a_multiple_of_the_worlds() -> None:
    assert make_ring(EXAMPLE, 10, 3).capacity == 9
    assert make_ring(EXAMPLE, 10, 3).init().rows.shape[0] == 9


def test_slots_of_any_shape_are_read() -> None:
    ring, state, _ = filled_at_random((15, 3), [[True] * 3] * 5)
    slots = jnp.array([[3, 0, 14], [7, 7, 1]])
    read = ring.read(state, slots)
    assert read.transition.obs.shape == (2, 3, 3)
    assert read.transition.action.tolist() == [[100, 0, 402], [201, 201, 1]]


def same_bits(before: Any, after: Any) -> None:
    leaves = zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
    assert jax.tree.structure(before) == jax.tree.structure(after)
    for one, other in leaves:
        one, other = np.asarray(one), np.asarray(other)
        assert (one.shape, one.dtype) == (other.shape, other.dtype)
        assert one.tobytes() == other.tobytes()


def test_32_bit_values_return_bit_for_bit() -> None:
    """Also numbers that arithmetic would lose: -0, subnormal ones, and what a NaN bears."""
    odd = np.array([0x7FC0_1234, 0xFFC0_0001, 0x8000_0000, 0x0000_0001, 0x7F80_0000], np.uint32)
    one = {
        "floats": jnp.asarray(odd.view(np.float32)),
        "integers": jnp.array([[-(2**31), 2**31 - 1], [0, -1]], jnp.int32),
        "words": jnp.array([2**32 - 1], jnp.uint32),
    }
    pack, unpack, width = row_codec(one)
    assert width == 5 + 4 + 1
    row = jax.jit(pack)(one)
    assert row.shape == (width,)
    same_bits(one, jax.jit(unpack)(row))


@fixed
@given(st.sampled_from([(), (1,), (2, 2), (3, 5), (2, 3, 3)]), st.integers(0, 2**32 - 1))
def test_bytes_and_flags_return_bit_for_bit(shape, seed) -> None:
    """Whatever their number is, also beside values of 32 bits."""
    rng = np.random.default_rng(seed)
    one = (
        jnp.asarray(rng.integers(0, 256, shape, np.uint8)),
        jnp.float32(rng.normal()),
        jnp.asarray(rng.random(shape) < 0.5),
    )
    pack, unpack, width = row_codec(one)
    assert width == 2 * -(-int(np.prod(shape)) // 4) + 1
    same_bits(one, unpack(pack(one)))


def test_images_go_through_the_ring() -> None:
    rng = np.random.default_rng(1)
    zero = jnp.float32(0)
    example = Experience(Transition(jnp.zeros((3, 3), jnp.uint8), jnp.int32(0), zero, zero, jnp.bool_(0)), jnp.int32(0))
    ring = make_ring(example, 6, 2)
    images, flags = rng.integers(0, 256, (3, 2, 3, 3), np.uint8), rng.random((3, 2)) < 0.5
    state, none = ring.init(), np.zeros(2, np.float32)
    for image, flag in zip(images, flags, strict=True):
        nothing = np.zeros(2, np.int32)
        state, _ = ring.add(state, Experience(Transition(image, nothing, none, none, flag), nothing))
    held = ring.read(state, jnp.arange(6).reshape(3, 2)).transition
    same_bits((images, flags), (held.obs, held.next_obs))


@pytest.mark.parametrize("dtype", [jnp.float16, jnp.int8, jnp.int16, jnp.uint16])
def test_other_widths_are_refused(dtype) -> None:
    with pytest.raises(TypeError, match=f"32-bit values, bytes and flags; got {jnp.dtype(dtype)}"):
        row_codec({"obs": jnp.zeros(3, dtype)})
