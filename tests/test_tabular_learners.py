"""Each learner against its book or paper (`book.py`): the same transitions, the same weights after every step."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import book
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bellmax.tabular import multistep, pac, planning, stepping, td, traces
from bellmax.tabular.agent import Shape, build_rates
from bellmax.tabular.representation import Tiles, table_of

N_STATES, N_ACTIONS = 4, 3
NO_MASKS = np.zeros((3, 0, 0), np.bool_)
RAGGED = [3, 1, 2, 3]
TILES = [[0, 3], [0, 4], [1, 4], [2, 3]]  # two tiles of each state, shared with its neighbors


class Case(NamedTuple):
    """A configuration and its book, with the options that are called otherwise there."""

    config: Any
    book: Any
    options: dict[str, Any] = {}  # noqa: RUF012
    words: dict[str, Any] = {}  # noqa: RUF012


n_step = {"n_steps": 3}
CASES = {
    "q-learning": Case(td.QLearning, book.QLearning),
    "sarsa": Case(td.Sarsa, book.Sarsa),
    "expected-sarsa": Case(td.ExpectedSarsa, book.ExpectedSarsa),
    "double-q": Case(td.DoubleQ, book.DoubleQ),
    "speedy-q": Case(td.SpeedyQ, book.SpeedyQ),
    "n-step-sarsa": Case(multistep.NStepSarsa, book.NStepSarsa, n_step, {"n": 3}),
    "1-step-sarsa": Case(multistep.NStepSarsa, book.NStepSarsa, {"n_steps": 1}, {"n": 1}),
    "tree-backup": Case(multistep.TreeBackup, book.TreeBackup, n_step, {"n": 3, "greedy_target": True}),
    "tree-backup of the behavior": Case(
        multistep.TreeBackup, book.TreeBackup, {**n_step, "target_policy": "behavior"},
        {"n": 3, "greedy_target": False},
    ),
    "q-sigma": Case(multistep.QSigma, book.QSigma, n_step, {"n": 3, "sigma": 0.5, "greedy_target": True}),
    "q-1": Case(
        multistep.QSigma, book.QSigma, {**n_step, "sigma": 1.0}, {"n": 3, "sigma": 1.0, "greedy_target": True}
    ),
    "q-sigma of the behavior": Case(
        multistep.QSigma, book.QSigma, {"n_steps": 5, "sigma": 0.7, "target_policy": "behavior"},
        {"n": 5, "sigma": 0.7, "greedy_target": False},
    ),
    "monte-carlo": Case(multistep.MonteCarlo, book.MonteCarlo),
    "monte-carlo in pieces": Case(multistep.MonteCarlo, book.MonteCarlo, {"longest_episode": 6}, {"longest": 6}),
    "sarsa-lambda": Case(
        traces.SarsaLambda, book.SarsaLambda, {"trace_decay": 0.8}, {"lambda_": 0.8, "replacing": True}
    ),
    "sarsa-lambda, accumulating": Case(
        traces.SarsaLambda, book.SarsaLambda, {"trace_decay": 0.8, "trace": "accumulating"}, {"lambda_": 0.8}
    ),
    "true-online-sarsa": Case(
        traces.TrueOnlineSarsa, book.TrueOnlineSarsa, {"trace_decay": 0.8}, {"lambda_": 0.8}
    ),
    "watkins-q": Case(traces.WatkinsQ, book.WatkinsQ, {"trace_decay": 0.8}, {"lambda_": 0.8, "replacing": True}),
    "watkins-q, accumulating": Case(
        traces.WatkinsQ, book.WatkinsQ, {"trace_decay": 0.8, "trace": "accumulating"}, {"lambda_": 0.8}
    ),
    "peng-q": Case(traces.PengQ, book.PengQ, {"trace_decay": 0.8}, {"lambda_": 0.8}),
    "dyna-q": Case(planning.DynaQ, book.DynaQ, {"planning_steps": 5}, {"n": 5}),
    "dyna-q of last outcomes": Case(
        planning.DynaQ, book.DynaQ, {"planning_steps": 5, "outcomes": 1}, {"n": 5, "most": 1}
    ),
    "dyna-q-plus": Case(
        planning.DynaQPlus, book.DynaQ, {"planning_steps": 5, "kappa": 0.1}, {"n": 5, "kappa": 0.1}
    ),
    "r-max": Case(
        pac.RMax, book.RMax, {"known_after": 4, "precision": 1e-13, "r_max": 3.0}, {"m": 4, "initial": 30.0}
    ),
    "delayed-q": Case(
        pac.DelayedQ, book.DelayedQ, {"samples": 3, "margin": 0.05, "r_max": 3.0},
        {"m": 3, "epsilon_1": 0.05, "initial": 30.0},
    ),
}  # fmt: skip
STEP_SIZES = {
    "constant": ({"learning_rate": 0.2, "learning_rate_decay": 0.0}, lambda n: 0.2),
    "1/n": ({"learning_rate": 1.0, "learning_rate_decay": 1.0}, lambda n: 1 / (n + 1)),
    "polynomial": (
        {"learning_rate": 0.7, "learning_rate_decay": 0.5, "learning_rate_power": 0.6},
        lambda n: 0.7 / (1 + n / 2) ** 0.6,
    ),
}


class Kernel:
    """A learner that is told transitions, like those of the book."""

    def __init__(self, config: Any, steps: int, n_allowed: list[int], features: list[list[int]] | None, seed: int):
        table = features is None
        self.shape = Shape(N_STATES if table else 1 + max(map(max, features)), N_ACTIONS, table)
        self.agent, self.rates = config.make(self.shape), build_rates(config, steps)
        self.state = stepping.init_state(
            self.agent, self.shape, config.initial_q, seed, tilings=1 if table else len(features[0]),
            n_allowed=np.array(n_allowed),
        )  # fmt: skip
        if not table:
            self.state = self.state._replace(q=Tiles(table_of(self.state.q), np.array(features)))

    def observe(self, s: int, a: int, r: float, s2: int, terminated: bool, truncated: bool, start: int) -> int:
        chosen, acting = np.empty(1, np.int64), start if terminated or truncated else s2
        batch = stepping.Batch(
            np.array([s]), np.array([a]), np.array([r]), np.array([1.0 - terminated]),
            np.array([terminated | truncated]), np.array([s2]), NO_MASKS,
        )  # fmt: skip
        learner = self.agent.learner(self.rates)
        stepping.observe(learner, self.state, batch, np.array([True]), np.array([acting]), chosen)
        return int(chosen[0])


def transitions(seed: int, n_allowed: list[int], stop: float) -> Iterator[Any]:
    """Told an action, it tells what follows: noisy rewards, few successors, ends of both kinds; then a new start."""
    world, s = np.random.default_rng(seed), 0
    leads = world.integers(N_STATES, size=(N_STATES, N_ACTIONS, 2))
    a = yield s
    while True:
        s2 = int(leads[s, a, int(world.random() < 0.3)])
        terminated, truncated = world.random(2) < [stop, stop]
        start = int(world.integers(N_STATES))
        a = yield s, a, float(world.normal(s2 - 1)), s2, bool(terminated), bool(truncated), start
        s = start if terminated or truncated else s2


def compare(
    name: str, n_allowed: list[int], features: Any = None, *, steps: int = 400, stop: float = 0.08, gamma: float = 0.9,
    step_size: str = "constant", falling: bool = False, tolerance: float = 1e-10,
) -> tuple[Kernel, book.Learner]:  # fmt: skip
    case, (alpha, alpha_of) = CASES[name], STEP_SIZES[step_size]
    final, half = 0.1 if falling else 0.5, steps // 2
    options = {"exploration_initial_eps": 0.5, "exploration_final_eps": final, "initial_q": 0.3, "gamma": gamma}
    if hasattr(case.config, "learning_rate"):
        options |= alpha
    kernel = Kernel(case.config(**options, **case.options), steps, n_allowed, features, seed=5)
    told = case.book(
        n_allowed, features, seed=5, gamma=gamma, alpha=alpha_of,
        epsilon=lambda t: 0.5 + (final - 0.5) * min(1.0, t / half), **{"initial": 0.3, **case.words},
    )  # fmt: skip
    stream = transitions(3, n_allowed, stop)
    a = 0 * next(stream)
    for t in range(steps):
        transition = stream.send(a)
        a = kernel.observe(*transition)
        assert a == told.observe(*transition), f"another action after step {t}"
        weights = table_of(kernel.state.q)[tuple(zip(*told.w, strict=True))]
        error = np.abs(weights - list(told.w.values())).max()
        assert error < tolerance, f"off by {error} after step {t}"
    assert kernel.state.visits.sum() == steps * (1 if features is None else len(features[0]))
    np.testing.assert_array_equal(kernel.state.generator, [np.uint64(told.random.state)])
    return kernel, told


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("step_size", STEP_SIZES)
def test_table(name: str, step_size: str) -> None:
    compare(name, [N_ACTIONS] * N_STATES, step_size=step_size, falling=step_size != "constant")


@pytest.mark.parametrize("name", [name for name in CASES if name not in ("r-max", "delayed-q")])
def test_undiscounted(name: str) -> None:
    compare(name, [N_ACTIONS] * N_STATES, gamma=1.0)


@pytest.mark.parametrize("name", ["q-learning", "n-step-sarsa", "q-sigma", "sarsa-lambda", "true-online-sarsa"])
def test_every_step_the_last(name: str) -> None:
    compare(name, [N_ACTIONS] * N_STATES, stop=0.7)


@pytest.mark.parametrize("name", ["sarsa-lambda", "watkins-q", "peng-q"])
def test_long_traces_are_cut_where_it_does_not_matter(name: str) -> None:
    compare(name, [N_ACTIONS] * N_STATES, stop=0.004, tolerance=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_states_with_fewer_actions(name: str) -> None:
    compare(name, RAGGED)


@pytest.mark.parametrize(
    "name", ["q-learning", "double-q", "q-sigma", "monte-carlo", "sarsa-lambda", "true-online-sarsa", "peng-q"]
)
def test_tiles(name: str) -> None:
    compare(name, [N_ACTIONS] * N_STATES, TILES)


def test_monte_carlo_with_1_over_n_is_the_mean_of_the_returns() -> None:
    kernel, told = compare("monte-carlo", [N_ACTIONS] * N_STATES, step_size="1/n")
    for pair, returns in told.returns.items():
        assert kernel.state.q[pair] == pytest.approx(np.mean(returns), rel=1e-12)
        assert kernel.state.memory.returns[pair] == len(returns)


def assert_heap(memory: planning.Sweep) -> None:
    heap = memory.heap[: memory.size[0]]
    assert len(set(heap)) == len(heap)
    assert np.all(memory.place[heap] == np.arange(heap.size))
    assert np.count_nonzero(memory.place >= 0) == heap.size
    above = (np.arange(1, heap.size) - 1) // 2
    assert np.all(memory.priority[heap[above]] >= memory.priority[heap[1:]])


@settings(deadline=None)  # the first example may have to wait for the compiler
@given(st.lists(st.none() | st.tuples(st.integers(0, 11), st.sampled_from([0.0, 0.1, 0.5, 1.0, 2.0, 3.0, np.inf]))))
@example([(0, 3.0), (1, 2.0), (2, 1.0), (3, 0.5), None, None, None])  # the left child is the larger one
def test_queue_of_pairs(calls: list[Any]) -> None:
    shape = Shape(N_STATES, N_ACTIONS)
    memory = planning.PrioritizedSweeping().make(shape).memory(np.zeros((N_STATES, N_ACTIONS)))
    waiting: dict[int, float] = {}
    for call in calls:
        if call is None and waiting:
            pair = planning._take(memory)
            assert waiting[pair] == max(waiting.values())
            del waiting[pair]
        elif call is not None:
            pair, priority = call
            planning._queue(memory, pair, priority, 0.1)
            if priority > 0.1:
                waiting[pair] = max(priority, waiting.get(pair, 0.0))
        assert_heap(memory)
        assert {pair: memory.priority[pair] for pair in memory.heap[: memory.size[0]]} == waiting


@pytest.mark.parametrize("n_allowed", [[N_ACTIONS] * N_STATES, RAGGED], ids=["table", "ragged"])
@pytest.mark.parametrize("planning_steps", [1, 1_000_000])
@pytest.mark.parametrize("outcomes", [1, 2, 16])
def test_prioritized_sweeping(n_allowed: list[int], planning_steps: int, outcomes: int) -> None:
    """What is not in the queue agrees with the model; with time to empty the queue, all is the model's solution."""
    config = planning.PrioritizedSweeping(
        planning_steps=planning_steps, threshold=0.0 if planning_steps == 1 else 1e-13, gamma=0.9,
        exploration_initial_eps=1.0, exploration_final_eps=1.0, outcomes=outcomes,
    )  # fmt: skip
    kernel, model = Kernel(config, 300, n_allowed, None, seed=1), book.Model(outcomes)
    stream = transitions(3, n_allowed, 0.08)
    a = 0 * next(stream)
    for _ in range(300):
        s, a, r, s2, terminated, *_ = transition = stream.send(a)
        model.remember(s, a, r, s2, terminated)
        a = kernel.observe(*transition)
        memory, table = kernel.state.memory, table_of(kernel.state.q)
        assert_heap(memory)
        assert memory.size[0] == 0 or planning_steps == 1
        for s, b in model.seen:
            if memory.place[s * N_ACTIONS + b] < 0:
                target = model.backup((s, b), 0.9, lambda s, table=table: table[s, : n_allowed[s]].max())
                assert target == pytest.approx(table[s, b], abs=1e-11)
    assert len(model.seen) == sum(n_allowed)


