"""The ring against a plain Python list."""

import collections

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

from bellmax.random import make_key
from bellmax.replay.uniform import row_codec, uniform_replay
from bellmax.types import Transition

EXAMPLE = Transition(jnp.zeros(3), jnp.int32(0), jnp.float32(0), jnp.float32(0), jnp.zeros(3))


def transitions(first: int, n: int) -> Transition:
    """n transitions that bear their number."""
    k = np.arange(first, first + n)
    obs = np.stack([k, -k, 0.5 * k], axis=1).astype(np.float32)
    return Transition(obs, k.astype(np.int32), k.astype(np.float32) / 3, np.full(n, 0.9, np.float32), obs + 1)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 3), st.integers(1, 20), st.data())
def test_holds_the_newest_transitions(n_worlds: int, capacity: int, data) -> None:
    capacity = max(capacity, n_worlds)
    kept = capacity - capacity % n_worlds
    memory = uniform_replay(EXAMPLE, capacity, 4, n_worlds)
    _, unpack, _ = row_codec(EXAMPLE)
    add, state = jax.jit(memory.add), memory.init()
    expected: collections.deque[int] = collections.deque(maxlen=kept)
    for k in range(data.draw(st.integers(1, 15))):
        state = add(state, transitions(k * n_worlds, n_worlds))
        expected.extend(range(k * n_worlds, (k + 1) * n_worlds))
        assert int(state.size) == len(expected)
        held = jax.vmap(unpack)(state.rows)
        assert set(np.asarray(held.action)[: len(expected)].tolist()) == set(expected)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=12))
def test_rows_that_are_no_experience_are_left_out(masks: list[list[bool]]) -> None:
    memory = uniform_replay(EXAMPLE, 9, 4, 3)
    _, unpack, _ = row_codec(EXAMPLE)
    state, expected = memory.init(), collections.deque(maxlen=9)
    for k, mask in enumerate(masks):
        state = memory.add(state, transitions(3 * k, 3), jnp.array(mask))
        expected.extend(3 * k + i for i in range(3) if mask[i])
    held = np.asarray(jax.vmap(unpack)(state.rows).action)[: len(expected)]
    assert int(state.size) == len(expected)
    assert set(held.tolist()) == set(expected)


def test_a_row_returns_bit_for_bit() -> None:
    example = Transition(jnp.zeros((2, 2)), jnp.int32(0), jnp.float32(0), jnp.float32(0), jnp.zeros((2, 2)))
    pack, unpack, width = row_codec(example)
    obs = jnp.array([[np.nan, -0.0], [1e-42, np.inf]], jnp.float32)
    one = Transition(obs, jnp.int32(-(2**31)), jnp.float32(1e38), jnp.float32(0.99), -obs)
    back = jax.jit(lambda x: unpack(pack(x)))(one)
    assert width == 11
    for before, after in zip(one, back, strict=True):
        assert np.asarray(before).tobytes() == np.asarray(after).tobytes()
        assert before.shape == after.shape


def test_sampling_is_uniform_over_what_is_there() -> None:
    memory = uniform_replay(EXAMPLE, 50, 1000)
    state = memory.init()
    for k in range(7):
        state = memory.add(state, transitions(k, 1))
    batch, weight, index = memory.sample(state, make_key(0))
    counts = np.bincount(np.asarray(batch.action), minlength=7)
    assert counts.size == 7, "only what was stored is sampled"
    chi_square = ((counts - 1000 / 7) ** 2 / (1000 / 7)).sum()
    assert chi_square < 22.5  # 99.9 % quantile at 6 degrees of freedom
    assert (weight == 1).all()
    assert (np.asarray(batch.obs)[:, 0] == np.asarray(index)).all()


def test_values_that_are_not_32_bits_are_refused() -> None:
    with pytest.raises(TypeError, match="32-bit values; got uint8"):
        row_codec(EXAMPLE._replace(obs=jnp.zeros(3, jnp.uint8)))
