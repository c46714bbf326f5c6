"""Maps and tables of values: the numbers in them are those of the arrays, the arrows are the greedy actions."""

from __future__ import annotations

import csv
import io
import re
import struct
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

import bellmax as bx
from bellmax.mdp.gallery import GALLERY
from bellmax.mdp.layout import find_layout
from bellmax.mdp.outcomes import reachable
from bellmax.pictures.map_colors import (
    LEVELS,
    RISING,
    SIGNED,
    VISITED,
    WRONG,
    blend,
    ink_on,
    luminance,
    make_scale,
    number_format,
)
from bellmax.pictures.map_drawing import draw_map
from bellmax.pictures.map_shapes import sectors
from bellmax.pictures.map_svg import map_svg
from bellmax.pictures.map_text import map_text
from bellmax.pictures.map_view import ARROWS, make_map, shrink
from bellmax.pictures.picture import Picture
from bellmax.pictures.state_numbers import StateNumbers, tied

LAKE = bx.FiniteMDP.from_gymnasium("FrozenLake-v1")
SVG = "{http://www.w3.org/2000/svg}"
EVIL = "<script>alert(1)</script>\x1b[31m\"'&\ufffe"


def rows_of(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def parsed(svg: str) -> ElementTree.Element:
    return ElementTree.fromstring(svg)  # noqa: S314 - our own


def cells_of(svg: str) -> dict[tuple[int, int], Any]:
    """The groups of the cells by (row, column), for one map."""
    found = {}
    for group in parsed(svg).iter(f"{SVG}g"):
        title = group.find(f"{SVG}title")
        if title is not None:
            row, column = map(int, re.findall(r"\d+", title.text or "")[:2])
            found[row, column] = group
    return found


def test_the_numbers_and_arrows_in_the_terminal_are_those_of_the_answer() -> None:
    exact = bx.solve(LAKE, gamma=0.99)
    lines = exact.show().text().splitlines()
    acts, layout = reachable(LAKE), find_layout(LAKE)
    assert layout is not None
    numbers = [word for line in lines[1:12:3] for word in line.split()]
    assert numbers == [f"{value:.3f}" for value, known in zip(exact.v, acts, strict=True) if known]
    good = exact.q >= exact.v[:, None] - 1e-9
    assert good[np.arange(16), exact.policy].all()
    for row, line in enumerate(lines[2:13:3]):
        states = [s for s in range(4 * row, 4 * row + 4) if acts[s]]
        expected = [ARROWS[layout.arrows[a]] for s in states for a in np.flatnonzero(good[s])]  # type: ignore[index]
        assert [letter for letter in line if letter in ARROWS.values()] == expected
    assert lines[0] == "FrozenLake-v1: exact answer"
    assert "S start, H hole, G goal" in lines
    low, high = exact.v[acts].min(), exact.v[acts].max()
    assert f"value from {low:.3f} to {high:.3f}; arrows are greedy actions" in lines


def test_arrows_are_all_greedy_actions_where_several_are() -> None:
    mdp = bx.gridworld("...\n.#.\nS.G", slip=0.0, step_reward=-1.0)
    exact = bx.solve(mdp, gamma=1.0)
    text = exact.show("policy").text().splitlines()
    assert [line.split() for line in text[1:4]] == [["→↓", "→", "↓"], ["↓", "░░░", "↓"], ["S", "→", "→", "G"]]
    greedy = exact.show().numbers.greedy
    assert greedy.sum(axis=1)[reachable(mdp)].tolist() == [2, 1, 1, 1, 1, 1, 1]


def test_values_of_actions_stand_at_their_sides() -> None:
    mdp = bx.gridworld("S.G", slip=0.0, step_reward=0.0)
    exact = bx.solve(mdp, gamma=0.5)
    assert exact.q[:2].tolist() == [[0.25, 0.5, 0.25, 0.25], [0.5, 1.0, 0.5, 0.25]]
    lines = exact.show("q").text().splitlines()
    assert rows_of("\n".join(lines[1:4])) == [
        ["S", "0.25", "0.50"], ["0.25", "→0.50", "0.25", "→1.00", "G"], ["0.25", "0.50"],
    ]  # fmt: skip


def test_diagonals_and_staying_have_their_places() -> None:
    mdp = bx.windy_gridworld(king_moves=True, no_move=True)
    text = bx.solve(mdp, gamma=1.0).show("q", everything=True).text()
    assert "stay" in text
    assert "↘" in bx.solve(mdp, gamma=1.0).show("policy").text()


def test_a_state_without_an_action_has_no_number_for_it() -> None:
    table = [[None, [(1.0, 1, 2.0, False)]], [[(1.0, 0, 5.0, True)], [(1.0, 1, -3.0, True)]]]
    mdp = bx.FiniteMDP.from_successors(table, grid=(1, 2), action_names=("left", "right"))
    exact = bx.solve(mdp, gamma=0.5)
    assert rows_of(exact.show("q").text())[1] == ["→4.50", "←5.00", "-3.00"]
    assert "; left" not in cells_of(exact.show("q").svg())[0, 0].find(f"{SVG}title").text


def test_taxi_has_a_map_for_each_passenger_and_destination() -> None:
    exact = bx.solve(bx.FiniteMDP.from_gymnasium("Taxi-v4"), gamma=0.99)
    text = exact.show().text()
    names = re.findall(r"passenger (?:at \w|in the taxi), to \w", text)
    assert len(names) == len(set(names)) == 16  # where the passenger is at the destination, the episode is over
    assert text.count("pickup") == 12  # in each of them at one place
    assert text.count("dropoff") == 4
    assert "│" in text
    words = [text.text for text in parsed(exact.show().svg()).iter(f"{SVG}text")]
    assert words.count("passenger at R, to G") == 1


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (name == "car-rental")) for name in GALLERY]
)
def test_every_answer_of_the_gallery_is_shown(name: str) -> None:
    exact = bx.solve(GALLERY[name](), 0.9)
    for what in ("value", "policy", "q"):
        picture = exact.show(what)
        assert len(picture.text().splitlines()) >= 3
        if picture.map is not None:
            parsed(picture.svg())
        else:
            assert "│" in picture.text()
            with pytest.raises(bx.ConfigError, match="cannot be drawn as an SVG: its"):
                picture.svg()


