"""Where states are on a map: of the gallery, of Gymnasium's environments, and of models of one's own."""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np
import pytest

import bellmax as bx
from bellmax.mdp.gallery import GALLERY
from bellmax.mdp.gallery.grids import DIRECTIONS
from bellmax.mdp.layout import Layout, find_layout
from bellmax.mdp.outcomes import reachable
from bellmax.mdp.successors import in_front

LAKE = np.array([list("SFFF"), list("FHFH"), list("FFFH"), list("HFFG")])
SHAPES = {
    "corridor": (1, 6), "random-walk": (1, 7), "chain": (1, 5), "river-swim": (1, 6), "gridworld": (3, 4),
    "cliff": (4, 12), "windy-gridworld": (7, 10), "four-rooms": (13, 13), "deep-sea": (10, 10), "dyna-maze": (6, 9),
    "blocking-maze": (6, 9), "shortcut-maze": (6, 9), "car-rental": (21, 21),
}  # fmt: skip


def layout_of(mdp: bx.FiniteMDP) -> Layout:
    layout = find_layout(mdp)
    assert layout is not None
    return layout


@pytest.mark.parametrize("name", GALLERY)
def test_the_gallery_is_on_maps_where_it_can_be(name: str) -> None:
    layout = find_layout(GALLERY[name]())
    assert (None if layout is None else (layout.rows, layout.columns)) == SHAPES.get(name)


@pytest.mark.parametrize("name", ["gridworld", "cliff", "four-rooms", "dyna-maze", "corridor", "deep-sea"])
def test_actions_move_where_their_arrows_point(name: str) -> None:
    """The oracle is the model: the most likely move to another cell is that of the arrow."""
    mdp = GALLERY[name](slip=0.2) if name == "gridworld" else GALLERY[name]()
    layout = layout_of(mdp)
    compared = 0
    for s in np.flatnonzero(reachable(mdp)):
        row, column = divmod(int(layout.cell[s]), layout.columns)
        for a in range(mdp.n_actions):
            entries = slice(*mdp.indptr[s * mdp.n_actions + a :][:2])
            to = int(mdp.successor[entries][mdp.probability[entries].argmax()])
            arrow, cell = layout.arrows[a], int(layout.cell[to])
            assert arrow is not None
            if cell >= 0 and cell != layout.cell[s] and not (mdp.reward[entries] <= -100).any():
                moved = np.clip(np.subtract(divmod(cell, layout.columns), (row, column)), -1, 1)
                at_the_rim = name == "deep-sea" and column in (0, layout.columns - 1)
                assert tuple(moved) == arrow or at_the_rim
                compared += 1
    assert compared >= mdp.n_actions


def test_frozen_lake_of_any_size_has_its_letters() -> None:
    mdp = bx.FiniteMDP.from_gymnasium("FrozenLake-v1")
    layout = layout_of(mdp)
    words = {"S": "start", "F": "free", "H": "hole", "G": "goal"}
    assert layout.kinds.tolist() == [[words[letter] for letter in row] for row in LAKE]
    assert layout.cell.tolist() == list(range(16))
    assert layout.arrows == ((0, -1), (1, 0), (0, 1), (-1, 0))
    wide = layout_of(bx.FiniteMDP.from_gymnasium("FrozenLake-v1", desc=["SFFHF", "FHFFG"]))
    assert (wide.rows, wide.columns) == (2, 5)
    assert wide.kinds[1].tolist() == ["free", "hole", "free", "free", "goal"]


def test_cliff_walking_is_the_gallerys_cliff() -> None:
    theirs, ours = layout_of(bx.FiniteMDP.from_gymnasium("CliffWalking-v1")), layout_of(bx.cliff())
    assert theirs.kinds.tolist() == ours.kinds.tolist()
    assert theirs.kinds[3].tolist() == ["start", *["cliff"] * 10, "goal"]
    assert theirs.arrows == ours.arrows == DIRECTIONS


