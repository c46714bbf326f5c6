"""Every method of exact solving against dense linear algebra and a linear program, on 200 random worlds."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from scipy.optimize import linprog

from bellmax.contracts import FloatArray
from bellmax.mdp.gallery import random_garnet
from bellmax.mdp.model import FiniteMDP
from bellmax.solving import backup as backup_module
from bellmax.solving.evaluation import evaluate_policy
from bellmax.solving.methods import METHODS
from bellmax.solving.solve import solve


class World(NamedTuple):
    mdp: FiniteMDP
    gamma: float
    P: FloatArray  # [S, A, S] to go on
    R: FloatArray  # [S, A]


def make_world(k: int) -> World:
    """The k-th Garnet; its dense arrays are added up entry by entry, not by the library."""
    rng = np.random.default_rng(k)
    S, A = int(rng.integers(2, 40)), int(rng.integers(1, 6))
    branching, ending = int(rng.integers(1, S + 1)), float(rng.choice([0.0, 0.02, 0.3]))
    mdp = random_garnet(S, A, branching, k, ending)
    P, R = np.zeros((S, A, S)), np.zeros((S, A))
    for e, pair in enumerate(mdp.pair):
        s, a = divmod(int(pair), A)
        P[s, a, mdp.successor[e]] += mdp.probability[e] * (not mdp.terminated[e])
        R[s, a] += mdp.probability[e] * mdp.reward[e]
    return World(mdp, float(rng.choice([0.0, 0.5, 0.9, 0.99])), P, R)


def dense_q(world: World) -> FloatArray:
    """Q* [S, A] by Howard's policy iteration with dense systems."""
    P, R, gamma = world.P, world.R, world.gamma
    S = len(R)
    states, policy = np.arange(S), np.zeros(S, int)
    while True:
        v = np.linalg.solve(np.eye(S) - gamma * P[states, policy], R[states, policy])
        q = R + gamma * P @ v
        better = np.where(q.max(axis=1) > q[states, policy] + 1e-12, q.argmax(axis=1), policy)
        if (better == policy).all():
            return q
        policy = better


@pytest.mark.parametrize("tens", range(20))
def test_every_method_on_ten_garnets(tens: int) -> None:
    for k in range(10 * tens, 10 * tens + 10):
        world = make_world(k)
        exact = dense_q(world)
        for method in METHODS:
            solution = solve(world.mdp, world.gamma, method=method)
            error = np.abs(solution.q - exact).max()
            assert error <= 1e-8, (k, method)
            assert error <= solution.bound + 1e-11, (k, method)  # the dense answer has errors of its own
            assert np.abs(solution.v - exact.max(axis=1)).max() <= solution.bound + 1e-11
            assert solution.bound <= 2e-10
            assert np.abs(exact[np.arange(len(exact)), solution.policy] - exact.max(axis=1)).max() <= 1e-8


@pytest.mark.parametrize("tens", range(20))
def test_the_linear_program_of_ten_garnets(tens: int) -> None:
    for k in range(10 * tens, 10 * tens + 10):
        world = make_world(k)
        S, A = world.R.shape
        constraint = (world.gamma * world.P - np.eye(S)[:, None, :]).reshape(S * A, S)
        program = linprog(np.ones(S), constraint, -world.R.ravel(), bounds=(None, None))
        assert np.abs(solve(world.mdp, world.gamma).v - program.x).max() <= 1e-8, k


def test_the_compiled_backups_give_the_same_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    worlds = [make_world(k) for k in range(8)] + [World(random_garnet(3000, 3, 4, 0), 0.99, *np.zeros((2, 1)))]
    plain = [solve(world.mdp, world.gamma) for world in worlds]
    monkeypatch.setattr(backup_module, "COMPILED_ENTRIES", 0)
    for world, expected in zip(worlds, plain, strict=True):
        for method in ("auto", "modified-policy-iteration"):
            found = solve(world.mdp, world.gamma, method=method)
            assert np.abs(found.q - expected.q).max() <= found.bound + expected.bound
            assert found.policy.tolist() == expected.policy.tolist()


def test_the_number_of_threads_does_not_change_a_bit(monkeypatch: pytest.MonkeyPatch) -> None:
    from bellmax.solving import sweeps

    mdp = random_garnet(500, 3, 4, 0)
    monkeypatch.setattr(backup_module, "COMPILED_ENTRIES", 0)
    monkeypatch.setattr(sweeps, "ENTRIES_PER_THREAD", 1)
    answers = []
    for cores in (1, 3, 16):
        monkeypatch.setattr(sweeps.os, "sched_getaffinity", lambda _, cores=cores: range(cores), raising=False)
        answers.append(solve(mdp, 0.95))
    assert all(answer.q.tobytes() == answers[0].q.tobytes() for answer in answers)


@pytest.mark.parametrize("method", ["auto", "policy-iteration", "linear-programming"])
def test_few_backups_at_a_high_discount(method: str) -> None:
    solution = solve(random_garnet(200, 3, 4, seed=1), 0.999, method=method, tolerance=1e-7)
    assert solution.bound <= 1e-7
    assert solution.iterations < 60


def test_progress_tells_each_backup_and_its_bound() -> None:
    said: list[tuple[int, float]] = []
    solution = solve(random_garnet(50, 3, 4, seed=1), 0.9, progress=lambda *words: said.append(words))
    assert [iteration for iteration, _ in said] == list(range(1, solution.iterations + 1))
    assert said[-1][1] == pytest.approx(solution.bound, rel=0.5)
    assert said[0][1] > 1


@pytest.mark.parametrize("gamma", [0.0, 0.9, 0.999])
def test_both_ways_to_evaluate_a_policy(gamma: float) -> None:
    for k in range(20):
        world = make_world(k)
        S, A = world.R.shape
        policy = np.random.default_rng(k).dirichlet(np.ones(A), S)
        P, R = np.einsum("sa,san->sn", policy, world.P), (policy * world.R).sum(axis=1)
        exact = np.linalg.solve(np.eye(S) - gamma * P, R)
        assert evaluate_policy(world.mdp, policy, gamma) == pytest.approx(exact, abs=1e-9)
        found = evaluate_policy(world.mdp, policy, gamma, method="iterative", tolerance=1e-9)
        assert np.abs(found - exact).max() <= 1.1e-9


def test_progress_is_quiet_at_first_and_then_a_line_of_how_far_the_bound_has_come(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bellmax.report import solving

    clock = iter([0.0, 1.0, 5.0, 6.0, 99.0])
    monkeypatch.setattr(solving.time, "monotonic", lambda: next(clock))
    with solving.watching("garnet", 1e-8) as progress:
        for iteration, bound in enumerate([1.0, 1e-2, 1e-3, 1e-4], start=1):
            progress(iteration, bound)
    said = capsys.readouterr().err.splitlines()
    assert said == [
        "garnet:  25%, backup 2, error at most 1.0e-02",
        "garnet:  50%, backup 4, error at most 1.0e-04",
    ]
    assert solving.fraction_done(1.0, np.inf, 1e-8) == 0
    assert solving.fraction_done(1.0, 1e-9, 1e-8) == 1
