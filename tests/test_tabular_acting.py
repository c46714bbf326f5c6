"""How a table acts: frequencies against probabilities, ties, bounds of confidence; and what falls with the clock."""

from typing import Any

import numpy as np
import pytest
from scipy import stats

from bellmax import QLearning
from bellmax.tabular.agent import Now, build_rates, level_at, step_size_after
from bellmax.tabular.behavior import find_behavior
from bellmax.tabular.kernel import kernel, new_generator
from bellmax.tabular.representation import Ragged

DRAWS = 20_000
ROWS = np.array([[0.3, -0.2, 1.0, 0.9], [0.5, 0.5, 0.1, 0.5], [0.0, 0.0, 0.0, 0.0], [-5.0, 1.0, 1.0, -np.inf]])
N_ALLOWED = np.array([4, 4, 4, 3])
WAYS: dict[str, dict[str, Any]] = {
    "epsilon-greedy": {},
    "random ties": {"random_ties": True},
    "boltzmann": {"exploration": "boltzmann"},
    "ucb": {"exploration": "ucb"},
}


@kernel
def tally(act: Any, q: Any, obs: Any, now: Any, counts: Any, draws: Any) -> Any:
    for _ in range(draws):
        counts[act(q, obs, now)] += 1
    return 0


@kernel
def describe(behavior: Any, q: Any, obs: Any, now: Any, probability: Any) -> Any:
    for action in range(probability.shape[0]):
        probability[action] = behavior.probability(q, obs, action, now)
    return behavior.expected(q, obs, now)


def moment(level: float, visits: np.ndarray | None = None, seed: int = 0) -> Now:
    visits = np.ones(ROWS.shape, np.int64) if visits is None else visits
    return Now(level, visits, build_rates(QLearning(), 1), new_generator(seed))


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("level", [0.0, 0.3, 1.0])
def test_frequencies_are_the_probabilities(way: str, level: float) -> None:
    behavior, q = find_behavior(QLearning(**WAYS[way])), Ragged(ROWS, N_ALLOWED)
    visits = np.array([[9, 2, 5, 1], [3, 3, 3, 3], [4, 3, 2, 1], [1, 1, 2, 0]])
    for obs, n in enumerate(N_ALLOWED):
        counts, probability, now = np.zeros(4, np.int64), np.zeros(n), moment(level, visits, seed=obs)
        tally(behavior.act, q, obs, now, counts, DRAWS)
        expected = describe(behavior, q, obs, now, probability)
        assert probability.sum() == pytest.approx(1.0)
        assert expected == pytest.approx(probability @ ROWS[obs, :n])
        assert counts[n:].sum() == 0
        assert np.all(counts[:n][probability == 0] == 0)
        possible = probability > 0
        if possible.sum() > 1:
            assert stats.chisquare(counts[:n][possible], DRAWS * probability[possible]).pvalue > 1e-4


def test_probabilities_are_those_of_the_book() -> None:
    def told(way: str, level: float, obs: int) -> list[float]:
        probability = np.zeros(N_ALLOWED[obs])
        describe(find_behavior(QLearning(**WAYS[way])), Ragged(ROWS, N_ALLOWED), obs, moment(level), probability)
        return probability.tolist()

    assert told("epsilon-greedy", 0.2, 0) == pytest.approx([0.05, 0.05, 0.85, 0.05])
    assert told("epsilon-greedy", 0.3, 3) == pytest.approx([0.1, 0.8, 0.1])
    assert told("random ties", 0.2, 1) == pytest.approx([0.05 + 0.8 / 3] * 2 + [0.05, 0.05 + 0.8 / 3])
    assert told("random ties", 0.3, 3) == pytest.approx([0.1, 0.45, 0.45])
    soft = np.exp(ROWS[0] / 0.7)
    assert told("boltzmann", 0.7, 0) == pytest.approx(soft / soft.sum())
    assert told("boltzmann", 0.0, 0) == [0.0, 0.0, 1.0, 0.0]
    assert told("boltzmann", 1e9, 3) == pytest.approx([1 / 3] * 3, abs=1e-6)


