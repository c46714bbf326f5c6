"""Tables of every space: which row an observation is, cells of integers, and cells of numbers and integers together."""

from __future__ import annotations

import functools
import json
import warnings
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest
from gymnasium import spaces as native
from gymnasium.vector import SyncVectorEnv
from hypothesis import given
from hypothesis import strategies as st
from worlds import Cue

import bellmax as bx
from bellmax import observations, spaces
from bellmax.catalog import AGENTS
from bellmax.contracts import (
    Box,
    ConfigError,
    Discrete,
    EnvContractError,
    EnvWarning,
    MultiDiscrete,
    Named,
    ResourceError,
)
from bellmax.envs.host_world import open_world
from bellmax.tabular.cells import make_coder, numbers_of, plan_cells, rows_of, states_of

QUICK: dict[str, Any] = {"eval_episodes": 0, "final_episodes": 6, "records": 2, "progress": False}
TABULAR = [name for name in AGENTS if AGENTS.place(name).startswith("bellmax.tabular")]

# name: (the space, two observations that call for other actions, rows of the table)
CASES: dict[str, tuple[native.Space[Any], tuple[Any, Any], int]] = {
    "several integers": (native.MultiDiscrete([3, 4], start=[1, -2]), (np.array([1, 1]), np.array([3, -2])), 12),
    "flags": (native.MultiBinary([2, 2]), (np.eye(2, dtype="i1"), 1 - np.eye(2, dtype="i1")), 16),
    "box of flags": (native.Box(0, 1, (9,), bool), (np.arange(9) % 2 == 0, np.arange(9) % 2 == 1), 512),
    "flags and real numbers": (
        native.Dict(speed=native.Box(-1, 1, (1,)), on=native.Box(0, 1, (2,), bool)),
        ({"speed": np.array([0.5], "f4"), "on": np.array([True, False])},
         {"speed": np.array([-0.5], "f4"), "on": np.array([False, True])}), 32),
    "tuple": (native.Tuple([native.Discrete(3, start=5), native.MultiBinary(2)]),
              ((7, np.array([0, 1], "i1")), (7, np.array([1, 0], "i1"))), 12),
    "nested dictionary": (
        native.Dict(b=native.Discrete(3), a=native.Dict(c=native.Tuple([native.Discrete(2), native.Discrete(4)]))),
        ({"a": {"c": (0, 3)}, "b": 0}, {"a": {"c": (1, 3)}, "b": 0}), 24),
    "box of integers": (native.Box(np.array([-5, 0]), np.array([4, 2]), dtype=np.int16),
                        (np.array([-1, 1], "i2"), np.array([-2, 1], "i2")), 30),
    "box of few bytes": (native.Box(0, 3, (2, 2), np.uint8), (np.eye(2, dtype="u1"), 3 * np.eye(2, dtype="u1")), 256),
    "one large integer": (native.Box(1_700_000_000, 1_700_000_009, (), np.int64),
                          (np.array(1_700_000_003), np.array(1_700_000_004)), 10),
    "integers and real numbers": (
        native.Dict(speed=native.Box(-1, 1, (1,)), gear=native.Discrete(4)),
        ({"speed": np.array([0.5], "f4"), "gear": 1}, {"speed": np.array([-0.5], "f4"), "gear": 1}), 32),
}  # fmt: skip


def cue(case: str) -> Any:
    space, cues, _ = CASES[case]
    return functools.partial(Cue, space, cues)


@pytest.mark.parametrize("case", CASES)
def test_a_table_of_every_space_is_learned_saved_loaded_evaluated_and_acted_with(case: str, tmp_path: Path) -> None:
    _, cues, rows = CASES[case]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        run = bx.train(cue(case), "q-learning", steps=600, out=tmp_path / "run", **QUICK)
    assert run.scores == [5.0]  # the right action at every step
    loaded = bx.load(tmp_path / "run").policy()
    assert loaded.arrays["q"].shape == (rows, 2)
    assert bx.evaluate(loaded, cue(case), episodes=4).returns.tolist() == [5.0] * 4
    own = [loaded.act(each) for each in cues]
    assert own == [0, 1]
    obs = open_world(cue(case)).reset(3)
    values = loaded.look_from_zero(None, obs)[0]
    assert values.shape == (1, 2)
    np.testing.assert_array_equal(values, run.policy().look_from_zero(None, obs)[0])
    own = np.array([loaded.q_values(each) for each in cues])
    np.testing.assert_array_equal(own.argmax(axis=1), [0, 1])
    assert values[0].tolist() in own.tolist()
    resumed = bx.load(tmp_path / "run")
    assert resumed.policy().space == spaces.from_json(json.loads(json.dumps(spaces.to_json(loaded.space))))