def test_a_model_without_a_map_shows_its_first_forty_states() -> None:
    exact = bx.solve(bx.gamblers_problem(), gamma=1.0)
    short, whole = exact.show().text(), exact.show(everything=True).text()
    assert len([line for line in short.splitlines() if line.startswith("│")]) == 40
    assert len([line for line in whole.splitlines() if line.startswith("│")]) == 99
    assert "... and 59 more states: --all shows them" in short
    assert "the values of 50 actions are left out" in short
    row = next(line for line in short.splitlines() if line.startswith("│    25 │"))
    assert row.split("│")[2].strip() == "0.160"


def test_the_table_as_csv_has_every_digit() -> None:
    exact = bx.solve(LAKE, gamma=0.99)
    rows = list(csv.DictReader(io.StringIO(exact.show().csv())))
    assert [float(row["value"]) for row in rows] == exact.v.tolist()
    assert [[float(row[f"q({name})"]) for name in LAKE.action_names] for row in rows] == exact.q.tolist()
    assert [(row["row"], row["column"]) for row in rows[:5]] == [
        ("0", "0"),
        ("0", "1"),
        ("0", "2"),
        ("0", "3"),
        ("1", "0"),
    ]


def test_a_large_map_shrinks_and_says_so() -> None:
    mdp = bx.deep_sea(100)
    exact = bx.solve(mdp, gamma=0.99)
    text = exact.show().text()
    assert "numbers do not fit: pass --all" in text
    assert max(map(len, text.splitlines())) <= 120
    small = exact.show().text(width=60)
    assert "each cell is the mean of a block of 2 rows and 2 columns" in small
    assert max(map(len, small.splitlines()[:51])) <= 60
    view = exact.show().map
    assert view is not None
    blocks = shrink(view, 2)
    shown = np.where(view.known[: 100 * 100], exact.v[: 100 * 100], np.nan).reshape(50, 2, 50, 2)
    with np.errstate(all="ignore"):
        mean = np.array([[np.nanmean(shown[i, :, j]) if np.isfinite(shown[i, :, j]).any() else np.nan
                          for j in range(50)] for i in range(50)])  # fmt: skip
    np.testing.assert_allclose(blocks.values.reshape(50, 50), mean, atol=1e-12)
    drawing = draw_map(view)
    assert len([group for group in drawing.groups if group.title]) == 2500
    assert len(exact.show().svg()) < 1_000_000
    assert len([group for group in draw_map(view, everything=True).groups if group.title]) == 100 * 100
    assert exact.show(everything=True).svg().count("<title>") == 100 * 100


def test_words_around_a_small_map_are_not_cut_off(tmp_path: Path) -> None:
    picture = bx.solve(LAKE, gamma=0.99).show(title="q-learning on FrozenLake-v1, 100,000 steps, seed 0, final policy")
    path = picture.save(tmp_path / "lake.png")
    image = imread(path)
    assert (image[:, -20:] == image[0, 0]).all(), "the right margin is empty"
    words = next(line for line in picture.svg().splitlines() if "final policy</text>" in line)
    width = float(re.findall(r'viewBox="0 0 (\d+)', picture.svg())[0])
    assert "seed 0, final policy" in words
    assert width > 64 * 13 * 0.6
    long = bx.solve(LAKE, gamma=0.99).show(title="x" * 300).svg()
    assert float(re.findall(r'viewBox="0 0 (\d+)', long)[0]) <= 1_200