def test_greedy_choice() -> None:
    now = moment(1.0)
    for obs, best in enumerate([[2], [0, 1, 3], [0, 1, 2, 3], [1, 2]]):
        for way, expected in (("epsilon-greedy", best[:1]), ("random ties", best)):
            counts = np.zeros(4, np.int64)
            tally(find_behavior(QLearning(**WAYS[way])).best, Ragged(ROWS, N_ALLOWED), obs, now, counts, DRAWS)
            assert np.flatnonzero(counts).tolist() == expected
            if len(expected) > 1:
                assert stats.chisquare(counts[expected]).pvalue > 1e-4


def test_ucb_tries_everything_first_and_then_goes_by_the_bound() -> None:
    act, visits = find_behavior(QLearning(exploration="ucb")).act, np.zeros(ROWS.shape, np.int64)
    for obs, n in enumerate(N_ALLOWED):
        tried = []
        for _ in range(60):
            counts = np.zeros(4, np.int64)
            tally(act, Ragged(ROWS, N_ALLOWED), obs, moment(0.8, visits), counts, 1)
            action = int(np.argmax(counts))
            if visits[obs, :n].all():
                total = visits[obs].sum()
                bounds = [ROWS[obs, a] + 0.8 * np.sqrt(np.log(total) / visits[obs, a]) for a in range(n)]
                assert action == int(np.argmax(bounds))
            visits[obs, action] += 1
            tried.append(action)
        assert tried[:n] == list(range(n))


LEVELS = {
    "linear": lambda t: 0.1 + 0.8 * max(0.0, 1 - t / 400),
    "exponential": lambda t: 0.1 + 0.8 * 0.5 ** (t / 40),
    "inverse": lambda t: 0.1 + 0.8 / (1 + t / 40),
}


@pytest.mark.parametrize("schedule", LEVELS)
@pytest.mark.parametrize(("exploration", "scale"), [("epsilon-greedy", 1.0), ("boltzmann", 2.5), ("ucb", 0.2)])
def test_exploration_falls(schedule: str, exploration: str, scale: float) -> None:
    config = QLearning(
        exploration=exploration, exploration_scale=scale if scale != 1.0 else 3.0, exploration_schedule=schedule,
        exploration_initial_eps=0.9, exploration_final_eps=0.1, exploration_fraction=0.4,
    )  # fmt: skip
    rates = build_rates(config, 1000)
    for t in (0, 1, 39, 40, 200, 399, 400, 401, 1000, 10**9):
        assert level_at(t, rates) == pytest.approx(scale * LEVELS[schedule](t))
        assert config.epsilon(t, 1000) == pytest.approx(LEVELS[schedule](t))
        assert t <= rates.settled or level_at(t, rates) == level_at(t + 1, rates)
    assert level_at(0, rates) == pytest.approx(scale * 0.9)


def test_exploration_that_does_not_fall_is_settled_at_once() -> None:
    rates = build_rates(QLearning(exploration_initial_eps=0.2, exploration_final_eps=0.2), 1000)
    assert rates.settled == 0
    assert level_at(0, rates) == level_at(500, rates) == 0.2


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"learning_rate": 0.3}, lambda n: 0.3),
        ({"learning_rate": 1.0, "learning_rate_decay": 1.0}, lambda n: 1 / (1 + n)),
        ({"learning_rate": 0.5, "learning_rate_decay": 0.1}, lambda n: 0.5 / (1 + 0.1 * n)),
        (
            {"learning_rate": 0.9, "learning_rate_decay": 1.0, "learning_rate_power": 0.6},
            lambda n: 0.9 / (1 + n) ** 0.6,
        ),
        ({"learning_rate": 0.9, "learning_rate_decay": 1.0, "learning_rate_power": 0.0}, lambda n: 0.9),
    ],
    ids=["constant", "1/n", "harmonic", "polynomial", "power 0"],
)
def test_step_sizes(options: dict[str, float], expected: Any) -> None:
    rates = build_rates(QLearning(**options), 1000)
    for visits in (0, 1, 2, 10, 10**6):
        assert step_size_after(visits, rates) == pytest.approx(expected(visits))
