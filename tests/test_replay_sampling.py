"""The tree of sums against NumPy, and both samplers against the formulas of their papers."""

import functools
import itertools
from typing import Any

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from scipy.stats import chisquare

from bellmax.contracts import Experience, Transition
from bellmax.keys import make_key
from bellmax.replay.prioritized import prioritized_sampler
from bellmax.replay.ring import NOWHERE, make_ring
from bellmax.replay.sampling import uniform_sampler
from bellmax.replay.tree import FAN, Tree, make_tree


def told(numbers: Any) -> Experience:
    """Experience of which only the numbers are told apart."""
    none = jnp.zeros(numbers.shape, jnp.float32)
    return Experience(Transition(numbers, numbers, none, none, numbers), jnp.zeros(numbers.shape, jnp.int32))


EXAMPLE = told(jnp.int32(0))
fixed = settings(max_examples=30, deadline=None, derandomize=True)


@functools.cache
def compiled_tree(capacity: int) -> Tree:
    tree = make_tree(capacity)
    return Tree(tree.init, jax.jit(tree.set), jax.jit(tree.total), jax.jit(tree.find))


def leaves_of(levels, capacity: int) -> np.ndarray:
    """The weights [capacity]; the rest of the last level, there to fill up families, weighs nothing."""
    last = np.asarray(levels[-1])
    assert (last[capacity:] == 0.0).all()
    return last[:capacity]


def check_sums(levels, rtol: float = 0.0) -> None:
    """The invariant: every node is the sum of its children."""
    assert np.asarray(levels[0]).size == FAN
    for above, below in itertools.pairwise(levels):
        sums = np.asarray(below, np.float64).reshape(-1, FAN).sum(1)
        nodes = np.asarray(above)
        np.testing.assert_allclose(nodes[: sums.size], sums, rtol=rtol, atol=0.0)
        assert (nodes[sums.size :] == 0.0).all()


updates = st.lists(
    st.lists(st.tuples(st.integers(0, 2**31 - 1), st.integers(0, 50)), min_size=6, max_size=6), min_size=1, max_size=8
)


@fixed
@given(st.sampled_from([1, 3, 4, 5, 16, 17, 70]), updates)
def test_tree_equals_numpy_after_random_use(capacity, rounds) -> None:
    """Weights are whole numbers, so that sums are exact and every boundary can be asked for."""
    tree, expected = compiled_tree(capacity), np.zeros(capacity)
    levels = tree.init()
    for pairs in rounds:
        leaves = np.array([leaf % (capacity + 2) for leaf, _ in pairs])
        leaves[leaves >= capacity] = NOWHERE
        weights = np.array([dict(zip(leaves, (w for _, w in pairs), strict=True))[leaf] for leaf in leaves])
        levels = tree.set(levels, jnp.asarray(leaves, jnp.int32), jnp.asarray(weights, jnp.float32))
        expected[leaves[leaves < capacity]] = weights[leaves < capacity]
        check_sums(levels)
        np.testing.assert_array_equal(leaves_of(levels, capacity), expected)
        assert float(tree.total(levels)) == expected.sum()
    total = int(expected.sum())
    if total:
        targets = np.linspace(0, total, 64, endpoint=False)
        targets[::2] = np.floor(targets[::2])  # where one leaf ends and the next begins
        found, weights = tree.find(levels, jnp.asarray(targets, jnp.float32))
        by_scan = np.searchsorted(np.cumsum(expected), targets.astype(np.float32), side="right")
        np.testing.assert_array_equal(found, by_scan)
        np.testing.assert_array_equal(weights, expected[by_scan])


def test_a_leaf_named_twice_takes_one_of_its_weights() -> None:
    tree = compiled_tree(17)
    levels = tree.set(tree.init(), jnp.array([5, 5, 5, 16]), jnp.array([1.0, 2.0, 4.0, 8.0]))
    assert leaves_of(levels, 17)[5] in (1.0, 2.0, 4.0)
    check_sums(levels)


def test_a_million_updates_leave_no_error() -> None:
    """The tree makes its sums anew: were the differences added up, they would have lost the small weights here."""
    capacity, batch, rounds = 10_007, 64, 15_625
    tree = make_tree(capacity)

    def step(levels, key):
        k_leaf, k_size = jax.random.split(key)
        leaves = jax.random.randint(k_leaf, (batch,), 0, capacity)
        weights = 10.0 ** jax.random.uniform(k_size, (batch,), minval=-6.0, maxval=6.0)
        return tree.set(levels, leaves, weights), None

    run = jax.jit(lambda levels, key: jax.lax.scan(step, levels, jax.random.split(key, rounds))[0])
    levels = run(tree.init(), make_key(0))
    assert batch * rounds == 10**6
    check_sums(levels, rtol=1e-6)
    weights = leaves_of(levels, capacity)
    assert (weights > 0).all()
    assert float(tree.total(levels)) == pytest.approx(weights.astype(np.float64).sum(), rel=1e-6)
    emptied = tree.set(levels, jnp.arange(capacity), jnp.zeros(capacity))
    assert all(float(jnp.abs(level).max()) == 0.0 for level in emptied)


