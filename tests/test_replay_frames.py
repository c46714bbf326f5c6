"""The memory of frames against a list of everything that happened, and slot by slot against the memory of stacks."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import chisquare

from bellmax.contracts import ConfigError, Experience, Memory, Transition
from bellmax.keys import make_key
from bellmax.replay.frames import make_frame_replay
from bellmax.replay.memory import make_replay
from bellmax.replay.prioritized import prioritized_sampler
from bellmax.replay.ring import Ring
from bellmax.replay.sampling import Sampler, uniform_sampler

FRAME = (2, 3)
GAMMA = 0.5  # with whole rewards every sum of a few steps is exact
BATCH = 1024
LENGTH = 24  # frames of each world


def example(k: int, dtype: Any = jnp.uint8) -> Experience:
    obs, number = jnp.zeros((k, *FRAME), dtype), jnp.float32(0)
    return Experience(Transition(obs, jnp.int32(0), number, number, obs), jnp.int32(0))


class Step(NamedTuple):
    """One step, and how many frames its world had stored up to the newest of its observation."""

    transition: Transition
    over: bool
    stored: int


class World:
    """Stacks of k frames that are all different, until `ends`; what comes before an episode's first frame varies."""

    def __init__(self, seed: int, k: int, ends: float, jumps: float = 0.0) -> None:
        self.rng, self.k, self.ends, self.jumps = np.random.default_rng(seed), k, ends, jumps
        self.steps: list[Step] = []
        self.stored = 0
        self.begin()

    def frame(self) -> np.ndarray:
        return self.rng.integers(0, 256, FRAME).astype(np.uint8)

    def begin(self) -> None:
        first = self.frame()
        before = [np.zeros_like(first), first, self.frame()][self.rng.integers(3)]
        self.obs = np.stack([before] * (self.k - 1) + [first])
        self.stored += self.k

    def step(self, valid: bool) -> Experience:
        """What the loop gives to a memory; a step that is not valid is of no episode, and another begins after it."""
        if not valid:
            if self.steps and not self.steps[-1].over:
                self.begin()
            stack = np.stack([self.frame()] * self.k)
            number = np.float32(np.nan)
            return Experience(Transition(stack, np.int32(-1), number, number, stack), np.int32(self.rng.integers(2)))
        terminated, truncated = self.rng.random(2) < self.ends
        jump = self.rng.random() < self.jumps
        new = [self.frame() for _ in range(self.k if jump else 1)]
        next_obs = np.concatenate([self.obs, new])[-self.k :]
        reward, discount = np.float32(self.rng.integers(-8, 8)), np.float32(0.0 if terminated else GAMMA)
        transition = Transition(self.obs, np.int32(self.rng.integers(5)), reward, discount, next_obs)
        over = bool(terminated or truncated)
        self.steps.append(Step(transition, over, self.stored))
        self.obs, self.stored = next_obs, self.stored + len(new)
        if over:
            self.begin()
        return Experience(transition, np.int32(over))

    def whole(self) -> int:
        """The first step all of whose frames are among the newest `LENGTH`; an episode's first come with its step."""
        newest = self.stored - (self.k if self.steps[-1].over else 0)
        return next(t for t, step in enumerate(self.steps) if newest - step.stored + self.k <= LENGTH)

    def expected(self, t: int, n: int, gamma: float = GAMMA) -> Transition:
        first, reward, discount = self.steps[t].transition, 0.0, 1.0
        for step in self.steps[t : t + n]:
            reward += discount * step.transition.reward
            discount *= gamma if step.transition.discount else 0.0
            if step.over:
                break
        return Transition(first.obs, first.action, reward, discount, step.transition.next_obs)


class Stream:
    """Worlds, and a memory that is fed with what they do. NEXT_STEP: the step after an end is not valid."""

    def __init__(self, memory: Memory, n_worlds: int, k: int, ends: float = 0.15, jumps: float = 0.0) -> None:
        self.add, self.sample, self.update, self.close = (jax.jit(each) for each in memory[1:])
        self.state = jax.jit(memory.init)()
        self.worlds = [World(seed, k, ends, jumps) for seed in range(n_worlds)]

    def feed(self, rounds: int, in_step: bool = False) -> None:
        for _ in range(rounds):
            rests = [bool(world.steps) and world.steps[-1].over and world.rng.random() < 0.8 for world in self.worlds]
            valid = np.ones(len(rests), bool) if in_step else ~np.array(rests)
            steps = [world.step(counts) for world, counts in zip(self.worlds, valid, strict=True)]
            step = jax.tree.map(lambda *leaves: np.stack(leaves), *steps)
            self.state = self.add(self.state, step, None if in_step else valid)

    def slots(self) -> dict[int, tuple[World, int]]:
        """World and time of each slot that holds a whole step; a ring of steps puts step t in place t."""
        n = len(self.worlds)
        return {
            (t % LENGTH) * n + i: (world, t)
            for i, world in enumerate(self.worlds)
            for t in range(world.whole(), len(world.steps))
        }

    def check(self, n: int, gamma: float = GAMMA, updates: int = 0) -> np.ndarray:
        """Every sample equals the list's, bit for bit; all whole steps are drawn, and no others."""
        slots = self.slots()
        batch, weight, index = self.sample(self.state, make_key(len(self.worlds[0].steps)), jnp.int32(updates))
        assert set(index.tolist()) == set(slots)
        held, place = np.unique(index, return_inverse=True)
        listed = [slots[slot][0].expected(slots[slot][1], n, gamma) for slot in held.tolist()]
        for got, wanted in zip(batch, zip(*listed, strict=True), strict=True):
            np.testing.assert_array_equal(got, np.stack(wanted)[place])
        assert np.isfinite(weight).all()
        assert (np.asarray(weight) > 0).all()
        return np.asarray(index)


