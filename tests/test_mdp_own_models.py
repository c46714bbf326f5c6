"""Models of one's own: from a function, and what looks like a slip in one."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bellmax.contracts import ConfigError, ModelWarning
from bellmax.mdp.gallery import GALLERY, random_garnet
from bellmax.mdp.model import FiniteMDP
from bellmax.mdp.outcomes import expected_reward, reachable
from bellmax.solving.solve import solve

END = [(1.0, "end", 0.0, True)]


def coin_walk(state: int, action: int) -> list[tuple[Any, ...]]:
    """From 0 to 3, a step up by a coin whose bias the action is."""
    up = (0.5, 0.75)[action]
    return [(up, state + 1, float(state == 2), state == 2), (1 - up, max(state - 1, 0), -0.5, False)]


def test_a_function_is_listed_breadth_first_and_its_states_are_the_names() -> None:
    mdp = FiniteMDP.from_function(coin_walk, 1, 2, name="walk", action_names=("fair", "good"))
    assert mdp.state_names == (1, 2, 0, 3)
    assert (mdp.n_states, mdp.n_actions, mdp.name, mdp.start.tolist()) == (4, 2, "walk", [1.0, 0.0, 0.0, 0.0])
    assert mdp.terminated.sum() == 4, "two that lead to 3, and the two rows of 3, where step is not asked"
    by_hand = FiniteMDP.from_successors(
        [[coin_walk(s, a) for a in range(2)] for s in range(3)] + [[[(1.0, 3, 0.0, True)]] * 2], start=1
    )
    order = list(mdp.state_names)
    assert solve(mdp, 0.9).q == pytest.approx(solve(by_hand, 0.9).q[order])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), termination=st.sampled_from([0.0, 0.25]), noise=st.booleans())
@pytest.mark.filterwarnings("ignore::bellmax.contracts.ModelWarning")
def test_any_model_read_back_by_its_function_has_the_same_values(seed: int, termination: float, noise: bool) -> None:
    given_mdp = random_garnet(8, 3, 2, seed, termination)
    std = np.random.default_rng(seed).random(given_mdp.reward.size) * noise

    def step(state: str, action: int) -> list[tuple[Any, ...]]:
        first, last = given_mdp.indptr[int(state) * 3 + action :][:2]
        columns = (given_mdp.probability, given_mdp.successor, given_mdp.reward, given_mdp.terminated, std)
        return [(p, str(to), r, end, x) for p, to, r, end, x in zip(*(c[first:last] for c in columns), strict=True)]

    mdp = FiniteMDP.from_function(step, {"3": 0.25, "5": 0.75}, 3)
    order = [int(state) for state in mdp.state_names]
    assert order[:2] == [3, 5]
    assert mdp.start[:2].tolist() == [0.25, 0.75]
    acts = reachable(mdp)
    assert solve(mdp, 0.9).q[acts] == pytest.approx(solve(given_mdp, 0.9).q[order][acts])
    assert expected_reward(mdp)[acts] == pytest.approx(expected_reward(given_mdp)[order][acts])
    assert bool(mdp.reward_std.any()) == noise


def test_a_function_may_give_each_state_its_own_number_of_actions() -> None:
    def step(state: int, action: int) -> list[tuple[Any, ...]]:
        return [(1.0, state - action - 1, -1.0, state - action == 1)]  # take away 1 to `state` matches

    mdp = FiniteMDP.from_function(step, [5, 4, 5, 3], lambda state: state)
    assert mdp.start.tolist() == [0.5, 0.25, 0.25, 0.0, 0.0, 0.0]
    assert dict(zip(mdp.state_names, mdp.n_allowed.tolist(), strict=True)) == {5: 5, 4: 4, 3: 3, 2: 2, 1: 1, 0: 1}
    assert solve(mdp, 0.9).v == pytest.approx([-1.0 if state else 0.0 for state in mdp.state_names])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: FiniteMDP.from_function(lambda s, a: [(1.0, s + 1, 0.0, False)], 0, 1, max_states=50),
            "max_states=50",
        ),
        (lambda: FiniteMDP.from_function(lambda s, a: None, 0, 1), "state 0, action 0: step gave None, not a list"),
        (lambda: FiniteMDP.from_function(lambda s, a: [(1.0, s)], "a", 1), r"state 'a', action 0: \(1.0, 'a'\) is not"),
        (lambda: FiniteMDP.from_function(lambda s, a: [(1.0, [s], 0.0, False)], 0, 1), r"state \[0\] is not hashable"),
        (lambda: FiniteMDP.from_function(lambda s, a: [("x", s, 0.0, False)], 0, 1), "state 0, action 0: could not"),
        (lambda: FiniteMDP.from_function(lambda s, a: END, [], 1), "starts is empty"),
        (lambda: FiniteMDP.from_function(lambda s, a: END, [[1]], 1), r"state \[1\] is not hashable"),
        (lambda: FiniteMDP.from_function(lambda s, a: END, {"a": 0.5}, 1), "start: probabilities sum to 0.5, not 1"),
        (
            lambda: FiniteMDP.from_function(lambda s, a: [(0.5, "b", 0.0, True)], "a", 1, action_names=("go",)),
            "state 0 'a', action 0 'go': probabilities sum to 0.5, not 1",
        ),
        (
            lambda: FiniteMDP.from_function(lambda s, a: END, "a", lambda s: 0),
            "it has 1 states and 0 actions, expected at least one of each",
        ),
    ],
)
def test_what_is_no_model_is_refused_by_state_and_action(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_an_error_of_the_users_own_comes_through() -> None:
    def step(state: str, action: int) -> Any:
        raise KeyError(state)

    with pytest.raises(KeyError):
        FiniteMDP.from_function(step, "a", 1)


LOST = [[[(1.0, 1, 0.0, True)]], [[(1.0, 1, 0.0, True)]], [[(1.0, 0, 0.0, False)]]]
TRAP = [[[(1.0, 1, 0.0, False)], [(1.0, 0, 0.0, True)]], [[(1.0, 1, 2.0, False)], [(1.0, 1, 0.0, False)]]]
ENDLESS = [[[(1.0, 1, 0.0, False)]], [[(1.0, 0, 0.0, False)]]]


@pytest.mark.parametrize(
    ("table", "options", "remark"),
    [
        (LOST, {}, "never entered from the start: state 2"),
        (LOST, {"state_names": ("a", "b", "c")}, "never entered from the start: state 2 'c'"),
        (TRAP, {}, "pays on every step, and nothing leaves or ends it: state 1, action 0"),
    ],
)
def test_what_looks_like_a_slip_is_one_warning_that_names_it(table: Any, options: Any, remark: str) -> None:
    with pytest.warns(ModelWarning, match="FiniteMDP 'own': the model is valid, but check:") as caught:
        mdp = FiniteMDP.from_successors(table, name="own", **options)
    assert len(caught) == 1
    assert caught[0].filename == __file__
    assert len(mdp.remarks()) == 1
    assert mdp.remarks()[0].startswith(remark)
    assert mdp.remarks()[0] in str(caught[0].message)


def test_a_task_that_goes_on_is_remarked_only_where_it_is_not_discounted() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mdp = FiniteMDP.from_successors(ENDLESS)
    assert mdp.remarks() == mdp.remarks(0.99) == []
    (text,) = mdp.remarks(1.0)
    assert text.startswith("no outcome that can happen ends the episode")


def test_every_constructor_of_ones_own_warns_and_the_others_do_not() -> None:
    with pytest.warns(ModelWarning, match="never entered from the start: state 1"):
        FiniteMDP.from_arrays(np.eye(2)[:, None], np.zeros((2, 1)), terminal_states=[0])
    with pytest.warns(ModelWarning, match="pays on every step.*: state 0 'a', action 0"):
        FiniteMDP.from_function(lambda s, a: [(1.0, s, 1.0, False)], "a", 1, max_episode_steps=5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        FiniteMDP.from_entries(1, 1, [0], [0], [1.0], [1.0], [False])
        FiniteMDP.from_gymnasium("CliffWalking-v1")
        GALLERY["cliff"]()
        FiniteMDP.from_successors(ENDLESS, max_episode_steps=100)


def test_a_long_list_of_remarks_is_cut() -> None:
    table = [[[(1.0, 0, 0.0, True)]] for _ in range(9)]
    with pytest.warns(ModelWarning):
        mdp = FiniteMDP.from_successors(table)
    assert mdp.remarks() == ["never entered from the start: state 1; state 2; state 3; state 4; state 5 and 3 more"]
