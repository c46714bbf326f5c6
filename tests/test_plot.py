"""Matplotlib's pictures of runs: the numbers in their lines, and the files that they become."""

from __future__ import annotations

import sys
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from test_report import NAN, RISING, make_run

import bellmax as bx
from bellmax.report.plot import COLORS, profile_interval
from bellmax.summary_statistics import bootstrap_interval, iqm

CURVES = {
    "one seed": RISING[None],
    "three seeds": np.stack([RISING, RISING - 1.0, RISING + 2.0]),
    "five seeds": np.stack([RISING + k for k in range(5)]),
    "no episode yet": np.stack([np.concatenate([[NAN, NAN], RISING]), np.concatenate([[NAN], RISING, [3.0]])]),
}


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    yield
    pyplot.close("all")


def saved(run: Any, path: Path, **how: Any) -> Path:
    bx.plot(run, **how).figure.savefig(path, dpi=150)  # type: ignore[union-attr]
    return path


def lines(axes: Axes, color: str) -> list[tuple[np.ndarray, np.ndarray]]:
    """The lines of a color, the thick ones last."""
    found = [line for line in axes.lines if to_hex(str(line.get_color())) == color]
    return [line.get_data() for line in sorted(found, key=lambda line: line.get_linewidth())]  # type: ignore[misc]


def bands(axes: Axes) -> list[np.ndarray]:
    return [np.asarray(each.get_paths()[0].vertices) for each in axes.collections]


def texts(axes: Axes) -> list[str]:
    legend = axes.get_legend()
    return [] if legend is None else [text.get_text() for text in legend.get_texts()]


@pytest.mark.parametrize("case", ["one seed", "three seeds", "five seeds"])
def test_lines_are_the_history_and_its_iqm(case: str) -> None:
    run = make_run(CURVES[case])
    axes = bx.plot(run)
    *seeds, middle = lines(axes, COLORS[0])
    steps, values = run.history["step"], run.history["rollout/ep_rew_mean"]
    assert len(seeds) == len(values)
    for line, row in zip(seeds, values, strict=True):
        np.testing.assert_array_equal(line, (steps, row))
    np.testing.assert_array_equal(middle, (steps, iqm(values, axis=0)))
    assert axes.get_xlabel() == "environment steps"
    assert axes.get_ylabel() == "rollout/ep_rew_mean"
    assert texts(axes) == ["95 % interval", "IQM"][len(values) < 5 :]
    n = len(values)
    assert axes.get_title(loc="left") == f"dqn on CartPole-v1, {n} seed{'s' * (n > 1)}"
    assert len(bands(axes)) == (n >= 5)


def test_the_band_is_the_interval_at_each_record() -> None:
    run = make_run(np.random.default_rng(0).normal(size=(7, 12)).cumsum(axis=1))
    (band,) = bands(bx.plot(run, confidence=0.8))
    for step, column in zip(run.history["step"], run.history["return"].T, strict=True):
        ends = bootstrap_interval(column, confidence=0.8, resamples=500)
        assert {round(y, 9) for x, y in band if x == step} >= {round(end, 9) for end in ends}


def test_thousands_of_records_have_an_interval_at_some() -> None:
    run = make_run(np.random.default_rng(0).normal(size=(5, 900)))
    axes = bx.plot(run)
    assert len(lines(axes, COLORS[0])[-1][0]) == 900
    (band,) = bands(axes)
    places = np.unique(band[:, 0])
    assert len(places) == 200
    assert (places[0], places[-1]) == (100.0, 90_000.0)


def test_each_run_has_its_name_color_and_dash() -> None:
    one, other = make_run(CURVES["five seeds"]), make_run(CURVES["five seeds"] + 3.0)
    axes = bx.plot({"plain": one, "_$double$": other})
    assert texts(axes) == ["plain", r" _\$double\$"]
    for color, run in zip(COLORS, (one, other), strict=False):
        np.testing.assert_array_equal(lines(axes, color)[-1][1], iqm(run.history["return"], axis=0))
    assert len(bands(axes)) == 2
    drawn = [line for line in axes.lines if line.get_linewidth() == 2]
    assert [line.get_linestyle() for line in drawn] == ["-", "--"]
    assert axes.get_title(loc="left") == "dqn on CartPole-v1, 5 seeds"
    axes.figure.canvas.draw()  # Matplotlib reads no mathematics in the names