def memory_of(k: int, n_worlds: int, kind: str = "uniform", capacity: int = LENGTH, **options: Any) -> Memory:
    window = options.get("window", 1) if options.get("sequences") else 1
    make: Any = functools.partial(uniform_sampler, batch_size=BATCH, window=window)
    if kind == "prioritized":
        numbers = {"alpha": 0.5, "beta": (0.5, 1.0), "epsilon": 0.01, "steps": 100}
        make = functools.partial(prioritized_sampler, batch_size=BATCH, window=window, **numbers)
    return make_frame_replay(example(k), capacity * n_worlds, n_worlds, make, **options)


@pytest.mark.parametrize("kind", ["uniform", "prioritized"])
@pytest.mark.parametrize("n", [1, 3])
@pytest.mark.parametrize("k", [1, 4])
@pytest.mark.parametrize("n_worlds", [1, 3])
def test_samples_equal_a_list_of_everything(n_worlds: int, k: int, n: int, kind: str) -> None:
    """From the first step until both rings have wrapped many times; worlds get out of step."""
    stream = Stream(memory_of(k, n_worlds, kind, window=n), n_worlds, k)
    for rounds in (1, 1, 2, 9, 17, 30, 1, 1, 150):
        stream.feed(rounds)
        index = stream.check(n)
        stream.state = stream.update(stream.state, index, 0.5 + index % 5)
        stream.check(n)
    ends = {(bool(step.transition.discount), step.over) for world in stream.worlds for step in world.steps}
    assert ends == {(True, False), (True, True), (False, True)}
    assert all(world.stored > 5 * LENGTH for world in stream.worlds)


@pytest.mark.parametrize(("ends", "jumps"), [(1.0, 0.0), (0.3, 0.5), (0.1, 1.0), (0.0, 0.0)])
def test_any_world_is_kept_rightly(ends: float, jumps: float) -> None:
    """Episodes of one step; stacks that now and then, or always, move on by more than one frame; no ends at all."""
    stream = Stream(memory_of(4, 2, "prioritized", window=3), 2, 4, ends, jumps)
    for rounds in (1, 3, 30, 1, 1, 60):
        stream.feed(rounds, in_step=True)
        stream.check(3)


def told(ring: Ring) -> Sampler:
    """Its state are the slots to take."""

    def sample(slots: jax.Array, rows: Any, key: jax.Array) -> Any:
        return slots, jnp.ones(slots.shape)

    return Sampler(lambda: jnp.arange(BATCH) * 0, lambda slots, *_: slots, sample, lambda slots, *_: slots)


@pytest.mark.parametrize("dtype", [jnp.uint8, jnp.float32])
@pytest.mark.parametrize("options", [{"window": 5}, {"window": 4, "sequences": True}])
def test_a_slot_gives_what_the_memory_of_stacks_gives(options: dict[str, Any], dtype: Any) -> None:
    """Bit for bit, in the same slot: not even NaN and -0.0 differ. Sequences, too. Rows are left out anywhere."""
    n_worlds, k = 2, 4
    window = options["window"] if options.get("sequences") else 1
    make = functools.partial(uniform_sampler, batch_size=BATCH, window=window)
    frames = make_frame_replay(example(k, dtype), LENGTH * n_worlds, n_worlds, make, **options)
    stacks = make_replay(example(k, dtype), LENGTH * n_worlds, n_worlds, told, **options)
    adds, states = [jax.jit(frames.add), jax.jit(stacks.add)], [frames.init(), stacks.init()]
    samples = [jax.jit(frames.sample), jax.jit(stacks.sample)]
    worlds = [World(seed, k, 0.1, 0.05) for seed in range(n_worlds)]
    choices = np.array([0.0, -0.0, np.nan, 1.5], np.float32)
    for t in range(90):
        valid = worlds[0].rng.random(n_worlds) < 0.9
        steps = [world.step(counts) for world, counts in zip(worlds, valid, strict=True)]
        step = jax.tree.map(lambda *leaves: np.stack(leaves), *steps)
        if dtype == jnp.float32:
            transition = step.transition
            obs, next_obs = (choices[x % 4] for x in (transition.obs, transition.next_obs))
            step = step._replace(transition=transition._replace(obs=obs, next_obs=next_obs))
        states = [each(state, step, valid) for each, state in zip(adds, states, strict=True)]
        if t > 10 and t % 9 == 0:
            batch, _, slots = samples[0](states[0], make_key(t), jnp.int32(0))
            wanted, _, _ = samples[1](states[1]._replace(sampler=slots), make_key(t), jnp.int32(0))
            for one, other in zip(jax.tree.leaves(batch), jax.tree.leaves(wanted), strict=True):
                assert one.dtype == other.dtype
                assert np.asarray(one).tobytes() == np.asarray(other).tobytes()