@pytest.mark.parametrize("case", ["tuple", "box of integers", "integers and real numbers"])
def test_a_vector_environment_and_workers_are_the_same_to_a_table(case: str) -> None:
    runs = [
        bx.train(SyncVectorEnv([cue(case)] * 2), "q-learning", steps=800, **QUICK),
        bx.train(cue(case), "q-learning", steps=400, workers=1, **QUICK),
    ]
    assert [run.scores for run in runs] == [[5.0], [5.0]]


@pytest.mark.parametrize("agent", TABULAR)
def test_every_learner_has_a_table_of_a_tuple(agent: str) -> None:
    limits = {"r_max": 1.0, "gamma": 0.5} if agent in ("r-max", "delayed-q") else {"gamma": 0.5}
    run = bx.train(cue("tuple"), agent, steps=2_000, **QUICK, **limits)
    assert run.scores[0] >= 4.0  # by chance 2.5
    assert run.policy().arrays["q"].shape == (12, 2)


def test_a_state_is_found_at_its_row() -> None:
    for case in CASES:
        policy_space = open_world(cue(case)).observation_space
        if not np.isfinite(numbers_of(policy_space).low).all():
            with pytest.raises(ConfigError, match="not a finite list of states"):
                states_of(policy_space)
            continue
        numbers = numbers_of(policy_space)
        coder = make_coder(
            bx.QLearning(), policy_space, numbers.low[numbers.ranged], numbers.high[numbers.ranged], n_actions=2
        )
        states = states_of(policy_space)
        assert rows_of(coder, states)[:, 0].tolist() == list(range(coder.n_tiles))
        batch, single = observations.read_batch(policy_space, observations.named(policy_space, states))
        assert not single
        assert rows_of(coder, batch)[:, 0].tolist() == list(range(coder.n_tiles))


def test_the_rows_of_a_table_have_names() -> None:
    policy = bx.train("Blackjack-v1", "q-learning", steps=2_000, **QUICK).policy()
    assert policy.arrays["q"].shape == (32 * 11 * 2, 2)
    hand, dealer, ace = policy.states()
    row = (13 * 11 + 5) * 2 + 1
    assert (hand[row], dealer[row], ace[row]) == (13, 5, 1)
    np.testing.assert_array_equal(policy.table(), policy.arrays["q"])
    np.testing.assert_array_equal(policy.q_values((13, 5, 1)), policy.table()[row])
    assert policy.act((np.array([13, 20]), np.array([5, 1]), np.array([1, 0]))).shape == (2,)
    with pytest.raises(ConfigError, match="outside the integers from 0 to 31"):
        policy.act((32, 5, 1))


def test_the_table_of_a_network_has_the_same_rows() -> None:
    run = bx.train(
        cue("nested dictionary"),
        "dqn",
        steps=8,
        net_arch=(8,),
        learning_starts=8,
        buffer_size=100,
        eval_episodes=0,
        final_episodes=0,
    )
    policy, states = run.policy(), run.policy().states()
    assert policy.table().shape == (24, 2)
    assert states["a"]["c"][1][:5].tolist() == [0, 1, 2, 3, 0]  # of b, a.c.0 and a.c.1 the last runs fastest
    np.testing.assert_allclose(policy.q_values({"b": 2, "a": {"c": (1, 3)}}), policy.table()[-1], rtol=1e-5)


# cells of integers


MAZE = ["S.#.......", "#.#.####.#", "..#.#..#..", ".##.#.##.#", "....#.....",
        "###.####.#", "....#..#..", ".####.##.#", "......#...", "#.###...#G"]  # fmt: skip


class Maze(gym.Env[Any, Any]):
    action_space = native.Discrete(4)

    observation_space = native.Box(0, 9, (2,), np.int64)

    def obs(self) -> Any:
        return np.array(self.p)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.p = (0, 0)
        return self.obs(), {}

    def step(self, action: Any) -> Any:
        dy, dx = ((0, 1), (1, 0), (0, -1), (-1, 0))[action]
        y, x = self.p[0] + dy, self.p[1] + dx
        if 0 <= y < 10 and 0 <= x < 10 and MAZE[y][x] != "#":
            self.p = (y, x)
        return self.obs(), -1.0, MAZE[self.p[0]][self.p[1]] == "G", False, {}


