"""What a notebook shows: cards with a curve, in colors for light and dark pages, and one line of progress."""

from __future__ import annotations

import re
import time
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jupyter_client.manager import start_new_kernel
from test_report import NAN, RISING, make_run

import bellmax as bx
from bellmax.pictures.curve_axes import range_of, tick_text, ticks
from bellmax.pictures.curve_data import curve_of, thinned
from bellmax.pictures.curve_svg import PALETTE, curve_svg, curves_svg, histogram_svg, state_values_svg
from bellmax.pictures.html_card import html_card
from bellmax.pictures.map_svg import escaped
from bellmax.stderr import is_notebook
from bellmax.summary_statistics import bootstrap_interval, iqm
from bellmax.training import progress
from bellmax.training.progress import line_of_progress

SVG = "{http://www.w3.org/2000/svg}"
HOSTILE = "<script>alert(1)</script>\x1b[2J\ufffe&\"'--></svg>"


def parse(text: str) -> ElementTree.Element:
    return ElementTree.fromstring(text)  # noqa: S314 - we wrote it


def paths(root: ElementTree.Element, kind: str) -> list[np.ndarray]:
    """The points [n, 2] of the paths of a class."""
    found = [path.get("d", "") for path in root.iter(f"{SVG}path") if path.get("class") == kind]
    return [
        np.array([[float(x) for x in point.split()] for point in re.split("[ML]", d.rstrip("Z"))[1:]]) for d in found
    ]


def numbers(root: ElementTree.Element, axis: str) -> dict[float, float]:
    """Where each number of an axis is: its place in pixels by its value."""
    anchor, at = ("end", "y") if axis == "y" else ("middle", "x")
    marks = [t for t in root.iter(f"{SVG}text") if t.get("text-anchor") == anchor and t.get("transform") is None]
    found = {t.text or "": float(t.get(at, "")) for t in marks}
    return {
        float(text.replace(",", "").rstrip("M")) * (1e6 if text.endswith("M") else 1.0): place
        - (4 if axis == "y" else 0)
        for text, place in found.items()
        if re.fullmatch(r"-?[\d,.]+M?", text)
    }


def read_back(root: ElementTree.Element, points: np.ndarray) -> np.ndarray:
    """Points in pixels as numbers, by the numbers at the axes."""
    columns = []
    for i, axis in enumerate("xy"):
        marks = numbers(root, axis)
        slope, offset = np.polyfit(list(marks.values()), list(marks), 1)
        columns.append(slope * points[:, i] + offset)
    return np.stack(columns, axis=1)


def test_a_curve_shows_the_seeds_their_iqm_and_its_interval() -> None:
    steps = np.arange(1, 21) * 50
    values = np.random.default_rng(0).normal(size=(6, 20)).cumsum(axis=1)
    root = parse(curve_svg(steps, values, "learning", x_label="steps", y_label="return", reference=3.0))
    assert root.get("aria-label") == "learning"
    assert {"learning", "steps", "return"} <= {text.text for text in root.iter(f"{SVG}text")}
    (middle,) = paths(root, "c0")
    near = {"atol": 0.03 * np.ptp(values)}
    np.testing.assert_allclose(
        read_back(root, middle), np.stack([steps, iqm(values, axis=0)], axis=1), rtol=0.02, **near
    )
    seeds = paths(root, "c0 seed")
    assert len(seeds) == 6
    for line, row in zip(seeds, values, strict=True):
        np.testing.assert_allclose(read_back(root, line)[:, 1], row, **near)
    (band,) = paths(root, "c0 band")
    ends = np.array([bootstrap_interval(column, resamples=500) for column in values.T])
    np.testing.assert_allclose(read_back(root, band)[:, 1], [*ends[:, 1], *ends[::-1, 0]], **near)
    assert "95 % interval, 6 seeds" in "".join(root.itertext())


def test_the_last_number_of_an_axis_is_within_the_picture() -> None:
    root = parse(curve_svg([0, 20_000], [[1.0, 2.0]]))
    (last,) = [text for text in root.iter(f"{SVG}text") if text.text == "20,000"]
    assert float(last.get("x", "")) + 6 * len("20,000") / 2 <= float(root.get("width", ""))


