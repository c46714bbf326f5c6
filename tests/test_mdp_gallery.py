"""The gallery: every world against a number from the literature, a closed form or a brute-force twin."""

from __future__ import annotations

import dataclasses
import inspect
import itertools
import math
import re
from collections import deque
from fractions import Fraction
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from bellmax.contracts import ConfigError
from bellmax.mdp.gallery import (
    GALLERY,
    admission_control,
    blocking_maze,
    car_rental,
    chain,
    cliff,
    corridor,
    deep_sea,
    dyna_maze,
    four_rooms,
    gamblers_problem,
    gridworld,
    inventory,
    machine_replacement,
    maximization_bias,
    random_garnet,
    random_walk,
    river_swim,
    shortcut_maze,
    windy_gridworld,
)
from bellmax.mdp.model import FiniteMDP
from bellmax.mdp.outcomes import continuation, expected_reward, reachable
from bellmax.solving.solve import evaluate_policy, horizon_length, horizon_return, solve


@pytest.mark.parametrize("name", GALLERY)
def test_every_world_is_sound_quiet_drawn_and_sourced(name: str) -> None:
    mdp = GALLERY[name]()
    assert mdp.name == name
    solution = solve(mdp, 0.9)
    assert solution.bound < 1e-8
    assert np.isfinite(solution.v).all()
    assert (solution.policy < mdp.n_allowed).all()
    acts = reachable(mdp)
    assert acts.any()
    text = inspect.getdoc(GALLERY[name]) or ""
    assert "::\n" in text, "a picture"
    assert "Source: " in text


def steps_to_the_end(mdp: FiniteMDP) -> int:
    """The length of the shortest way, by breadth-first search in the outcomes: an oracle without values."""
    queue, seen = deque((int(s), 0) for s in np.flatnonzero(mdp.start)), set()
    while queue:
        state, steps = queue.popleft()
        for entry in range(mdp.indptr[state * mdp.n_actions], mdp.indptr[(state + 1) * mdp.n_actions]):
            if mdp.terminated[entry]:
                return steps + 1
            if (to := int(mdp.successor[entry])) not in seen:
                seen.add(to)
                queue.append((to, steps + 1))
    raise AssertionError("no way leads to an end")


@pytest.mark.parametrize(
    ("mdp", "steps"),
    [
        (cliff(), 13),
        (windy_gridworld(), 15),
        (windy_gridworld(king_moves=True), 7),
        (windy_gridworld(king_moves=True, no_move=True), 7),
        (dyna_maze(), 14),
        (blocking_maze(), 10),
        (blocking_maze(changed=True), 16),
        (shortcut_maze(), 16),
        (shortcut_maze(changed=True), 10),
        (four_rooms(slip=0.0), 14),
        (deep_sea(7), 7),
    ],
    ids=lambda value: getattr(value, "name", value),
)
def test_the_best_way_has_the_length_in_the_book(mdp: FiniteMDP, steps: int) -> None:
    assert steps_to_the_end(mdp) == steps
    policy = solve(mdp, 0.99).policy
    assert horizon_length(mdp, policy, 200) == steps


def test_corridor_has_its_closed_form() -> None:
    solution = solve(corridor(), 0.9)
    right, left = [0.6561, 0.729, 0.81, 0.9, 1.0, 0.0], [0.59049, 0.59049, 0.6561, 0.729, 0.81, 0.0]
    assert solution.q == pytest.approx(np.stack([left, right], axis=1), abs=1e-12)
    assert solution.policy.tolist() == [1, 1, 1, 1, 1, 0]


def test_cliff_is_gymnasiums_transition_by_transition() -> None:
    world: Any = gymnasium.make("CliffWalking-v1").unwrapped
    mine, theirs = cliff(), FiniteMDP.from_gymnasium("CliffWalking-v1")
    rows = zip(mine.probability, mine.successor, mine.reward, mine.terminated, strict=True)
    table = [world.P[s][a] for s in range(48) for a in range(4)]
    assert [[row] for row in rows] == table
    assert mine.indptr.tolist() == list(range(193))
    assert mine.start.tolist() == theirs.start.tolist()
    assert mine.action_names == theirs.action_names


