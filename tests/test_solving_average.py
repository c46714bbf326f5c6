"""Average reward, long-run distributions, fixed horizons and exploration that stays, against dense algebra."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from bellmax.contracts import ConfigError, FloatArray
from bellmax.mdp.gallery import cliff, corridor, random_garnet
from bellmax.mdp.model import FiniteMDP
from bellmax.mdp.outcomes import continuation, expected_reward
from bellmax.solving.average import evaluate_average, occupancy, solve_average, stationary_distribution
from bellmax.solving.evaluation import evaluate_policy, horizon_return
from bellmax.solving.horizon import solve_horizon
from bellmax.solving.soft import soft_model, soften, solve_soft
from bellmax.solving.solve import solve

pytestmark = pytest.mark.filterwarnings("ignore::bellmax.contracts.ModelWarning")  # small worlds may look like slips


def restarting(mdp: FiniteMDP, policy: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Dense `(P [S, S], r [S])` of a policy [S, A], the end of an episode replaced by the start."""
    S, A = mdp.n_states, mdp.n_actions
    P = np.einsum("sa,san->sn", policy, continuation(mdp).toarray().reshape(S, A, S))
    return P + np.outer(1 - P.sum(axis=1), mdp.start), (policy * expected_reward(mdp)).sum(axis=1)


def cesaro(P: FloatArray) -> FloatArray:
    """lim 1/n Σ P^t, also of periodic and of multichain P: powers of the lazy chain."""
    lazy = (P + np.eye(len(P))) / 2
    for _ in range(60):
        lazy = lazy @ lazy
        lazy /= lazy.sum(axis=1, keepdims=True)
    return lazy


@pytest.mark.parametrize("seed", range(12))
def test_gain_bias_and_long_run_distribution_of_a_policy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mdp = random_garnet(9, 3, int(rng.integers(1, 4)), seed, termination=float(rng.choice([0.0, 0.2])))
    policy = rng.dirichlet(np.ones(3), 9) if seed % 2 else np.eye(3)[rng.integers(0, 3, 9)]
    P, r = restarting(mdp, policy)
    limit = cesaro(P)
    gain, bias = evaluate_average(mdp, policy)
    assert gain == pytest.approx(limit @ r, abs=1e-9)
    assert gain + bias == pytest.approx(r + P @ bias, abs=1e-9)
    assert stationary_distribution(mdp, policy) == pytest.approx(mdp.start @ limit, abs=1e-9)


@pytest.mark.parametrize("seed", range(12))
def test_the_best_gain_is_that_of_the_best_of_all_policies(seed: int) -> None:
    mdp = random_garnet(5, 2, 1 + seed % 2, seed, termination=0.1 * (seed % 3))
    found = solve_average(mdp)
    gains = []
    for actions in itertools.product(range(2), repeat=5):
        P, r = restarting(mdp, np.eye(2)[list(actions)])
        gains.append(cesaro(P) @ r)
    assert found.gain == pytest.approx(np.max(gains, axis=0), abs=1e-9)
    assert np.abs(found.gain - np.max(gains, axis=0)).max() <= found.bound + 1e-9
    assert evaluate_average(mdp, found.policy)[0] == pytest.approx(found.gain, abs=1e-9)
    if np.ptp(found.gain) < 1e-9:
        assert found.bound < 1e-9


def test_average_of_known_worlds() -> None:
    lake = FiniteMDP.from_gymnasium("FrozenLake-v1")
    best = solve_average(lake)
    assert best.bound < 1e-10
    steps = occupancy(lake, best.policy, 1.0).sum()
    success = float(lake.start @ evaluate_policy(lake, best.policy, 1.0))
    assert best.start_gain == pytest.approx(success / steps), "renewal: reward of an episode over its length"
    assert solve_average(corridor(6)).start_gain == pytest.approx(0.2)
    taxi = solve_average(FiniteMDP.from_gymnasium("Taxi-v4"))
    assert taxi.start_gain == pytest.approx(7.93 / 13.07, abs=1e-3)


def test_two_worlds_in_one_have_two_gains() -> None:
    table = [
        [[(1.0, 0, 1.0, False)], [(1.0, 1, 9.0, False)]],
        [[(1.0, 1, 0.5, False)]] * 2,
        [[(1.0, 2, 3.0, False)]] * 2,
    ]
    mdp = FiniteMDP.from_successors(table, start=[0.5, 0.0, 0.5])
    found = solve_average(mdp)
    assert found.gain.tolist() == [1.0, 0.5, 3.0]
    assert found.policy[0] == 0
    assert found.start_gain == 2.0
    assert stationary_distribution(mdp, [0, 0, 0]).tolist() == [0.5, 0.0, 0.5]


