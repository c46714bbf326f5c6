"""What memories give to learn from, against a naive loop over a recorded stream of experience."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bellmax.contracts import Experience, Memory, Transition
from bellmax.keys import make_key
from bellmax.replay.memory import make_replay, pick
from bellmax.replay.prioritized import prioritized_sampler
from bellmax.replay.ring import make_ring
from bellmax.replay.rollout import make_rollout
from bellmax.replay.sampling import uniform_sampler

N_WORLDS, LENGTH = 3, 8
GAMMA = 0.9
EXAMPLE = Experience(
    Transition(jnp.int32(0), jnp.int32(0), jnp.float32(0), jnp.float32(0), jnp.int32(0)),
    jnp.int32(0),
    (jnp.zeros(2), jnp.zeros(1)),
)


class Step(NamedTuple):
    """One recorded step: `obs` is a number of its own, and the next observation is its negative."""

    obs: int
    action: int
    reward: float
    terminated: bool
    over: bool


def record(rng: np.random.Generator, number: int) -> Step:
    terminated, truncated = rng.random(2) < [0.2, 0.15]
    reward = float(np.float32(rng.normal()))
    return Step(number, int(rng.integers(5)), reward, bool(terminated), bool(terminated or truncated))


def experience(steps: list[Step]) -> Experience:
    """One step of every world as the loop gives it to a memory."""
    obs, action, reward, terminated, over = (np.array(column) for column in zip(*steps, strict=True))
    discount = np.where(terminated, 0.0, GAMMA).astype(np.float32)
    transition = Transition(
        obs.astype(np.int32), action.astype(np.int32), reward.astype(np.float32), discount, -obs.astype(np.int32)
    )
    carry = np.stack([obs, obs + 0.5], axis=1).astype(np.float32), obs[:, None].astype(np.float32)
    return jax.tree.map(jnp.asarray, Experience(transition, over.astype(np.int32), carry))


class Stream:
    """A memory fed at random, and the record of what each world has told it."""

    def __init__(self, memory: Memory, seed: int, in_step: bool = False) -> None:
        self.memory, self.in_step = memory, in_step
        self.add, self.sample = jax.jit(memory.add), jax.jit(memory.sample)
        self.state, self.rng = memory.init(), np.random.default_rng(seed)
        self.worlds: list[list[Step]] = [[] for _ in range(N_WORLDS)]
        self.numbers = iter(range(1, 10**6))

    def feed(self, rounds: int) -> None:
        for _ in range(rounds):
            valid = np.ones(N_WORLDS, bool) if self.in_step else self.rng.random(N_WORLDS) < [0.9, 0.7, 0.4]
            steps = [record(self.rng, next(self.numbers)) for _ in range(N_WORLDS)]
            self.state = self.add(self.state, experience(steps), None if self.in_step else jnp.asarray(valid))
            for world, step, counts in zip(self.worlds, steps, valid, strict=True):
                if counts:
                    world.append(step)
                elif world:  # what comes next does not follow it
                    world[-1] = world[-1]._replace(over=True)

    def kept(self) -> dict[int, tuple[list[Step], int]]:
        """Each number that is still in memory, with its world's record and its place there."""
        return {
            world[t].obs: (world, t) for world in self.worlds for t in range(max(0, len(world) - LENGTH), len(world))
        }


def n_step_by_loop(world: list[Step], t: int, n: int, gamma: float) -> tuple[float, float, int]:
    """(reward, discount, next observation) of up to n steps from t on, as far as the record goes."""
    reward, discount = 0.0, 1.0
    for step in world[t : t + n]:
        reward += discount * step.reward
        discount *= 0.0 if step.terminated else gamma
        if step.over:
            break
    return reward, discount, -step.obs