@pytest.mark.parametrize("seed", range(4))
def test_weight_zero_is_never_drawn(seed: int) -> None:
    """Whatever the weights are, also from 10^-30 to 10^30; not even for a target that rounding moved to the total."""
    rng = np.random.default_rng(seed)
    capacity = 70
    weights = np.where(rng.random(capacity) < 0.6, 0.0, 10.0 ** rng.uniform(-30, 30, capacity)).astype(np.float32)
    tree = compiled_tree(capacity)
    levels = tree.set(tree.init(), jnp.arange(capacity), jnp.asarray(weights))
    total = np.float32(tree.total(levels))
    targets = np.concatenate([[0.0, np.nextafter(total, np.float32(0)), total], rng.random(4093) * total])
    small = 10.0 ** rng.uniform(-32, 30, 4096)
    for part in (targets, np.minimum(small, total)):
        found, weight = tree.find(levels, jnp.asarray(part, jnp.float32))
        assert (weights[np.asarray(found)] > 0).all()
        np.testing.assert_array_equal(weight, weights[np.asarray(found)])


def test_leaves_are_found_in_proportion_to_their_weights() -> None:
    rng = np.random.default_rng(5)
    weights = rng.exponential(size=37).astype(np.float32)
    tree = compiled_tree(37)
    levels = tree.set(tree.init(), jnp.arange(37), jnp.asarray(weights))
    targets = jnp.asarray(rng.random(50_000), jnp.float32) * tree.total(levels)
    counts = np.bincount(np.asarray(tree.find(levels, targets)[0]), minlength=37)
    assert chisquare(counts, 50_000 * weights / weights.sum(dtype=np.float64), sum_check=False).pvalue > 1e-3


def test_the_uniform_sampler_is_uniform_and_has_no_memory() -> None:
    ring = make_ring(EXAMPLE, 20, 2)
    sampler = uniform_sampler(ring, 20_000, window=3)
    rows = ring.init()
    for valid in ([True, True], [True, False], [True, True], [True, True], [True, False], [True, True]):
        rows, slots = ring.add(rows, told(jnp.arange(2)), jnp.array(valid))
    assert sampler.init() == sampler.added((), rows, slots) == sampler.update((), slots, jnp.ones(2)) == ()
    drawn, weight = sampler.sample((), rows, make_key(1))
    found, counts = np.unique(np.asarray(drawn), return_counts=True)
    assert found.tolist() == [0, 1, 2, 3, 4, 6]  # 4 of the 6 steps of one world, 2 of the 4 of the other
    assert chisquare(counts).pvalue > 1e-3
    assert weight.tolist() == [1.0] * 20_000
    assert drawn.tolist() != sampler.sample((), rows, make_key(2))[0].tolist()


def small_sampler(batch_size=8, capacity=12, n_worlds=1, window=1, **settings):
    ring = make_ring(EXAMPLE, capacity, n_worlds)
    options = {"alpha": 0.6, "beta": (0.4, 1.0), "epsilon": 0.01, "steps": 100, **settings}
    return ring, prioritized_sampler(ring, batch_size, window=window, **options)


def filled(ring, sampler, n_steps: int, n_worlds: int = 1):
    rows, state = ring.init(), sampler.init()
    for _ in range(n_steps):
        rows, slots = ring.add(rows, told(jnp.zeros(n_worlds, jnp.int32)))
        state = sampler.added(state, rows, slots)
    return rows, state


def test_new_steps_have_the_largest_priority_so_far() -> None:
    ring, sampler = small_sampler()
    rows, state = filled(ring, sampler, 3)
    assert leaves_of(state.levels, 12).tolist() == [1.0] * 3 + [0.0] * 9
    state = sampler.update(state, jnp.array([0, 1]), jnp.array([7.0, 0.5]))
    np.testing.assert_allclose(leaves_of(state.levels, 12)[:3], [7.01**0.6, 0.51**0.6, 1.0], rtol=1e-6)
    state = sampler.update(state, jnp.array([0]), jnp.array([0.1]))  # the largest is of all time, not of now
    rows, slots = ring.add(rows, told(jnp.zeros(1, jnp.int32)))
    state = sampler.added(state, rows, slots)
    np.testing.assert_allclose(leaves_of(state.levels, 12)[:4], np.array([0.11, 0.51, 1.0, 7.01]) ** 0.6, rtol=1e-6)
    check_sums(state.levels, rtol=1e-6)