def test_every_cell_of_the_svg_says_what_it_shows() -> None:
    exact = bx.solve(LAKE, gamma=0.99)
    cells = cells_of(exact.show("q").svg())
    assert len(cells) == 16
    for s in range(16):
        group = cells[divmod(s, 4)]
        title = group.find(f"{SVG}title").text
        if not reachable(LAKE)[s]:
            assert title.endswith(("hole", "goal"))
            continue
        assert f"state {s}: q {exact.v[s]:.6g}" in title
        for name, number in zip(LAKE.action_names, exact.q[s], strict=True):
            assert f"; {name} {number:.6g}" in title
        written = [text.text for text in group.iter(f"{SVG}text")]
        marks = ["S"] if s == 0 else []
        assert sorted(written) == sorted([*(f"{number:.3f}" for number in exact.q[s]), *marks])
        bold = [text.text for text in group.iter(f"{SVG}text") if text.get("font-weight")]
        assert f"{exact.q[s].max():.3f}" in bold


def test_colors_follow_the_numbers() -> None:
    exact = bx.solve(LAKE, gamma=0.99)
    cells = cells_of(exact.show().svg())
    low, high = exact.v[reachable(LAKE)].min(), exact.v.max()
    for s in np.flatnonzero(reachable(LAKE)):
        level = round((exact.v[s] - low) / (high - low) * (LEVELS - 1))
        assert cells[divmod(int(s), 4)].find(f"{SVG}polygon").get("class") == f"l{level}"
    colored = exact.show().text(color=True)
    assert f"48;2;{';'.join(str(int(RISING[-1][i : i + 2], 16)) for i in (1, 3, 5))}" in colored
    assert re.sub(r"\x1b\[[\d;]*m", "", colored).split()[:20] == exact.show().text().split()[:20]


def test_names_that_are_markup_are_harmless(tmp_path: Path) -> None:
    table = [[[(1.0, 1, 1.0, False)], [(1.0, 0, 0.0, False)]], [[(1.0, 0, 1.0, True)]] * 2]
    names = {"action_names": (EVIL, "[bold]b"), "name": EVIL}
    for grid in ((1, 2), None):
        mdp = bx.FiniteMDP.from_successors(table, state_names=(EVIL, "b"), grid=grid, **names)
        for what in ("value", "policy", "q"):
            picture = bx.solve(mdp, gamma=0.9).show(what, title=EVIL)
            assert "\x1b" not in picture.text() + picture.csv()
            assert "\x1b[31m" not in picture.text(color=True)
            page = picture._repr_html_()
            assert "<script" not in page
            if picture.map is not None:
                tags = {element.tag.removeprefix(SVG) for element in parsed(picture.svg()).iter()}
                assert tags == {"svg", "style", "g", "title", "polygon", "text"}
                assert picture.save(tmp_path / "evil.png").stat().st_size > 1_000


def test_a_notebook_gets_the_map_without_a_style_of_its_own() -> None:
    page = bx.solve(LAKE, gamma=0.99).show()._repr_html_()
    assert page.startswith('<div style="overflow-x:auto"><svg ')
    assert "<style" not in page
    assert 'fill="currentColor"' in page


def test_files(tmp_path: Path) -> None:
    picture = bx.solve(LAKE, gamma=0.99).show("q")
    png = picture.save(tmp_path / "lake.png").read_bytes()
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    drawing = draw_map(picture.map)  # type: ignore[arg-type]
    assert struct.unpack(">II", png[16:24]) == (int(drawing.width * 2), int(drawing.height * 2))
    assert (picture.save(tmp_path / "lake.svg")).read_text() == picture.svg()
    assert (picture.save(tmp_path / "lake.csv")).read_text() == picture.csv()
    assert (picture.save(str(tmp_path / "lake.txt"))).read_text() == picture.text()
    with pytest.raises(bx.ConfigError, match=r"`path` must end in .svg, .png, .csv, .txt; got '.*lake.gif'"):
        picture.save(tmp_path / "lake.gif")
    for name in ("missing/lake.svg", "missing/lake.png"):
        with pytest.raises(bx.ConfigError, match=r"cannot write .*; give another path"):
            picture.save(tmp_path / name)


def test_without_matplotlib_a_png_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(bx.ConfigError, match=r"pip install 'bellmax\[plot\]'"):
        bx.solve(LAKE, gamma=0.99).show().save(tmp_path / "lake.png")