def test_names_come_from_folders_or_agents() -> None:
    one, other, third = (make_run(CURVES["three seeds"]) for _ in range(3))
    assert texts(bx.plot([one, other])) == ["dqn", "dqn (2)"]
    one.folder, other.folder = Path("runs/a"), Path("runs/b")
    assert texts(bx.plot([one, other, third])) == ["a", "b", "dqn"]
    other.folder = Path("old/a")
    assert texts(bx.plot([one, other, third])) == ["runs/a", "old/a", "dqn"]


def test_a_folder_is_loaded_and_given_axes_are_used(tmp_path: Path) -> None:
    run = bx.train("corridor", "q-learning", steps=200, seeds=2, records=4, out=tmp_path / "run")
    figure, axes = pyplot.subplots(ncols=2)
    assert bx.plot(tmp_path / "run", axes=axes[1]) is axes[1]
    np.testing.assert_array_equal(lines(axes[1], COLORS[0])[-1][1], iqm(run.history["exact/policy_return"], axis=0))
    assert not axes[0].lines
    assert pyplot.get_fignums() == [figure.number]
    bx.plot(run, kind="q", axes=axes[0])
    np.testing.assert_array_equal(lines(axes[0], COLORS[0])[-1][1], iqm(run.history["exact/q_error"], axis=0))


def test_q_over_time_is_that_of_the_network_if_all_runs_have_one() -> None:
    deep = make_run(CURVES["three seeds"], "train/q")
    assert bx.plot(deep, kind="q").get_ylabel() == "train/q"
    table = make_run(CURVES["three seeds"], "exact/q_error")
    for step in (1100, 1200):
        deep.history.append(step, {"train/q": 5.0, "exact/q_error": 0.5})
    assert bx.plot([deep, table], kind="q").get_ylabel() == "exact/q_error"
    with pytest.raises(bx.ConfigError, match=r"no column of Q-values .* is in every run: dqn has rollout/ep_rew_mean"):
        bx.plot(make_run(CURVES["three seeds"]), kind="q")


def scored(*scores: float) -> Any:
    return make_run(np.array(scores)[:, None])


def test_a_profile_is_the_share_of_seeds_above() -> None:
    one, other = scored(1.0, 2.0, 2.0, 5.0, 9.0), scored(3.0, 4.0)
    axes = bx.plot({"a": one, "b": other}, kind="profile", optimum=9.0)
    for color, run in ((COLORS[0], one), (COLORS[1], other)):
        ((thresholds, above),) = lines(axes, color)
        np.testing.assert_array_equal(thresholds[1:-1], [1, 2, 3, 4, 5, 9])
        np.testing.assert_allclose(above, [np.mean(np.array(run.scores) > t) for t in thresholds])
        assert (above[0], above[-1]) == (1.0, 0.0)
    assert all(line.get_drawstyle() == "steps-post" for line in axes.lines[:2])
    assert texts(axes) == ["a, 5 seeds", "b, 2 seeds", "optimum 9"]
    assert len(bands(axes)) == 1  # two seeds have no interval


def test_the_interval_of_a_profile_is_that_of_a_share() -> None:
    """A resampled share of n seeds is binomial; its percentiles are known."""
    scores = np.random.default_rng(1).permutation(np.arange(40.0))
    low, high = profile_interval(scores, np.array([9.5, 29.5]), 0.9)
    for end, place in ((low, 0.05), (high, 0.95)):
        np.testing.assert_allclose(end, scipy.stats.binom(40, [0.75, 0.25]).ppf(place) / 40, atol=0.026)


def test_improvement_has_a_row_for_each_pair() -> None:
    runs = {"a": scored(1, 2, 3, 4, 5), "b": scored(4, 5, 6, 7, 8), "c": scored(9, 9)}
    axes = bx.plot(runs, kind="improvement")
    assert [label.get_text() for label in axes.get_yticklabels()] == ["b > a", "c > a", "c > b"]
    dots = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]  # type: ignore[index]
    oracle = scipy.stats.mannwhitneyu(runs["b"].scores, runs["a"].scores).statistic / 25
    assert dots == [pytest.approx(oracle), 1.0, 1.0]
    bars = [line.get_xdata() for line in axes.lines if line.get_linewidth() == 6]
    assert len(bars) == 1  # two seeds have no interval
    assert bars[0][0] < oracle < bars[0][1]  # type: ignore[index]
    by_column = bx.plot(runs, "return", "improvement")
    assert by_column.get_xlabel() == "probability of a higher return"


