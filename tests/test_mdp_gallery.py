"""The gallery: worlds whose numbers are known."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest

from bellmax.mdp.gallery import GALLERY, cliff, corridor, random_garnet
from bellmax.mdp.model import FiniteMDP, continuation, expected_reward
from bellmax.mdp.solve import horizon_length, horizon_return, solve
from bellmax.types import ConfigError


def test_corridor_has_its_closed_form() -> None:
    solution = solve(corridor(), 0.9)
    right, left = [0.6561, 0.729, 0.81, 0.9, 1.0, 0.0], [0.59049, 0.59049, 0.6561, 0.729, 0.81, 0.0]
    assert solution.q == pytest.approx(np.stack([left, right], axis=1), abs=1e-12)
    assert solution.policy.tolist() == [1, 1, 1, 1, 1, 0]


def test_cliff_is_gymnasiums_transition_by_transition() -> None:
    world: Any = gymnasium.make("CliffWalking-v1").unwrapped
    mine, theirs = cliff(), FiniteMDP.from_gymnasium("CliffWalking-v1")
    rows = zip(mine.probability, mine.successor, mine.reward, mine.terminated, strict=True)
    table = [world.P[s][a] for s in range(48) for a in range(4)]
    assert [[row] for row in rows] == table
    assert mine.indptr.tolist() == list(range(193))
    assert mine.start.tolist() == theirs.start.tolist()
    assert mine.action_names == theirs.action_names


def test_the_best_way_along_the_cliff_is_thirteen_steps() -> None:
    policy = solve(cliff(), 0.99).policy
    assert horizon_return(cliff(), policy, 100) == -13
    assert horizon_length(cliff(), policy, 100) == 13


@pytest.mark.parametrize("branching", [1, 3, 7])
def test_garnet_has_different_successors_and_the_asked_termination(branching: int) -> None:
    mdp = random_garnet(7, 3, branching, seed=1, termination=0.25)
    matrix = continuation(mdp)
    assert np.diff(matrix.indptr).tolist() == [branching] * 21
    assert matrix.sum(axis=1) == pytest.approx(np.full(21, 0.75))
    assert len(np.unique(expected_reward(mdp))) == 21


def test_garnet_draws_every_subset_alike() -> None:
    # 10 subsets of 2 states out of 5 in 20,000 pairs: 2,000 each, with a deviation of 42
    successor = random_garnet(5, 4000, 2, seed=0).successor.reshape(-1, 2)
    _, count = np.unique(successor[:, 0] * 5 + successor[:, 1], return_counts=True)
    assert len(count) == 10
    assert np.abs(count - 2000).max() < 5 * 42


def test_garnet_is_a_function_of_its_seed() -> None:
    first, same, other = (random_garnet(6, 2, 3, seed) for seed in (4, 4, 5))
    assert np.array_equal(first.probability, same.probability)
    assert np.array_equal(first.successor, same.successor)
    assert np.array_equal(first.reward, same.reward)
    assert not np.array_equal(first.reward, other.reward)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: corridor(1), "at least 2 states"),
        (lambda: random_garnet(3, 1, 4, 0), "branching=4 is outside 1 to n_states=3"),
        (lambda: random_garnet(3, 1, 0, 0), "branching=0 is outside 1 to n_states=3"),
        (lambda: random_garnet(3, 1, 1, 0, 1.5), "termination=1.5 is not a probability"),
    ],
)
def test_impossible_worlds_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_gallery_names_what_it_holds() -> None:
    assert {"corridor": corridor, "cliff": cliff, "garnet": random_garnet} == GALLERY
    assert [GALLERY[name]().name for name in ("corridor", "cliff")] == ["corridor", "cliff"]