@pytest.mark.parametrize("added", [4, 8, 11])
def test_importance_weights_and_their_annealing_equal_the_formula(added: int) -> None:
    """β runs over 8 environment steps here: half-way, there, and beyond, where it stays."""
    ring, sampler = small_sampler(batch_size=64, steps=8)
    rows, state = filled(ring, sampler, added)
    priority = np.random.default_rng(added).exponential(size=added).astype(np.float32)
    state = sampler.update(state, jnp.arange(added), jnp.asarray(priority))
    slots, weight = sampler.sample(state, rows, make_key(added))
    powered = (priority.astype(np.float64) + 0.01) ** 0.6
    probability = powered / powered.sum()
    beta = 0.4 + 0.6 * min(added / 8, 1.0)
    expected = (added * probability[np.asarray(slots)]) ** -beta
    np.testing.assert_allclose(weight, expected / expected.max(), rtol=1e-5)


def test_annealing_counts_the_steps_of_all_worlds_and_no_others() -> None:
    ring, sampler = small_sampler(n_worlds=3)
    rows, state = ring.init(), sampler.init()
    for valid in ([True, True, True], [False, True, False], [False, False, False], [True, False, True]):
        rows, slots = ring.add(rows, told(jnp.zeros(3, jnp.int32)), jnp.array(valid))
        state = sampler.added(state, rows, slots)
    assert int(state.added) == 6
    assert leaves_of(state.levels, 12).tolist() == [1, 1, 1, 1, 1, 1] + [0] * 6


def test_slots_nowhere_leave_everything_as_it_was() -> None:
    ring, sampler = small_sampler()
    rows, state = filled(ring, sampler, 5)
    nowhere = jnp.array([NOWHERE])
    for after in (sampler.added(state, rows, nowhere), sampler.update(state, nowhere, jnp.array([0.2]))):
        for one, other in zip(jax.tree.leaves(state), jax.tree.leaves(after), strict=True):
            np.testing.assert_array_equal(one, other)


def test_each_part_of_the_sum_gives_one_draw() -> None:
    """So the count of a slot is less than 2 from the batch size times its probability, in every batch."""
    ring, sampler = small_sampler(batch_size=64)
    rows, state = filled(ring, sampler, 12)
    state = sampler.update(state, jnp.arange(12), jnp.arange(12.0))
    powered = (np.arange(12) + 0.01) ** 0.6
    sample = jax.jit(sampler.sample)
    total = np.zeros(12)
    for seed in range(200):
        counts = np.bincount(np.asarray(sample(state, rows, make_key(seed))[0]), minlength=12)
        assert np.abs(counts - 64 * powered / powered.sum()).max() < 2
        total += counts
    # the counts of one batch vary by less than 1, so their mean over 200 is within 4 / sqrt(200) of the expected one
    assert np.abs(total / 200 - 64 * powered / powered.sum()).max() < 4 / np.sqrt(200)


@fixed
@given(
    st.sampled_from([(2, 4), (3, 4), (4, 4), (3, 7)]),
    st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=16),
)
def test_of_windows_only_complete_ones_can_be_drawn(sizes, masks) -> None:
    """Two worlds that get out of step, in a ring that wraps; the oracle asks which steps are still there."""
    window, length = sizes
    ring, sampler, add, added = compiled_windows(window, length)
    rows, state, history = ring.init(), sampler.init(), [0, 0]
    for mask in masks:
        rows, slots = add(rows, told(jnp.zeros(2, jnp.int32)), jnp.array(mask))
        state = added(state, rows, slots)
        check_sums(state.levels)
        expected = np.zeros(2 * length)
        for world in range(2):
            history[world] += mask[world]
            for first in range(max(0, history[world] - length), history[world] - window + 1):
                expected[(first % length) * 2 + world] = 1.0
        np.testing.assert_array_equal(leaves_of(state.levels, 2 * length), expected)


@functools.cache
def compiled_windows(window: int, length: int):
    ring, sampler = small_sampler(capacity=2 * length, n_worlds=2, window=window)
    return ring, sampler, jax.jit(ring.add), jax.jit(sampler.added)


def test_a_learned_priority_dies_with_its_step() -> None:
    ring, sampler = small_sampler(capacity=4, window=2)
    rows, state = filled(ring, sampler, 4)
    state = sampler.update(state, jnp.array([0, 1, 2]), jnp.array([3.0, 2.0, 1.0]))
    # this overwrites slot 0 and completes the window from slot 3
    rows, slots = ring.add(rows, told(jnp.zeros(1, jnp.int32)))
    state = sampler.added(state, rows, slots)
    np.testing.assert_allclose(leaves_of(state.levels, 4), np.array([0.0, 2.01, 1.01, 3.01]) ** 0.6, rtol=1e-6)
