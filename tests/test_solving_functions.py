"""The functions of exact solving as they are called: operators, errors in words, every solver on every model."""

from __future__ import annotations

import itertools
from fractions import Fraction
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import bellmax as bx
from bellmax.contracts import ConfigError, FloatArray
from bellmax.mdp.gallery import GALLERY, random_garnet, random_walk
from bellmax.mdp.model import FiniteMDP
from bellmax.solving import average
from bellmax.solving.methods import METHODS
from bellmax.solving.problem import make_problem


def dense(mdp: FiniteMDP) -> tuple[FloatArray, FloatArray]:
    """`(P [S, A, S] to go on, R [S, A])`, added up entry by entry."""
    P, R = np.zeros((mdp.n_states, mdp.n_actions, mdp.n_states)), np.where(mdp.allowed, 0.0, -np.inf)
    for e, pair in enumerate(mdp.pair):
        s, a = divmod(int(pair), mdp.n_actions)
        P[s, a, mdp.successor[e]] += mdp.probability[e] * (not mdp.terminated[e])
        R[s, a] += mdp.probability[e] * mdp.reward[e]
    return P, R


RAGGED = FiniteMDP.from_successors(
    [{1: [(0.5, 1, 1.0, False), (0.5, 0, 2.0, True)]}, [[(1.0, 0, -1.0, False)], None, [(1.0, 1, 0.25, False)]]]
)


@pytest.mark.parametrize("mdp", [random_garnet(7, 3, 3, 1, 0.2), RAGGED], ids=["garnet", "ragged"])
@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
def test_the_operators_are_bellmans_equations(mdp: FiniteMDP, gamma: float) -> None:
    (P, R), rng = dense(mdp), np.random.default_rng(0)
    v, q = rng.normal(size=mdp.n_states), rng.normal(size=R.shape)
    assert bx.q_values(mdp, v, gamma) == pytest.approx(R + gamma * P @ v)
    assert bx.bellman_operator(mdp, v, gamma) == pytest.approx((R + gamma * P @ v).max(axis=1))
    best = np.where(mdp.allowed, q, -np.inf).max(axis=1)
    assert bx.bellman_operator(mdp, q.tolist(), np.float32(gamma)) == pytest.approx(R + gamma * P @ best)
    pi = rng.random(R.shape) * mdp.allowed
    pi /= pi.sum(axis=1, keepdims=True)
    backed = np.where(mdp.allowed, R + gamma * P @ v, 0)
    assert bx.bellman_operator(mdp, v, gamma, pi) == pytest.approx((pi * backed).sum(axis=1))
    assert bx.bellman_operator(mdp, q, gamma, pi) == pytest.approx(R + gamma * P @ (pi * q).sum(axis=1))
    actions = mdp.allowed.argmax(axis=1)
    for policy in (actions, actions.astype(float), actions.tolist()):
        assert bx.bellman_operator(mdp, v, gamma, policy) == pytest.approx(backed[np.arange(len(v)), actions])


def test_a_discount_may_be_a_fraction() -> None:
    assert bx.solve(bx.cliff(), Fraction(9, 10)).v.tolist() == bx.solve(bx.cliff(), 0.9).v.tolist()


def test_value_iteration_by_hand_is_solve() -> None:
    v, solution = np.zeros(48), bx.solve(bx.cliff(), 0.9)
    for _ in range(400):
        v = bx.bellman_operator(bx.cliff(), v, 0.9)
    assert v == pytest.approx(solution.v, abs=1e-9)
    assert bx.greedy_policy(bx.q_values(bx.cliff(), v, 0.9), 1e-12).tolist() == solution.policy.tolist()
    assert bx.bellman_operator(bx.cliff(), solution.q, 0.9) == pytest.approx(solution.q, abs=1e-9)
    assert bx.evaluate_policy(bx.cliff(), solution.policy.astype(float), 0.9) == pytest.approx(solution.v)
    assert bx.greedy_policy([[1, 2], [3, 0]]).tolist() == [1, 0]


