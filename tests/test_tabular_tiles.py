"""Tiles: where they lie, what a change does, and the worlds of real numbers against Gymnasium's own."""

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control import MountainCarEnv
from gymnasium.wrappers import TimeLimit
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from bellmax import QLearning
from bellmax.catalog import make_agent
from bellmax.contracts import Box, ConfigError, ResourceError
from bellmax.envs.host_world import open_world
from bellmax.loops import table_setup
from bellmax.loops.choosing import make_loop
from bellmax.sources import Source, find_world
from bellmax.tabular import stepping
from bellmax.tabular.action_values import change, greedy, largest, mean_value, value
from bellmax.tabular.agent import Shape, build_rates
from bellmax.tabular.classic_kernels import CLASSIC, RANGES, build_classic
from bellmax.tabular.kernel import kernel, new_generator
from bellmax.tabular.representation import Tiles
from bellmax.tabular.tiles import Coder, encode, make_grids

compiling = settings(deadline=None)  # the first example may have to wait for the compiler
EDGES = np.array([-1.0, 0.0, 10.0]), np.array([1.0, 0.5, 30.0])


def coder(bins: int = 4, tilings: int = 8) -> Coder:
    return make_grids(*EDGES, bins, tilings)


def slow_tiles(coder: Coder, obs: Any) -> list[int]:
    """Grid t is shifted back by t (1, 3, 5, ...) / T of a tile, modulo a tile."""
    numbers = []
    for t in range(coder.tilings):
        tile = [t]
        for d, (x, low, high) in enumerate(zip(obs, coder.low, coder.high, strict=True)):
            position = (min(max(x, low), high) - low) / (high - low) * coder.bins[d]
            tile.append(min(int(position + t * (2 * d + 1) / coder.tilings % 1), coder.width[d] - 1))
        numbers.append(int(np.ravel_multi_index(tile, (coder.tilings, *coder.width))))
    return numbers


points = arrays(np.float64, (5, 3), elements=st.floats(-50, 50, width=32))


@compiling
@given(points, st.integers(1, 9), st.sampled_from([1, 2, 4, 8, 64]))
def test_one_tile_of_each_grid(obs: np.ndarray, bins: int, tilings: int) -> None:
    grid = coder(bins, tilings)
    tiles = encode(grid, obs)
    assert tiles.tolist() == [slow_tiles(grid, row) for row in obs]
    assert np.all(tiles // (grid.n_tiles // tilings) == np.arange(tilings))  # each in its own grid
    assert tiles.min() >= 0
    assert tiles.max() < grid.n_tiles
    np.testing.assert_array_equal(tiles, encode(grid, np.clip(obs, *EDGES)))
    np.testing.assert_array_equal(tiles, encode(grid, obs.astype(np.float32)))


def test_tiles_of_what_is_not_a_number() -> None:
    odd = np.array([[np.nan, np.inf, -np.inf], [-1.0, 0.5, 10.0]])
    for tilings in (1, 8):
        first, second = encode(coder(4, tilings), odd)
        np.testing.assert_array_equal(first, second)


def test_neighbors_share_tiles_and_the_far_share_none() -> None:
    """Along every dimension, a walk of one tile's width leaves the grids one after the other, evenly."""
    grid = coder(4, 8)
    for d in range(3):
        start = np.array([-0.3, 0.2, 17.0])
        width = (grid.high - grid.low) / grid.bins * (np.arange(3) == d)
        walk = encode(grid, start + np.linspace(0, 1, 801)[:, None] * width)
        shared = (walk == walk[0]).sum(axis=1)
        assert shared[0] == 8
        assert shared[-1] == 0
        assert set(np.diff(shared)) == {0, -1}
        assert np.diff(np.flatnonzero(np.diff(shared))).tolist() == pytest.approx([100] * 7, abs=1)


def test_every_cell_of_one_grid_is_met() -> None:
    grid = coder(4, 1)
    axes = [np.linspace(low, high, 9) for low, high in zip(*EDGES, strict=True)]
    tiles = encode(grid, np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 3))
    assert grid.n_tiles == 64
    assert set(tiles.ravel()) == set(range(64))