@pytest.mark.parametrize("case", CURVES)
def test_curves_become_files(case: str, tmp_path: Path) -> None:
    run = make_run(CURVES[case])
    png, svg = (saved(run, tmp_path / f"curve.{kind}", optimum=9.5) for kind in ("png", "svg"))
    assert png.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert png.stat().st_size > 5_000
    root = ElementTree.parse(svg).getroot()  # noqa: S314 - we wrote it
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    text = svg.read_text()
    for words in ("optimum 9.5", "environment steps", "rollout/ep_rew_mean", "dqn on CartPole-v1"):
        assert f"<!-- {words}" in text
    assert ("95 % interval" in text) == (len(run.seeds) >= 5)


def test_the_iqm_is_drawn_where_all_seeds_have_a_value() -> None:
    run = make_run(CURVES["no episode yet"])
    steps, middle = lines(bx.plot(run), COLORS[0])[-1]
    assert steps.tolist() == run.history.step[2:]
    np.testing.assert_array_equal(middle, iqm(run.history["return"][:, 2:], axis=0))


def test_values_without_end_are_counted_and_not_drawn(tmp_path: Path) -> None:
    run = make_run(np.stack([*np.tile(RISING, (7, 1)), np.where(RISING > 5.0, -np.inf, RISING)]))
    axes = bx.plot(run)
    assert axes.get_title(loc="left") == "dqn on CartPole-v1, 8 seeds (1 left out at the end: never ending)"
    np.testing.assert_array_equal(lines(axes, COLORS[0])[-1][1], RISING)  # the quarter that is cut off has the one
    assert saved({"a": run, "b": run}, tmp_path / "two.png").stat().st_size > 5_000
    assert "(1 of a, 1 of b left out at the end" in pyplot.gca().get_title(loc="left")


def test_a_picture_of_many_seeds_has_few_lines(tmp_path: Path) -> None:
    path = saved(make_run(np.tile(RISING, (300, 1)) + np.arange(300)[:, None]), tmp_path / "curve.svg")
    assert 100 < path.read_text().count("clip-path=") < 150


def test_the_same_run_gives_the_same_picture(tmp_path: Path) -> None:
    first, second = (saved(make_run(CURVES["five seeds"]), tmp_path / f"{k}.png") for k in "ab")
    assert first.read_bytes() == second.read_bytes()


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"column": "retrun"}, "`column` is not in dqn: unknown column 'retrun'"),
        ({"column": "step"}, "unknown column 'step'"),
        ({"column": 3}, "`column` must be the name of a column; got 3"),
        ({"kind": "profil"}, "unknown kind 'profil'; did you mean 'profile'"),
        ({"kind": "improvement"}, "'improvement' compares runs; got 1 run"),
        ({"kind": "improvement", "optimum": 1.0}, "kind='improvement' draws probabilities; leave it out"),
        ({"axes": 3}, "`axes` must be Matplotlib axes, such as those of pyplot.subplots"),
        ({"confidence": 95}, "confidence=95 is outside"),
    ],
)
def test_what_cannot_be_drawn_is_an_error_before_a_figure_opens(how: dict[str, Any], message: str) -> None:
    with pytest.raises(bx.ConfigError, match=message):
        bx.plot(make_run(RISING[None]), **how)
    assert pyplot.get_fignums() == []


@pytest.mark.parametrize("runs", [[], {}, {"": 1}, {1: 2}, 3, None, [3], [["a"]]])
def test_what_is_not_a_run_is_an_error(runs: Any) -> None:
    with pytest.raises(bx.ConfigError, match="`runs` must"):
        bx.plot(runs)


def test_scores_need_one_environment_and_an_end() -> None:
    one, other = scored(1.0, 2.0), scored(1.0, 2.0)
    other.world = "Acrobot-v1"
    with pytest.raises(bx.ConfigError, match=r"different environments, .*\(a: CartPole-v1, b: Acrobot-v1\)"):
        bx.plot({"a": one, "b": other}, kind="profile")
    one.scores = []
    with pytest.raises(bx.ConfigError, match="the run stopped at step 100 of 1,000 and has no scores"):
        bx.plot(one, kind="profile")


def test_without_matplotlib_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(bx.ConfigError, match="pip install 'bellmax"):
        bx.plot(make_run(RISING[None]))