def test_an_answer_without_its_model_or_without_visits_says_why() -> None:
    exact = bx.solve(LAKE, gamma=0.99)
    with pytest.raises(bx.ConfigError, match="does not hold its model"):
        exact._replace(mdp=None).show()
    with pytest.raises(bx.ConfigError, match="cannot show what='visits': an exact answer has no visits"):
        exact.show("visits")
    with pytest.raises(bx.ConfigError, match="unknown what 'polcy'; did you mean 'policy'"):
        exact.show("polcy")  # type: ignore[arg-type]


def test_the_values_of_a_soft_policy_are_its_own() -> None:
    exact = bx.solve_soft(bx.cliff(), 0.9, 0.2)
    known = reachable(bx.cliff())
    np.testing.assert_array_equal(exact.show().numbers.values[known], exact.v[known])


def test_the_agents_place_is_marked() -> None:
    layout = find_layout(bx.corridor(4))
    assert layout is not None
    view = make_map(layout, np.array([0.1, 0.2, 0.3, np.nan]), here=2)
    assert "@" in map_text(view).plain.splitlines()[1]
    assert 'stroke-width="3"' in map_svg(view)


def test_several_maps_can_have_one_scale() -> None:
    layout = find_layout(bx.corridor(3))
    assert layout is not None
    view = make_map(layout, np.array([0.0, 1.0, np.nan]), limits=(0.0, 2.0))
    assert view.scale.levels(np.array([0.0, 1.0, 2.0, np.nan])).tolist() == [0, 8, 15, -1]


@pytest.mark.parametrize("anchors", [RISING, SIGNED, VISITED, WRONG])
def test_what_is_written_on_a_color_can_be_read(anchors: tuple[str, ...]) -> None:
    for color in blend(anchors):
        lights = sorted((luminance(color), luminance(ink_on(color))))
        assert (lights[1] + 0.05) / (lights[0] + 0.05) >= 4.5


def test_lightness_tells_levels_apart() -> None:
    for anchors in (RISING, VISITED, WRONG):
        light = [luminance(color) for color in blend(anchors)]
        assert light in (sorted(light), sorted(light, reverse=True))
    assert make_scale(np.array([-1.0, 3.0]), "value").low == -3.0  # 0 is in the middle of values of both signs


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([0.5424, 1e-9, -0.0, 0.0], ["0.542", "1e-09", "0.000", "0.000"]),
        ([-13.06, -1.0], ["-13.1", "-1.0"]),
        ([-13.0, -1.0], ["-13", "-1"]),
        ([1e7, 3.0], ["1e+07", "3"]),
        ([4321.5, 0.2], ["4322", "0.2"]),
        ([np.nan, np.inf], ["", ""]),
    ],
)
def test_numbers_are_short_and_never_round_to_nothing(values: list[float], texts: list[str]) -> None:
    assert [number_format(np.array(values))(value) for value in values] == texts


def area(points: tuple[tuple[float, float], ...]) -> float:
    x, y = np.array(points).T
    return float(abs(np.dot(x, np.roll(y, 1)) - np.dot(y, np.roll(x, 1))) / 2)


@pytest.mark.parametrize(
    ("directions", "areas"),
    [
        ([(-1, 0), (0, 1), (1, 0), (0, -1)], [0.25] * 4),
        ([(0, -1), (0, 1)], [0.5, 0.5]),
        ([(1, -1), (1, 1)], [0.5, 0.5]),
        ([(1, 0)], [1.0]),
        (list(ARROWS), None),
    ],
)
def test_sectors_cut_the_cell_into_parts(directions: list[Any], areas: list[float] | None) -> None:
    found = sectors(directions)
    assert set(found) == set(directions)
    sizes = [area(found[direction]) for direction in directions]
    assert sum(sizes) == pytest.approx(1.0)
    assert areas is None or sizes == pytest.approx(areas)
    for direction, points in found.items():  # each part lies on its own side
        middle = np.mean(points, axis=0) - 0.5
        assert len(directions) == 1 or np.dot(middle, (direction[1], direction[0])) > 0


def test_ties_are_those_of_the_greedy_policy() -> None:
    q = np.array([[1.0, 1.0 + 1e-13, 0.5], [-np.inf, 2.0, 2.0], [0.0, 0.0, 0.0], [1.0, 1.0 - 1e-10, 1.0]])
    assert tied(q).tolist() == [[True, True, False], [False, True, True], [True] * 3, [True, False, True]]
    assert tied(q, error=1e-6)[3].all()
    allowed = np.array([[True, False, True]] * 4)
    assert tied(q, allowed)[:2].tolist() == [[True, False, False], [False, False, True]]


def test_a_picture_of_numbers_of_ones_own() -> None:
    numbers = StateNumbers("mine", np.eye(2), np.eye(2) > 0, np.ones(2, np.bool_), ("a", "b"), visits=np.ones((2, 2)))
    assert "mine" in Picture(numbers, "visits").text()
    with pytest.raises(bx.ConfigError, match="cannot show what='error': there are no such numbers"):
        Picture(numbers, "error")
