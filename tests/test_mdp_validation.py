"""Validation: every fault of a model is named by state, action and value."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bellmax.contracts import ConfigError
from bellmax.mdp.model import FiniteMDP

SOUND = [[[(0.5, 0, 1.0, False), (0.5, 1, 3.0, True)], [(1.0, 1, 0.0, False)]], [[(1.0, 1, 0.0, True)]] * 2]


@pytest.mark.parametrize(
    ("state", "action", "row", "problem"),
    [
        (0, 1, [(0.9, 1, 0.0, False)], "state 0, action 1: probabilities sum to 0.9, not 1"),
        (1, 0, [(1.5, 0, 0.0, False)], "state 1, action 0: probabilities sum to 1.5, not 1"),
        (
            0,
            0,
            [(1.25, 0, 0.0, False), (-0.25, 1, 0.0, False)],
            "state 0, action 0: probability -0.25 of successor 1 is negative",
        ),
        (
            0,
            0,
            [(1.25, 1, 0.0, False), (-0.25, 1, 0.0, False)],
            "state 0, action 0: probability -0.25 of successor 1 is negative",
        ),
        (
            0,
            1,
            [(float("nan"), 1, 0.0, False)],
            "state 0, action 1: probability nan of successor 1 is not finite",
        ),
        (
            1,
            0,
            [(1.0, 1, float("nan"), True)],
            "state 1, action 0: reward nan on the way to successor 1 is not finite",
        ),
        (
            1,
            0,
            [(1.0, 0, float("-inf"), True)],
            "state 1, action 0: reward -inf on the way to successor 0 is not finite",
        ),
        (1, 0, [(1.0, 1, 0.0, True, -0.5)], "state 1, action 0: reward_std -0.5 is negative or not finite"),
        (1, 0, [(1.0, 1, 0.0, True, float("nan"))], "state 1, action 0: reward_std nan is negative or not finite"),
        (0, 1, [(1.0, 2, 0.0, False)], "state 0, action 1: successor 2 is outside 0 to 1"),
        (0, 1, [(1.0, -1, 0.0, False)], "state 0, action 1: successor -1 is outside 0 to 1"),
    ],
)
def test_a_faulty_row_is_named(state: int, action: int, row: list[Any], problem: str) -> None:
    table = [list(actions) for actions in SOUND]
    table[state][action] = row
    with pytest.raises(ConfigError) as caught:
        FiniteMDP.from_successors(table)
    assert str(caught.value) == f"FiniteMDP is not a valid model:\n  {problem}"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"start": [0.5, 0.25]}, "start: probabilities sum to 0.75, not 1"),
        ({"start": [1.5, -0.5]}, "start: probability -0.5 of state 1 is negative or not finite"),
        ({"start": [1.0, float("nan")]}, "start: probability nan of state 1 is negative or not finite"),
        ({"start": [1.0]}, "start has shape (1,), expected (2,)"),
        ({"action_names": ("go",)}, "action_names has 1 names, expected 2 or none"),
        ({"state_names": ("a", "b", "c")}, "state_names has 3 names, expected 2 or none"),
        ({"max_episode_steps": 0}, "max_episode_steps is 0, expected at least 1, or None for no limit"),
    ],
)
def test_a_faulty_option_is_named(options: dict[str, Any], problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        FiniteMDP.from_successors(SOUND, name="toy", **options)
    assert str(caught.value) == f"FiniteMDP 'toy' is not a valid model:\n  {problem}"


def test_all_problems_come_at_once_and_the_rest_is_counted() -> None:
    table = [[[(0.5, 99, 0.0, False)]] for _ in range(8)]
    with pytest.raises(ConfigError) as caught:
        FiniteMDP.from_successors(table)
    lines = str(caught.value).splitlines()
    assert lines[1] == "  state 0, action 0: successor 99 is outside 0 to 7"
    assert lines[9] == "  state 0, action 0: probabilities sum to 0.5, not 1"
    assert len(lines) == 12
    assert lines[11] == "  and 6 more"


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"indptr": [0, 1]}, "indptr has shape (2,), expected (3,)"),
        ({"indptr": [0, 2, 1]}, "indptr runs from 0 to 1, expected a rise from 0 to 2"),
        ({"reward_std": [0.0]}, "reward_std has shape (1,), expected (2,)"),
        ({"allowed": [[True]]}, "allowed has shape (1, 1), expected (2, 1)"),
        (
            {"allowed": [[True], [False]]},
            "state 1: it has no action; if episodes end there, the way in must terminate (`terminal_states`)\n  "
            "state 1, action 0: it has outcomes, but its state does not have the action",
        ),
        ({"reward": [0.0]}, "reward has shape (1,), expected (2,)"),
        ({"n_actions": 0}, "it has 2 states and 0 actions, expected at least one of each"),
    ],
)
def test_wrong_shapes_are_named(change: dict[str, Any], problem: str) -> None:
    sound: dict[str, Any] = {
        "n_states": 2,
        "n_actions": 1,
        "indptr": [0, 1, 2],
        "successor": [0, 1],
        "probability": [1.0, 1.0],
        "reward": [0.0, 0.0],
        "terminated": [False, True],
        "start": [1.0, 0.0],
    }
    FiniteMDP(**sound)
    with pytest.raises(ConfigError) as caught:
        FiniteMDP(**sound | change)
    assert str(caught.value) == f"FiniteMDP is not a valid model:\n  {problem}"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: FiniteMDP.from_successors([[[(1.0, 0.5, 0.0, True)]]]),
            "successor has dtype float64, expected",
        ),
        (
            lambda: FiniteMDP.from_successors([[[(1.0, 0, 0.0)]]]),
            r"state 0, action 0: \(1.0, 0, 0.0\) is not",
        ),
        (lambda: FiniteMDP.from_successors([SOUND[0], [[], None]]), "state 1: it has no action; if episodes end there"),
        (lambda: FiniteMDP.from_successors([*SOUND, []], start=2), "state 2: it has no action"),
        (
            lambda: FiniteMDP.from_entries(1, 2, [0], [0], [1.0], [0.0], [True], n_allowed=[2]),
            "action 1: no successors",
        ),
        (lambda: FiniteMDP.from_arrays(np.ones((1, 1, 1)), [[0.0]], R_std=[0.0] * 2), r"R_std has shape \(2,\)"),
        (lambda: FiniteMDP.from_successors({1: SOUND[0]}), r"states must be numbered 0 to 0, not \[1\]"),
        (lambda: FiniteMDP.from_successors([]), "it has 0 states and 0 actions"),
        (lambda: FiniteMDP.from_successors(None), "states must be a list, or a mapping .* not None"),
        (lambda: FiniteMDP.from_successors([3]), "state 0: actions must be a list, .* not 3"),
        (lambda: FiniteMDP.from_successors([[5]]), "state 0, action 0: 5 is not a list of outcomes"),
        (lambda: FiniteMDP.from_successors([[[None]]]), "state 0, action 0: None is not"),
        (lambda: FiniteMDP.from_entries(1, 1, [1], [0], [1.0], [0.0], [True]), "pair 1 is outside 0 to 0"),
        (lambda: FiniteMDP.from_entries(1, 1, [-1], [0], [1.0], [0.0], [True]), "pair -1 is outside 0 to 0"),
        (lambda: FiniteMDP.from_arrays([[[1.0], [1.0, 2.0]]], [[0.0]]), "P is not an array"),
        (lambda: FiniteMDP.from_arrays(np.ones((1, 1, 1)), "abc"), "R has dtype .*, expected float64"),
        (lambda: FiniteMDP.from_arrays(np.full((1, 1, 1), 1j), [[0.0]]), "P has dtype complex128"),
        (lambda: FiniteMDP.from_arrays([[[np.nan]]], [[0.0]]), "state 0, action 0: probability nan of successor 0"),
        (lambda: FiniteMDP.from_arrays([[[1.0]]], [[0.0]], R_std=np.inf), "state 0, action 0: reward_std inf"),
        (
            lambda: FiniteMDP.from_arrays([[[1.0]]], [[0.0]], n_allowed=[2]),
            "n_allowed: state 0 has 2 actions, expected 1 to 1",
        ),
        (lambda: FiniteMDP.from_arrays([[[1.0]]], [[0.0]], terminal_states=[0.5]), "terminal_states has dtype float64"),
        (
            lambda: FiniteMDP.from_function(lambda s, a: [], 0, "two"),
            "`n_actions` must be a non-negative integer; got 'two'",
        ),
        (lambda: FiniteMDP.from_function(lambda s, a: [], {0: "one"}, 1), "start has dtype"),
        (lambda: FiniteMDP.from_successors(SOUND, start=2), "start state 2 is outside 0 to 1"),
        (lambda: FiniteMDP.from_arrays(np.eye(2), np.eye(2)), r"P has shape \(2, 2\), .*, give P\[:, None\]"),
        (lambda: FiniteMDP.from_arrays(np.ones((3, 2)), np.eye(2)), r"P has shape \(3, 2\), expected \[S, A, S\]"),
        (
            lambda: FiniteMDP.from_arrays(np.ones((1, 2, 1)), [1.0, 2.0]),
            r"R has shape \(2,\), expected \(1,\), \(1, 2\), \(1, 2, 1\) or \(2, 1, 1\)",
        ),
        (
            lambda: FiniteMDP.from_arrays(np.ones((1, 1, 1)), [[0.0]], terminal_states=[1]),
            r"terminal_states \[1\] are outside 0 to 0",
        ),
    ],
)
def test_what_cannot_be_read_is_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()