def test_integers_do_not_share_cells() -> None:
    gym.register("BellmaxMaze-v0", Maze, max_episode_steps=200)
    try:
        run = bx.train(
            "BellmaxMaze-v0", "q-learning", steps=60_000, learning_rate=0.5, gamma=1.0, final_episodes=1,
            eval_episodes=0, records=2,
        )  # fmt: skip
        assert run.scores == [-28.0]
        assert run.policy().arrays["q"].shape == (100, 4)
    finally:
        del gym.registry["BellmaxMaze-v0"]


class Grid(gym.Env[Any, Any]):
    """Walks along integers from 0 to `n` - 1 in `k` dimensions; only its space matters."""

    action_space = native.Discrete(2)

    def __init__(self, n: int, k: int = 2, dtype: Any = np.int64) -> None:
        self.observation_space = native.Box(0, n - 1, (k,), dtype)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> Any:
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(self.observation_space.shape, self.observation_space.dtype), {}

    def step(self, action: Any) -> Any:
        self.t += 1
        return np.zeros(self.observation_space.shape, self.observation_space.dtype), 1.0, self.t > 3, False, {}


def test_too_many_integers_for_a_cell_each_are_told_once_and_cut() -> None:
    with pytest.warns(EnvWarning, match=r"observations are integers with 100,000,000 combinations") as told:
        run = bx.train(functools.partial(Grid, 10_000), "q-learning", steps=20, **QUICK)
    assert [str(w.message).count("1,562,500 states fall together") for w in told] == [1]
    assert run.policy().arrays["q"].shape == (64, 2)
    asked = bx.train(functools.partial(Grid, 10_000), "q-learning", steps=20, bins=(100, 50), **QUICK)
    assert asked.policy().arrays["q"].shape == (5_000, 2)
    with pytest.raises(ResourceError, match=r"bins=256 along 28,224 dimensions .* about 10\^67970 rows .* use dqn"):
        bx.train(functools.partial(Grid, 256, 28224, np.uint8), "q-learning", steps=20, **QUICK)


def test_bins_of_each_dimension_are_saved_and_loaded(tmp_path: Path) -> None:
    world = functools.partial(Cue, native.Box(0, 1, (2,)), (np.array([0.1, 0.9], "f4"), np.array([0.9, 0.9], "f4")))
    run = bx.train(world, "q-learning", steps=400, bins=(4, 3), out=tmp_path / "run", **QUICK)
    policy = bx.load(tmp_path / "run").policy()
    assert (policy.config.bins, policy.arrays["q"].shape, run.scores) == ((4, 3), (12, 2), [5.0])
    assert bx.QLearning(bins=5).bins == (5,) == bx.QLearning(bins=np.int64(5)).bins
    with pytest.raises(ConfigError, match="bins: got 3 numbers, but the Boxes of an observation have 2"):
        bx.train(world, "q-learning", steps=400, bins=(4, 3, 2), **QUICK)
    with pytest.raises(ConfigError, match="bins"):
        bx.QLearning(bins=0)


@given(st.lists(st.tuples(st.integers(-50, 50), st.integers(1, 12)), min_size=1, max_size=4), st.data())
def test_a_cell_is_one_integer(dimensions: list[tuple[int, int]], data: Any) -> None:
    low = tuple(first for first, _ in dimensions)
    high = tuple(first + n - 1 for first, n in dimensions)
    space = Box((len(low),), "int32", low, high)
    coder = make_coder(bx.QLearning(), space, np.array(low), np.array(high), 2)
    drawn = np.array([[data.draw(st.integers(a, b)) for a, b in zip(low, high, strict=True)] for _ in range(5)])
    shape = [n for _, n in dimensions]
    expected = np.ravel_multi_index(tuple((drawn - np.array(low)).T), shape)
    assert rows_of(coder, drawn.astype(np.int32))[:, 0].tolist() == expected.tolist()


def test_fewer_bins_than_integers_and_more() -> None:
    space = Box((3,), "int32", 0, 9)
    assert plan_cells(bx.QLearning(bins=(5, 10, 99)), space, 2).bins == [5, 10, 10]
    assert plan_cells(bx.QLearning(tilings=4), space, 2).bins == [8, 8, 8]
    narrow = bx.QLearning(obs_low=(0, 3, 0), obs_high=(9, 5, 1))
    assert plan_cells(narrow, space, 2).bins == [10, 3, 2]
    mixed = (Discrete(3), Box((1,)), MultiDiscrete((2, 2)))
    grids = make_coder(bx.QLearning(tilings=4), mixed, np.zeros(1), np.ones(1), 2)
    assert grids.width.tolist() == [3, 9, 2, 2]  # only real numbers lie in shifted grids


