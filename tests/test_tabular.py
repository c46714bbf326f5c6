"""The tabular loop: against the same words in slow Python, what holds for every learner, worlds with known answers."""

from typing import Any

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from bellmax import QLearning, schedules
from bellmax.agent_config import hints
from bellmax.catalog import AGENTS, agent_class
from bellmax.files import checkpoint
from bellmax.mdp.gallery import cliff, corridor, random_garnet
from bellmax.mdp.model import FiniteMDP
from bellmax.mdp.outcomes import expected_reward
from bellmax.mdp.successors import successor_table
from bellmax.solving.solve import solve
from bellmax.tabular import stepping
from bellmax.tabular.action_values import greedy, largest
from bellmax.tabular.agent import Now, Shape, Step, TabularConfig, build_rates
from bellmax.tabular.behavior import find_behavior
from bellmax.tabular.kernel import coin_and_choice, gaussian, new_generator, uniform
from bellmax.tabular.model_kernels import build_model
from bellmax.tabular.td import q_learning

NO_MASKS = np.zeros((3, 0, 0), np.bool_)
ALWAYS = {"exploration_initial_eps": 1.0, "exploration_final_eps": 1.0}
LEARNERS = [name for name in AGENTS if issubclass(agent_class(name), TabularConfig)]
SMALL = {"planning_steps": 3, "n_steps": 3, "longest_episode": 40, "known_after": 4, "samples": 4, "precision": 1e-3}
GARNET = random_garnet(20, 4, 3, seed=0, termination=0.05)


def small(name: str, **options: Any) -> TabularConfig:
    """A learner that plans little and remembers little; settings that it has not are left out."""
    cls = agent_class(name)
    return cls(**{key: value for key, value in {**SMALL, **options}.items() if key in hints(cls)})


class Run:
    """A seed of a learner on a model, advanced by `chunks` steps; what the loop recorded, joined."""

    def __init__(
        self, mdp: FiniteMDP, chunks: list[int], seed: int = 0, limit: int | None = None,
        config: TabularConfig | None = None, total: int = 0, **options: Any,
    ) -> None:  # fmt: skip
        self.config = config = config or QLearning(**options)
        self.world = build_model(mdp, limit)
        self.shape = Shape(mdp.n_states, mdp.n_actions, True, self.world.width)
        self.agent, self.rates = config.make(self.shape), build_rates(config, total or sum(chunks))
        self.n_allowed = mdp.n_allowed
        self.state = self.fresh(seed)
        self.returns, self.lengths = np.empty(0), np.empty(0, np.int64)
        self.errors: list[float] = []
        for n in chunks:
            self.go(n)

    def fresh(self, seed: int) -> stepping.TabularState:
        return stepping.init_state(self.agent, self.shape, self.config.initial_q, seed, n_allowed=self.n_allowed)

    def go(self, n: int) -> None:
        returns, lengths = np.empty(n), np.empty(n, np.int64)
        learner = self.agent.learner(self.rates)
        count, error = stepping.run_steps(learner, self.world, self.state, n, returns, lengths)
        self.returns = np.append(self.returns, returns[:count])
        self.lengths = np.append(self.lengths, lengths[:count])
        self.errors.append(error)

    def assert_same(self, other: "Run") -> None:
        mine, others = checkpoint.to_arrays(self.state), checkpoint.to_arrays(other.state)
        assert mine.keys() == others.keys()
        for name, array in mine.items():
            np.testing.assert_array_equal(array, others[name], name)
        np.testing.assert_array_equal(self.returns, other.returns)
        np.testing.assert_array_equal(self.lengths, other.lengths)


class Slow:
    """Q-learning's run in plain Python: lists of numbers, no record array, no unsigned index, no bisection."""

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
            if table.reward_std[pair, k]:
                reward += table.reward_std[pair, k] * gaussian(generator)
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
        coin_and_choice(generator, mdp.n_actions)  # the loop has chosen the next action
        self.q, self.visits, self.error, self.generator = q, visits, error / steps, generator


BEHAVIOR = find_behavior(QLearning())
NOW = Now(0.1, np.zeros((1, 1), np.int64), build_rates(QLearning(), 1), new_generator(0))
compiling = settings(deadline=None)  # the first example may have to wait for the compiler
numbers = st.floats(-1e6, 1e6)
NOISY = FiniteMDP.from_arrays(
    np.array([[[0.5, 0.5], [0.0, 1.0]], [[1.0, 0.0], [0.2, 0.8]]]), np.array([[0.0, 1.0], [-1.0, 0.5]]),
    layout="SAS", R_std=np.array([[1.0, 0.0], [0.3, 2.0]]), name="noisy", max_episode_steps=25,
)  # fmt: skip


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
    step = Step(obs, action, reward, discount, next_obs, -1, False, step_size)
    returned = q_learning(q, (), (), step, BEHAVIOR, NOW)
    assert returned == td_error
    np.testing.assert_array_equal(q, expected)


