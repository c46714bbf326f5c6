"""Comparing runs: differences with intervals, against brute force, and what is said where they cannot be compared."""

from __future__ import annotations

import itertools
import json
import xml.etree.ElementTree as ElementTree
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.stats
from click.testing import CliRunner
from test_report import make_run

import bellmax as bx
from bellmax.cli import main
from bellmax.difference_statistics import difference_between, improvement, improvements
from bellmax.page.report_file import read_runs
from bellmax.report.named_runs import named_runs
from bellmax.summary_statistics import iqm, probability_of_improvement
from bellmax.training.early_stop import EarlyStop

LOW, HIGH = [1.0, 2.0, 3.0, 4.0, 5.0], [4.0, 5.5, 6.0, 7.0, 9.0]


def scored(*scores: float, **changed: Any) -> bx.Run:
    return replace(make_run(np.array(scores)[:, None]), **changed)


def test_a_difference_is_that_of_the_statistics() -> None:
    assert difference_between(HIGH, LOW).value == iqm(HIGH) - iqm(LOW)
    assert difference_between(HIGH, LOW, np.mean).value == np.mean(HIGH) - np.mean(LOW)
    assert difference_between([3.0], [1.0, 2.0]).value == 1.5


@pytest.mark.parametrize(("ours", "name"), [(iqm, "iqm"), (np.mean, "mean")])
def test_the_interval_of_a_difference_is_scipys_bootstrap(ours: Any, name: str) -> None:
    rng = np.random.default_rng(3)
    x, y = rng.gamma(2.0, 50.0, size=30), rng.gamma(3.0, 40.0, size=17)

    def apart(a: np.ndarray, b: np.ndarray, axis: int) -> np.ndarray:
        each = [scipy.stats.trim_mean(v, 0.25, axis=axis) if name == "iqm" else v.mean(axis=axis) for v in (a, b)]
        return each[0] - each[1]

    oracle = scipy.stats.bootstrap(
        (x, y), apart, vectorized=True, method="percentile", n_resamples=20_000, rng=np.random.default_rng(4)
    ).confidence_interval
    found = difference_between(x, y, ours)
    assert found.low == pytest.approx(oracle.low, abs=0.06 * (oracle.high - oracle.low))
    assert found.high == pytest.approx(oracle.high, abs=0.06 * (oracle.high - oracle.low))
    wider = difference_between(x, y, ours, confidence=0.99)
    assert wider.low < found.low < found.value < found.high < wider.high


def test_the_interval_of_two_tiny_groups_is_that_of_all_resamples() -> None:
    """All 5^5 resamples of one group beside a constant one: the percentiles are known and not drawn."""
    x = np.array([0.0, 1.0, 3.0, 7.0, 20.0])
    means = np.array([x[list(drawn)].mean() for drawn in itertools.product(range(5), repeat=5)])
    found = difference_between(x, np.full(6, 2.0), np.mean)
    low, high = np.quantile(means - 2.0, [0.025, 0.975])
    assert found.low == pytest.approx(low, abs=0.4)
    assert found.high == pytest.approx(high, abs=0.8)
    shares = [np.mean(x[list(drawn)] > 2.0) for drawn in itertools.product(range(5), repeat=5)]
    found = improvement(x, np.full(6, 2.0))
    assert (found.value, found.low, found.high) == (0.6, *np.quantile(shares, [0.025, 0.975]))


def test_both_groups_are_resampled_and_independently() -> None:
    """Equal scores, so that a bootstrap which pairs seeds, or draws one group only, has another width."""
    scores = np.random.default_rng(5).normal(size=60)
    width = {name: each[1] - each[0] for name, each in {
        "two": difference_between(scores, scores, np.mean)[1:],
        "one": difference_between(scores, np.zeros(60), np.mean)[1:],
    }.items()}  # fmt: skip
    assert width["two"] == pytest.approx(np.sqrt(2) * width["one"], rel=0.08)


def test_counting_ranks_is_counting_pairs() -> None:
    rng = np.random.default_rng(9)
    for n, m in itertools.product(range(1, 7), repeat=2):
        x, y = (rng.integers(-3, 4, size=(20, size)).astype(np.float64) for size in (n, m))
        x[0, 0], y[1, 0] = np.inf, -np.inf
        oracle = [probability_of_improvement(a, b) for a, b in zip(x, y, strict=True)]
        np.testing.assert_allclose(improvements(x, y), oracle)


