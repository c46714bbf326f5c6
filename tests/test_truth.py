"""Every run beside the exact answer: what is said of a table is what evaluating its policy one by one says."""

import itertools
import json
import time
import warnings
from pathlib import Path

import numpy as np
import pytest

import bellmax as bx
from bellmax.cli import numbers
from bellmax.files import manifest
from bellmax.files.storage import finite
from bellmax.mdp.model import FiniteMDP
from bellmax.mdp.outcomes import continuation, expected_reward, reachable
from bellmax.report.text import describe_run
from bellmax.solving import many
from bellmax.solving.average import occupancy
from bellmax.solving.solve import evaluate_policy, horizon_return
from bellmax.training import exact
from bellmax.training.exact import find_truth, measure

RNG = np.random.default_rng(0)


def quietly(*args, **kwargs) -> FiniteMDP:
    """A model that has what a warning would be about."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return FiniteMDP.from_arrays(*args, **kwargs)


def ragged() -> FiniteMDP:
    """Three states, of which the second lacks the last action, and the last is never entered."""
    P = RNG.dirichlet(np.ones(2), (3, 3))
    P = np.concatenate([P, np.zeros((3, 3, 1))], axis=2)
    P[1, 2] = 0.0
    return quietly(P, RNG.normal(size=(3, 3)), layout="SAS", n_allowed=[3, 2, 3], start=[0.4, 0.6, 0.0])


def price(length: int, cost: float = 1.0, limit: int | None = None) -> FiniteMDP:
    """A corridor of `length` states in which each step costs, until its right end is reached."""
    successors = [[[(1.0, max(s - 1, 0), -cost, False)], [(1.0, s + 1, -cost, s + 1 == length)]] for s in range(length)]
    successors.append([[(1.0, length, 0.0, True)]] * 2)
    return FiniteMDP.from_successors(successors, max_episode_steps=limit, name="price")


MODELS = {
    "frozen lake": FiniteMDP.from_gymnasium("FrozenLake-v1"),
    "cliff": FiniteMDP.from_gymnasium("CliffWalking-v1"),
    "ragged": ragged(),
    "garnet": bx.random_garnet(30, 3, 4, seed=1),
    "price": price(4, limit=7),
}


def random_policies(mdp: FiniteMDP, n: int) -> np.ndarray:
    return RNG.integers(0, mdp.n_allowed, (n, mdp.n_states))


@pytest.mark.parametrize("block", [1, 40, 1 << 18])
@pytest.mark.parametrize("name", MODELS)
def test_many_policies_have_the_values_of_each(name: str, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "BLOCK", block)
    mdp = MODELS[name]
    model, policies = many.occurring(mdp), random_policies(mdp, 9)
    np.testing.assert_array_equal(model.states, np.flatnonzero(reachable(mdp)))
    kept = policies[:, model.states]
    for gamma in (0.0, 0.5, 0.99):
        expected = [mdp.start @ evaluate_policy(mdp, policy, gamma) for policy in policies]
        np.testing.assert_allclose(many.start_values(model, kept, gamma), expected, rtol=1e-9, atol=1e-12)
    for horizon in (0, 1, 2, 57):
        expected = [horizon_return(mdp, policy, horizon) for policy in policies]
        np.testing.assert_allclose(many.start_returns(model, kept, horizon), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("sweeps", [10_000, 5])
@pytest.mark.parametrize("name", MODELS)
def test_sweeps_of_large_models_end_where_a_linear_system_does(
    name: str, sweeps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    mdp = MODELS[name]
    model, policies = many.occurring(mdp), random_policies(mdp, 5)
    kept = policies[:, model.states]
    for gamma in (0.5, 0.99, 0.999):
        values, spent = many.start_values(model, kept, gamma), many.start_occupancy(model, kept[0], gamma)
        with monkeypatch.context() as patch:
            patch.setattr(many, "DIRECT_STATES", 0)
            patch.setattr(many, "MOST_SWEEPS", sweeps)
            np.testing.assert_allclose(many.start_values(model, kept, gamma), values, rtol=1e-10, atol=1e-11)
            np.testing.assert_allclose(many.start_occupancy(model, kept[0], gamma), spent, rtol=1e-8, atol=1e-8)


def test_a_large_model_is_graded_at_once() -> None:
    """A factorisation would take minutes: its successors are random, so that it fills up."""
    mdp = bx.random_garnet(10_000, 3, 4, seed=0)
    begin = time.perf_counter()
    truth = find_truth(mdp, 0.99)
    columns = measure(truth, np.stack([truth.solution.q, -truth.solution.q]))
    assert time.perf_counter() - begin < 20
    assert columns["exact/is_optimal"].tolist() == [1.0, 0.0]


@pytest.mark.parametrize("gamma", [0.9, 1.0])
def test_time_spent_is_the_sum_over_time(gamma: float) -> None:
    mdp = MODELS["frozen lake"]
    model, policy = many.occurring(mdp), np.full(16, 1)
    chain = continuation(mdp)[np.arange(16) * 4 + policy].toarray()
    alive, total = mdp.start.copy(), np.zeros(16)
    for _ in range(5_000):
        total += alive
        alive = gamma * alive @ chain
    found = many.start_occupancy(model, policy[model.states], gamma)
    np.testing.assert_allclose(found, total[model.states], rtol=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_time_spent_is_that_of_the_whole_model(name: str) -> None:
    mdp = MODELS[name]
    model, policy = many.occurring(mdp), random_policies(mdp, 1)[0]
    expected = occupancy(mdp, policy, 0.9).sum(axis=1)[model.states]
    np.testing.assert_allclose(many.start_occupancy(model, policy[model.states], 0.9), expected, rtol=1e-9, atol=1e-12)


def test_undiscounted_values_of_all_policies() -> None:
    """Against the sum of rewards over a long time, which for a policy that never ends grows without bound."""
    for mdp in (price(3), price(3, cost=0.0), MODELS["frozen lake"]):
        model = many.occurring(mdp)
        actions = range(mdp.n_actions)
        policies = np.array(list(itertools.islice(itertools.product(actions, repeat=model.states.size), 0, 4**7, 97)))
        long = many.start_returns(model, policies, 20_000)
        long[long < -1_000] = -np.inf
        np.testing.assert_allclose(many.start_values(model, policies, 1.0), long, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("name", MODELS)
def test_columns_against_one_table_at_a_time(name: str) -> None:
    mdp, gamma = MODELS[name], 0.9
    truth = find_truth(mdp, gamma)
    n, S, A = 6, mdp.n_states, mdp.n_actions
    q, visits = RNG.normal(size=(n, S, A)), RNG.integers(0, 3, (n, S, A))
    q[0] = truth.solution.q
    q[1, :, A - 1] = 1e3  # a state that lacks this action plays its last one
    visits[2] = 5
    visits[2, ~reachable(mdp)] = 0
    visits[2, ~mdp.allowed] = 0
    columns = measure(truth, q, visits)
    assert {array.shape for array in columns.values()} == {(n,)}
    exists = mdp.allowed & reachable(mdp)[:, None]
    best = truth.solution.policy
    chain = np.asarray(continuation(mdp)[np.arange(S) * A + best].todense())
    spent = np.linalg.solve(np.eye(S) - gamma * chain.T, mdp.start)
    for i in range(n):
        gap = np.abs(q[i] - np.where(mdp.allowed, truth.solution.q, 0.0))
        assert columns["exact/q_error"][i] == gap[exists].max()
        weighted = (spent * gap[np.arange(S), best])[spent > 0].sum() / spent.sum()
        assert columns["exact/q_error_weighted"][i] == pytest.approx(weighted)
        policy = np.minimum(q[i].argmax(axis=1), mdp.n_allowed - 1)
        value = mdp.start @ evaluate_policy(mdp, policy, gamma)
        assert columns["exact/policy_value"][i] == pytest.approx(value)
        assert columns["exact/regret"][i] == pytest.approx(truth.solution.start_value - value, abs=1e-9)
        if mdp.max_episode_steps:
            value = horizon_return(mdp, policy, mdp.max_episode_steps)
        assert columns["exact/policy_return"][i] == pytest.approx(value)
        assert columns["exact/visited"][i] == (visits[i][exists] > 0).mean()
        assert columns["exact/least_visits"][i] == visits[i][exists].min()
    assert columns["exact/least_visits"][2] == 5
    assert (columns["exact/q_error"][0], columns["exact/q_error_weighted"][0]) == (0.0, 0.0)
    assert columns["exact/is_optimal"][0] == 1.0
    assert (columns["exact/is_optimal"] == (columns["exact/regret"] < 1e-9)).all()
    assert "exact/visited" not in measure(truth, q)


def test_optimal_or_not_is_told_apart_where_values_are_small() -> None:
    mdp = FiniteMDP.from_arrays(np.ones((1, 3, 1)), [[1e-6, 1e-6 - 1e-12, 0.0]], terminal_states=[0])
    q = np.eye(3)[:, None]
    assert measure(find_truth(mdp, 0.9), q)["exact/is_optimal"].tolist() == [1.0, 0.0, 0.0]


def test_each_policy_is_evaluated_once(monkeypatch: pytest.MonkeyPatch) -> None:
    truth, counts = find_truth(MODELS["cliff"], 0.9), []
    original = exact.start_values

    def count(model, policies, gamma):
        counts.append(len(policies))
        return original(model, policies, gamma)

    monkeypatch.setattr(exact, "start_values", count)
    q = RNG.normal(size=(5, 48, 4))
    first = measure(truth, np.concatenate([q, q + 1.0]))
    measure(truth, np.concatenate([q, -q]))
    assert counts == [5, 5]
    monkeypatch.setattr(exact, "KEPT_BYTES", 10 * 37)
    third = measure(truth, np.concatenate([q + 2.0, q[:1] * 0.5, q[:1].round(0)]))  # what was known is forgotten
    assert counts == [5, 5, 6]
    np.testing.assert_array_equal(third["exact/policy_value"][:5], first["exact/policy_value"][:5])


def test_a_policy_that_never_ends_is_worth_nothing_better_than_minus_infinity() -> None:
    truth = find_truth(price(4, limit=7), 1.0)
    assert truth is not None
    right, left = np.zeros((5, 2)), np.zeros((5, 2))
    right[:, 1] = 1.0
    columns = measure(truth, np.stack([right, left]))
    assert columns["exact/optimal_value"].tolist() == [-4.0, -4.0]
    assert columns["exact/policy_value"].tolist() == [-4.0, -np.inf]
    assert columns["exact/regret"].tolist() == [0.0, np.inf]
    assert columns["exact/is_optimal"].tolist() == [1.0, 0.0]
    assert columns["exact/policy_return"].tolist() == [-4.0, -7.0]
    assert columns["exact/q_error_weighted"].tolist() == [3.5, 2.5]


@pytest.mark.parametrize("limit", [None, 9])
def test_undiscounted_runs_are_compared_with_the_truth(limit: int | None) -> None:
    run = bx.train(
        price(4, limit=limit), "q-learning", gamma=1.0, steps=2_000, seeds=3, final_episodes=0, learning_rate=0.5
    )
    assert run.scores == [-4.0] * 3
    assert (run.history["exact/regret"][:, -1] == 0).all()
    assert np.isfinite(run.steps_to_optimal().median)
    lazy = bx.train(price(4, limit=limit), "q-learning", gamma=1.0, steps=2, final_episodes=0, initial_q=-100.0)
    assert lazy.scores == [-np.inf if limit is None else -9.0]
    assert lazy.history["exact/regret"].tolist() == [[np.inf] * 2]
    assert lazy.steps_to_optimal().median == np.inf
    assert describe_run(lazy)
    both = bx.train(price(4), "q-learning", gamma=1.0, steps=2, final_episodes=0, initial_q=-100.0, seeds=5)
    assert both.summary().mean_high == -np.inf
    assert json.loads(json.dumps(finite(numbers(both))))["exact/regret"] == [None] * 5


def test_a_world_that_cannot_be_solved_undiscounted_is_graded_by_playing() -> None:
    idle = FiniteMDP.from_entries(1, 2, [0, 1], [0, 0], [1.0, 1.0], [0.0, -1.0], [False, True])
    assert find_truth(idle, 1.0) is None  # to wait for ever is best
    endless = quietly(np.ones((1, 2, 1)), [[1.0, 0.0]], max_episode_steps=5)
    assert find_truth(endless, 1.0) is None
    run = bx.train(endless, "q-learning", gamma=1.0, steps=100, records=2, eval_episodes=1, final_episodes=1)
    assert "exact/regret" not in run.history.columns
    assert run.scores == [5.0]


def test_without_a_time_limit_and_episodes_the_score_is_the_exact_value() -> None:
    mdp = bx.corridor(4)
    assert mdp.max_episode_steps is None
    run = bx.train(mdp, "q-learning", steps=5_000, gamma=0.9, final_episodes=0)
    assert run.scores == [pytest.approx(mdp.start @ bx.solve(mdp, 0.9).v)]
    played = bx.train(mdp, "q-learning", steps=5_000, gamma=0.9, final_episodes=2)
    assert played.scores == [1.0]


def test_a_network_on_a_table_is_graded_too() -> None:
    agent = bx.DQN(learning_starts=50, buffer_size=500, batch_size=8, net_arch=(8,))
    run = bx.train(bx.corridor(4), agent, steps=200, records=2, seeds=2, final_episodes=0)
    assert "exact/visited" not in run.history.columns
    truth = find_truth(bx.corridor(4), 0.99)
    q = np.stack([run.policy(seed).table() for seed in (0, 1)]).astype(np.float64)
    for name, values in measure(truth, q).items():
        np.testing.assert_array_equal(run.history[name][:, -1], values)


def test_expected_rewards_are_those_of_the_part() -> None:
    mdp = MODELS["ragged"]
    model = many.occurring(mdp)
    np.testing.assert_array_equal(model.reward, expected_reward(mdp)[:2])
    assert model.states.tolist() == [0, 1]


def test_a_run_that_stopped_has_no_summary_and_says_where_it_is() -> None:
    run = bx.train("corridor", "q-learning", steps=100, final_episodes=0)
    run.scores.clear()
    with pytest.raises(bx.ConfigError, match="stopped at step 100 of 100 and has no scores"):
        run.summary()


def test_the_history_names_its_columns() -> None:
    run = bx.train("corridor", "q-learning", steps=100, final_episodes=0)
    assert list(next(iter(run.history))) == ["seed", "step", *run.history.columns]
    assert "exact/regret" in run.history
    assert "return" in run.history
    assert "loss" not in run.history  # short for a column that a table does not have
    assert "nothing" not in run.history


def test_only_models_are_solved_and_they_show_themselves_in_a_line() -> None:
    assert repr(bx.cliff()) == "FiniteMDP(cliff: 48 states, 4 actions)"
    with pytest.raises(bx.ConfigError, match="'FrozenLake-v1' is a str, not a FiniteMDP"):
        bx.solve("FrozenLake-v1", 0.9)  # type: ignore[arg-type]


def test_why_there_is_no_exact_answer_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    bx.train("river-swim", "q-learning", gamma=1.0, steps=100, final_episodes=0)
    assert "no exact answer to compare with" in capsys.readouterr().err


def test_a_stopped_run_without_records_says_where_its_checkpoint_is(tmp_path: Path) -> None:
    run = bx.train("corridor", "q-learning", steps=100, final_episodes=0)
    run.scores.clear()
    run.history.drop_after(0)
    run.folder = tmp_path
    manifest.commit(tmp_path, [], {"seeds": [0], "kind": "compiled"}, step=42)
    with pytest.raises(bx.ConfigError, match="stopped at step 42 of 100 and has no scores"):
        run.verdict()
