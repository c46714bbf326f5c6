"""The model: what the constructors accept, refuse and keep."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import TransformReward
from hypothesis import given, settings
from hypothesis import strategies as st

from bellmax.contracts import ConfigError
from bellmax.mdp.gallery import cliff, corridor, random_garnet
from bellmax.mdp.model import FiniteMDP
from bellmax.mdp.outcomes import continuation, expected_reward, reachable
from bellmax.mdp.successors import successor_table
from bellmax.solving.solve import evaluate_policy, greedy_actions, horizon_return, solve

SOUND = [[[(0.5, 0, 1.0, False), (0.5, 1, 3.0, True)], [(1.0, 1, 0.0, False)]], [[(1.0, 1, 0.0, True)]] * 2]


def outcomes(mdp: FiniteMDP, state: int, action: int) -> list[tuple[float, int, float, bool]]:
    row = slice(*mdp.indptr[state * mdp.n_actions + action :][:2])
    columns = (mdp.probability[row], mdp.successor[row], mdp.reward[row], mdp.terminated[row])
    return [(p, s, r, t) for p, s, r, t in zip(*(c.tolist() for c in columns), strict=True)]


def test_successors_are_kept_as_given() -> None:
    mdp = FiniteMDP.from_successors(SOUND, name="toy", action_names=("stay", "go"), max_episode_steps=7)
    assert (mdp.n_states, mdp.n_actions, mdp.name, mdp.max_episode_steps) == (2, 2, "toy", 7)
    assert [[outcomes(mdp, s, a) for a in range(2)] for s in range(2)] == SOUND
    assert mdp.start.tolist() == [1.0, 0.0]
    assert [mdp.indptr.dtype, mdp.successor.dtype, mdp.probability.dtype] == [np.int64, np.int64, np.float64]
    assert [mdp.reward.dtype, mdp.terminated.dtype, mdp.start.dtype] == [np.float64, np.bool_, np.float64]


def test_mappings_mean_the_same_as_sequences() -> None:
    mapping = {s: dict(enumerate(row)) for s, row in enumerate(SOUND)}
    mdp = FiniteMDP.from_successors(mapping, start=[0.25, 0.75])
    assert outcomes(mdp, 0, 0) == SOUND[0][0]
    assert mdp.start.tolist() == [0.25, 0.75]


def test_equal_outcomes_merge_and_impossible_ones_go() -> None:
    row = [(0.25, 1, 0.0, False), (0.5, 0, 0.0, False), (0.25, 1, 0.0, False), (0.0, 1, 9.0, True)]
    mdp = FiniteMDP.from_successors([[row], [[(0.5, 0, 0.0, False), (0.5, 0, 0.0, True)]]])
    assert outcomes(mdp, 0, 0) == [(0.5, 0, 0.0, False), (0.5, 1, 0.0, False)]
    assert len(outcomes(mdp, 1, 0)) == 2, "the same successor with and without an end are two outcomes"


def test_arrays_are_read_only_and_the_callers_stay_writable() -> None:
    start = np.array([1.0, 0.0])
    mdp = FiniteMDP.from_successors(SOUND, start=start)
    start[0] = 1.0
    with pytest.raises(ValueError, match="read-only"):
        mdp.probability[0] = 2.0


@pytest.mark.parametrize("dense_reward", [False, True])
def test_from_arrays_equals_from_successors(dense_reward: bool) -> None:
    P = np.array([[[0.5, 0.5], [0.0, 1.0]], [[0.0, 1.0], [1.0, 0.0]]])
    R = np.array([[1.0, 2.0], [3.0, 4.0]])
    dense = np.repeat(R[..., None], 2, 2) if dense_reward else R
    mdp = FiniteMDP.from_arrays(P, dense, layout="SAS", terminal_states=[1])
    assert outcomes(mdp, 0, 0) == [(0.5, 0, 1.0, False), (0.5, 1, 1.0, True)]
    assert outcomes(mdp, 0, 1) == [(1.0, 1, 2.0, True)]
    assert outcomes(mdp, 1, 1) == [(1.0, 1, 0.0, True)], "nobody acts in a terminal state"
    assert expected_reward(mdp).tolist() == [[1.0, 2.0], [0.0, 0.0]]
    assert mdp.start.tolist() == [1.0, 0.0]


@pytest.mark.parametrize(
    ("name", "size", "steps", "decisions"),
    [
        ("FrozenLake-v1", (16, 4), 100, 11),
        ("FrozenLake8x8-v1", (64, 4), 200, 53),
        ("CliffWalking-v1", (48, 4), None, 37),
        ("Taxi-v4", (500, 6), 200, 400),
    ],
)
def test_gymnasium_tables(name: str, size: tuple[int, int], steps: int | None, decisions: int) -> None:
    mdp = FiniteMDP.from_gymnasium(name)
    world: Any = gymnasium.make(name).unwrapped
    assert (mdp.n_states, mdp.n_actions) == size
    assert (mdp.name, mdp.max_episode_steps, len(mdp.action_names)) == (name, steps, size[1])
    assert mdp.start == pytest.approx(world.initial_state_distrib)
    assert reachable(mdp).sum() == decisions
    for s in range(size[0]):
        for a in range(size[1]):
            mass: dict[tuple[int, float, bool], float] = {}
            for p, *outcome in world.P[s][a]:
                mass[tuple(outcome)] = mass.get(tuple(outcome), 0.0) + p
            mine = {(n, r, t): p for p, n, r, t in outcomes(mdp, s, a)}
            assert mine == pytest.approx(mass)


def test_gymnasium_options_and_worlds() -> None:
    assert FiniteMDP.from_gymnasium("FrozenLake-v1", is_slippery=False).successor.size == 64
    world = gymnasium.make("FrozenLake-v1", max_episode_steps=5)
    assert FiniteMDP.from_gymnasium(world).max_episode_steps == 5
    assert FiniteMDP.from_gymnasium(world.unwrapped).n_states == 16


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: "CartPole-v1", "'CartPole-v1' has no transition table"),
        (lambda: "FrozenLoch-v1", "cannot make 'FrozenLoch-v1'"),
        (
            lambda: TransformReward(gymnasium.make("FrozenLake-v1"), lambda r: 2 * float(r)),
            "'FrozenLake-v1' is wrapped in TransformReward",
        ),
        (lambda: gymnasium.make("Taxi-v4", fickle_passenger=True), "changes its goal outside"),
    ],
)
def test_gymnasium_refusals(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        FiniteMDP.from_gymnasium(make())


def test_continuation_leaves_out_the_end_and_reward_does_not() -> None:
    mdp = FiniteMDP.from_successors(SOUND)
    assert continuation(mdp).toarray().tolist() == [[0.5, 0.0], [0.0, 1.0], [0.0, 0.0], [0.0, 0.0]]
    assert expected_reward(mdp).tolist() == [[2.0, 0.0], [0.0, 0.0]]


def test_reachable_does_not_step_out_of_an_end() -> None:
    assert reachable(corridor(4)).tolist() == [True, True, True, False]
    assert np.flatnonzero(~reachable(cliff())).tolist() == list(range(37, 48))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), termination=st.sampled_from([0.0, 0.3, 1.0]))
def test_the_successor_table_is_the_model(seed: int, termination: float) -> None:
    mdp = random_garnet(5, 2, 3, seed, termination)
    table = successor_table(mdp)
    width = int(np.diff(mdp.indptr).max())
    assert [column.shape for column in table] == [(10, width)] * 5
    probability = np.diff(np.minimum(table.cumulative, 1.0), axis=1, prepend=0.0)
    dense = np.zeros((10, 5))
    for k in range(width):
        np.add.at(dense, (np.arange(10), table.successor[:, k]), probability[:, k] * table.continues[:, k])
    assert dense == pytest.approx(continuation(mdp).toarray(), abs=1e-15)
    assert (probability * table.reward).sum(axis=1) == pytest.approx(expected_reward(mdp).ravel())


def test_no_uniform_draw_runs_over_the_successor_table() -> None:
    tenths = [[[(0.1, s, 0.0, False) for s in range(10)], [(1.0, 3, 5.0, True)]]] + [SOUND[1]] * 9
    table = successor_table(FiniteMDP.from_successors(tenths))
    assert sum([0.1] * 10) < 1, "the case that needs the guard"
    largest = np.nextafter(1.0, 0.0)
    assert np.argmax(largest < table.cumulative[0]) == 9
    assert table.cumulative[1].tolist() == [2.0] * 10
    assert (table.successor[1, 0], table.reward[1, 0], table.continues[1, 0]) == (3, 5.0, 0.0)


NOISY = [[(0.5, 1, 2.0, False, 0.25), (0.25, 1, 2.0, False), (0.25, 1, 2.0, False, 0.25)], [(1.0, 0, 1.0, True)]]


def test_the_noise_of_a_reward_is_kept_and_only_equal_noise_merges() -> None:
    mdp = FiniteMDP.from_successors([NOISY, [NOISY[1]]])
    assert outcomes(mdp, 0, 0) == [(0.25, 1, 2.0, False), (0.75, 1, 2.0, False)]
    assert mdp.reward_std.tolist() == [0.0, 0.25, 0.0, 0.0]
    assert expected_reward(mdp).tolist() == [[2.0, 1.0], [1.0, -np.inf]]
    assert successor_table(mdp).reward_std.tolist() == [[0.0, 0.25], [0.0, 0.0], [0.0, 0.0], [0.0, 0.0]]
    assert FiniteMDP.from_successors(SOUND).reward_std.tolist() == [0.0] * 5


@pytest.mark.parametrize("noise", [0.5, [[0.5, 0.5]], [[[0.5], [0.5]]]])
def test_arrays_with_noise(noise: Any) -> None:
    mdp = FiniteMDP.from_arrays(np.ones((1, 2, 1)), [[1.0, 2.0]], R_std=noise, terminal_states=[0])
    assert mdp.reward_std.tolist() == [0.5, 0.5]


def test_a_state_may_have_fewer_actions() -> None:
    mdp = FiniteMDP.from_successors([SOUND[0], SOUND[1][:1]])
    assert (mdp.n_actions, mdp.n_allowed.tolist()) == (2, [2, 1])
    assert mdp.allowed.tolist() == [[True, True], [True, False]]
    assert expected_reward(mdp).tolist() == [[2.0, 0.0], [0.0, -np.inf]]
    assert continuation(mdp).toarray()[3].tolist() == [0.0, 0.0]
    table = successor_table(mdp)
    for column in table:
        assert column[3].tolist() == column[2].tolist(), "the state's last action stands in for the missing one"
    P = np.array([[[0.5, 0.5], [0.0, 1.0]], [[0.0, 1.0], [0.0, 0.0]]])
    dense = FiniteMDP.from_arrays(P, np.zeros((2, 2)), layout="SAS", n_allowed=[2, 1], max_episode_steps=9)
    assert dense.n_allowed.tolist() == [2, 1]
    assert FiniteMDP.from_successors(SOUND).n_allowed.tolist() == [2, 2]


def test_exact_answers_leave_out_the_actions_that_a_state_lacks() -> None:
    table = [[[(1.0, 1, 0.0, False)], [(1.0, 1, -1.0, True)]], [[(1.0, 1, -0.5, True)]] * 3]
    mdp = FiniteMDP.from_successors(table)
    solution = solve(mdp, 0.9)
    assert solution.q == pytest.approx(np.array([[-0.45, -1.0, -np.inf], [-0.5, -0.5, -0.5]]))
    assert solution.policy.tolist() == [0, 0]
    assert solution.bound < 1e-10
    assert greedy_actions(np.array([[-2.0, -1.0, -np.inf], [1e-300, 2e-300, -np.inf]])).tolist() == [1, 1]
    mixed = np.array([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]])
    assert evaluate_policy(mdp, mixed, 0.9) == pytest.approx([-0.725, -0.5])
    assert horizon_return(mdp, mixed, 5) == pytest.approx(-0.75)
    for wrong in ([2, 0], [[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]):
        with pytest.raises(ConfigError, match=r"policy: states \[0\]"):
            evaluate_policy(mdp, wrong, 0.9)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_a_missing_action_solves_like_a_hopeless_one(seed: int) -> None:
    whole = random_garnet(6, 3, 2, seed)
    has = np.random.default_rng(seed).integers(1, 4, 6)
    exists = (np.arange(3) < has[:, None]).ravel()[whole.pair]
    columns = (whole.pair, whole.successor, whole.probability)
    less = FiniteMDP.from_entries(
        6, 3, *(c[exists] for c in columns), whole.reward[exists], whole.terminated[exists], n_allowed=has
    )
    hopeless = FiniteMDP.from_entries(6, 3, *columns, np.where(exists, whole.reward, -1e3), whole.terminated)
    mine, theirs = solve(less, 0.8), solve(hopeless, 0.8)
    assert mine.v == pytest.approx(theirs.v, abs=1e-9)
    assert mine.q[less.allowed] == pytest.approx(theirs.q[less.allowed], abs=1e-9)
    assert np.isneginf(mine.q[~less.allowed]).all()
    assert (mine.policy < has).all()
