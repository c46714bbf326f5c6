"""Models and transition tables in training: what is not used says why, what never ends ends, and grading is quick."""

from __future__ import annotations

import time
import warnings
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import bellmax as bx
from bellmax.mdp.model import FiniteMDP
from bellmax.mdp.successors import with_ends
from bellmax.sources import find_world
from bellmax.training.play import play_host, play_table

FAULTS: dict[str, tuple[Any, str]] = {
    "sums": (
        [(0.333333, 0, 0.0, False), (0.333333, 1, 0.0, False), (0.333333, 1, 1.0, True)],
        "sum to 0.999999, not 1",
    ),
    "successor": ([(1.0, 7, 0.0, False)], "successor 7 is outside 0 to 1"),
    "reward": ([(1.0, 1, float("nan"), True)], "reward nan"),
    "shape": ([(1.0, 1, 0.0)], "is not (probability, next_state, reward, terminated)"),
    "words": ("left", "'left' is not a list of outcomes"),
}


class Tabled(gym.Env[int, int]):
    """Two states; `P` has one row that may be wrong."""

    observation_space = gym.spaces.Discrete(2)
    action_space = gym.spaces.Discrete(2)
    initial_state_distrib = np.array([1.0, 0.0])

    def __init__(self, row: Any = ((1.0, 1, 1.0, True),), table: bool = True) -> None:
        self.P = {0: {0: row, 1: [(1.0, 1, 1.0, True)]}, 1: {0: [(1.0, 1, 0.0, True)], 1: [(1.0, 1, 0.0, True)]}}
        if not table:
            self.P = np.eye(2)  # type: ignore[assignment]

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        return 0, {}

    def step(self, action: Any) -> tuple[int, float, bool, bool, dict[str, Any]]:
        return 1, 1.0, True, False, {}


gym.register("Tabled-v0", Tabled, max_episode_steps=10)


def lines_of(world: Any, **options: Any) -> tuple[Any, str]:
    said: list[str] = []
    run = bx.train(world, "q-learning", steps=50, seeds=1, final_episodes=1, say=said.append, **options)
    return run, "\n".join(said)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("loop", ["auto", "host"])
def test_a_transition_table_that_cannot_be_used_says_why(fault: str, loop: str) -> None:
    row, reason = FAULTS[fault]
    run, said = lines_of("Tabled-v0", env_kwargs={"row": row}, loop=loop)
    assert "its transition table `P` is not used, and there are no exact answers: " in said
    assert reason in said
    assert said.count(reason) == 1
    assert "exact/regret" not in run.history.columns


def test_a_table_that_is_none_or_not_given_by_an_id_says_so_and_a_sound_one_is_used() -> None:
    assert "its transition table `P` is not used" in lines_of("Tabled-v0", env_kwargs={"table": False})[1]
    for world in (Tabled, Tabled(), lambda: Tabled()):
        assert "it may not be complete; give a registered id" in lines_of(world)[1]
    row, reason = FAULTS["sums"]
    for world in (Tabled(row), lambda: Tabled(row)):
        assert reason in lines_of(world)[1]
    run, said = lines_of("Tabled-v0")
    assert "has a transition table" in said
    assert run.history["exact/regret"][:, -1].tolist() == [0]
    third = float(np.float32(1 / 3))
    with pytest.warns(bx.ModelWarning, match="miss a sum of 1"):
        source = find_world("Tabled-v0", {"row": [(third, 0, 0.0, False)] * 3})
    assert source.mdp is not None


def looping() -> FiniteMDP:
    """0 -> 1 -> 2 -> 3 at a cost of 1 a step; 3 loops on itself for nothing, as in many a textbook."""
    P = np.zeros((4, 2, 4))
    P[[0, 1, 2, 3], 0, [1, 2, 3, 3]] = 1
    P[[0, 1, 2, 3], 1, [0, 0, 1, 3]] = 1
    R = np.full((4, 2), -1.0)
    R[3] = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bx.ModelWarning)
        return FiniteMDP.from_arrays(P, R)