LAKE = gym.make("FrozenLake-v1")
SOLUTION = bx.solve(RAGGED, 0.9)
WANTS: dict[str, tuple[Any, str]] = {
    "a name": ("cliff", r"'cliff' is a str, not a FiniteMDP. Give bellmax.cliff\(\)"),
    "a name nearly": ("clif", "did you mean 'cliff'"),
    "an id": ("FrozenLake-v1", r"Give bellmax.FiniteMDP.from_gymnasium\('FrozenLake-v1'\)"),
    "a function": (bx.cliff, r"Call it: cliff\(\)"),
    "a solution": (SOLUTION, "Give the model that it is about"),
    "arrays": ((np.eye(2), np.eye(2)), r"Give bellmax.FiniteMDP.from_arrays\(P, R\)"),
    "a table": ({0: {0: []}}, r"Give bellmax.FiniteMDP.from_successors\(table\)"),
    "an environment": (LAKE, r"Give bellmax.FiniteMDP.from_gymnasium\(env\)"),
    "nothing": (None, "None is not a FiniteMDP. See bellmax.FiniteMDP.from_arrays"),
}
ANYTHING: Any = [0, 0]
FUNCTIONS: dict[str, Any] = {
    "solve": lambda mdp: bx.solve(mdp, 0.9),
    "solve_soft": lambda mdp: bx.solve_soft(mdp, 0.9, 0.1),
    "solve_horizon": lambda mdp: bx.solve_horizon(mdp, 3),
    "solve_average": lambda mdp: bx.solve_average(mdp),
    "evaluate_policy": lambda mdp: bx.evaluate_policy(mdp, ANYTHING, 0.9),
    "evaluate_average": lambda mdp: bx.evaluate_average(mdp, ANYTHING),
    "stationary_distribution": lambda mdp: bx.stationary_distribution(mdp, ANYTHING),
    "occupancy": lambda mdp: bx.occupancy(mdp, ANYTHING, 0.9),
    "horizon_return": lambda mdp: bx.horizon_return(mdp, ANYTHING, 3),
    "horizon_length": lambda mdp: bx.horizon_length(mdp, ANYTHING, 3),
    "policy_gap": lambda mdp: bx.policy_gap(mdp, ANYTHING, 0.9),
    "regret": lambda mdp: bx.regret(mdp, ANYTHING, 0.9),
    "soften": lambda mdp: bx.soften(mdp, ANYTHING, 0.1),
    "q_values": lambda mdp: bx.q_values(mdp, ANYTHING, 0.9),
    "bellman_operator": lambda mdp: bx.bellman_operator(mdp, ANYTHING, 0.9),
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_every_function_looks_at_its_first_argument_and_says_what_it_wants(function: str) -> None:
    for given, message in WANTS.values():
        with pytest.raises(ConfigError, match=message):
            FUNCTIONS[function](given)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bx.evaluate_policy(RAGGED, SOLUTION, 0.9), "got a Solution: give its .policy"),
        (lambda: bx.evaluate_policy(RAGGED, [[1], [0, 1]], 0.9), "must be actions .S. or probabilities"),
        (lambda: bx.evaluate_policy(RAGGED, [0.5, 1], 0.9), "neither actions"),
        (lambda: bx.greedy_policy(SOLUTION), "got a Solution: give its .q"),  # type: ignore[arg-type]
        (lambda: bx.greedy_policy([1.0, 2.0]), r"got shape \(2,\)"),
        (lambda: bx.greedy_policy([[np.nan, 2.0]]), "q is nan in states"),
        (lambda: bx.policy_gap(RAGGED, SOLUTION, 0.9), "got a Solution: give its .v or .q"),  # type: ignore[arg-type]
        (lambda: bx.policy_gap(RAGGED, "abc", 0.9), "must be an array"),
        (lambda: bx.policy_gap(RAGGED, np.full((2, 3), np.nan), "1"), "`gamma` must be a number"),
        (lambda: bx.bellman_operator(RAGGED, [1.0], 0.9), r"expected \(2,\) or \(2, 3\)"),
        (lambda: bx.q_values(RAGGED, [np.nan, 0], 0.9), "v is nan in states .0"),
        (lambda: bx.soften(RAGGED, [[0.5]], 0.1), "expected one action for each state"),
        (lambda: bx.solve_horizon(RAGGED, 2, terminal_reward=[1.0]), r"terminal_reward has shape \(1,\)"),
        (lambda: bx.solve_horizon(RAGGED, 2, terminal_reward=[np.inf, 0]), "terminal_reward is infinite in states .0"),
    ],
)
def test_other_arguments_are_told_in_words(call: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        call()


def test_answers_show_themselves_in_at_most_ten_lines() -> None:
    mdp = FiniteMDP.from_gymnasium("Taxi-v4")
    gap = bx.policy_gap(RAGGED, SOLUTION.q, 0.9)
    answers = (bx.solve(mdp, 0.9), bx.solve_horizon(mdp, 50), bx.solve_average(RAGGED), gap)
    for answer in (*answers, bx.solve_horizon(mdp, 0)):
        lines = repr(answer).splitlines()
        assert len(lines) <= 10
        assert max(len(line) for line in lines) < 200
        assert lines[0].startswith(f"{type(answer).__name__}(")
    assert "v [2]: [" in repr(SOLUTION)
    assert repr(SOLUTION) == str(SOLUTION)


def test_a_terminal_reward_is_paid_once_by_those_who_are_still_there() -> None:
    mdp, last = random_garnet(3, 2, 2, seed=4, termination=0.2), np.array([1.0, -2.0, 3.0])
    P, R = dense(mdp)
    best = np.full(3, -np.inf)
    for plan in itertools.product(itertools.product(range(2), repeat=3), repeat=3):
        v = last
        for actions in reversed(plan):
            v = R[np.arange(3), actions] + 0.9 * P[np.arange(3), actions] @ v
        best = np.maximum(best, v)
    found = bx.solve_horizon(mdp, 3, 0.9, terminal_reward=last)
    assert found.v[0] == pytest.approx(best)
    assert found.v[3].tolist() == last.tolist()
    assert found.start_value == pytest.approx(mdp.start @ best)
    assert bx.solve_horizon(mdp, 0, terminal_reward=[1, 2, 3]).v.tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("left", [-1.0, -0.3, 0.0])
def test_rewards_that_cancel_leave_every_state_an_action_at_gamma_1(left: float) -> None:
    for n in range(1, 60, 2):
        solution = bx.solve(random_walk(n, left_reward=left), 1.0)
        exact = [left + (1 - left) * k / (n + 1) for k in range(1, n + 1)]
        assert solution.v[1:-1] == pytest.approx(exact, abs=1e-10)


def test_a_tie_at_a_value_that_cancels_takes_what_ends_soonest_and_else_the_lowest() -> None:
    """From the middle of a walk between -1 and 1, the second action waits a step first: as good, and later."""
    n = 19

    def step(s: int, action: int) -> list[tuple[float, int, float, bool]]:
        if action == 0:
            return [(1.0, -s, 0.0, False)]  # its twin walks one step later
        s = abs(s)
        return [(0.5, s - 1, -float(s == 1), s == 1), (0.5, s + 1, float(s == n), s == n)]

    mdp = FiniteMDP.from_function(lambda s, a: step(s, a if s > 0 else 1), n // 2 + 1, 2, max_episode_steps=10**6)
    solution = bx.solve(mdp, 1.0)
    acting = [i for i, s in enumerate(mdp.state_names) if 0 < s <= n]
    assert solution.policy[acting].tolist() == [1] * len(acting), "walking at once ends sooner"
    first = bx.solve(FiniteMDP.from_function(lambda s, a: step(abs(s), 1), n // 2 + 1, 2), 0.999)
    assert (first.policy == 0).all(), "two actions that are the same: the lowest, also where the value is 1e-17"


@pytest.mark.parametrize("seed", [359, 355, 345, 260, 158])
def test_auto_does_not_alternate_between_two_policies_for_ever(seed: int) -> None:
    rng = np.random.default_rng(seed)
    S, A = int(rng.integers(2, 60)), int(rng.integers(2, 6))
    mdp = random_garnet(S, A, 1, seed, 0.0)
    found, exact = bx.solve(mdp, 0.99999), bx.solve(mdp, 0.99999, method="policy-iteration")
    assert found.iterations < 60
    assert np.abs(found.v - exact.v).max() <= found.bound + exact.bound
    assert found.bound < 1e-4


def test_auto_on_a_large_model_that_does_not_mix() -> None:
    found = bx.solve(random_garnet(1_000, 3, 1, 1, 0.0), 0.9999)
    assert found.iterations < 200
    assert found.bound < 1e-5


@pytest.mark.parametrize("exponent", [20, 30, 40, 52])
@pytest.mark.parametrize("ending", [0.0, 0.02])
def test_the_linear_program_close_to_gamma_1(exponent: int, ending: float) -> None:
    mdp, gamma = random_garnet(20, 3, 3, 0, ending), 1 - 2.0**-exponent
    found, exact = (bx.solve(mdp, gamma, method=method) for method in ("linear-programming", "policy-iteration"))
    assert found.policy.tolist() == exact.policy.tolist()
    assert np.abs(found.v - exact.v).max() <= found.bound + exact.bound
    assert found.iterations < 100


NEVER_ENDS = {"chain", "river-swim", "machine-replacement", "admission-control", "inventory", "garnet", "car-rental"}


def every_pair() -> list[Any]:
    """Each solver on each model of the gallery; car rental is too large for the linear program."""
    return [(name, method) for name in GALLERY for method in (*METHODS, "1", "horizon", "soft", "average")
            if (name, method) != ("car-rental", "linear-programming")]  # fmt: skip


@pytest.fixture(scope="module")
def gallery() -> dict[str, FiniteMDP]:
    return {name: make() for name, make in GALLERY.items()}


@pytest.mark.parametrize(("name", "method"), every_pair())
def test_every_solver_on_every_model_of_the_gallery(gallery: dict[str, FiniteMDP], name: str, method: str) -> None:
    mdp = gallery[name]
    states = np.arange(mdp.n_states)
    if method in METHODS:
        solution = bx.solve(mdp, 0.95, method=method, tolerance=1e-6)
        residual = np.abs(bx.bellman_operator(mdp, solution.v, 0.95) - solution.v).max()
        assert residual <= 2 * solution.bound
        assert bx.evaluate_policy(mdp, solution.policy, 0.95, method="iterative") == pytest.approx(solution.v, abs=1e-4)
    elif method == "1":
        if name in NEVER_ENDS:
            with pytest.raises(ConfigError, match="gamma=1: "):
                bx.solve(mdp, 1.0)
            return
        solution = bx.solve(mdp, 1.0)
        assert bx.evaluate_policy(mdp, solution.policy, 1.0) == pytest.approx(solution.v, abs=1e-6)
        assert bx.occupancy(mdp, solution.policy, 1.0).sum() > 0
    elif method == "horizon":
        found = bx.solve_horizon(mdp, 5, 0.95)
        v = np.zeros(mdp.n_states)
        for _ in range(5):
            v = bx.bellman_operator(mdp, v, 0.95)
        assert found.v[0] == pytest.approx(v, abs=1e-9)
        assert mdp.allowed[states, found.policy[0]].all()
    elif method == "soft":
        soft = bx.solve_soft(mdp, 0.95, 0.1)
        mixed = bx.soften(mdp, soft.policy, 0.1)
        assert bx.bellman_operator(mdp, soft.v, 0.95, mixed) == pytest.approx(soft.v, abs=1e-6)
        gap = bx.policy_gap(mdp, soft.q, 0.95)
        assert gap.regret <= gap.largest
    else:
        best = bx.solve_average(mdp)
        gain, _ = bx.evaluate_average(mdp, best.policy)
        assert gain == pytest.approx(best.gain, abs=1e-6 * max(1, np.abs(gain).max()))
        assert bx.stationary_distribution(mdp, best.policy).sum() == pytest.approx(1)
        assert best.bound >= 0


def bound_of(mdp: FiniteMDP, policy: list[int]) -> tuple[float, FloatArray]:
    """The bound that `solve_average` would give of any policy, and its gain."""
    problem = make_problem(mdp, 1.0)
    rows, _, action = average._restarting_rows(mdp, problem)
    row_of = {(int(owner), int(a)): i for i, (owner, a) in enumerate(zip(rows.owner, action, strict=True))}
    choice = np.array([row_of[s, a] for s, a in enumerate([*policy, -1])])
    gain, bias = bx.evaluate_average(mdp, policy)
    return average._prove(mdp, problem, rows, choice, gain, bias), gain


def test_the_bound_of_an_average_reward_is_that_of_the_theorem_and_not_less() -> None:
    bandit = FiniteMDP.from_entries(1, 2, [0, 1], [0, 0], [1.0, 1.0], [0.0, 1.0], [False, False])
    bound, gain = bound_of(bandit, [0])
    assert gain.tolist() == [0.0]
    assert 1.0 <= bound <= 1 + 1e-9, "the other action earns 1 more: the bound is tight"
    for seed in range(30):
        mdp = random_garnet(5, 3, 3, seed, 0.1 * (seed % 2))
        best = bx.solve_average(mdp)
        assert best.bound <= 1e-9
        for policy in np.random.default_rng(seed).integers(0, 3, (10, 5)).tolist():
            bound, gain = bound_of(mdp, policy)
            assert np.abs(best.gain - gain).max() <= bound
            P, R = dense(mdp)
            back = P + (1 - P.sum(axis=2))[..., None] * mdp.start  # an episode that ends begins again
            bias = bx.evaluate_average(mdp, policy)[1]
            rise = R + back @ bias - bias[:, None]
            low = rise[np.arange(5), policy].min()
            assert bound == pytest.approx(max(rise.max() - gain.min(), gain.max() - low), rel=1e-6, abs=1e-9)


def test_states_whose_names_are_no_strings_are_named_in_errors() -> None:
    mdp = FiniteMDP.from_function(lambda s, a: [(1.0, (s[0] ^ 1, 0), 1.0, False)], (0, 0), 2, max_episode_steps=9)
    with pytest.raises(ConfigError, match=r"states \(0, 0\), \(1, 0\)"):
        bx.solve(mdp, 1.0)
    with pytest.raises(ConfigError, match=r"states \(0, 0\), \(1, 0\)"):
        bx.evaluate_policy(mdp, [0, 0], 1.0)


def test_a_model_in_place_of_its_values_is_answered_by_where_they_are() -> None:
    with pytest.raises(bx.ConfigError, match=r"got a model: give the q of its solution, bx.solve\(mdp, gamma=0.99\).q"):
        bx.greedy_policy(bx.chain(), np.zeros(5))  # type: ignore[arg-type]
    assert bx.greedy_policy(bx.solve(bx.chain(), gamma=0.99).q).tolist() == [0] * 5