@compiling
@given(st.integers(0, 4), st.integers(0, 2), st.floats(-100, 100), st.integers(0, 2**32 - 1))
def test_change_moves_a_value_by_exactly_the_amount(slot: int, action: int, amount: float, seed: int) -> None:
    rng, grid = np.random.default_rng(seed), coder(3, 4)
    q = Tiles(rng.normal(size=(grid.n_tiles, 3)), encode(grid, rng.uniform(-1, 30, (5, 3))))
    before = q.weights[q.active].sum(axis=1)
    assert value(q, slot, action) == pytest.approx(before[slot, action])
    assert (largest(q, slot), mean_value(q, slot)) == pytest.approx((before[slot].max(), before[slot].mean()))
    assert greedy(q, slot) == before[slot].argmax()
    change(q, slot, action, amount)
    after = q.weights[q.active].sum(axis=1)
    assert after[slot, action] - before[slot, action] == pytest.approx(amount)
    shared = (q.active == q.active[slot]).sum(axis=1) / 4
    np.testing.assert_allclose(after[:, action] - before[:, action], amount * shared, atol=1e-9)
    others = np.delete(np.arange(3), action)
    np.testing.assert_array_equal(after[:, others], before[:, others])


# learner: the kernel runs with tiles; others share its ways of keeping observations
TILED = ["sarsa-lambda", "double-q", "n-step-sarsa"]


def on_classic(name: str, world: str, tilings: int, **options: Any) -> tuple[Any, Source]:
    config = make_agent(name, world, {"bins": 5, "tilings": tilings, **options})
    return config, find_world(world)