def test_a_change_beyond_an_end_is_not_queued() -> None:
    """(0, 0) entered state 1 and ended there, (2, 0) entered it and went on: only (2, 0) hears of its new value."""
    config = planning.PrioritizedSweeping(planning_steps=1, threshold=0.01, gamma=0.9, initial_q=0.0)
    kernel = Kernel(config, 10, [N_ACTIONS] * N_STATES, None, seed=1)
    kernel.observe(0, 0, 0.0, 1, True, False, 2)
    kernel.observe(2, 0, 0.0, 1, False, False, 1)
    kernel.observe(1, 0, 5.0, 3, False, False, 3)
    memory = kernel.state.memory
    assert [divmod(int(pair), N_ACTIONS) for pair in memory.heap[: memory.size[0]]] == [(2, 0)]


def test_a_change_is_queued_by_how_likely_it_is_met() -> None:
    """Moore and Atkeson (1993): a pair is as urgent as p γ |change of V(s')|, the largest of those that reach it."""
    config = planning.PrioritizedSweeping(
        planning_steps=1, threshold=0.01, gamma=0.9, exploration_initial_eps=1.0, exploration_final_eps=1.0
    )
    kernel, model = Kernel(config, 300, [N_ACTIONS] * N_STATES, None, seed=1), book.Model(16)
    table, waiting = np.zeros((N_STATES, N_ACTIONS)), {}

    def gap(pair: tuple[int, int]) -> float:
        return model.backup(pair, 0.9, lambda s: table[s].max()) - table[pair]

    def queue(pair: tuple[int, int], priority: float) -> None:
        if priority > 0.01:
            waiting[pair] = max(priority, waiting.get(pair, 0.0))

    stream = transitions(3, [N_ACTIONS] * N_STATES, 0.08)
    a = 0 * next(stream)
    for _ in range(300):
        s, a, r, s2, terminated, *_ = transition = stream.send(a)
        model.remember(s, a, r, s2, terminated)
        queue((s, a), abs(gap((s, a))))
        a = kernel.observe(*transition)
        new, memory = table_of(kernel.state.q), kernel.state.memory
        heap = {divmod(int(pair), N_ACTIONS): memory.priority[pair] for pair in memory.heap[: memory.size[0]]}
        if waiting:
            urgent = [pair for pair in waiting if waiting[pair] > max(waiting.values()) - 1e-9]  # a heap has no order
            moved = [pair for pair in urgent if abs(new[pair] - table[pair]) > 1e-9] or [
                p for p in urgent if p not in heap
            ]
            s = moved[0][0]
            before = table[s].max()
            table[moved[0]] += gap(moved[0])
            del waiting[moved[0]]
            for pair, outcomes in model.seen.items():
                n = sum(len(rewards) for *_, rewards in outcomes)
                for successor, ended, rewards in outcomes:
                    if successor == s and not ended:
                        queue(pair, 0.9 * abs(table[s].max() - before) * len(rewards) / n)
        np.testing.assert_allclose(new, table, atol=1e-9)
        assert heap == pytest.approx(waiting, abs=1e-9)
