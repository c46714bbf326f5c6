"""Exact solving: against published numbers, against rational arithmetic, against linear programming."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from bellmax.contracts import ConfigError
from bellmax.mdp.gallery import cliff, corridor, random_garnet
from bellmax.mdp.model import FiniteMDP
from bellmax.mdp.outcomes import continuation, expected_reward
from bellmax.solving import methods as methods_module
from bellmax.solving.solve import evaluate_policy, greedy_actions, horizon_length, horizon_return, solve

Rational = list[list[Fraction]]


def solve_system(matrix: Rational, right: list[Fraction]) -> list[Fraction]:
    """Gauss-Jordan over the rationals."""
    rows = [[*row, b] for row, b in zip(matrix, right, strict=True)]
    for i in range(len(rows)):
        pivot = next(j for j in range(i, len(rows)) if rows[j][i])
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [x / rows[i][i] for x in rows[i]]
        for j in range(len(rows)):
            if j != i:
                rows[j] = [x - rows[j][i] * y for x, y in zip(rows[j], rows[i], strict=True)]
    return [row[-1] for row in rows]


def rational_q(mdp: FiniteMDP, gamma: float) -> Rational:
    """Q* of the stored numbers without any rounding: policy iteration over the rationals."""
    S, A, g = mdp.n_states, mdp.n_actions, Fraction(gamma)
    onward = [[Fraction(0)] * S for _ in range(S * A)]
    reward = [Fraction(0)] * (S * A)
    for e, pair in enumerate(mdp.pair):
        p = Fraction(float(mdp.probability[e]))
        reward[pair] += p * Fraction(float(mdp.reward[e]))
        onward[pair][mdp.successor[e]] += p * int(not mdp.terminated[e])
    policy = [0] * S
    while True:
        chosen = [s * A + a for s, a in enumerate(policy)]
        system = [[(s == n) - g * onward[row][n] for n in range(S)] for s, row in enumerate(chosen)]
        v = solve_system(system, [reward[row] for row in chosen])
        flat = [r + g * sum(x * y for x, y in zip(o, v, strict=True)) for r, o in zip(reward, onward, strict=True)]
        q = [flat[s * A : s * A + A] for s in range(S)]
        better = [policy[s] if row[policy[s]] == max(row) else row.index(max(row)) for s, row in enumerate(q)]
        if better == policy:
            return q
        policy = better


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    gamma=st.sampled_from([0.0, 0.5, 0.9, 0.999, 1 - 1e-9]),
    tolerance=st.sampled_from([0.0, 1e-10, 1e-2]),
    termination=st.sampled_from([0.0, 0.2]),
    direct=st.booleans(),
)
def test_the_bound_holds_without_any_allowance(
    seed: int, gamma: float, tolerance: float, termination: float, direct: bool
) -> None:
    mdp = random_garnet(4, 2, 3, seed, termination)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(methods_module, "DIRECT_STATES", 512 if direct else 0)
        solution = solve(mdp, gamma, tolerance=tolerance)
    exact = rational_q(mdp, gamma)
    q_error = max(abs(Fraction(float(solution.q[s, a])) - exact[s][a]) for s in range(4) for a in range(2))
    v_error = max(abs(Fraction(float(solution.v[s])) - max(exact[s])) for s in range(4))
    assert max(q_error, v_error) <= Fraction(solution.bound)
    rounding = 1e-14 * (1 + float(np.abs(solution.v).max())) / (1 - gamma)
    assert solution.bound <= tolerance + rounding, "the bound says something"


@pytest.mark.parametrize("max_iterations", [1, 2, 5])
def test_the_bound_holds_when_stopped_early(max_iterations: int) -> None:
    mdp = random_garnet(4, 2, 3, seed=3, termination=0.1)
    solution = solve(mdp, 0.9, max_iterations=max_iterations)
    error = max(
        abs(Fraction(float(solution.q[s, a])) - exact)
        for s, row in enumerate(rational_q(mdp, 0.9))
        for a, exact in enumerate(row)
    )
    assert error <= Fraction(solution.bound)
    assert solution.iterations <= max_iterations
    assert (max_iterations > 2) or solution.bound > 1e-3


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), gamma=st.sampled_from([0.3, 0.9, 0.99]))
def test_values_are_those_of_the_linear_program(seed: int, gamma: float) -> None:
    # V* is the least v with v >= r + γ P v for every action (Puterman 1994, section 6.9)
    mdp = random_garnet(12, 3, 4, seed, termination=0.05)
    constraint = gamma * continuation(mdp).toarray() - np.repeat(np.eye(12), 3, axis=0)
    program = linprog(np.ones(12), constraint, -expected_reward(mdp).ravel(), bounds=(None, None))
    solution = solve(mdp, gamma)
    assert solution.v == pytest.approx(program.x, abs=1e-6 / (1 - gamma))
    assert solution.bound <= 1e-10
    assert solution.start_value == pytest.approx(solution.v.mean())


@pytest.mark.parametrize(("name", "value"), [("FrozenLake-v1", 0.5420259), ("FrozenLake8x8-v1", 0.4146404)])
def test_frozen_lake(name: str, value: float) -> None:
    solution = solve(FiniteMDP.from_gymnasium(name), 0.99)
    assert solution.start_value == pytest.approx(value, abs=1e-6)
    assert solution.bound <= 1e-10


def test_frozen_lake_success_within_the_time_limit() -> None:
    mdp = FiniteMDP.from_gymnasium("FrozenLake-v1")
    assert horizon_return(mdp, solve(mdp, 0.99).policy, 100) == pytest.approx(0.740165, abs=1e-6)


@pytest.mark.parametrize("name", ["FrozenLake-v1", "Taxi-v4"])
def test_both_ways_of_evaluating_give_one_answer(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    mdp = FiniteMDP.from_gymnasium(name)
    direct = solve(mdp, 0.99)
    monkeypatch.setattr(methods_module, "DIRECT_STATES", 0)
    swept = solve(mdp, 0.99)
    assert np.abs(direct.q - swept.q).max() <= direct.bound + swept.bound
    assert swept.bound <= 1e-10
    assert direct.policy.tolist() == swept.policy.tolist()


@pytest.mark.parametrize("gamma", [0.99, 0.99999])
def test_an_endless_world_costs_few_backups_at_any_gamma(gamma: float) -> None:
    solution = solve(random_garnet(1000, 3, 4, seed=0), gamma, tolerance=1e-5)
    assert solution.iterations < 30
    assert solution.bound < 1e-4


def test_a_long_corridor_keeps_its_policy_where_values_are_tiny() -> None:
    solution = solve(corridor(1000), 0.98)
    assert solution.v[0] == pytest.approx(0.98**998, rel=1e-9, abs=0)
    assert solution.v[0] < 2e-9
    assert solution.policy.tolist() == [1] * 999 + [0]


def test_ties_go_to_the_lowest_index() -> None:
    q = np.array([[0.3, 0.1 + 0.2], [1.0, 1.0 + 1e-6], [0.0, 0.0], [-1.0, -1e-14]])
    assert greedy_actions(q).tolist() == [0, 1, 0, 1]
    assert greedy_actions(q, error=1e-10).tolist() == [0, 1, 0, 1]
    assert greedy_actions(np.array([[1.0, 1.0 + 1e-10]])).tolist() == [1]
    assert greedy_actions(np.array([[1.0, 1.0 + 1e-10]]), error=1e-10).tolist() == [0]


def test_evaluate_policy_is_the_limit_of_its_own_iteration() -> None:
    mdp = random_garnet(9, 3, 4, seed=2, termination=0.1)
    rng = np.random.default_rng(0)
    mixed = rng.dirichlet(np.ones(3), size=9)
    actions = rng.integers(0, 3, 9)
    for policy, weight in ((mixed, mixed), (actions, np.eye(3)[actions])):
        v = np.zeros(9)
        for _ in range(400):
            v = (weight * (expected_reward(mdp) + 0.9 * (continuation(mdp) @ v).reshape(9, 3))).sum(axis=1)
        assert evaluate_policy(mdp, policy, 0.9) == pytest.approx(v, abs=1e-12)
    solution = solve(mdp, 0.9)
    assert evaluate_policy(mdp, solution.policy, 0.9) == pytest.approx(solution.v, abs=1e-9)


def test_horizon_return_tends_to_the_value() -> None:
    mdp = random_garnet(9, 3, 4, seed=2, termination=0.1)
    solution = solve(mdp, 0.9)
    assert horizon_return(mdp, solution.policy, 400, gamma=0.9) == pytest.approx(solution.start_value)
    assert horizon_return(mdp, solution.policy, 0) == 0
    first = expected_reward(mdp)[np.arange(9), solution.policy].mean()
    assert horizon_return(mdp, solution.policy, 1) == pytest.approx(first)


def test_horizon_length_counts_the_last_step() -> None:
    right = np.ones(6, np.int64)
    assert [horizon_length(corridor(), right, horizon) for horizon in (0, 3, 5, 99)] == [0, 3, 5, 5]
    mdp = random_garnet(5, 1, 2, seed=0, termination=0.25)
    assert horizon_length(mdp, np.zeros(5, np.int64), 1000) == pytest.approx(4)


@pytest.mark.parametrize("gamma", [1.5, -0.1, float("nan")])
def test_gamma_outside_its_range_is_refused(gamma: float) -> None:
    for call in (lambda: solve(cliff(), gamma), lambda: evaluate_policy(cliff(), np.zeros(48, int), gamma)):
        with pytest.raises(ConfigError, match=r"gamma=.* is outside \[0, 1\]"):
            call()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda mdp: solve(mdp, 0.9, tolerance=-1.0), "tolerance=-1.0 is outside"),
        (lambda mdp: solve(mdp, 0.9, method="value-iterations"), "unknown method .*did you mean 'value-iteration'?"),
        (lambda mdp: solve(mdp, 0.9, max_iterations=0), "`max_iterations` must be a positive integer; got 0"),
        (lambda mdp: horizon_return(mdp, [0] * 48, -1), "`horizon` must be a non-negative integer; got -1"),
        (lambda mdp: horizon_return(mdp, [0] * 48, 1, gamma=1.1), r"gamma=1.1 is outside \[0, 1\]"),
        (lambda mdp: evaluate_policy(mdp, [0] * 47 + [4], 0.9), r"states \[47\] have actions outside 0 to 3"),
        (lambda mdp: evaluate_policy(mdp, [0] * 47, 0.9), r"policy \(47,\) of int64 is neither"),
        (lambda mdp: evaluate_policy(mdp, np.ones((48, 4)), 0.9), r"states \[0, 1, .* have no distribution"),
    ],
)
def test_bad_arguments_are_named(call: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call(cliff())