@pytest.mark.parametrize("name", TILED)
def test_one_grid_of_tiles_is_a_table(name: str) -> None:
    """As a linear Q with one feature at a time: the same world, seen through slots."""
    config, source = on_classic(name, "MountainCar-v0", 1)
    setup = table_setup.set_up(config, source)
    world, place = build_classic(source.name, setup.coder)
    agent = setup.agent
    learner = agent.learner(build_rates(config, 3000))
    table = setup.init(config, 3, place)
    weights = Tiles(table.q.copy(), np.zeros((agent.window + 3, 1), np.int64))
    linear = table._replace(
        q=weights, memory=agent.memory(weights), visits=table.visits.copy(), place=table.place.copy(),
        clock=stepping.Clock(*(part.copy() for part in table.clock)),
        episode_return=table.episode_return.copy(), generator=table.generator.copy(),
    )  # fmt: skip
    records = []
    for state in (table, linear):
        returns, lengths = np.empty(3000), np.empty(3000, np.int64)
        count, error = stepping.run_steps(learner, world, state, 3000, returns, lengths)
        records.append((returns[:count].tolist(), lengths[:count].tolist(), pytest.approx(error)))
    assert records[0] == records[1]
    np.testing.assert_allclose(linear.q.weights, table.q, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(linear.visits, table.visits)
    np.testing.assert_array_equal(linear.generator, table.generator)


@pytest.mark.parametrize("name", TILED)
@pytest.mark.parametrize("kind", ["compiled", "host"])
def test_saved_tiles_go_on(name: str, kind: str) -> None:
    """Two seeds of a group at a time; the host's episode is lost with its process, its weights are not."""
    config, source = on_classic(name, "MountainCar-v0", 4)
    loop = make_loop(config, source, kind, 1000, n_seeds=16 if kind == "compiled" else 1)
    assert loop.group == (2 if kind == "compiled" else 1)
    seeds = list(range(loop.group))
    states, first = loop.advance(loop.start(seeds), 0, 500)
    saved = {key: np.array(array) for key, array in loop.dump(states).items()}
    restored = loop.restore(seeds, saved)
    for key, array in loop.dump(restored).items():
        np.testing.assert_array_equal(array, saved[key])
    restored, chunks = loop.advance(restored, 500, 500)
    assert len(chunks) == len(first) == len(seeds)
    if kind == "compiled":
        states, unbroken = loop.advance(states, 500, 500)
        assert [c.metrics for c in chunks] == [c.metrics for c in unbroken]
        alone, _ = loop.advance(loop.start(seeds[1:]), 0, 1000)
        for one, two in zip(loop.snapshot(states), loop.snapshot(restored), strict=True):
            np.testing.assert_array_equal(one["q"], two["q"])
        np.testing.assert_array_equal(loop.snapshot(alone)[0]["q"], two["q"])
        assert not np.array_equal(*(snapshot["q"] for snapshot in loop.snapshot(states)))
    else:
        assert loop.snapshot(restored)[0]["visits"].sum() == 1000 * 4
        loop.close(states)
    loop.close(restored)


class Car(MountainCarEnv):
    """It always starts in the same place."""

    def reset(self, **options: Any) -> Any:
        super().reset(**options)
        self.state = np.array([-0.5, 0.0])
        return np.array(self.state, np.float32), {}


@kernel
def same_place(place: Any, generator: Any) -> Any:
    place[0], place[1] = -0.5, 0.0
    return 0


@pytest.mark.parametrize(("name", "tilings"), [("sarsa-lambda", 4), ("double-q", 4), ("q-learning", 1)])
def test_host_and_compiled_loops_agree(name: str, tilings: int, monkeypatch: pytest.MonkeyPatch) -> None:
    config, source = on_classic(name, "MountainCar-v0", tilings, exploration_initial_eps=0.3)
    size, _, *rest = CLASSIC["MountainCar-v0"]
    monkeypatch.setitem(CLASSIC, "MountainCar-v0", (size, same_place, *rest))
    source = source._replace(open=lambda n: open_world(lambda: TimeLimit(Car(), 200), n=n), work=None)
    ends = []
    for kind in ("compiled", "host"):
        loop = make_loop(config, source, kind, 1000)
        state, (chunk,) = loop.advance(loop.start([5]), 0, 1000)
        ends.append((loop.snapshot(state)[0], chunk))
        loop.close(state)
    (compiled, one), (host, two) = ends
    np.testing.assert_allclose(compiled["q"], host["q"], rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(compiled["visits"], host["visits"])
    assert one.metrics["train/td_error"] == pytest.approx(two.metrics["train/td_error"])
    assert one.episodes.lengths.tolist() == two.episodes.lengths.tolist() == [200] * 5


def physics(env: Any) -> np.ndarray:
    return np.array(env.unwrapped.state, np.float64)


@pytest.mark.parametrize("name", CLASSIC)
def test_ten_thousand_steps_like_gymnasiums(name: str) -> None:
    """Whole episodes from Gymnasium's starts, each step from where Gymnasium stands: chaos would make any last digit
    grow. The first steps of each episode run freely.
    """
    size, _, move, sense, limit = CLASSIC[name]
    rng, place, steps, ends = np.random.default_rng(1), np.zeros(size + 1), 0, 0
    free = np.zeros(size + 1)
    with gymnasium.make(name, disable_env_checker=True) as env:
        assert limit == gymnasium.spec(name).max_episode_steps
        seed = 0
        while steps < 10_000 or ends < 3:
            env.reset(seed=seed)
            seed, over, length = seed + 1, False, 0
            free[:size] = physics(env)
            while not over:
                before = physics(env)
                action = int(rng.integers(env.action_space.n)) if seed % 2 else swing(name, before)
                obs, reward, terminated, truncated, _ = env.step(action)
                place[:size] = before
                mine = move(place, action)
                np.testing.assert_allclose(place[:size], physics(env), rtol=1e-13, atol=1e-14)
                assert (mine[0], bool(mine[1])) == (reward, terminated)
                seen = [sense(place, d) for d in range(obs.size)]
                np.testing.assert_allclose(np.float32(seen), obs, rtol=1e-6, atol=1e-7)
                if length < 40:
                    move(free, action)
                    np.testing.assert_allclose(free[:size], physics(env), rtol=1e-9, atol=1e-10)
                steps, length, over = steps + 1, length + 1, terminated or truncated
                ends += terminated


def swing(name: str, state: Any) -> int:
    """A policy that gets to the far ends of each world."""
    if name == "CartPole-v1":
        return int(0.1 * state[0] + 0.3 * state[1] + 2.0 * state[2] + 0.6 * state[3] > 0)
    return 2 * int(state[1] >= 0) if name == "MountainCar-v0" else 2 * int(state[3] >= 0)


@pytest.mark.parametrize("name", CLASSIC)
def test_starts_are_like_gymnasiums(name: str) -> None:
    size, draw, *_ = CLASSIC[name]
    generator, mine = new_generator(0), []
    place = np.full(size + 1, 9.0)
    for _ in range(2000):
        draw(place, generator)
        mine.append(place[:size].copy())
    with gymnasium.make(name, disable_env_checker=True) as env:
        theirs = []
        for seed in range(500):
            env.reset(seed=seed)
            theirs.append(physics(env))
    np.testing.assert_allclose(np.min(mine, axis=0), np.min(theirs, axis=0), atol=0.01)
    np.testing.assert_allclose(np.max(mine, axis=0), np.max(theirs, axis=0), atol=0.01)
    np.testing.assert_allclose(np.mean(mine, axis=0), np.mean(theirs, axis=0), atol=0.02)


def test_loop_plays_the_world_to_its_ends() -> None:
    """Steps, returns and the episode's clock, of a learner that does not learn: every episode has its own length."""
    config, source = on_classic("q-learning", "CartPole-v1", 1, exploration_initial_eps=1.0, exploration_final_eps=1.0)
    loop = make_loop(config, source, "compiled", 20_000)
    _, (chunk,) = loop.advance(loop.start([0]), 0, 20_000)
    returns, lengths = chunk.episodes.returns, chunk.episodes.lengths
    np.testing.assert_array_equal(returns, lengths)
    assert np.mean(returns) == pytest.approx(22.3, abs=1.5)  # random play, as everywhere
    assert 20_000 - lengths.sum() < 500


@pytest.mark.parametrize("name", ["dyna-q", "dyna-q-plus", "prioritized-sweeping", "r-max", "delayed-q", "speedy-q"])
def test_learners_of_states_refuse_tiles(name: str) -> None:
    config, source = on_classic(name, "MountainCar-v0", 8)
    with pytest.raises(ConfigError, match=rf"{name} .*give tilings=1, or use q-learning"):
        make_loop(config, source, "compiled", 100)


def test_range_of_observations() -> None:
    box = Source("balloon", Box((2,)), 2, None, open=lambda n: None)
    with pytest.raises(
        ConfigError,
        match=r"balloon have no bounds in dimensions \[0, 1\]; pass obs_low.*2 numbers .integers beyond int32",
    ):
        table_setup.set_up(QLearning(), box)
    half = box._replace(bounds=(np.array([-1.0, -np.inf]), np.array([1.0, np.inf])))
    with pytest.raises(ConfigError, match=r"no bounds in dimensions \[1\]"):
        table_setup.set_up(QLearning(), half)
    with pytest.raises(
        ConfigError, match="obs_low and obs_high: got 3 numbers, but the Boxes of an observation have 2"
    ):
        table_setup.set_up(QLearning(obs_low=(0.0,) * 3, obs_high=(1.0,) * 3), half)
    with pytest.raises(ConfigError, match="obs_low has 1 and obs_high 2 numbers"):
        QLearning(obs_low=(0.0,), obs_high=(1.0, 1.0))
    with pytest.raises(ConfigError, match="is not below obs_high"):
        QLearning(obs_low=(0.0, 1.0), obs_high=(1.0, 1.0))
    setup = table_setup.set_up(QLearning(obs_low=(-1.0, -2.0), obs_high=(1.0, 2.0), bins=3), half)
    assert (setup.shape, setup.coder.low.tolist()) == (Shape(9, 2), [-1.0, -2.0])
    assert set(RANGES) <= set(CLASSIC)


def test_too_many_tiles() -> None:
    vast = Source("vast", Box((9,)), 4, None, open=lambda n: None, bounds=(np.zeros(9), np.ones(9)))
    with pytest.raises(ResourceError, match=r"bins=8 along 9 dimensions.*134,217,728 rows.*fewer bins, or use dqn"):
        table_setup.set_up(QLearning(), vast)


@pytest.mark.parametrize("tilings", [3, 5, 6, 12, 63])
def test_grids_that_would_coincide_are_refused(tilings: int) -> None:
    with pytest.raises(ConfigError, match=f"tilings={tilings} is not a power of two"):
        QLearning(tilings=tilings)


def test_learners_of_one_episode_refuse_several_worlds() -> None:
    several = Source("pair", Box((1,)), 2, None, open=lambda n: None, bounds=(np.zeros(1), np.ones(1)), fixed=2)
    for name in ("sarsa-lambda", "n-step-sarsa", "monte-carlo", "peng-q"):
        with pytest.raises(ConfigError, match=f"{name} follows one episode, and pair has 2 environments"):
            make_loop(make_agent(name, "", {}), several, "host", 100)
    assert make_loop(QLearning(), several, "host", 100).stride == 2


@pytest.mark.parametrize("name", ["r-max", "delayed-q"])
def test_optimism_needs_a_discount(name: str) -> None:
    with pytest.raises(ConfigError, match=f"gamma=1.0: {name} starts at r_max"):
        make_agent(name, "", {"gamma": 1.0})