def test_taxi_has_a_map_for_each_passenger_and_destination() -> None:
    env: Any = gym.make("Taxi-v4").unwrapped
    layout = layout_of(bx.FiniteMDP.from_gymnasium("Taxi-v4"))
    letters = "RGYB"
    assert len(set(layout.panels)) == 20
    for s in range(500):
        row, column, passenger, goal = env.decode(s)
        place = "in the taxi" if passenger == 4 else f"at {letters[passenger]}"
        assert layout.panels[layout.panel[s]] == f"passenger {place}, to {letters[goal]}"
        assert layout.cell[s] == 5 * row + column
    walls = {tuple(pair) for pair in layout.fences.tolist()}
    for s in range(0, 500, 20):  # a wall is where neither moving east nor moving back moves
        for to in {int(env.P[s][a][0][1]) // 20 for a in (2, 3)} - {s // 20}:
            assert (min(s // 20, to), max(s // 20, to)) not in walls
    for low, high in walls:
        assert high == low + 1
        assert env.P[20 * low][2][0][1] // 20 == low
        assert env.P[20 * high][3][0][1] // 20 == high
    assert len(walls) == 6
    assert layout.arrows == ((1, 0), (-1, 0), (0, 1), (0, -1), None, None)


def test_models_of_ones_own_are_on_a_map_by_name_by_size_or_by_letters() -> None:
    def step(state: tuple[int, int], action: int) -> list[tuple[float, tuple[int, int], float, bool]]:
        row, column = state
        to = (row, min(column + 1, 3)) if action == 1 else (min(row + 1, 3), column)
        return [(0.9, to, -1.0, to == (3, 3)), (0.1, state, -1.0, False)]

    named = bx.FiniteMDP.from_function(step, starts=(0, 0), n_actions=2)
    layout = layout_of(named)
    assert (layout.rows, layout.columns, layout.arrows) == (4, 4, ((1, 0), (0, 1)))  # from where they lead
    assert [divmod(cell, 4) for cell in layout.cell.tolist()] == list(named.state_names)
    assert (layout.kinds[0, 0], layout.kinds[3, 3], layout.kinds[1, 1]) == ("start", "end", "free")
    table = [[[(1.0, 1, 0.0, False)]], [[(1.0, 0, 1.0, True)]]]
    assert layout_of(bx.FiniteMDP.from_successors(table, grid=(2, 1))).cell.tolist() == [0, 1]
    letters = layout_of(bx.FiniteMDP.from_successors(table, grid="S#G"))
    assert (letters.cell.tolist(), letters.kinds.tolist()) == ([0, 2], [["start", "wall", "goal"]])
    assert find_layout(bx.FiniteMDP.from_successors(table)) is None


def test_names_of_three_parts_make_a_map_for_each_rest() -> None:
    def step(state: tuple[int, int, str], action: int) -> list[tuple[float, tuple[int, int, str], float, bool]]:
        row, column, key = state
        to = (row, 1 - column, "key" if column else key)
        return [(1.0, to, 0.0, key == "key")]

    layout = layout_of(bx.FiniteMDP.from_function(step, starts=(0, 0, "no key"), n_actions=1))
    assert layout.panels == ("no key", "key")


def test_names_that_are_no_places_make_no_map() -> None:
    table = [[[(1.0, 1, 0.0, False)]], [[(1.0, 0, 1.0, True)]]]
    for names in (
        ("a", "b"),
        ((0, 0), (0, 10**6)),
        ((0.5, 1), (1, 1)),
        ((True, 1), (1, 0)),
        ((0, 0), "b"),
        ((1,), (2,)),
    ):
        assert find_layout(bx.FiniteMDP.from_successors(table, state_names=names)) is None, names


def test_a_gymnasium_environment_of_ones_own_has_the_map_of_its_letters() -> None:
    table = {s: {a: [(1.0, min(max(s + 2 * a - 1, 0), 2), 0.0, False)] for a in range(2)} for s in range(3)}

    class Walk(gym.Env[Any, Any]):
        observation_space, action_space = gym.spaces.Discrete(3), gym.spaces.Discrete(2)
        P: Any = table
        initial_state_distrib = np.array([1.0, 0.0, 0.0])
        desc: Any = None

    Walk.desc = ["S.x"]
    assert layout_of(bx.FiniteMDP.from_gymnasium(Walk)).kinds.tolist() == [["start", "free", "x"]]
    assert layout_of(bx.FiniteMDP.from_gymnasium(Walk)).arrows == ((0, -1), (0, 1))
    for strange in (["S", "ab"], ["S...."], 3, np.zeros((1, 3)), np.array([["S", None, 3]], object), "S.x"):
        Walk.desc = strange
        assert find_layout(bx.FiniteMDP.from_gymnasium(Walk)) is None


def test_a_model_whose_actions_are_moved_has_no_arrows_of_others() -> None:
    names = {"state_names": ((0, 0), (0, 1)), "grid": (1, 2), "action_names": ("left", "right")}
    mdp = bx.FiniteMDP.from_successors([[None, [(1.0, 1, 0.0, True)]], [[(1.0, 0, 0.0, True)], None]], **names)
    assert in_front(mdp)[0].grid is None
    assert layout_of(mdp).arrows == ((0, -1), (0, 1))


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ((2, 2), "`grid` of 2 rows and 2 columns has 4 cells for 2 states"),
        ("S.#\n..", "rows of letters, all of one length"),
        ("S?", r"the letter '\?'; known: #"),
        ("S.G", "`grid` has 3 cells, 3 of them free, and there are 2 states"),
        (3, r"`grid` must be \(rows, columns\), a map in letters, or a bellmax.Layout; got 3"),
        (Layout(1, 2, np.array([0, 0]), np.array([["a", "b"]])), "states 0 and 1 are in one cell of one panel"),
        (Layout(1, 2, np.array([0, 2]), np.array([["a", "b"]])), r"`grid.cell` must be integers \[2\] from -1 to 1"),
        (Layout(1, 2, np.array([0, 1]), np.array([["a"]])), r"`grid.kinds` must be words \[rows, columns\] = \(1, 2\)"),
        (
            Layout(1, 2, np.array([0, 1]), np.array([["a", "b"]]), (None, None)),
            "`grid.arrows` has 2 directions, expected 1 or none",
        ),
    ],
)
def test_layouts_that_do_not_fit_are_refused(grid: Any, message: str) -> None:
    table = [[[(1.0, 1, 0.0, False)]], [[(1.0, 0, 1.0, True)]]]
    with pytest.raises(bx.ConfigError, match=message):
        bx.FiniteMDP.from_successors(table, grid=grid)


def test_the_word_of_another_argument_is_corrected() -> None:
    with pytest.raises(bx.ConfigError, match=r"unknown argument 'layout'; where the states are on a map is grid="):
        bx.FiniteMDP.from_successors([[[(1.0, 0, 0.0, True)]]], layout="S")  # type: ignore[call-arg]
