"""Sections of the report one by one, without a browser: their numbers are those of the functions behind them."""

from __future__ import annotations

import html
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from test_report import make_run

import bellmax as bx
from bellmax.contracts import Transition
from bellmax.mdp.layout import grid_of
from bellmax.page import map_section, value_sections
from bellmax.page.comparison_section import comparison_section
from bellmax.page.document import number_text
from bellmax.page.exact_map import distance_in_words, exact_picture
from bellmax.page.value_sections import Outcome, over_training, play_run, values_section
from bellmax.pictures.map_drawing import draw_map
from bellmax.pictures.map_marks import draw_marks
from bellmax.pictures.map_view import make_map
from bellmax.pictures.picture import Picture
from bellmax.recording.sampled import sampled_phase
from bellmax.replay.memory import ReplayState
from bellmax.replay.prioritized import Priorities
from bellmax.replay.ring import RingState
from bellmax.report.comparing import compare


def scored(*scores: float, **changed: Any) -> bx.Run:
    return replace(make_run(np.array(scores)[:, None]), **changed)


def cells_of(page: str) -> list[list[str]]:
    """The text of the cells of each row of a page."""
    rows = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row) for row in re.findall(r"<tr>(.*?)</tr>", page)]
    return [[html.unescape(re.sub("<[^>]*>", "", cell)) for cell in row] for row in rows]


def test_differences_of_runs_are_those_of_compare() -> None:
    runs = {"low": scored(1.0, 2.0, 3.0, 4.0, 5.0), "high": scored(4.0, 5.5, 6.0, 7.0, 9.0), "few": scored(1.0, 2.0)}
    body = comparison_section(runs).body
    head, *rows = cells_of(body)
    expected = compare(runs).pair_table()
    assert [head, *rows] == [list(row) for row in (expected[0], *expected[1])]
    assert rows[0][0] == "high - low"
    assert "[" in rows[0][1]
    assert rows[1][1:] == ["-1.5", "-1.5", rows[1][3], "too few seeds for an interval: it needs 5 in each run"]
    assert "Look: an interval needs 5 seeds: few has 2 seeds." in html.unescape(body)


def test_runs_that_cannot_be_compared_are_named() -> None:
    one = scored(1.0, 2.0)
    assert comparison_section({"it": one}).body == comparison_section({"it": one, "x": scored(1.0, world="x")}).body
    assert not comparison_section({"it": one}).body
    assert "the same run twice" in comparison_section({"one": one, "again": one}).body
    waiting = comparison_section({"one": one, "<late>": scored(1.0, scores=[])}).body
    assert "have not ended: &lt;late&gt;." in waiting
    assert not cells_of(waiting)


def test_ages_and_priorities_of_a_whole_batch_are_recorded() -> None:
    n, slots = 40, np.arange(0, 40, 2)
    leaves = np.arange(1, n + 1, dtype=np.float32)
    ring: Any = RingState(np.zeros((n, 1)), np.array([0]), np.array([n]))  # type: ignore[arg-type]
    tree: Any = Priorities((leaves.sum(keepdims=True), leaves), leaves[-1], np.int32(n))  # type: ignore[arg-type]
    batch: Any = Transition(slots, slots, slots, slots, slots)
    config, weight = bx.DQN(prioritized=True, buffer_size=n, learning_starts=20, batch_size=20), slots / 40.0
    values: Any = sampled_phase(config, 100, ReplayState(ring, tree), batch, weight, slots, {}).values  # type: ignore[arg-type]
    whole = values["whole_batch"]
    assert whole["priority"] == leaves[slots].tolist()
    assert whole["age"] == (39 - slots).tolist()
    assert whole["weight"] == weight.tolist()
    assert values["age"] == whole["age"][:16]
    few: Any = sampled_phase(config, 100, ReplayState(ring, tree), batch, weight[:9], slots[:9], {}).values  # type: ignore[arg-type]
    assert "whole_batch" not in few