@compiling
@given(arrays(np.float64, st.tuples(st.integers(1, 4), st.integers(1, 7)), elements=st.floats(-2, 2) | st.just(0.0)))
def test_first_and_largest_of_a_row(q: np.ndarray) -> None:
    for obs, row in enumerate(q):
        assert greedy(q, obs) == int(np.argmax(row))
        assert largest(q, obs) == row.max()


@pytest.mark.parametrize("mdp", [random_garnet(9, 3, 4, seed=1, termination=0.1), cliff(), NOISY], ids=lambda m: m.name)
@pytest.mark.parametrize(
    "options",
    [
        {"learning_rate": 0.5, "learning_rate_decay": 0.1, "exploration_fraction": 0.5},
        {"exploration_schedule": "exponential", "exploration_fraction": 1.0, "gamma": 0.9},
        {"exploration_schedule": "inverse", "exploration_fraction": 0.3},
        {"exploration_initial_eps": 0.1, "exploration_final_eps": 0.1},
    ],
    ids=["linear", "exponential", "inverse", "constant"],
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
def test_corridor_is_learned(seed: int) -> None:
    run = Run(corridor(), [20_000], seed, learning_rate=0.5, gamma=0.9, **ALWAYS)
    exact = solve(corridor(), 0.9).q
    visited = run.state.visits > 0
    assert visited.sum() == 10  # every pair but those of the goal
    np.testing.assert_allclose(run.state.q[visited], exact[visited], atol=0.01)
    assert np.all(run.state.q[~visited] == 0.0)


@pytest.mark.parametrize("name", LEARNERS)
def test_same_seed_same_bits(name: str) -> None:
    first, again, other = (Run(GARNET, [2000], seed, 15, small(name)) for seed in (1, 1, 2))
    first.assert_same(again)
    assert not np.array_equal(first.state.q, other.state.q)
    assert np.isfinite(first.state.q).all()


@pytest.mark.parametrize("name", LEARNERS)
@pytest.mark.parametrize("schedule", ["linear", "exponential", "inverse"])
def test_chunk_boundaries_do_not_matter(name: str, schedule: str) -> None:
    config = small(name, exploration_schedule=schedule, learning_rate_decay=0.01)
    whole, parts = (Run(GARNET, chunks, 0, 15, config) for chunks in ([1000], [1, 399, 1, 599]))
    whole.assert_same(parts)
    assert whole.errors[0] == pytest.approx(np.average(parts.errors, weights=[1, 399, 1, 599]))


@pytest.mark.parametrize("name", LEARNERS)
def test_what_is_saved_in_the_middle_goes_on(name: str) -> None:
    whole, run = (Run(GARNET, chunks, 3, 15, small(name), total=1000) for chunks in ([1000], [501]))
    saved = {path: array.copy() for path, array in checkpoint.to_arrays(run.state).items()}
    run.state = checkpoint.from_arrays(run.fresh(9), saved, "here")
    run.go(499)
    whole.assert_same(run)


@pytest.mark.parametrize("name", LEARNERS)
def test_nothing_is_recorded_twice_or_lost(name: str) -> None:
    run = Run(cliff(), [700, 1300], limit=60, config=small(name, **ALWAYS))
    state, steps = run.state, 2000
    assert state.visits.sum() == state.clock.time[0] == steps
    assert run.lengths.sum() + state.clock.length[0] == steps
    paid = (state.visits * expected_reward(cliff())).sum()
    assert run.returns.sum() + state.episode_return[0] == pytest.approx(paid)
    assert run.lengths.max() <= 60


@pytest.mark.parametrize("name", LEARNERS)
def test_reaching_the_end_of_the_corridor_is_learned(name: str) -> None:
    config = small(name, gamma=0.9, exploration_initial_eps=1.0, exploration_final_eps=0.3)
    run = Run(corridor(), [5000], limit=50, config=config)
    np.testing.assert_array_equal(run.state.q[:-1].argmax(axis=1), solve(corridor(), 0.9).policy[:-1])


@pytest.mark.filterwarnings("ignore::bellmax.contracts.ModelWarning")  # it never ends
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


@pytest.mark.filterwarnings("ignore::bellmax.contracts.ModelWarning")  # some states are never entered
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


@pytest.mark.parametrize("name", LEARNERS)
def test_host_step_gives_the_table_of_the_loop(name: str) -> None:
    """The cliff draws no random numbers of its own, so that both ways draw the same."""
    mdp, steps, limit = cliff(), 2000, 50
    run = Run(mdp, [steps], 7, limit, small(name, learning_rate_decay=0.05, gamma=0.9, r_max=0.0))
    learner, table, state = run.agent.learner(run.rates), successor_table(mdp), run.fresh(7)
    start = np.array([int(np.argmax(mdp.start))])
    obs, action, length, error = start, np.zeros(1, np.int64), 0, 0.0
    none, valid = np.zeros(0, np.int64), np.ones(1, np.bool_)
    nothing = stepping.Batch(none, none, np.zeros(0), np.zeros(0), valid[:0], none, NO_MASKS)
    stepping.observe(learner, state, nothing, valid[:0], start, action)
    for _ in range(steps):
        pair, length = obs[0] * mdp.n_actions + action[0], length + 1
        next_obs, continues = table.successor[pair].astype(np.int64), table.continues[pair].astype(np.float64)
        over = (continues == 0) | (length >= limit)
        acting, chosen = start if over[0] else next_obs, np.empty(1, np.int64)
        batch = stepping.Batch(obs, action, table.reward[pair], continues, over, next_obs, NO_MASKS)
        error += stepping.observe(learner, state, batch, valid, acting, chosen)
        obs, action, length = acting, chosen, 0 if over[0] else length
    np.testing.assert_array_equal(state.q, run.state.q)
    np.testing.assert_array_equal(state.visits, run.state.visits)
    np.testing.assert_array_equal(state.generator, run.state.generator)
    assert state.clock.time[0] == steps
    assert action[0] == run.state.clock.action[0]
    assert error / steps == pytest.approx(run.errors[0])


def test_learners_with_other_numbers_as_options_have_another_type() -> None:
    agent = QLearning().make(Shape(4, 2))
    first = agent.learner(build_rates(QLearning(), 10))
    others = [first._replace(options=options) for options in ((1,), (1.0,), (True,))]
    assert len({numba.typeof(learner) for learner in (first, *others)}) == 4
    again = first._replace(options=(1.0,))
    assert numba.typeof(again) == numba.typeof(others[1])


def test_invalid_rows_are_no_experience() -> None:
    config = QLearning(learning_rate=0.5, gamma=0.9)
    agent = config.make(Shape(4, 2))
    state = stepping.init_state(agent, Shape(4, 2), 0.0, 0)
    obs, action, chosen = np.array([0, 1, 2]), np.array([1, 0, 1]), np.full(3, -1)
    valid, over = np.array([True, False, True]), np.zeros(3, np.bool_)
    reward, next_obs = np.array([1.0, 7.0, 3.0]), np.array([3, 3, 3])
    batch = stepping.Batch(obs, action, reward, np.ones(3), over, next_obs, NO_MASKS)
    error = stepping.observe(agent.learner(build_rates(config, 100)), state, batch, valid, obs, chosen)
    assert error == 4.0
    expected = np.zeros((4, 2))
    expected[0, 1], expected[2, 1] = 0.5, 1.5
    np.testing.assert_array_equal(state.q, expected)
    np.testing.assert_array_equal(state.visits, expected > 0)
    assert state.clock.time[0] == 3
    assert np.all((chosen >= 0) & (chosen < 2))


def test_planning_to_the_last_digit_ends() -> None:
    config = small("r-max", gamma=0.99, r_max=1e6, precision=0.0, **ALWAYS)
    run = Run(GARNET, [20_000], config=config)
    assert run.state.visits.min() >= 4
    exact = solve(GARNET, 0.99).q
    assert np.abs(run.state.q - exact).max() < 0.1 * np.abs(exact).max()


def test_missing_actions_are_neither_taken_nor_counted() -> None:
    has = [3, 1, 2]
    rows = [[[(0.9, (s + a + 1) % 3, 1.0, False), (0.1, s, 1.0, True)] for a in range(n)] for s, n in enumerate(has)]
    run = Run(FiniteMDP.from_successors(rows), [20_000], **ALWAYS)
    missing = np.arange(3) >= np.array(has)[:, None]
    assert np.all(run.state.visits[missing] == 0)
    assert np.all(run.state.q.values[missing] == -np.inf)
    assert np.isfinite(run.state.q.values[~missing]).all()
    for visits, n in zip(run.state.visits[[0, 2]], (3, 2), strict=True):
        assert stats.chisquare(visits[:n]).pvalue > 1e-4