def test_the_interval_of_an_improvement_is_scipys_bootstrap() -> None:
    rng = np.random.default_rng(6)
    x, y = rng.normal(0.5, 1.0, size=20), rng.normal(size=25)
    oracle = scipy.stats.bootstrap(
        (x, y), lambda a, b: probability_of_improvement(a, b), vectorized=False, method="percentile", n_resamples=4_000,
        rng=np.random.default_rng(7),
    ).confidence_interval  # fmt: skip
    found = improvement(x, y)
    assert found.value == probability_of_improvement(x, y)
    assert found.low == pytest.approx(oracle.low, abs=0.02)
    assert found.high == pytest.approx(oracle.high, abs=0.02)


@pytest.mark.parametrize(("n", "m"), [(4, 30), (30, 4), (1, 1)])
def test_few_seeds_in_one_group_have_no_interval(n: int, m: int) -> None:
    x, y = np.arange(float(n)), np.arange(float(m))
    for found in (difference_between(x, y), improvement(x, y)):
        assert np.isfinite(found.value)
        assert np.isnan(found[1:]).all()


def test_scores_that_are_not_numbers_or_without_end() -> None:
    assert np.isnan(difference_between([np.nan, *LOW], HIGH)).all()
    assert np.isnan(improvement([np.nan, *LOW], HIGH)).all()
    never = [-np.inf] * 5
    assert np.isnan(difference_between(never, never)).all()
    assert difference_between(never, LOW) == (-np.inf, -np.inf, -np.inf)
    assert improvement(never, LOW) == (0.0, 0.0, 0.0)


def test_thousands_of_seeds_take_a_moment() -> None:
    rng = np.random.default_rng(8)
    found = improvement(rng.normal(0.1, 1.0, 10_000), rng.normal(size=10_000))
    assert found.low < scipy.stats.norm.cdf(0.1 / np.sqrt(2)) < found.high
    assert found.high - found.low < 0.03


@pytest.mark.parametrize("call", [
    lambda: difference_between([], [1.0]), lambda: improvement([[1.0]], [1.0]),
    lambda: difference_between(LOW, HIGH, confidence=95),
])  # fmt: skip
def test_refusals(call: Any) -> None:
    with pytest.raises(ValueError, match=r"\w+ \w+"):
        call()


def covered(n: int, statistic: Any, failing: float, trials: int = 1_500) -> float:
    """How often the interval holds the true difference; each seed fails with a probability."""
    rng = np.random.default_rng(11)

    def scores(good: float) -> np.ndarray:
        return np.where(rng.random(n) < failing, rng.uniform(0.0, 100.0, n), rng.normal(good, 10.0, n))

    true, hits = 20.0 * (1.0 - failing), 0
    for trial in range(trials):
        _, low, high = difference_between(scores(420.0), scores(400.0), statistic, seed=trial)
        hits += low <= true <= high
    return hits / trials


@pytest.mark.slow
def test_the_interval_covers_as_often_as_documented() -> None:
    for n in (5, 10, 40):
        assert covered(n, iqm, 0.0) == pytest.approx(0.94, abs=0.02)
    for n, share in ((5, 0.84), (10, 0.89), (20, 0.93)):
        assert covered(n, np.mean, 0.2) == pytest.approx(share, abs=0.025)


def test_a_comparison_has_every_number() -> None:
    found = bx.compare({"low": scored(*LOW), "high": scored(*HIGH), "few": scored(1.0, 1.0)})
    assert [row.name for row in found.scores] == ["low", "high", "few"]
    for row, run in zip(found.scores, found.runs.values(), strict=True):
        assert (row.agent, row.steps, row.unit, row.summary.n) == ("dqn", 1000, "steps", len(run.scores))
        np.testing.assert_array_equal(row.summary.scores, run.scores)
    assert [(pair.earlier, pair.later) for pair in found.pairs] == [("low", "high"), ("low", "few"), ("high", "few")]
    first, second, _ = found.pairs
    assert first.iqm == difference_between(HIGH, LOW)
    assert first.mean == difference_between(HIGH, LOW, np.mean)
    assert first.improvement == improvement(HIGH, LOW)
    assert first.in_words() == "higher"
    assert np.isnan(second.iqm.low)
    assert second.in_words() == "too few seeds for an interval: it needs 5 in each run"
    assert "an interval needs 5 seeds: few has 2 seeds" in found.remarks
    assert any(remark.startswith("each interval is of one pair by itself: with 3 pairs") for remark in found.remarks)