def test_the_best_return_along_the_cliff_is_minus_thirteen() -> None:
    assert horizon_return(cliff(), solve(cliff(), 0.99).policy, 100) == -13


@pytest.mark.parametrize(("n", "left", "first"), [(5, 0.0, 1 / 6), (19, -1.0, -0.9)])
def test_random_walk_has_the_values_of_the_book(n: int, left: float, first: float) -> None:
    mdp = random_walk(n, left_reward=left)
    values = [
        horizon_return(dataclasses.replace(mdp, start=np.eye(n + 2)[s]), np.zeros(n + 2, int), 10_000)
        for s in range(1, n + 1)
    ]
    assert values == pytest.approx(np.linspace(first, left + (1 - left) * n / (n + 1), n))
    assert mdp.start[(n + 1) // 2] == 1


def test_the_optimum_of_the_chain_is_the_one_that_strens_gives() -> None:
    """Going on is in the last state with probability 0.8^4; there it earns 0.8 * 10 + 0.2 * 2, elsewhere 0.2 * 2."""
    solution = solve(chain(), 0.99999)
    assert solution.policy.tolist() == [0] * 5
    rate = solution.start_value * (1 - 0.99999)
    assert rate == pytest.approx(0.8**4 * 8.4 + (1 - 0.8**4) * 0.4, abs=1e-3)
    assert round(1000 * rate) == 3677


def test_river_swim_is_a_birth_and_death_process() -> None:
    assert solve(river_swim(), 0.95).policy.tolist() == [1] * 6
    up, down = [0.3] * 5, [0.1] * 4 + [0.7]
    weight = np.cumprod([1.0] + [u / d for u, d in zip(up, down, strict=True)])  # detailed balance
    rate = 0.3 * 10_000 * weight[-1] / weight.sum()
    assert solve(river_swim(), 0.999999).v * 1e-6 == pytest.approx(np.full(6, rate), rel=1e-4)
    assert river_swim().start.tolist() == [0, 0.5, 0.5, 0, 0, 0]


def test_the_maximization_bias_has_two_actions_and_ten() -> None:
    mdp = maximization_bias()
    assert mdp.n_allowed.tolist() == [2, 10, 1]
    assert mdp.reward_std.tolist() == [0.0, 0.0, *[1.0] * 10, 0.0]
    solution = solve(mdp, 1 - 1e-12)
    assert solution.q[0, :2] == pytest.approx([-0.1, 0.0])
    assert solution.q[1] == pytest.approx(np.full(10, -0.1))
    assert solution.policy[0] == 1


def test_the_gridworld_has_russell_and_norvigs_utilities() -> None:
    """Figure 17.3 of the 4th edition: rewards of -0.04, γ = 1."""
    mdp = gridworld()
    value = dict(zip(mdp.state_names, solve(mdp, 1 - 1e-9).v, strict=True))
    row = [[value.get((r, c), np.nan) for c in range(4)] for r in range(3)]
    assert row[0][:3] == pytest.approx([0.812, 0.868, 0.918], abs=5e-4)
    assert [row[1][0], row[1][2]] == pytest.approx([0.762, 0.660], abs=5e-4)
    assert row[2] == pytest.approx([0.705, 0.655, 0.611, 0.388], abs=5e-4)


def test_a_gridworld_can_be_the_frozen_lake() -> None:
    world: Any = gymnasium.make("FrozenLake-v1", map_name="8x8").unwrapped
    text = "\n".join("".join(letter.decode() for letter in row) for row in world.desc)
    mine = solve(gridworld(text, slip=2 / 3, step_reward=0.0, pit_reward=0.0), 0.99)
    theirs = solve(FiniteMDP.from_gymnasium("FrozenLake8x8-v1"), 0.99)
    left, down, right, up = range(4)
    assert mine.q == pytest.approx(theirs.q[:, [up, right, down, left]], abs=1e-9)


def test_slipping_to_others_takes_the_other_three_directions() -> None:
    mdp = gridworld("...\n.S.\n..G", slip=0.3, slip_to="others")
    start = mdp.state_names.index((1, 1))
    assert continuation(mdp)[[start * 4]].toarray()[0, [1, 3, 5, 7]] == pytest.approx([0.7, 0.1, 0.1, 0.1])


def test_four_rooms_has_104_cells_and_the_slip_of_the_paper() -> None:
    mdp = four_rooms()
    assert mdp.n_states == 104
    hallway = mdp.state_names.index((3, 6))
    row = slice(*mdp.indptr[hallway * 4 + 1 :][:2])
    moves = {mdp.state_names[s]: p for s, p in zip(mdp.successor[row], mdp.probability[row], strict=True)}
    assert moves == pytest.approx({(3, 7): 2 / 3, (3, 5): 1 / 9, (3, 6): 2 / 9})
    assert four_rooms(goal=(1, 2)).terminated.sum() > 0


def test_mazes_of_one_kind_number_their_cells_alike() -> None:
    for maze in (blocking_maze, shortcut_maze):
        assert maze().state_names == maze(changed=True).state_names
        assert maze().n_states == 54
    assert dyna_maze().n_states == 47


@pytest.mark.parametrize("king", [False, True])
def test_the_stochastic_wind_against_a_brute_force_twin(king: bool) -> None:
    wind = [0, 0, 0, 1, 1, 1, 2, 2, 1, 0]
    moves = [(i, j) for i in (-1, 0, 1) for j in (-1, 0, 1) if (king and (i or j)) or abs(i) + abs(j) == 1]
    value = np.zeros((7, 10))
    for _ in range(300):
        new = np.full((7, 10), -np.inf)
        for (r, c), (i, j) in itertools.product(np.ndindex(7, 10), moves):
            gusts = [-1, 0, 1] if wind[c] else [0]
            to = [(min(max(r + i - wind[c] - g, 0), 6), min(max(c + j, 0), 9)) for g in gusts]
            new[r, c] = max(new[r, c], -1 + 0.9 * np.mean([value[x] for x in to]))
        new[3, 7] = 0
        value = new
    mdp = windy_gridworld(king_moves=king, stochastic_wind=True)
    assert solve(mdp, 0.9).v.reshape(7, 10) == pytest.approx(value, abs=1e-9)


@pytest.mark.parametrize("seed", [None, 3])
def test_the_deep_sea_pays_99_hundredths(seed: int | None) -> None:
    mdp = deep_sea(8, seed=seed)
    assert horizon_return(mdp, solve(mdp, 0.999).policy, 8) == pytest.approx(0.99)
    assert horizon_return(mdp, np.full((65, 2), 0.5), 8) == pytest.approx(2.0**-8 - 0.005)


def test_the_stochastic_deep_sea_pays_what_luck_allows() -> None:
    """The way right is kept up with probability 0.9 a step; it is paid for while it lasts, and given up after."""
    mdp = deep_sea(10, stochastic=True)
    best = 0.9**9 - 0.001 * sum(0.9**t for t in range(10))
    assert horizon_return(mdp, solve(mdp, 1 - 1e-9).policy, 10) == pytest.approx(best)
    assert sorted(set(mdp.reward_std.tolist())) == [0.0, 1.0]


def test_bold_play_is_optimal_for_the_gambler() -> None:
    """Dubins and Savage (1965): for an unfair coin, stake all that can be used."""

    def bold(capital: Fraction, depth: int = 40) -> float:
        if depth == 0 or capital in (0, 1):
            return float(capital == 1)
        if capital < Fraction(1, 2):
            return 0.4 * bold(2 * capital, depth - 1)
        return 0.4 + 0.6 * bold(2 * capital - 1, depth - 1)

    value = solve(gamblers_problem(), 1 - 1e-9, tolerance=1e-4).v
    assert value[[25, 50, 75]] == pytest.approx([0.16, 0.4, 0.64], abs=1e-8)
    assert value[1:100] == pytest.approx([bold(Fraction(s, 100)) for s in range(1, 100)], abs=1e-8)


def test_inventory_has_the_numbers_of_puterman() -> None:
    mdp = inventory()
    reward, onward = expected_reward(mdp), continuation(mdp)
    forbidden = -np.inf
    assert reward.tolist() == [[0, -1, -2, -5], [5, 0, -3, forbidden], [6, -1, *[forbidden] * 2], [5, *[forbidden] * 3]]
    value = np.zeros(4)
    for _ in range(3):
        value = (reward + (onward @ value).reshape(4, 4)).max(axis=1)
    assert (16 * value).tolist() == [67, 129, 194, 227]


def test_the_machine_has_the_costs_of_hillier_and_lieberman() -> None:
    solution = solve(machine_replacement(), 0.9)
    assert -solution.v == pytest.approx([14949, 16262, 18636, 19454], abs=1)  # the book rounds on the way
    assert solution.policy.tolist() == [1, 1, 2, 0]
    assert -solve(machine_replacement(), 0.999999).v * 1e-6 == pytest.approx(np.full(4, 5000 / 3), rel=1e-3)


@pytest.mark.parametrize(("load", "reward"), [(0.8, 6.0), (0.5, 4.0), (1.5, 9.0)])
def test_admission_stops_where_naor_says(load: float, reward: float) -> None:
    """Naor (1969), equation 26: the largest n with (n (1 - ρ) - ρ (1 - ρ^n)) / (1 - ρ)^2 <= R μ / C."""
    n = 0
    while ((n + 1) * (1 - load) - load * (1 - load ** (n + 1))) / (1 - load) ** 2 <= reward:
        n += 1
    policy = solve(admission_control(arrival_rate=load, reward=reward), 0.99999).policy
    assert policy.tolist() == [1] * n + [0] * (21 - n)


def brute_force_place(cars: int, morning: int, rent: float, back: float) -> dict[tuple[int, int], float]:
    """P(cars in the evening, cars rented) by listing 40 requests and 40 returns."""
    result: dict[tuple[int, int], float] = {}
    for asked, returned in itertools.product(range(40), repeat=2):
        p = math.exp(-rent - back) * rent**asked * back**returned / math.factorial(asked) / math.factorial(returned)
        sold = min(asked, morning)
        key = (min(morning - sold + returned, cars), sold)
        result[key] = result.get(key, 0.0) + p
    return result


def test_car_rental_against_a_brute_force_twin() -> None:
    cars, moves, value = 3, 2, np.zeros((4, 4))
    day = [[brute_force_place(cars, m, *rates) for m in range(4)] for rates in ((3.0, 3.0), (4.0, 2.0))]
    for _ in range(300):
        new = np.full((4, 4), -np.inf)
        for (i, j), moved in itertools.product(np.ndindex(4, 4), range(-moves, moves + 1)):
            if not -j <= moved <= i:
                continue
            first, second = day[0][min(i - moved, cars)], day[1][min(j + moved, cars)]
            total = sum(
                p * q * (10 * (x + y) + 0.9 * value[n, m])
                for ((n, x), p), ((m, y), q) in itertools.product(first.items(), second.items())
            )
            new[i, j] = max(new[i, j], total - 2 * abs(moved))
        value = new
    assert solve(car_rental(cars, moves), 0.9).v.reshape(4, 4) == pytest.approx(value, abs=1e-9)


def test_car_rental_has_the_policy_of_the_figure() -> None:
    mdp = car_rental()
    solution = solve(mdp, 0.9)
    policy = np.array([int(mdp.action_names[a]) for a in solution.policy]).reshape(21, 21)
    assert (policy.min(), policy.max(), policy[20, 0], policy[0, 20]) == (-4, 5, 5, -4)
    assert policy[10].tolist() == [4, 4, 3, 3, 2, 1, *[0] * 15]
    assert solution.v[0] == pytest.approx(421.4, abs=0.05), "Figure 4.2 writes 420"


@pytest.mark.parametrize("branching", [1, 3, 7])
def test_garnet_has_different_successors_and_the_asked_termination(branching: int) -> None:
    mdp = random_garnet(7, 3, branching, seed=1, termination=0.25)
    matrix = continuation(mdp)
    assert np.diff(matrix.indptr).tolist() == [branching] * 21
    assert matrix.sum(axis=1) == pytest.approx(np.full(21, 0.75))
    assert len(np.unique(expected_reward(mdp))) == 21


def test_garnet_draws_every_subset_alike() -> None:
    # 10 subsets of 2 states out of 5 in 20,000 pairs: 2,000 each, with a deviation of 42
    successor = random_garnet(5, 4000, 2, seed=0).successor.reshape(-1, 2)
    _, count = np.unique(successor[:, 0] * 5 + successor[:, 1], return_counts=True)
    assert len(count) == 10
    assert np.abs(count - 2000).max() < 5 * 42


def test_garnet_is_a_function_of_its_seed() -> None:
    first, same, other = (random_garnet(6, 2, 3, seed) for seed in (4, 4, 5))
    assert np.array_equal(first.probability, same.probability)
    assert np.array_equal(first.successor, same.successor)
    assert np.array_equal(first.reward, same.reward)
    assert not np.array_equal(first.reward, other.reward)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: corridor(1), "at least 2 states"),
        (lambda: random_walk(4), "n_states=4: it starts in the middle"),
        (lambda: chain(slip=1.5), "slip=1.5"),
        (lambda: river_swim(2), "n_states=2"),
        (lambda: maximization_bias(1), "n_actions_b=1"),
        (lambda: gridworld("S..\n.G"), "row 1 has 2 cells, row 0 has 3"),
        (lambda: gridworld("S.?"), "'[?]' in row 0, column 2; known: # [.]"),
        (lambda: gridworld("..G"), "the map has no start"),
        (lambda: gridworld("SG", slip=-0.1), "slip=-0.1 must be a probability"),
        (lambda: gridworld("SG", slip_to="side"), "unknown gridworld.slip_to=. 'side'; did you mean 'sides'"),
        (lambda: four_rooms(goal=(0, 0)), "not a free cell"),
        (lambda: deep_sea(0), "size=0"),
        (lambda: gamblers_problem(1), "goal=1 must be at least 2"),
        (lambda: inventory(0), "capacity=0"),
        (lambda: inventory(demand=(0.5, 0.25)), r"probabilities sum to 0.75, not 1"),
        (lambda: admission_control(service_rate=0.0), "service_rate=0.0"),
        (lambda: car_rental(0), "max_cars=0 must be at least 1"),
        (lambda: random_garnet(3, 1, 4, 0), "branching=4 is outside 1 to n_states=3"),
        (lambda: random_garnet(3, 1, 0, 0), "branching=0 is outside 1 to n_states=3"),
        (lambda: random_garnet(3, 1, 1, 0, 1.5), "termination=1.5 is not a probability"),
    ],
)
def test_impossible_worlds_are_refused(make: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_gallery_names_what_it_holds() -> None:
    page = (Path(__file__).parents[1] / "docs" / "worlds.md").read_text()
    assert [name for name in GALLERY if f"`{name}`" not in page] == []
    assert {"corridor": corridor, "cliff": cliff, "garnet": random_garnet}.items() <= GALLERY.items()
    assert evaluate_policy(corridor(3), [1, 1, 0], 0.5).tolist() == [0.5, 1.0, 0.0]


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (lambda: corridor("6"), "corridor(n_states=)` must be an integer; got '6'"),
        (lambda: corridor(6.5), "corridor(n_states=)` must be an integer; got 6.5"),
        (lambda: corridor(n=3), "corridor: unknown argument 'n'; known: n_states"),
        (lambda: gridworld(slip="a"), "gridworld(slip=)` must be a number; got 'a'"),
        (lambda: gridworld(slip=math.nan), "gridworld(slip=)=nan is outside"),
        (lambda: gridworld(3), "gridworld(text=)` must be a string; got 3"),
        (lambda: gridworld(max_episode_steps="9"), "gridworld(max_episode_steps=)` must be an integer"),
        (lambda: inventory(demand=[1, "b"]), "inventory(demand=)[1]` must be a number; got 'b'"),
        (lambda: inventory(demand="ab"), "inventory(demand=)` must be a sequence of numbers"),
        (lambda: four_rooms(goal=3), "four_rooms(goal=)` must be (row, column); got 3"),
        (lambda: blocking_maze(1), "blocking_maze(changed=)` must be True or False; got 1"),
        (lambda: random_garnet(seed=None), "random_garnet(seed=)` must be a non-negative integer; got None"),
    ],
)
def test_an_argument_that_a_world_cannot_use(make: Any, wrong: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(wrong)):
        make()


def test_numbers_of_numpy_and_fractions_are_numbers() -> None:
    assert corridor(np.int64(4)).n_states == 4
    probability = gridworld(slip=Fraction(1, 5)).probability
    np.testing.assert_array_equal(probability, gridworld(slip=np.float64(0.2)).probability)