@pytest.mark.parametrize("gamma", [1.0, 0.9])
def test_an_absorbing_state_for_no_reward_ends_the_episode_in_training_and_no_value_changes(gamma: float) -> None:
    mdp = looping()
    ended, states = with_ends(mdp)
    assert states.tolist() == [3]
    assert bx.solve(ended, gamma).q == pytest.approx(bx.solve(mdp, gamma).q)
    said: list[str] = []
    run = bx.train(mdp, "q-learning", steps=2_000, seeds=2, gamma=gamma, final_episodes=5, say=said.append)
    assert any("entering state 3 ends the episode" in line for line in said)
    assert [each.returns.tolist() for each in run.evaluations] == [[-3.0] * 5] * 2
    assert run.history["exact/optimal_return"][:, -1] == pytest.approx(-3.0 if gamma == 1 else -2.71)
    assert (run.history["exact/regret"][:, -1] == 0).all()


def test_what_pays_or_can_be_left_is_not_an_end() -> None:
    for reward, std, leave in ((1.0, 0.0, 3), (0.0, 1.0, 3), (0.0, 0.0, 0)):
        table = [[[(1.0, 3, 0.0, False)]]] * 3 + [[[(1.0, 3, reward, False, std)], [(1.0, leave, 0.0, False, 0.0)]]]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", bx.ModelWarning)
            assert with_ends(FiniteMDP.from_successors(table))[1].size == 0
    for name in bx.mdp.gallery.GALLERY:
        if name != "car-rental":  # it never ends, and is large
            assert with_ends(bx.mdp.gallery.GALLERY[name]())[1].size == 0, name


def test_free_loops_of_several_states_have_exact_columns_at_gamma_1() -> None:
    table = [[[(1.0, 1, -1.0, False)]], [[(1.0, 2, 0.0, False)]], [[(1.0, 1, 0.0, False)]]]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", bx.ModelWarning)
        mdp = FiniteMDP.from_successors(table, max_episode_steps=20)
    run = bx.train(mdp, "q-learning", steps=500, seeds=1, gamma=1.0, final_episodes=1)
    assert run.history["exact/optimal_value"][:, -1].tolist() == [-1]


def test_the_final_episodes_of_a_policy_that_is_stuck_take_no_time() -> None:
    run = bx.train("windy-gridworld", "q-learning", steps=100, seeds=1, final_episodes=1)
    (policy,) = run.policies["final"]
    begin = time.process_time()
    played = bx.evaluate(policy, episodes=200)
    assert time.process_time() - begin < 5, "400,000 steps"
    assert played.returns.tolist() == [-2000.0] * 200
    assert played.lengths.tolist() == [2000] * 200


def test_playing_by_the_table_is_playing_in_its_environment() -> None:
    rng = np.random.default_rng(0)
    P = rng.dirichlet(np.ones(6), (6, 2))
    mdp = FiniteMDP.from_arrays(
        P, rng.normal(size=(6, 2)), R_std=0.5, terminal_states=[5], start=[0.5, 0.5, 0, 0, 0, 0], max_episode_steps=30
    )
    run = bx.train(mdp, "q-learning", steps=500, seeds=1, final_episodes=1)
    (policy,) = run.policies["final"]
    q = policy.arrays["q"]
    fast, slow = play_table(mdp, q, 40_000, 1), play_host(policy, find_world(mdp), 1_000, 2)
    exact = bx.horizon_return(mdp, q.argmax(axis=1), 30)
    assert fast.returns.mean() == pytest.approx(exact, abs=4 * fast.returns.std() / 200)
    assert slow.returns.mean() == pytest.approx(exact, abs=4 * slow.returns.std() / 31)
    assert fast.lengths.mean() == pytest.approx(bx.solving.solve.horizon_length(mdp, q.argmax(axis=1), 30), rel=0.03)
    assert fast.returns.std() == pytest.approx(slow.returns.std(), rel=0.1)


def test_the_command_that_solves_says_why_a_table_cannot_be_used(capsys: pytest.CaptureFixture[str]) -> None:
    from bellmax.cli import main

    row = "[[0.5, 1, 0.0, False], [0.4, 1, 0.0, True]]"
    with pytest.raises(SystemExit) as caught:
        main(["solve", "Tabled-v0", "--env", f"row={row}"])
    assert caught.value.code == 2
    assert "state 0, action 0: probabilities sum to 0.9, not 1" in capsys.readouterr().err