def test_a_difference_in_words() -> None:
    assert bx.compare([scored(*HIGH), scored(*LOW)]).pairs[0].in_words() == "lower"
    assert bx.compare([scored(*LOW), scored(*(x + 0.1 for x in LOW))]).pairs[0].in_words() == "no clear difference"
    broken = bx.compare([scored(*LOW), scored(*LOW[:4], np.nan)])
    assert broken.pairs[0].in_words() == "no interval: scores are not numbers, or infinite"
    assert "some seeds have a score that is missing or infinite: dqn (2)" in broken.remarks


def test_a_column_of_the_history_is_compared_by_its_last_known_values() -> None:
    one, other = make_run(np.array([[1.0, 2.0], [3.0, np.nan]])), make_run(np.array([[5.0, 7.0], [5.0, 8.0]]))
    one.scores = []
    found = bx.compare([one, other], "return")
    assert [row.summary.scores.tolist() for row in found.scores] == [[2.0, 3.0], [7.0, 8.0]]
    assert found.metric == "return at the last record"
    assert "dqn has not ended: its last record is at 200 of 1,000 steps" in found.remarks


def test_settings_that_differ_are_listed() -> None:
    one = scored(*LOW, config=bx.DQN(learning_rate=0.001))
    other = scored(*LOW, config=bx.DQN(double=True, learning_rate=0.001), steps=2_000)
    found = bx.compare({"a": one, "b": other})
    assert found.settings == {"steps": ("1000", "2000"), "double": ("False", "True")}
    assert "the runs differ in length: a 1,000 steps, b 2,000 steps" in found.remarks
    table = bx.compare([one, scored(*LOW, config=bx.QLearning(gamma=0.5))])
    assert table.settings["agent"] == ("'dqn'", "'q-learning'")
    assert table.settings["gamma"] == ("0.99", "0.5")
    assert "double" not in table.settings  # which a table does not have


def test_arguments_of_the_environment_differ_one_by_one() -> None:
    maps = ["S" + "F" * 98 + last for last in "GH"]  # too long for a message, and the same for the first letters
    one = scored(*LOW, env_kwargs={"desc": [maps[0]], "is_slippery": True})
    other = scored(*LOW, env_kwargs={"desc": [maps[1]], "is_slippery": True, "extra": 3})
    found = bx.compare({"a": one, "b": other}).settings
    assert found == {"env desc": (repr([maps[0]]), repr([maps[1]])), "env extra": ("default", "3")}


def test_seeds_that_differ_are_listed() -> None:
    one, other = scored(*range(12)), scored(*range(12), seeds=list(range(1, 13)))
    assert bx.compare([one, other]).settings["seeds"] == ("12", str(list(range(1, 13))))


def test_the_present_folder_has_a_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here" / "inside").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "here" / "inside")
    runs = [scored(*LOW, folder=Path(each)) for each in (".", "..")]
    assert list(named_runs(runs)) == ["inside", "here"]
    assert list(read_runs(runs)) == ["inside", "here"]


def test_a_run_that_was_stopped_early_is_as_long_as_it_was() -> None:
    one = scored(*LOW)
    other = scored(*LOW, stopped=EarlyStop(300, "good enough"))
    found = bx.compare({"a": one, "b": other})
    assert [row.steps for row in found.scores] == [1_000, 300]
    assert "the runs differ in length: a 1,000 steps, b 300 steps" in found.remarks
    assert "b was stopped early at step 300: good enough" in found.remarks


def exact_run(gamma: float, values: list[float]) -> bx.Run:
    run = scored(*values, config=bx.QLearning(gamma=gamma))
    run.history.append(1000, {"exact/policy_return": values, "exact/policy_value": values})
    return run