@pytest.mark.parametrize("gamma", [0.0, 0.9, 1.0])
def test_occupancy_is_the_dual_of_the_value(gamma: float) -> None:
    mdp = random_garnet(9, 3, 4, seed=2, termination=0.25)
    policy = np.random.default_rng(0).dirichlet(np.ones(3), 9)
    time = occupancy(mdp, policy, gamma)
    assert (time * expected_reward(mdp)).sum() == pytest.approx(mdp.start @ evaluate_policy(mdp, policy, gamma))
    assert time.sum() == pytest.approx(1 / (1 - 0.75 * gamma))
    assert time / time.sum(axis=1, keepdims=True) == pytest.approx(policy)
    with pytest.raises(ConfigError, match=r"gamma=1: the policy never ends the episode from state 0; use"):
        occupancy(cliff(), np.zeros(48, int), 1.0)


def test_the_clock_is_worth_something_on_frozen_lake() -> None:
    mdp = FiniteMDP.from_gymnasium("FrozenLake-v1")
    v, policy, bound, start_value = solve_horizon(mdp, 100)
    assert start_value == pytest.approx(0.744190, abs=5e-7)
    assert start_value > horizon_return(mdp, solve(mdp, 1.0).policy, 100)
    assert (v.shape, policy.shape) == ((101, 16), (100, 16))
    assert 0 < bound < 1e-11
    assert solve_horizon(mdp, 3000).start_value == pytest.approx(14 / 17, abs=1e-9)
    assert solve_horizon(mdp, 0).start_value == 0
    with pytest.raises(ConfigError, match="`horizon` must be a non-negative integer; got -1"):
        solve_horizon(mdp, -1)


def test_a_horizon_by_trying_all_plans() -> None:
    mdp = random_garnet(3, 2, 2, seed=4, termination=0.2)
    best = np.full(3, -np.inf)
    P, R = continuation(mdp).toarray().reshape(3, 2, 3), expected_reward(mdp)
    for plan in itertools.product(itertools.product(range(2), repeat=3), repeat=3):
        v = np.zeros(3)
        for actions in reversed(plan):
            v = R[np.arange(3), actions] + 0.9 * P[np.arange(3), actions] @ v
        best = np.maximum(best, v)
    assert solve_horizon(mdp, 3, 0.9).v[0] == pytest.approx(best)


def test_the_best_that_explores_on_the_cliff() -> None:
    mdp = cliff()
    solution = solve_soft(mdp, 1.0, 0.1)
    assert solution.start_value == pytest.approx(-20.7077, abs=5e-5)
    assert solution.bound < 1e-9
    assert evaluate_policy(mdp, soften(mdp, solution.policy, 0.1), 1.0) == pytest.approx(solution.v, abs=1e-9)
    assert solution.policy[36 - 12] == 0, "not along the edge"
    assert solution.v == pytest.approx(0.9 * solution.q.max(axis=1) + 0.1 * solution.q.mean(axis=1))


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_no_other_soft_policy_is_better(epsilon: float) -> None:
    mdp = random_garnet(4, 3, 2, seed=1, termination=0.1)
    solution = solve_soft(mdp, 0.9, epsilon)
    values = [
        evaluate_policy(mdp, soften(mdp, list(actions), epsilon), 0.9)
        for actions in itertools.product(range(3), repeat=4)
    ]
    assert solution.v == pytest.approx(np.max(values, axis=0), abs=1e-9)
    if epsilon == 0:
        assert solution.q == pytest.approx(solve(mdp, 0.9).q, abs=1e-9)


def test_exploring_keeps_to_the_actions_that_a_state_has() -> None:
    table = [[[(1.0, 1, 0.0, False)]], [[(1.0, 0, 1.0, True)], [(1.0, 0, 0.0, True)]]]
    mdp = FiniteMDP.from_successors(table)
    assert soften(mdp, [0, 1], 0.2).tolist() == [[1.0, 0.0], [0.1, 0.9]]
    assert soft_model(mdp, 0.2).n_allowed.tolist() == [1, 2]
    assert solve_soft(mdp, 1.0, 0.2).v == pytest.approx([0.9, 0.9])
    with pytest.raises(ConfigError, match=r"epsilon=1.5 is outside \[0, 1\]"):
        solve_soft(mdp, 0.9, 1.5)