def check_transitions(stream: Stream, n: int, gamma: float, updates: int) -> None:
    """Each sampled transition equals the loop's."""
    batch, weight, index = stream.sample(stream.state, make_key(len(stream.worlds[0])), jnp.int32(updates))
    kept = stream.kept()
    assert index.shape == weight.shape == (256,)
    for obs, action, *rest in zip(*(leaf.tolist() for leaf in batch), strict=True):
        world, t = kept[obs]
        assert action == world[t].action
        assert rest == pytest.approx(n_step_by_loop(world, t, n, gamma), rel=1e-5, abs=1e-5)
    assert set(batch.obs.tolist()) == set(kept), "every step that is kept is sampled"


def uniform_memory(**options: Any) -> Memory:
    window = options.get("window", 1) if options.get("sequences") else 1
    make = functools.partial(uniform_sampler, batch_size=256, window=window)
    return make_replay(EXAMPLE, LENGTH * N_WORLDS + 2, N_WORLDS, make, **options)


@pytest.mark.parametrize("in_step", [True, False])
@pytest.mark.parametrize("n", [1, 3, 8])
def test_transitions_equal_a_loop_over_the_stream(n: int, in_step: bool) -> None:
    """Before the ring is full, when it wraps, and long after; worlds get out of step, episodes end in both ways."""
    stream = Stream(uniform_memory(window=n), seed=n, in_step=in_step)
    for rounds in (3, 6, 2, 1, 1, 20):
        stream.feed(rounds)
        check_transitions(stream, n, GAMMA, updates=0)
    steps = [step for world in stream.worlds for step in world]
    assert {(step.terminated, step.over) for step in steps} == {(False, False), (False, True), (True, True)}
    assert all(len(world) > LENGTH for world in stream.worlds), "the ring has wrapped in every world"


def test_the_horizon_moves_with_the_gradient_steps() -> None:
    """n shrinks and γ grows with `updates`, which is traced: nothing is compiled anew."""

    def horizon(updates):
        return 4 - updates // 10, 0.5 + 0.01 * updates

    stream = Stream(uniform_memory(window=4, horizon=horizon), seed=0)
    for updates, n, gamma in ((0, 4, 0.5), (9, 4, 0.59), (15, 3, 0.65), (30, 1, 0.8)):
        stream.feed(7)
        check_transitions(stream, n, gamma, updates)
    assert stream.sample._cache_size() == 1


def test_a_horizon_of_one_step_replaces_gamma_too() -> None:
    stream = Stream(uniform_memory(window=1, horizon=lambda updates: (1, 0.25)), seed=0)
    stream.feed(12)
    check_transitions(stream, 1, 0.25, 0)


def with_priorities(window: int, **options: Any) -> Memory:
    """In a sequence memory the sampler knows of the window; in one of transitions each slot stands for itself."""
    make = functools.partial(
        prioritized_sampler,
        batch_size=256,
        alpha=0.5,
        beta=(0.5, 1.0),
        epsilon=0.0,
        steps=100,
        window=window if options.get("sequences") else 1,
    )
    return make_replay(EXAMPLE, LENGTH * N_WORLDS, N_WORLDS, make, window, **options)


@pytest.mark.parametrize("make", [uniform_memory, with_priorities])
def test_sequences_are_consecutive_steps_of_one_world(make) -> None:
    """With what the network remembered before each; they may go over an episode's end."""
    window = 3
    stream = Stream(make(window=window, sequences=True), seed=1)
    across = 0
    for rounds in (5, 6, 1, 1, 15):
        stream.feed(rounds)
        batch, weight, _ = stream.sample(stream.state, make_key(rounds), jnp.int32(0))
        kept, seen = stream.kept(), set()
        assert batch.transition.obs.shape == (256, window)
        assert weight.shape == (256,)
        for i, numbers in enumerate(batch.transition.obs.tolist()):
            world, t = kept[numbers[0]]
            steps = world[t : t + window]
            assert numbers == [step.obs for step in steps]
            assert batch.over[i].tolist() == [step.over for step in steps]
            assert batch.transition.reward[i].tolist() == [step.reward for step in steps]
            assert batch.carry[0][i].tolist() == [[step.obs, step.obs + 0.5] for step in steps]
            seen.add(numbers[0])
            across += any(step.over for step in steps[:-1])
        assert seen == {obs for obs, (world, t) in kept.items() if t + window <= len(world)}
    assert across > 0