def test_of_one_seed_there_is_one_line() -> None:
    root = parse(curve_svg([1, 2, 3], [[1.0, 2.0, 4.0]]))
    assert len(paths(root, "c0")) == 1
    assert paths(root, "c0 seed") == paths(root, "c0 band") == []
    assert "mean" not in "".join(root.itertext())


def test_several_curves_have_a_legend_and_each_a_color_and_a_dash() -> None:
    curves = [curve_of(name, [0, 1], np.array([[0.0, k], [1.0, k]])) for k, name in enumerate(("a", HOSTILE, "c"))]
    root = parse(curves_svg(curves, "three"))
    shown = {text.text for text in root.iter(f"{SVG}text")}
    assert {"a", "c", escaped_back(HOSTILE)} <= shown
    drawn = [[p for p in root.iter(f"{SVG}path") if p.get("class") == f"c{k}"] for k in range(3)]
    assert len({p.get("stroke") for each in drawn for p in each}) == 3
    assert len({p.get("stroke-dasharray") for each in drawn for p in each}) == 3


def escaped_back(text: str) -> str:
    return text.replace("\x1b", "\\x1b").replace("\ufffe", "?")


@pytest.mark.parametrize("values", [
    [[NAN, NAN]], [[-np.inf, np.inf]], [[1e300, -1e300]], [[5.0, 5.0]], [[1e-300, 0.0]], [[1e17, 1e17 + 32]],
    [[NAN, 3.0]], [[-1.7e308, 1.7e308], [0.0, 1.0]], [[2.0**40] * 2] * 7,
])  # fmt: skip
def test_odd_numbers_are_drawn_within_the_picture(values: list[list[float]]) -> None:
    for text in (curve_svg([0, 1], values), histogram_svg(values), state_values_svg(values)):
        root = parse(text)
        width, height = (float(root.get(name, "")) for name in ("width", "height"))
        assert "nan" not in text
        assert "inf" not in text
        for path in root.iter(f"{SVG}path"):
            places = [float(x) for x in re.findall(r"-?[\d.]+(?:e[+-]\d+)?", path.get("d", ""))]
            assert all(-1 <= place <= max(width, height) for place in places)


def test_a_picture_of_a_long_run_is_small() -> None:
    values = np.random.default_rng(0).normal(size=(300, 2_000))
    begin = time.process_time()
    text = curve_svg(np.arange(2_000), values)
    assert time.process_time() - begin < 4.0
    assert len(text) < 80_000
    assert len(thinned(np.arange(2_000), 150)) == 150
    assert thinned(np.arange(2_000), 150)[[0, -1]].tolist() == [0, 1_999]