def test_there_is_no_exact_answer_where_values_have_another_scale() -> None:
    learned = bx.solve(bx.cliff(), 0.9).show()
    run = scored(1.0, world="cliff", config=bx.DQN(gamma=0.9))
    exact, why = exact_picture(run, learned)
    assert exact is not None
    assert why == ""
    assert distance_in_words(learned, exact).endswith("in 37 of 37 states; values are up to 0 off")
    nearly = learned.numbers._replace(q=learned.numbers.q + 7e-14)
    assert distance_in_words(Picture(nearly, "value"), exact).endswith("values are up to 0 off"), "rounding"
    none, why = exact_picture(replace(run, config=bx.DQN(gamma=0.9, reward_scale=0.5)), learned)
    assert none is None
    assert "scaled or clipped" in why
    assert exact_picture(scored(1.0), learned) == (None, ""), "CartPole has no transition table"
    corridor = bx.solve(bx.corridor(), 0.9).show()
    assert exact_picture(run, corridor) == (None, ""), "of another model"


def test_marks_are_triangles_at_sides_and_squares_without_a_direction() -> None:
    layout = grid_of(1, 2, arrows=((0, 1), None))
    layout = layout._replace(panel=np.zeros(2, np.int64))
    greedy = np.array([[True, False], [True, True]])
    view = make_map(layout, np.array([1.0, 2.0]), greedy=greedy, title="two")
    marks, drawing = draw_marks(view), draw_map(view)
    assert marks is not None
    assert (marks.width, marks.height) == (drawing.width, drawing.height)
    shapes = [patch.points for patch in marks.groups[0].patches if not patch.stroke]
    assert [len(points) for points in shapes] == [3, 3, 4]
    cells = [group.patches[0].points for group in drawing.groups if group.title]
    for points, cell in zip((shapes[0], shapes[1], shapes[2]), (cells[0], cells[1], cells[1]), strict=True):
        assert all(cell[0][0] < x < cell[2][0] + 1 and cell[0][1] < y < cell[2][1] + 1 for x, y in points)
    assert shapes[0][0][0] == max(x for x, _ in shapes[0]), "the tip is on the right"
    large = make_map(grid_of(60, 60)._replace(panel=np.zeros(3600, np.int64)), np.zeros(3600))
    assert draw_marks(large) is None


def test_values_against_returns_over_training() -> None:
    run = bx.train("corridor", "q-learning", steps=2_000, records=3, final_episodes=1, keep_policies=True)
    outcome = play_run(run, run.find_source())
    assert list(outcome.over_time) == run.kept_policies.steps
    for step, episodes in outcome.over_time.items():
        best = run.policy(at=step).table()[0].max()
        assert {episode.predicted[0] for episode in episodes} == {best}
    body = values_section({"it": outcome}).body
    rows = [row for row in cells_of(body) if row[0] in ("predicted at the start", "got: discounted return")]
    assert [row[1] for row in rows[:4]] == [f"{step:,}" for step in run.kept_policies.steps]
    means = [float(np.mean([each.returns[0] for each in played])) for played in outcome.over_time.values()]
    assert [row[2] for row in rows[4:]] == [number_text(mean) for mean in means]
    run.kept_policies.drop_after(-1)
    assert "with keep_policies" in over_training(Outcome(run, outcome.played), "x")


def test_maps_of_several_runs_share_their_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    run = bx.train("corridor", "q-learning", steps=200, records=5, final_episodes=1, keep_policies=True)
    alone = map_section.map_section({"one": run}).body
    monkeypatch.setattr(map_section, "MOST_BYTES", len(alone))
    shown = [map_section.map_section({str(i): run for i in range(n)}).body.count("data-record=") for n in (1, 2, 4)]
    assert shown == [5, 2 * 3, 4 * 2], "every second map of two runs, the first and the last of four"
    monkeypatch.setattr(map_section, "MOST_IN_ALL", int(1.5 * len(alone)))
    few = map_section.map_section({"<one>": run, "<two>": run, "<three>": run}).body
    assert few.count("<figure") == 2
    assert "Not drawn: the maps of &lt;three&gt;. The page has no room" in few


def test_stored_policies_that_take_too_long_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    run = bx.train("corridor", "q-learning", steps=300, records=3, final_episodes=1, keep_policies=True)
    monkeypatch.setattr(value_sections, "STORED_SECONDS", -1.0)
    outcome = play_run(run, run.find_source())
    assert outcome.over_time == {}
    assert "take too long" in over_training(outcome, "x")
