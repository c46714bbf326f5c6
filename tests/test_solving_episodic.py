"""γ = 1: episodes that end, loops that cost nothing, and what is refused; against rationals and enumeration."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bellmax.contracts import ConfigError
from bellmax.mdp.gallery import cliff, corridor, random_garnet
from bellmax.mdp.model import FiniteMDP
from bellmax.solving.evaluation import evaluate_policy, horizon_return
from bellmax.solving.gap import policy_gap, regret
from bellmax.solving.solve import solve

Outcome = tuple[float, int, float, bool]
pytestmark = pytest.mark.filterwarnings("ignore::bellmax.contracts.ModelWarning")  # small worlds may look like slips


def gambler(win: float = 0.4) -> FiniteMDP:
    """Sutton and Barto (2018), Example 4.3: capital 0 to 99, stake 0 (stay) upwards; 1 for reaching 100."""
    table: list[list[list[Outcome]]] = []
    for capital in range(100):
        table.append([[(1.0, capital, 0.0, False)]])
        for stake in range(1, min(capital, 100 - capital) + 1):
            up, down = capital + stake, capital - stake
            won: Outcome = (win, min(up, 99), float(up == 100), up == 100)
            table[capital].append([won, (1 - win, down, 0.0, down == 0)])
    return FiniteMDP.from_successors(table, start=50)


@pytest.mark.parametrize(
    ("mdp", "value"),
    [
        (FiniteMDP.from_gymnasium("FrozenLake-v1"), 14 / 17),
        (FiniteMDP.from_gymnasium("FrozenLake8x8-v1"), 1.0),
        (FiniteMDP.from_gymnasium("FrozenLake-v1", is_slippery=False), 1.0),
        (FiniteMDP.from_gymnasium("Taxi-v4"), 7.93),
        (cliff(), -13.0),
        (corridor(50), 1.0),
        (gambler(), 0.4),
    ],
    ids=["lake", "lake 8x8", "lake, not slippery", "taxi", "cliff", "corridor", "gambler"],
)
def test_known_values_within_the_bound(mdp: FiniteMDP, value: float) -> None:
    solution = solve(mdp, 1.0)
    assert solution.start_value == pytest.approx(value, abs=1e-10)
    assert solution.bound <= 1e-10
    assert np.nanmax(solution.q, axis=1) == pytest.approx(solution.v, abs=2 * solution.bound)
    assert evaluate_policy(mdp, solution.policy, 1.0) == pytest.approx(solution.v, abs=1e-10), "it earns its value"


def test_the_policy_takes_the_shortest_way_where_all_are_as_good() -> None:
    mdp = FiniteMDP.from_gymnasium("FrozenLake-v1", is_slippery=False)
    assert horizon_return(mdp, solve(mdp, 1.0).policy, 6) == 1.0
    assert solve(corridor(50), 1.0).policy.tolist() == [1] * 49 + [0]


def test_the_gambler_plays_boldly() -> None:
    mdp = gambler()
    solution = solve(mdp, 1.0)
    assert [solution.v[capital] for capital in (25, 50, 75)] == pytest.approx([0.16, 0.4, 0.64])
    assert solution.policy.tolist() == [min(capital, 100 - capital) for capital in range(100)]


def test_a_goal_that_loops_on_itself_is_an_end() -> None:
    mdp = FiniteMDP.from_entries(2, 1, [0, 0, 1], [0, 1, 1], [0.5, 0.5, 1.0], [-1.0, -1.0, 0.0], [False] * 3)
    assert solve(mdp, 1.0).v.tolist() == [-2.0, 0.0]
    assert evaluate_policy(mdp, [0, 0], 1.0).tolist() == [-2.0, 0.0]


def rational_values(mdp: FiniteMDP, policy: tuple[int, ...]) -> list[Fraction] | None:
    """V of a policy that ends from everywhere, by Gauss-Jordan over the rationals; None if it does not."""
    S, A = mdp.n_states, mdp.n_actions
    rows = [[Fraction(int(s == n)) for n in range(S)] + [Fraction(0)] for s in range(S)]
    for e, pair in enumerate(mdp.pair):
        s, a = divmod(int(pair), A)
        if a == policy[s]:
            p = Fraction(float(mdp.probability[e]))
            rows[s][S] += p * Fraction(float(mdp.reward[e]))
            if not mdp.terminated[e]:
                rows[s][mdp.successor[e]] -= p
    for i in range(S):
        pivot = next((j for j in range(i, S) if rows[j][i]), None)
        if pivot is None:
            return None
        rows[i], rows[pivot] = rows[pivot], rows[i]
        rows[i] = [x / rows[i][i] for x in rows[i]]
        for j in range(S):
            if j != i:
                rows[j] = [x - rows[j][i] * y for x, y in zip(rows[j], rows[i], strict=True)]
    return [row[-1] for row in rows]


@st.composite
def losing_world(draw: st.DrawFn) -> FiniteMDP:
    """Rewards below 0, eighths as probabilities; one action of each state may end the episode."""
    S, A = draw(st.integers(1, 4)), draw(st.integers(1, 3))
    table: list[list[list[Outcome]]] = []
    for _ in range(S):
        table.append([])
        for a in range(A):
            eighths = draw(st.integers(0 if a else 1, 8))
            reward = -draw(st.integers(1, 5)) / 4
            to, other = draw(st.integers(0, S - 1)), draw(st.integers(0, S - 1))
            half = (8 - eighths) / 16
            table[-1].append([(eighths / 8, 0, reward, True), (half, to, reward, False), (half, other, -0.5, False)])
    return FiniteMDP.from_successors(table)


@settings(max_examples=80, deadline=None)
@given(mdp=losing_world())
def test_the_bound_holds_without_any_allowance(mdp: FiniteMDP) -> None:
    solution = solve(mdp, 1.0)
    values = [rational_values(mdp, policy) for policy in itertools.product(range(mdp.n_actions), repeat=mdp.n_states)]
    exact = [max(column) for column in zip(*(v for v in values if v is not None), strict=True)]
    assert solution.bound < 1e-10
    assert max(abs(Fraction(float(v)) - e) for v, e in zip(solution.v, exact, strict=True)) <= Fraction(solution.bound)
    for s, a in itertools.product(range(mdp.n_states), range(mdp.n_actions)):
        q = Fraction(0)
        for e in range(mdp.indptr[s * mdp.n_actions + a], mdp.indptr[s * mdp.n_actions + a + 1]):
            onward = 0 if mdp.terminated[e] else exact[mdp.successor[e]]
            q += Fraction(float(mdp.probability[e])) * (Fraction(float(mdp.reward[e])) + onward)
        assert abs(Fraction(float(solution.q[s, a])) - q) <= Fraction(solution.bound)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_free_loops_against_value_iteration_from_zero(seed: int) -> None:
    # rewards >= 0 and V* bounded: value iteration from 0 tends to V* from below (Puterman 1994, Theorem 7.2.12)
    rng = np.random.default_rng(seed)
    table: list[list[list[Outcome]]] = []
    for _ in range(6):
        table.append([])
        for _ in range(3):
            to, ends = int(rng.integers(6)), bool(rng.random() < 0.3)
            table[-1].append(
                [(0.5, to, float(ends and rng.random() < 0.5), ends), (0.5, int(rng.integers(6)), 0.0, False)]
            )
    mdp = FiniteMDP.from_successors(table)
    solution = solve(mdp, 1.0)
    v = np.zeros(6)
    for _ in range(3000):
        v = np.array(
            [max(sum(p * (r + (0 if end else v[n])) for p, n, r, end in row) for row in rows) for rows in table]
        )
    assert solution.v == pytest.approx(v, abs=1e-9)
    assert evaluate_policy(mdp, solution.policy, 1.0) == pytest.approx(solution.v, abs=1e-9)
    assert solution.bound < 1e-9


def test_gamma_one_is_the_limit_of_gamma() -> None:
    mdp = random_garnet(400, 3, 4, seed=0, termination=0.1)
    last, limit = solve(mdp, 1 - 1e-9), solve(mdp, 1.0)
    assert np.abs(last.q - limit.q).max() < 1e-5
    assert last.policy.tolist() == limit.policy.tolist()
    assert limit.bound < 1e-9


PAYS = [[[(1.0, 1, 1.0, False)], [(1.0, 0, 0.0, True)]], [[(1.0, 0, -0.5, False)], [(1.0, 0, 0.0, True)]]]
STUCK = [[[(1.0, 1, 1.0, False)], [(1.0, 0, 0.0, True)]], [[(1.0, 1, -1.0, False)]] * 2]


def test_what_has_no_value_is_refused_with_states_and_actions() -> None:
    names = {"action_names": ("on", "out")}
    with pytest.raises(ConfigError, match=r"unbounded, .* state 0 action on, state 1 action on; use gamma < 1"):
        solve(FiniteMDP.from_successors(PAYS, **names), 1.0)
    with pytest.raises(ConfigError, match="no policy ever ends the episode from state 1, so the total"):
        solve(FiniteMDP.from_successors(STUCK, **names), 1.0)
    with pytest.raises(ConfigError, match="method 'gauss-seidel' is for gamma < 1"):
        solve(cliff(), 1.0, method="gauss-seidel")
    with pytest.raises(ConfigError, match=r"from states 0, 1, .* and 38 more; use gamma < 1, horizon_return"):
        evaluate_policy(cliff(), np.zeros(48, int), 1.0)
    with pytest.raises(ConfigError, match="unknown method 'directly'; did you mean 'direct'"):
        evaluate_policy(cliff(), np.zeros(48, int), 1.0, method="directly")


def test_a_loop_that_sums_to_nothing_has_no_proof_but_a_value() -> None:
    table = [[[(1.0, 1, 1.0, False)], [(1.0, 0, 0.0, True)]], [[(1.0, 0, -1.0, False)], [(1.0, 0, 0.0, True)]]]
    solution = solve(FiniteMDP.from_successors(table), 1.0)
    assert solution.v.tolist() == [1.0, 0.0]
    assert solution.bound == np.inf


def test_gaps_and_regret_of_a_table() -> None:
    lake, edge = FiniteMDP.from_gymnasium("FrozenLake-v1"), cliff()
    for gamma in (0.9, 1.0):
        assert regret(edge, solve(edge, gamma).q, gamma) == pytest.approx(0, abs=1e-10)
    assert regret(lake, np.zeros((16, 4)), 1.0) == pytest.approx(14 / 17)
    assert regret(edge, np.zeros((48, 4)), 1.0) == np.inf
    exact = solve(lake, 0.95)
    noisy = exact.q + np.random.default_rng(0).normal(0, 0.02, exact.q.shape)
    gap = policy_gap(lake, noisy, 0.95, exact)
    assert gap.gap.min() >= 0
    assert 0 < gap.regret <= gap.largest == gap.gap.max() <= 2 * 0.95 * np.abs(noisy - exact.q).max() / 0.05
    v = evaluate_policy(lake, noisy.argmax(axis=1), 0.95)
    assert gap.gap == pytest.approx(exact.v - v, abs=1e-12)
    with pytest.raises(ConfigError, match=r"q has shape \(4, 16\), expected \(16, 4\)"):
        policy_gap(lake, np.zeros((4, 16)), 0.95)
    with pytest.raises(ConfigError, match="q is nan in states"):
        policy_gap(lake, np.full((16, 4), np.nan), 0.95)


def test_regret_is_the_gap_averaged_over_the_start() -> None:
    """Of states where an episode may begin, each by its probability; others do not count."""
    rng = np.random.default_rng(0)
    start = np.array([0.7, 0.1, 0.0, 0.2])
    mdp = FiniteMDP.from_arrays(rng.dirichlet(np.ones(4), (4, 3)), rng.normal(size=(4, 3)), start=start)
    found = policy_gap(mdp, rng.normal(size=(4, 3)), 0.9)
    assert found.regret == pytest.approx(start @ found.gap, rel=1e-12)
    assert found.largest == found.gap.max() > 0
    assert abs(found.regret - found.gap[start > 0].mean()) > 0.01