@pytest.mark.parametrize("setting", [{"bins": 4}, {"tilings": 4}, {"obs_low": (0.0,), "obs_high": (1.0,)}])
def test_settings_of_boxes_are_refused_where_there_is_none(setting: dict[str, Any]) -> None:
    for world in ("cliff", cue("tuple")):
        with pytest.raises(ConfigError, match=f"{next(iter(setting))}=.* would cut a Box, and observations of"):
            bx.train(world, "q-learning", steps=10, **setting, **QUICK)


def test_an_integer_outside_its_box_is_remarked_and_counts_as_the_end() -> None:
    far = functools.partial(Cue, native.Box(0, 9, (1,), np.int64), (np.array([12]), np.array([3])))
    with pytest.warns(EnvWarning, match=r"observation\[0\] is 12, outside 0 to 9"):
        run = bx.train(far, "q-learning", steps=400, **QUICK)
    assert run.scores == [5.0]
    with pytest.raises(EnvContractError, match=r"is 4294967296, outside 0 to 9 and too large for int32"):
        bx.train(functools.partial(Cue, native.Box(0, 9, (1,), np.int64), (np.array([2**32]),) * 2), "dqn", steps=9)


def test_a_policy_from_before_integers_had_bounds_still_plays() -> None:
    old = Box((2,), "float32")
    assert spaces.fits(old, Box((2,), "int32", 0, 9))
    assert spaces.fits(old, Box((2,), "bool"))
    assert not spaces.fits(old, Box((3,), "bool"))
    assert spaces.fits((Discrete(2), Box((2,), "uint8")), (Discrete(2), Box((2,), "uint8", 0, 3)))
    assert spaces.fits(Named(("a",), (old,)), Named(("a",), (Box((2,), "int32", (0, 1), 9),)))
    assert not spaces.fits(Box((2,), "int32", 0, 9), old)
    assert not spaces.fits(Named(("a",), (old,)), Named(("b",), (old,)))
    assert not spaces.fits(old, Discrete(2))
    run = bx.train(Maze, "q-learning", steps=200, eval_episodes=0, final_episodes=0, bins=8)
    policy = run.policy()
    shape = policy.arrays["q"].shape
    assert shape == (64, 4)
    before = bx.Policy(policy.world, bx.QLearning(bins=8), old, 4, policy.arrays)
    obs = np.array([[0, 9], [4, 5]])
    np.testing.assert_array_equal(before.q_values(obs), policy.q_values(obs))


class Parity(gym.Env[Any, Any]):
    """Whether a number far from 0 is even."""

    action_space = gym.spaces.Discrete(2)

    def __init__(self, start: int, dtype: Any) -> None:
        self.start, self.dtype = start, dtype
        self.observation_space = gym.spaces.Box(start, start + 3, (1,), dtype)

    def obs(self) -> Any:
        self.x = int(self.np_random.integers(4))
        return np.array([self.start + self.x], self.dtype)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        return self.obs(), {}

    def step(self, action: int) -> Any:
        return self.obs(), float(action == self.x % 2), True, False, {}


@pytest.mark.filterwarnings("ignore:.*had one step")
@pytest.mark.parametrize(("start", "dtype"), [(2**40, np.int64), (-(2**40), np.int64), (2**30, np.float64)])
def test_numbers_that_float32_merges_are_told(start: int, dtype: Any) -> None:
    fast: Any = {"steps": 60, "eval_episodes": 0, "final_episodes": 1, "records": 1}
    with pytest.warns(
        bx.EnvWarning, match=f"is between {start} and {start + 3}, far from 0.* values; subtract the lower"
    ):
        bx.train(lambda: Parity(start, dtype), "dqn", normalize_observations=True, learning_starts=20, **fast)
    ranges = {"obs_low": (start,), "obs_high": (start + 3,)} if dtype == np.int64 else {}
    with pytest.raises(
        bx.ConfigError, match=rf"from {start} to {start + 3}, where the resolution of float32 is .*subtract"
    ):
        bx.train(lambda: Parity(start, dtype), "q-learning", **ranges, **fast)