def test_scores_of_different_kinds_are_remarked() -> None:
    assert any("dqn are means of episodes" in each for each in bx.compare([exact_run(0.9, LOW), scored(*LOW)]).remarks)
    different = "the scores are values discounted with different gamma, which have different scales"
    assert different in bx.compare([exact_run(0.9, LOW), exact_run(0.8, HIGH)]).remarks
    assert bx.compare([exact_run(0.9, LOW), exact_run(0.9, HIGH)]).remarks == ()
    other = scored(*LOW, env_kwargs={"is_slippery": False})
    assert (
        "the environment has different arguments: rewards may have different scales"
        in bx.compare([scored(*LOW), other]).remarks
    )


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        (lambda: [scored(1.0)], "at least two runs to compare; got 1 run"),
        (lambda: [scored(1.0)] * 2, "the same run twice: 'dqn' and 'dqn \\(2\\)'"),
        (lambda: {"a": scored(1.0, folder=Path("x")), "b": scored(1.0, folder=Path("./x"))}, "the same run twice"),
        (lambda: [scored(1.0), scored(1.0, world="Acrobot-v1")], "different environments"),
        (lambda: [scored(1.0), scored(1.0, scores=[])], r"dqn \(2\): the run stopped at step 100 of 1,000"),
        (lambda: ["missing", "other"], "no run in missing"),
    ],
)
def test_what_cannot_be_compared_is_an_error(runs: Any, message: str) -> None:
    with pytest.raises(bx.ConfigError, match=message):
        bx.compare(runs())


def test_an_unknown_metric_names_the_nearest_column() -> None:
    with pytest.raises(bx.ConfigError, match=r"`metric` is not in dqn: .* did you mean 'rollout/ep_rew_mean'"):
        bx.compare([scored(*LOW), scored(*HIGH)], "rollout/ep_rew_men")


HOSTILE = "<script>alert(1)</script>\x1b[2J$&\"'"


def test_it_prints_as_tables_without_harm() -> None:
    text = str(bx.compare({HOSTILE: scored(*LOW), "high": scored(*HIGH, config=bx.DQN(double=True))}))
    assert "\x1b[2J" not in text
    lines = text.splitlines()
    assert lines[0] == "CartPole-v1: scores of the final policies"
    row = next([cell.strip() for cell in line.split("│")[1:-1]] for line in lines if line.startswith("│ high  "))
    low, high = difference_between(HIGH, LOW)[1:]
    assert row[:4] == ["high", "dqn", "1,000 steps", "5"]
    assert row[-2:] == ["4", "9"]
    assert f"{iqm(HIGH) - iqm(LOW):.4g} [{low:.4g}, {high:.4g}]" in text
    assert "setting that differs" in text


def test_a_notebook_shows_it_escaped() -> None:
    run = replace(make_run(np.tile(np.array(LOW)[:, None], (1, 4))), world=HOSTILE)
    html = bx.compare({HOSTILE: run, "other": replace(run, config=bx.DQN(double=True))})._repr_html_()
    root = ElementTree.fromstring(html)  # noqa: S314 - we wrote it
    assert "<script" not in html
    assert "\x1b" not in html
    tables = root.findall(".//table")
    assert [len(table.findall("tbody/tr")) for table in tables] == [2, 1, 1]
    assert root.findall(".//{http://www.w3.org/2000/svg}svg")
    shown = "".join(root.itertext())
    assert "<script>alert(1)</script>\\x1b[2J$&\"'" in shown


def test_the_command_compares_two_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    short: dict[str, Any] = {"steps": 300, "seeds": 5, "records": 3, "final_episodes": 2}
    one = bx.train("corridor", "q-learning", **short, out="one", learning_rate=0.01)
    other = bx.train("corridor", "sarsa", **short, out="two")
    done = CliRunner().invoke(main, ["compare", "one", "two", "--json"])
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    assert [row["scores"] for row in said["runs"]] == [one.scores, other.scores]
    assert said["runs"][0]["summary"]["iqm"] == one.summary().iqm
    (pair,) = said["pairs"]
    assert pair["iqm"] == difference_between(other.scores, one.scores)._asdict()
    assert pair["improvement"] == improvement(other.scores, one.scores)._asdict()
    assert said["settings"]["agent"] == {"one": "'q-learning'", "two": "'sarsa'"}
    assert said["settings"]["learning_rate"]["one"] == "0.01"
    text = CliRunner().invoke(main, ["compare", "one", "two", "--metric", "exact/q_error"]).stdout
    assert "corridor: exact/q_error at the last record" in text
    assert f"{one.history['exact/q_error'][:, -1].max():.4g}" in text
    for words, message in (
        (["compare", "one"], "at least two runs"),
        (["compare", "one", "three"], "no run in three"),
        (["compare", "one", "two", "--metric", "exact/regrt"], "did you mean 'exact/regret'"),
        (["compare", "one", "two", "--confidence", "2"], "confidence=2.0 is outside"),
    ):
        failed = CliRunner().invoke(main, words)
        assert failed.exit_code == 2, failed.output
        assert message in failed.output