def test_priorities_of_transitions_decide_what_is_learned_from() -> None:
    """Also with n > 1 the newest step can be drawn, as a transition of the steps that are there."""
    stream = Stream(with_priorities(window=3), seed=2)
    stream.feed(20)
    check_transitions(stream, 3, GAMMA, 0)
    batch, _, index = stream.sample(stream.state, make_key(0), jnp.int32(0))
    favored = int(batch.obs[0])
    priority = jnp.where(batch.obs == favored, 1.0, 0.0)
    learned = stream.memory.update(stream.state, index, priority)
    again, _, _ = stream.sample(learned, make_key(1), jnp.int32(0))
    assert set(again.obs.tolist()) == {favored}


def test_pick_takes_one_entry_of_each_row() -> None:
    tree = {"a": jnp.arange(6).reshape(2, 3), "b": jnp.arange(12.0).reshape(2, 3, 2)}
    picked = pick(tree, jnp.array([2, 0]))
    assert picked["a"].tolist() == [2, 3]
    assert picked["b"].tolist() == [[4.0, 5.0], [6.0, 7.0]]


def test_a_rollout_is_the_last_steps_of_all_worlds_in_order() -> None:
    length = 4
    memory = make_rollout(EXAMPLE, length, N_WORLDS)
    rng, state, add = np.random.default_rng(3), memory.init(), jax.jit(memory.add)
    for _ in range(3):  # rounds of learning
        rows, masks = [], []
        for t in range(length):
            row = experience([record(rng, int(rng.integers(1, 10**6))) for _ in range(N_WORLDS)])
            valid = None if t == 0 else jnp.asarray(rng.random(N_WORLDS) < 0.5)
            state = add(state, row, valid)
            rows.append(row)
            masks.append(np.ones(N_WORLDS) if valid is None else np.asarray(valid, float))
        batch, weight, index = memory.sample(state, make_key(0), jnp.int32(0))
        wanted = jax.tree.map(lambda *leaves: np.stack(leaves), *rows)
        for t in range(1, length):  # a row that does not count cuts what came before
            wanted.over[t - 1] |= masks[t] == 0
        for expected, got in zip(jax.tree.leaves(wanted), jax.tree.leaves(batch), strict=True):
            np.testing.assert_array_equal(expected, got)
        np.testing.assert_array_equal(weight, masks)
        assert index.shape == (0,)
        assert memory.update(state, index, jnp.zeros(0)) is state


@pytest.mark.parametrize("n_worlds", [1, 3])
def test_a_closed_memory_lets_no_window_run_on(n_worlds: int) -> None:
    ring = make_ring(EXAMPLE_OF_CLOSING, 12 * n_worlds, n_worlds)
    state = ring.init()
    for k in range(5):
        if k == 3:
            state = ring.close(state)
        row = jax.tree.map(lambda x, k=k: jnp.full((n_worlds, *jnp.shape(x)), k, x.dtype), EXAMPLE_OF_CLOSING)
        state, _ = ring.add(state, row._replace(over=jnp.zeros(n_worlds, jnp.int32)))
    held = ring.read(state, jnp.arange(5 * n_worlds))
    assert np.asarray(held.over).reshape(5, n_worlds).tolist() == [[int(k == 2)] * n_worlds for k in range(5)]
    assert np.asarray(held.transition.reward).reshape(5, n_worlds).tolist() == [[k] * n_worlds for k in range(5)]


_NUMBER = jnp.float32(0)
EXAMPLE_OF_CLOSING = Experience(Transition(jnp.zeros(2), jnp.int32(0), _NUMBER, _NUMBER, jnp.zeros(2)), jnp.int32(0))