def test_the_horizon_moves_with_the_gradient_steps() -> None:
    stream = Stream(memory_of(4, 2, window=4, horizon=lambda updates: (4 - updates // 10, 0.25)), 2, 4)
    for updates, n in ((0, 4), (15, 3), (30, 1)):
        stream.feed(20)
        stream.check(n, 0.25, updates)
    assert stream.sample._cache_size() == 1


def test_every_whole_step_is_drawn_equally_often() -> None:
    stream = Stream(memory_of(4, 3), 3, 4)
    stream.feed(100)
    _, weight, index = jax.vmap(stream.sample, (None, 0, None))(
        stream.state, jax.random.split(make_key(0), 100), jnp.int32(0)
    )
    counts = np.bincount(np.asarray(index).reshape(-1), minlength=3 * LENGTH)
    assert (np.asarray(weight) == 1.0).all()
    assert set(np.flatnonzero(counts)) == set(stream.slots())
    assert chisquare(counts[counts > 0]).pvalue > 1e-3


def test_a_priority_that_comes_too_late_wakes_nothing() -> None:
    stream = Stream(memory_of(4, 2, "prioritized"), 2, 4)
    stream.feed(60)
    everything = jnp.arange(2 * LENGTH)
    stream.state = stream.update(stream.state, everything, jnp.full(2 * LENGTH, 3.0))
    stream.check(1)
    leaves = np.asarray(stream.state.sampler.levels[-1])
    assert set(np.flatnonzero(leaves)) == set(stream.slots())


def test_after_closing_every_world_begins_anew() -> None:
    """The steps that were cut off bootstrap from their next observation; no window runs on. Closing twice is once."""
    stream = Stream(memory_of(4, 2, window=3), 2, 4)
    for rounds in (1, 7, 20, 20):
        stream.feed(rounds)
        for world in stream.worlds:
            if not world.steps[-1].over:
                world.begin()
                world.steps[-1] = world.steps[-1]._replace(over=True)
        stream.state = stream.close(stream.close(stream.state))
        stream.check(3)
        stream.feed(3)
        stream.check(3)


def atari(capacity: int, n_worlds: int, n: int) -> Memory:
    obs, number = jnp.zeros((4, 84, 84), jnp.uint8), jnp.float32(0)
    numbers = {"alpha": 0.5, "beta": (0.5, 1.0), "epsilon": 0.01, "steps": 100}
    make = functools.partial(prioritized_sampler, batch_size=32, **numbers)
    step = Experience(Transition(obs, jnp.int32(0), number, number, obs), jnp.int32(0))
    return make_frame_replay(step, capacity, n_worlds, make, n)


def test_a_million_frames_of_atari_fit() -> None:
    shapes = jax.tree.leaves(jax.eval_shape(atari(10**6, 1, 3).init))
    assert sum(x.size * x.dtype.itemsize for x in shapes) <= 7.1e9


def test_nothing_large_is_copied() -> None:
    """What a compiled loop of adding, sampling and updating needs besides the memory is a batch or so."""
    n_worlds = 2
    memory = atari(10**6, n_worlds, 3)

    def step(state: Any, now: Any) -> Any:
        experience, valid, key = now
        state = memory.add(state, experience, valid)
        batch, weight, index = memory.sample(state, key, jnp.int32(0))
        return memory.update(state, index, weight), jax.tree.map(lambda x: x[0], batch)

    obs, number = jnp.zeros((5, n_worlds, 4, 84, 84), jnp.uint8), jnp.zeros((5, n_worlds))
    steps = Experience(Transition(obs, number.astype(jnp.int32), number, number, obs), number.astype(jnp.int32))
    loop = jax.jit(lambda *arguments: jax.lax.scan(step, *arguments), donate_argnums=0)
    clocks = steps, number > 0, jax.random.split(make_key(0), 5)
    needs = loop.lower(jax.eval_shape(memory.init), clocks).compile().memory_analysis()
    assert needs.temp_size_in_bytes < 4e6


def test_too_little_room_is_refused() -> None:
    memory_of(4, 3, capacity=8)
    with pytest.raises(ConfigError, match="gives each environment 7 frames, too few for stacks of 4; give at least"):
        memory_of(4, 3, capacity=7)
