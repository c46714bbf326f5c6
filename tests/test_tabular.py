"""The tabular loop: its kernels, the loop against the same words in slow Python, and worlds with known answers."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from bellmax import QLearning, schedules
from bellmax.mdp.gallery import cliff, corridor, random_garnet
from bellmax.mdp.model import FiniteMDP, expected_reward, successor_table
from bellmax.mdp.solve import solve
from bellmax.tabular import train
from bellmax.tabular.behaviour import greedy, largest
from bellmax.tabular.kernel import coin_and_choice, new_generator, uniform
from bellmax.tabular.td import q_learning

ALWAYS = {"exploration_initial_eps": 1.0, "exploration_final_eps": 1.0}


class Run:
    """A seed of Q-learning on a model, advanced by `chunks` steps; what the loop recorded, joined."""

    def __init__(self, mdp: FiniteMDP, chunks: list[int], seed: int = 0, limit: int | None = None, **options: Any):
        config = QLearning(**options)
        self.agent = config.make(mdp.n_states, mdp.n_actions)
        self.rates = train.build_rates(config, sum(chunks))
        self.state = train.init_state(self.agent, mdp.n_states, mdp.n_actions, config.initial_q, seed)
        self.returns, self.lengths = np.empty(0), np.empty(0, np.int64)
        self.errors = []
        model = train.build_model(mdp, limit)
        for n in chunks:
            returns, lengths = np.empty(n), np.empty(n, np.int64)
            count, error = train.run(
                self.agent.act, self.agent.update, model, self.rates, self.state, n, returns, lengths
            )
            self.returns = np.append(self.returns, returns[:count])
            self.lengths = np.append(self.lengths, lengths[:count])
            self.errors.append(error)

    def assert_same(self, other: "Run") -> None:
        for field in ("q", "visits", "clock", "episode_return", "generator"):
            np.testing.assert_array_equal(getattr(self.state, field), getattr(other.state, field), field)
        np.testing.assert_array_equal(self.returns, other.returns)
        np.testing.assert_array_equal(self.lengths, other.lengths)


class Slow:
    """The same run in plain Python: lists of numbers, no record array, no unsigned index, no bisection."""

    def __init__(self, mdp: FiniteMDP, steps: int, seed: int, limit: int, config: QLearning):
        table, generator = successor_table(mdp), new_generator(seed)
        q, visits = np.zeros((mdp.n_states, mdp.n_actions)), np.zeros((mdp.n_states, mdp.n_actions), np.int64)
        starts = np.flatnonzero(mdp.start)

        def reset() -> int:
            draw = uniform(generator) if starts.size > 1 else 0.0
            return next((s for s in starts if draw < mdp.start[: s + 1].sum()), starts[-1])

        obs, total, length, error = reset(), 0.0, 0, 0.0
        self.returns, self.lengths = [], []
        for t in range(steps):
            coin, choice = coin_and_choice(generator, mdp.n_actions)
            action = choice if coin < config.epsilon(t, steps) else int(np.argmax(q[obs]))
            pair, k = obs * mdp.n_actions + action, 0
            if table.reward.shape[1] > 1:
                k = int(np.argmax(uniform(generator) < table.cumulative[pair]))
            reward, next_obs = table.reward[pair, k], table.successor[pair, k]
            target = reward + config.gamma * table.continues[pair, k] * q[next_obs].max()
            step_size = schedules.inverse(visits[obs, action], config.learning_rate, config.learning_rate_decay)
            error += abs(target - q[obs, action])
            q[obs, action] += step_size * (target - q[obs, action])
            visits[obs, action] += 1
            total, length, obs = total + reward, length + 1, next_obs
            if table.continues[pair, k] == 0 or length >= limit:
                self.returns.append(total)
                self.lengths.append(length)
                obs, total, length = reset(), 0.0, 0
        self.q, self.visits, self.error, self.generator = q, visits, error / steps, generator


compiling = settings(deadline=None)  # the first example may have to wait for the compiler
numbers = st.floats(-1e6, 1e6)


@st.composite
def transitions(draw: Any) -> tuple[Any, ...]:
    n_states, n_actions = draw(st.integers(1, 5)), draw(st.integers(1, 6))
    q = draw(arrays(np.float64, (n_states, n_actions), elements=numbers))
    state, action = st.integers(0, n_states - 1), st.integers(0, n_actions - 1)
    return q, draw(state), draw(action), draw(numbers), draw(st.floats(0, 1)), draw(state), draw(st.floats(0, 1))


@compiling
@given(transitions())
def test_q_learning_is_the_textbook_update(transition: Any) -> None:
    q, obs, action, reward, discount, next_obs, step_size = transition
    expected = q.copy()
    td_error = reward + discount * max(q[next_obs]) - q[obs, action]
    expected[obs, action] += step_size * td_error
    returned = q_learning(q, (), obs, action, reward, discount, next_obs, step_size, 0.1, new_generator(0))
    assert returned == td_error
    np.testing.assert_array_equal(q, expected)


@compiling
@given(arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 7)), elements=st.floats(-2, 2) | st.just(0.0)))
def test_first_and_largest_of_a_row(q: np.ndarray) -> None:
    for obs, row in enumerate(q):
        assert greedy(q, obs) == int(np.argmax(row))
        assert largest(q, obs) == row.max()


@pytest.mark.parametrize("mdp", [random_garnet(9, 3, 4, seed=1, termination=0.1), cliff()], ids=["garnet", "cliff"])
@pytest.mark.parametrize(
    "options",
    [
        {"learning_rate": 0.5, "learning_rate_decay": 0.1, "exploration_fraction": 0.5},
        {"exploration_schedule": "exponential", "exploration_fraction": 1.0, "gamma": 0.9},
        {"exploration_initial_eps": 0.1, "exploration_final_eps": 0.1},
    ],
    ids=["linear", "exponential", "constant"],
)
def test_loop_against_slow_python(mdp: FiniteMDP, options: dict[str, Any]) -> None:
    steps, seed, limit = 2000, 4, 25
    run = Run(mdp, [steps], seed, limit, **options)
    slow = Slow(mdp, steps, seed, limit, QLearning(**options))
    np.testing.assert_array_equal(run.state.generator, slow.generator)
    np.testing.assert_array_equal(run.state.visits, slow.visits)
    np.testing.assert_allclose(run.state.q, slow.q, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(run.returns, slow.returns, rtol=1e-12, atol=1e-12)
    np.testing.assert_array_equal(run.lengths, slow.lengths)
    assert run.errors == [pytest.approx(slow.error)]


@pytest.mark.parametrize("seed", range(5))
def test_corridor_is_learnt(seed: int) -> None:
    run = Run(corridor(), [20_000], seed, learning_rate=0.5, gamma=0.9, **ALWAYS)
    exact = solve(corridor(), 0.9).q
    visited = run.state.visits > 0
    assert visited.sum() == 10  # every pair but those of the goal
    np.testing.assert_allclose(run.state.q[visited], exact[visited], atol=0.01)
    assert np.all(run.state.q[~visited] == 0.0)


def test_same_seed_same_bits() -> None:
    mdp = random_garnet(20, 4, 3, seed=0, termination=0.05)
    first, again, other = (Run(mdp, [5000], seed) for seed in (1, 1, 2))
    first.assert_same(again)
    assert not np.array_equal(first.state.q, other.state.q)


@pytest.mark.parametrize("chunks", [[400, 600], [1, 998, 1], [500, 500]])
@pytest.mark.parametrize("schedule", ["linear", "exponential"])
def test_chunk_boundaries_do_not_matter(chunks: list[int], schedule: str) -> None:
    mdp = random_garnet(20, 4, 3, seed=0, termination=0.05)
    options = {"limit": 15, "exploration_schedule": schedule, "learning_rate_decay": 0.01}
    whole, parts = Run(mdp, [1000], **options), Run(mdp, chunks, **options)
    whole.assert_same(parts)
    assert whole.errors[0] == pytest.approx(np.average(parts.errors, weights=chunks))


def test_time_limit_keeps_the_discount() -> None:
    eternal = FiniteMDP.from_successors([[[(1.0, 0, 1.0, False)]]])
    run = Run(eternal, [5000], limit=10, gamma=0.9, learning_rate=0.5)
    assert run.state.q[0, 0] == pytest.approx(1 / (1 - 0.9))
    assert np.all(run.lengths == 10)
    assert np.all(run.returns == 10.0)
    assert run.lengths.size == 500


def test_gamma_0_learns_the_next_reward() -> None:
    run = Run(cliff(), [20_000], gamma=0.0, learning_rate=1.0, limit=100, **ALWAYS)
    visited = run.state.visits > 0
    np.testing.assert_array_equal(run.state.q[visited], expected_reward(cliff())[visited])


def test_decay_counts_visits() -> None:
    """With α = 1 / (1 + n) a value is the plain mean of its targets."""
    gamble = FiniteMDP.from_successors([[[(0.3, 0, 5.0, True), (0.7, 0, -1.0, True)]]])
    run = Run(gamble, [1000], learning_rate=1.0, learning_rate_decay=1.0)
    assert run.state.visits[0, 0] == 1000
    assert run.state.q[0, 0] == pytest.approx(run.returns.mean(), rel=1e-9)


def test_starts_have_their_probabilities() -> None:
    start = np.array([0.0, 0.25, 0.05, 0.0, 0.5, 0.2, 0.0])
    mdp = FiniteMDP.from_successors([[[(1.0, s, 0.0, True)]] * 2 for s in range(start.size)], start=start)
    run = Run(mdp, [40_000], **ALWAYS)
    visits = run.state.visits
    assert np.all(visits[start == 0] == 0)
    expected = np.repeat(start[start > 0, None], 2, axis=1) * visits.sum() / 2
    assert stats.chisquare(visits[start > 0].ravel(), expected.ravel()).pvalue > 1e-4


@pytest.mark.parametrize("seed", range(3))
def test_outcomes_have_their_probabilities(seed: int) -> None:
    """From state 0 to one of the others, from there to the end: visits are independent draws."""
    chance = np.random.default_rng(seed).dirichlet(np.ones(7))
    fan = [[[(p, 1 + k, 0.0, False) for k, p in enumerate(chance)]]]
    mdp = FiniteMDP.from_successors(fan + [[[(1.0, 0, 0.0, True)]]] * 7)
    run = Run(mdp, [40_000], seed)
    visits = run.state.visits[1:, 0]
    assert stats.chisquare(visits, chance * visits.sum()).pvalue > 1e-4


def test_nothing_is_recorded_twice_or_lost() -> None:
    run = Run(cliff(), [700, 4300], limit=60, **ALWAYS)
    state, steps = run.state, 5000
    assert state.visits.sum() == state.clock[train.TIME] == steps
    assert run.lengths.sum() + state.clock[train.LENGTH] == steps
    paid = (state.visits * expected_reward(cliff())).sum()
    assert run.returns.sum() + state.episode_return[0] == pytest.approx(paid)
    assert run.lengths.max() <= 60


@pytest.mark.parametrize("mdp", [corridor(), cliff()], ids=lambda mdp: mdp.name)
def test_host_step_gives_the_table_of_the_loop(mdp: FiniteMDP) -> None:
    """These worlds draw no random numbers of their own, so that both ways draw the same."""
    steps, limit, options = 3000, 50, {"learning_rate_decay": 0.05, "gamma": 0.9}
    run = Run(mdp, [steps], 7, limit, **options)
    agent, rates, table = run.agent, run.rates, successor_table(mdp)
    state = train.init_state(agent, mdp.n_states, mdp.n_actions, 0.0, 7)
    start = np.array([int(np.argmax(mdp.start))])
    obs, action, length, error = start, np.zeros(1, np.int64), 0, 0.0
    none, valid = np.zeros(0, np.int64), np.ones(1, np.bool_)
    train.observe(
        agent.act, agent.update, rates, state, none, none, np.zeros(0), np.zeros(0), none, valid[:0], start, action
    )
    for _ in range(steps):
        pair, length = obs[0] * mdp.n_actions + action[0], length + 1
        next_obs, continues = table.successor[pair], table.continues[pair]
        over = continues[0] == 0 or length >= limit
        acting, chosen = start if over else next_obs, np.empty(1, np.int64)
        error += train.observe(
            agent.act, agent.update, rates, state, obs, action, table.reward[pair], continues, next_obs, valid,
            acting, chosen,
        )  # fmt: skip
        obs, action, length = acting, chosen, 0 if over else length
    np.testing.assert_array_equal(state.q, run.state.q)
    np.testing.assert_array_equal(state.visits, run.state.visits)
    assert state.clock[train.TIME] == steps
    assert error / steps == pytest.approx(run.errors[0])


def test_invalid_rows_are_no_experience() -> None:
    config = QLearning(learning_rate=0.5, gamma=0.9)
    agent = config.make(4, 2)
    state = train.init_state(agent, 4, 2, 0.0, 0)
    obs, action, chosen = np.array([0, 1, 2]), np.array([1, 0, 1]), np.full(3, -1)
    valid = np.array([True, False, True])
    error = train.observe(
        agent.act, agent.update, train.build_rates(config, 100), state, obs, action, np.array([1.0, 7.0, 3.0]),
        np.ones(3), np.array([3, 3, 3]), valid, obs, chosen,
    )  # fmt: skip
    assert error == 4.0
    expected = np.zeros((4, 2))
    expected[0, 1], expected[2, 1] = 0.5, 1.5
    np.testing.assert_array_equal(state.q, expected)
    np.testing.assert_array_equal(state.visits, expected > 0)
    assert state.clock[train.TIME] == 3
    assert np.all((chosen >= 0) & (chosen < 2))