def test_colors_are_readable_on_light_and_dark_pages() -> None:
    def luminance(color: str) -> float:
        parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for color in PALETTE:
        for page in ("#ffffff", "#1e1e1e", "#111111"):
            light, dark = sorted([luminance(color), luminance(page)], reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 3.0, (color, page)
    text = curve_svg([0, 1, 2], np.tile([1.0, 2.0, 3.0], (6, 1)), "t")
    used = {*re.findall(r'(?:fill|stroke)="([^"]+)"', text)}
    assert used <= {"currentColor", "none", *PALETTE}  # text and axes have the page's own color
    assert not re.search(r"style|script|href|url\(|http(?!://www.w3.org/2000/svg)", text)


@given(st.floats(-1e9, 1e9), st.floats(1e-6, 1e9))
def test_ticks_are_round_numbers_within_the_range(low: float, width: float) -> None:
    low, high = range_of([low, low + width])
    marks, step = ticks(low, high)
    assert 1 <= len(marks) <= 7
    assert all(low - 1e-6 * step <= mark <= high + 1e-6 * step for mark in marks)
    assert float(f"{step:.0e}".partition("e")[0]) in (1.0, 2.0, 5.0)
    texts = [tick_text(mark, step) for mark in marks]
    assert len(set(texts)) == len(texts)


def test_numbers_at_axes() -> None:
    assert [tick_text(x, 0.05) for x in (0.0, 0.25, 1.5)] == ["0.00", "0.25", "1.50"]
    assert [tick_text(x, 500) for x in (0, 1500, 10_000)] == ["0", "1,500", "10,000"]
    assert [tick_text(x, 5e5) for x in (0.0, 5e5, 1e6, 1.5e6)] == ["0", "500,000", "1M", "1.5M"]
    assert [tick_text(x, 2e-7) for x in (0.0, 1.0, 1.0000002)] == ["0", "1", "1.0000002"]
    assert [tick_text(x, 2e12) for x in (2e12, 1.2e13)] == ["2e+12", "1.2e+13"]


def test_a_histogram_counts_each_return() -> None:
    root = parse(histogram_svg([1.0, 1.0, 2.0, 5.0, np.inf, NAN], x_label="return"))
    bars = [rect.find(f"{SVG}title") for rect in root.iter(f"{SVG}rect")]
    counts = [int((bar.text or "").rpartition(" ")[2]) for bar in bars if bar is not None]
    assert counts == [3, 1]
    heights = [float(rect.get("height", "")) for rect in root.iter(f"{SVG}rect")]
    assert heights[0] == pytest.approx(3 * heights[1], abs=0.3)


def test_values_of_many_states_are_in_order() -> None:
    v = np.random.default_rng(1).normal(size=500)
    (line,) = paths(parse(state_values_svg(v)), "c0")
    assert (np.diff(line[:, 1]) <= 0.0).all()
    (line,) = paths(parse(state_values_svg([3.0, 1.0, 2.0])), "c0")
    assert np.argsort(line[:, 1]).tolist() == [0, 2, 1]


def test_text_of_a_card_is_escaped() -> None:
    text = html_card(HOSTILE, [(HOSTILE, HOSTILE)], "<b>as it is</b>", [HOSTILE])
    root = parse(text)
    assert "<script" not in text
    assert [each.text for each in (root.find("p/strong"), root.find(".//th"), root.find(".//td"))] == [
        escaped_back(HOSTILE)
    ] * 3
    assert root.find("b") is not None
    assert escaped("a\x00") == "a\\x00"


def rows(html: str) -> dict[str, str]:
    root = parse(html)
    return {"".join(row[0].itertext()): "".join(row[1].itertext()) for row in root.iter("tr")}


def on_map(html: str) -> dict[int, float]:
    """The value of each state on the map of a card, by its number."""
    titles = [title.text or "" for title in parse(html).iter(f"{SVG}title")]
    return {int(m[1]): float(m[2]) for t in titles if (m := re.search(r"state (\d+)[^:]*: value (\S+?);", t))}


def test_a_run_its_history_policy_and_evaluation_have_cards() -> None:
    run = bx.train("corridor", "q-learning", steps=500, seeds=6, records=5, final_episodes=4)
    shown = rows(run._repr_html_())
    summary = run.summary()
    assert shown["environment"] == "corridor"
    assert shown["score, IQM"] == f"{summary.iqm:.4g} [{summary.iqm_low:.4g}, {summary.iqm_high:.4g}]"
    assert shown["folder"] == "not saved"
    root = parse(run._repr_html_())
    (svg,) = root.findall(SVG + "svg")
    assert svg.get("aria-label") == "exact/policy_return"
    assert len(paths(svg, "c0 seed")) == 6
    assert rows(run.history._repr_html_())["records"] == "5"
    policy = run.policy(0)
    assert rows(policy._repr_html_())["actions"] == "2"
    best = policy.table().max(axis=1)
    shown = on_map(policy._repr_html_())
    assert shown == {s: pytest.approx(best[s], rel=1e-5, abs=1e-12) for s in shown}
    assert len(shown) == 5
    elsewhere = replace(policy, world="<mine>")._repr_html_()
    (line,) = paths(parse(elsewhere), "c0")
    assert np.argsort(-line[:, 1], kind="stable").tolist() == np.argsort(best, kind="stable").tolist()
    evaluation = run.evaluations[0]
    assert rows(evaluation._repr_html_())["mean return"] == f"{evaluation.mean_return:.6g}"
    exact = bx.solve(bx.corridor(6), 0.9)
    assert rows(exact._repr_html_())["value of the start"] == f"{exact.start_value:.10g}"
    shown = on_map(exact._repr_html_())
    assert shown == {s: pytest.approx(exact.v[s], rel=1e-5) for s in range(5)}
    for nowhere in (exact._replace(mdp=None), bx.solve(bx.random_garnet(6, 2), 0.9)):
        assert len(paths(parse(nowhere._repr_html_()), "c0")[0]) == 6


def test_cards_of_what_is_empty_or_unfinished() -> None:
    assert rows(bx.Evaluation(np.zeros(0), np.zeros(0, np.int64))._repr_html_()) == {"episodes": "0"}
    run = make_run(RISING[None])
    run.scores = []
    assert rows(run._repr_html_())["stopped at"] == "1,000"
    run.history.drop_after(0)
    assert "svg" not in run._repr_html_()
    assert rows(run.history._repr_html_())["columns"] == "none"


def test_names_from_files_are_harmless_in_cards() -> None:
    run = replace(make_run(RISING[None], HOSTILE.replace("\x1b", "")), world=HOSTILE, folder=Path(HOSTILE))
    run.history.append(2_000, {"eval/mean_reward": 1.0})
    for html in (run._repr_html_(), run.history._repr_html_()):
        parse(html)
        assert "<script" not in html
        assert "\x1b" not in html


def test_a_network_has_a_card() -> None:
    policy = bx.train("probe:delay", bx.DQN(net_arch=(4,), learning_starts=10, batch_size=8), steps=30, records=1,
                      eval_episodes=0, final_episodes=0).policy()  # fmt: skip
    html = policy._repr_html_()
    assert "svg" not in html
    for name, array in policy.arrays.items():
        assert f"{name} {list(array.shape)}" in rows(html)["arrays"]


def test_a_network_has_a_card_with_a_map_where_its_environment_has_one() -> None:
    agent = bx.DQN(net_arch=(4,), learning_starts=10, batch_size=8)
    policy = bx.train("corridor", agent, steps=30, records=1, eval_episodes=0, final_episodes=0).policy()
    best = policy.table().max(axis=1)
    shown = on_map(policy._repr_html_())
    assert shown == {s: pytest.approx(best[s], rel=1e-5, abs=1e-12) for s in range(5)}
    assert "svg" not in replace(policy, world="<mine>")._repr_html_()


def test_progress_is_one_line_that_is_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(progress, "UPDATE_SECONDS", 0.05)
    shown: list[str] = []
    begin = time.monotonic()
    with line_of_progress(10_000, "dqn CartPole-v1", "steps", shown.append) as report:
        for done in range(0, 10_001, 10):
            report(done, "q_error 0.1")
            time.sleep(0.0003)
    assert 2 <= len(shown) <= 3 + (time.monotonic() - begin) / 0.05
    assert re.fullmatch(r"dqn CartPole-v1: +\d+%, [\d,]+ steps/s, [\d,]+ s left, q_error 0.1", shown[-2])
    assert re.fullmatch(r"dqn CartPole-v1: 10,000 steps in \d s", shown[-1])


def test_a_run_of_a_moment_shows_no_progress_and_no_notebook_is_seen_here() -> None:
    shown: list[str] = []
    with line_of_progress(10, "a", "steps", shown.append) as report:
        report(10)
    assert shown == []
    assert not is_notebook()


KERNEL = """
import bellmax as bx
from bellmax.stderr import is_notebook
from bellmax.training import progress
assert is_notebook()
progress.QUIET_SECONDS = 0.0
run = bx.train("corridor", "q-learning", steps=20_000, records=50)
run
"""


def test_in_a_real_kernel() -> None:
    """One display, then only updates of it, and the card of the run."""
    manager, kernel = start_new_kernel()
    messages: list[dict[str, Any]] = []
    try:
        kernel.execute_interactive(KERNEL, timeout=120, output_hook=messages.append)
    finally:
        kernel.stop_channels()
        manager.shutdown_kernel(now=True)
    kinds = [each["msg_type"] for each in messages]
    assert "error" not in kinds, messages
    assert kinds.count("display_data") == 1
    assert kinds.count("update_display_data") >= 1
    (result,) = [each for each in messages if each["msg_type"] == "execute_result"]
    assert "<svg" in result["content"]["data"]["text/html"]
