"""The report as a page: its numbers are those of the run, and nothing in it can do anything else."""

import html
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import opened
from click.testing import CliRunner

import bellmax as bx
from bellmax.cli import main
from bellmax.contracts import ConfigError
from bellmax.mdp.outcomes import reachable
from bellmax.page import report_file, windows
from bellmax.page.charts import (
    LISTED,
    READ_POINTS,
    RESAMPLES,
    Chart,
    column_intervals,
    draw_chart,
    extents,
    make_line,
    readings,
    spaced_indices,
)
from bellmax.page.document import Html, Section, assemble, data_block, hashed, inner, number_text, table, tag
from bellmax.page.greedy_episodes import Greedy, learned_rewards, play_with_values
from bellmax.page.report_file import MOST_RUNS as MOST_COMPARED
from bellmax.page.report_file import read_runs, report_page
from bellmax.page.run_charts import curves_section, learning_section, optima_of
from bellmax.page.run_sections import different_settings, lead_of, verdict_of
from bellmax.page.value_sections import Outcome, outcome_table
from bellmax.page.windows import MOST_RUNS, windows_of
from bellmax.recording import explaining
from bellmax.report.settings import settings_of
from bellmax.report.text import describe_run
from bellmax.summary_statistics import bootstrap_interval, iqm
from bellmax.training.early_stop import EarlyStop
from bellmax.training.history import History
from bellmax.training.options import RunOptions
from bellmax.training.run import Run
from bellmax.watching.video import video_path

HOSTILE = "</script><script>window.hacked=1</script><img src=x onerror='window.hacked=1'>\x1b[2J\"'&\u202e"


def made_run(seeds: int, records: int, columns: tuple[str, ...], world: str = "CartPole-v1") -> Run:
    """A run with random numbers in its history, and an end."""
    random = np.random.default_rng(seeds)
    history = History(range(seeds))
    for t in range(records):
        history.append(1_000 * (t + 1), {name: random.normal(size=seeds) for name in columns})
    scores = history[columns[0]][:, -1].tolist()
    steps = 1_000 * records
    return Run(world, bx.DQN(), steps, list(range(seeds)), "compiled", {}, history, scores=scores)


@pytest.fixture(scope="module")
def pole(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A short run of DQN, saved and read again."""
    folder = tmp_path_factory.mktemp("runs") / "pole"
    agent = bx.DQN(net_arch=(16,), learning_starts=50, batch_size=16)
    bx.train("CartPole-v1", agent, steps=600, seeds=2, records=4, eval_episodes=2, final_episodes=3, out=folder)
    return bx.load(folder)


@pytest.fixture(scope="module")
def cliff(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A table with six seeds, so that there are intervals."""
    folder = tmp_path_factory.mktemp("runs") / "cliff"
    return bx.train("cliff", "q-learning", steps=3_000, seeds=6, records=5, final_episodes=3, out=folder)


# ---- text and elements


def test_text_is_escaped_and_markup_is_not() -> None:
    element = tag("p", "a < b & c", tag("b", "d"), class_="x", title='"quoted" <i>', hidden=True, id=None)
    assert element == '<p class="x" title="&quot;quoted&quot; &lt;i&gt;" hidden>a &lt; b &amp; c<b>d</b></p>'
    assert inner([None, "x", [1, 2.5, Html("<hr>")]]) == "x12.5<hr>"
    assert "\x1b" not in tag("p", HOSTILE)
    assert "<img" not in tag("p", HOSTILE)
    assert tag("br") == "<br>"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (math.nan, "–"),
        (math.inf, "∞"),
        (-math.inf, "−∞"),
        (1234567.0, "1,234,567"),
        (0.1234567, "0.123457"),
        (-1234567.4, "-1,234,567"),
        (0.0, "0"),
    ],
)
def test_numbers_as_people_read_them(value: float, text: str) -> None:
    assert number_text(value) == text


def test_json_for_scripts_cannot_leave_its_block() -> None:
    value = {"name": HOSTILE, "x": [math.nan, 1.5], "line": "\u2028"}
    block = data_block("it", value)
    content = re.fullmatch(r'<script type="application/json" id="it">(.*)</script>', block, re.DOTALL)
    assert content is not None
    assert "<" not in content[1]
    assert json.loads(content[1]) == {"name": HOSTILE, "x": [None, 1.5], "line": "\u2028"}


def test_the_policy_allows_exactly_what_is_in_the_page() -> None:
    page = assemble("Title", None, [Section("a", "A", tag("p", "x")), Section("b", "B", Html())], ["theme.js"])
    script = re.search(r'<script type="module">(.*?)</script>', page, re.DOTALL)
    style = re.search(r"<style>(.*?)</style>", page, re.DOTALL)
    assert script is not None
    assert style is not None
    policy = re.search(r'Content-Security-Policy" content="(.*?)"', page)
    assert policy is not None
    words = policy[1].replace("&#x27;", "'").split("; ")
    assert words[0] == "default-src 'none'"
    assert f"script-src {hashed(script[1])}" in words
    assert f"style-src {hashed(style[1])}" in words
    assert 'id="b"' not in page, "an empty section is left out"


def test_a_table_has_headings_and_a_name() -> None:
    made = table(["", "x"], [["first", number_text(1.5)]], "What it is")
    assert "<caption>What it is</caption>" in made
    assert '<th scope="row">first</th><td>1.5</td>' in made


# ---- charts


def test_intervals_of_all_records_are_those_of_each() -> None:
    values = np.random.default_rng(0).normal(size=(7, 9))
    values[2, 4] = np.nan
    low, high = column_intervals(values)
    for t in range(9):
        expected = bootstrap_interval(values[:, t], resamples=RESAMPLES)
        np.testing.assert_allclose((low[t], high[t]), expected, rtol=1e-14)
    assert np.isnan(column_intervals(values[:4])[0]).all(), "four seeds have no interval"


def test_many_records_are_thinned_and_keep_their_ends() -> None:
    at = spaced_indices(1_000, READ_POINTS.line)
    assert at[0] == 0
    assert at[-1] == 999
    assert len(at) == READ_POINTS.line
    np.testing.assert_array_equal(spaced_indices(3, 10), [0, 1, 2])
    np.testing.assert_array_equal(spaced_indices(1, 10), [0])


@pytest.mark.parametrize(("n_lines", "seeds"), [(1, 1_000), (5, 50), (20, 50)])
def test_a_chart_stays_small_however_much_it_shows(n_lines: int, seeds: int) -> None:
    random, labels = np.random.default_rng(2), [f"seed {i}" for i in range(seeds)]
    lines = [
        make_line(f"run {i}", 1_000 * np.arange(500), random.normal(i, 1e3, (seeds, 500)), labels, i)
        for i in range(n_lines)
    ]
    page = draw_chart(Chart("c", "Title", "", tuple(lines), "environment steps"))
    assert len(page.encode()) < 125_000  # a report has up to 24 charts, few of them drawn twice as these are
    for line in lines:
        assert line.name in page


def test_the_ticks_of_a_chart_are_not_rounded() -> None:
    line = make_line("small", np.arange(5), np.linspace(0.0005, 0.0035, 5)[None], ["seed 0"])
    drawn = draw_chart(Chart("c", "Title", "", (line,), "environment steps"))
    ticks = {float(text) for text in re.findall(r"<text[^>]*>(0\.\d+)</text>", drawn)}
    assert {0.001, 0.002, 0.003} <= ticks
    places = [place for place in re.findall(r' d="([^"]*)"', drawn) if "." in place]
    assert places
    assert not any(re.search(r"\.\d{3}", place) for place in places)


def test_a_chart_reads_out_the_numbers_it_draws() -> None:
    values = np.random.default_rng(1).normal(size=(6, 12))
    values[:, 3] = -np.inf
    line = make_line("one", np.arange(12), values, [f"seed {i}" for i in range(6)])
    chart = Chart("c", "Title", "note", (line,), "environment steps", (("best", 9.0),))
    across, up = extents(chart)
    assert across == (0.0, 11.0)
    assert up[1] > 9.0
    data: Any = readings(chart, across, up)
    expected = [float(f"{x:.6g}") for x in iqm(values[:, 5:], axis=0)]
    assert data["lines"][0]["middle"][5:] == expected
    assert math.isnan(data["lines"][0]["middle"][3])
    figure = draw_chart(chart)
    assert figure.count("<path") > 6 + 2
    assert "var(--color-1)" in figure
    assert 'style="' not in figure, "the content security policy forbids it"


def test_single_seeds_that_are_hidden_do_not_stretch_the_axis() -> None:
    values = np.zeros((6, 12))
    values[0, 5] = -1_000.0
    chart = Chart(
        "c", "Title", "note", (make_line("one", np.arange(12), values, [f"seed {i}" for i in range(6)]),), "x"
    )
    assert extents(chart)[1][0] < -1_000.0
    assert extents(chart, seeds=False)[1][0] > -600.0, "the interval is in it"
    figure = draw_chart(chart)
    short, whole = figure.split('class="with-seeds"')
    assert 'class="without-seeds"' in short
    assert ("−1,000</text>" in short, "−1,000</text>" in whole) == (False, True)
    assert ("seeds_0" in short, "seeds_0" in whole) == (False, True)
    values[0, 5] = 0.0
    assert "with-seeds" not in draw_chart(chart._replace(lines=(make_line("one", np.arange(12), values, ["a"] * 6),)))


def test_twenty_runs_have_lines_that_differ() -> None:
    lines = tuple(make_line(str(i), [0, 1], [[i, i]], ["seed 0"], i) for i in range(MOST_COMPARED))
    figure = draw_chart(Chart("c", "Title", "", lines, "x"))
    keys = re.findall(r'stroke-width="3"(?: stroke-dasharray="([\d ]+)")?></line></svg>', figure)
    shades = re.findall(r'class="line-key color-(\d)"', figure)
    assert len(set(zip(keys, shades, strict=True))) == len(lines)
    drawn = re.findall(r'stroke="var\(--color-(\d)\)" stroke-width="2.2"(?: stroke-dasharray="([\d,]+)")?', figure)
    assert len(set(drawn)) == len(lines)


@pytest.mark.parametrize(("predicted", "got", "shown"), [
    ([0.1 + 0.2, 1.3], [0.3, 1.3], ["0.8", "0.8", "0", "0"]),
    ([0.1 + 0.2, 1.3], [100.3, 101.3], ["0.8", "100.8", "-100", "0"]),
])  # fmt: skip
def test_rounding_is_no_difference(predicted: list[float], got: list[float], shown: list[str]) -> None:
    played = [
        Greedy(np.full(3, value), np.zeros(3), np.full(3, of), 0.0, False, None, np.zeros(3))
        for value, of in zip(predicted, got, strict=True)
    ]
    assert (
        re.findall(r"<td>(.*?)</td>", outcome_table(Outcome(made_run(1, 1, ("train/loss",)), [played]), "it"))[1:5]
        == shown
    )


def test_nothing_but_a_constant_is_drawn() -> None:
    draw_chart(Chart("c", "Title", "", (make_line("one", [5], [[2.0]], ["seed 0"]),), "steps"))
    draw_chart(Chart("c", "Title", "", (make_line("one", [5, 6], [[np.nan, np.nan]], ["seed 0"]),), "steps"))


# ---- settings and episodes


def test_settings_say_where_they_come_from() -> None:
    run = made_run(1, 1, ("train/loss",), "no-recipe")
    run.config = bx.DQN(batch_size=17)
    origin = {row.name: row.origin for row in settings_of(run)}
    assert origin["batch_size"] == "given"
    assert origin["gamma"] == "agent's default"
    assert [name for name, text in origin.items() if text == "given"] == ["batch_size"]


def test_returns_are_discounted_sums_of_learned_rewards() -> None:
    config = bx.DQN(gamma=0.5, reward_scale=2.0, reward_clip=3.0)
    np.testing.assert_array_equal(learned_rewards(config, np.array([1.0, 2.0, -9.0])), [2.0, 3.0, -3.0])
    run = bx.train("corridor", bx.QLearning(gamma=0.5), steps=2_000, final_episodes=1)
    played = play_with_values(run.policy(), run.find_source(), 3)
    assert played is not None
    for episode in played:
        length = episode.predicted.size
        assert episode.rewards.size == episode.actions.size == length
        direct = sum(0.5**t * r for t, r in enumerate(episode.rewards))
        assert not episode.cut
        assert episode.returns[0] == pytest.approx(direct, abs=1e-12)
        assert episode.returns[-1] == episode.rewards[-1]
        assert episode.raw == episode.rewards.sum()
        assert episode.predicted[0] == run.policy().table()[0].max()


# ---- whole pages, in a browser


def numbers_of_tables(page: Any) -> dict[str, list[list[str]]]:
    """The cells of every table on the page, by its caption."""
    found: dict[str, list[list[str]]] = page.evaluate(
        """() => Object.fromEntries([...document.querySelectorAll("table")].map((table) => [
            table.caption.textContent,
            [...table.querySelectorAll("tr")].map((row) => [...row.cells].map((cell) => cell.textContent)),
        ]))"""
    )
    return found


def check_charts(page: Any, run: Run) -> None:
    """Every number under a chart of one run equals the history's."""
    tables = numbers_of_tables(page)
    charts = page.evaluate(
        """() => [...document.querySelectorAll("#curves figure.chart, #learning figure.chart")].map((figure) => [
            figure.querySelector("strong").textContent, figure.querySelector("figcaption").textContent,
            JSON.parse(document.getElementById(figure.id + "-data").textContent)])"""
    )
    assert charts
    for title, caption, data in charts:
        named = re.search(r"\(([^()]*/[^()]*)\)$", caption)
        column = named[1] if named else title
        values = run.history[column]
        values = np.where(np.isfinite(values), values, np.nan)
        (line,) = data["lines"]
        assert line["steps"] == run.history["step"].tolist()
        middle = [None if np.isnan(x) else float(f"{x:.6g}") for x in iqm(values, axis=0)]
        assert line["middle"] == middle
        low = [bootstrap_interval(values[:, t], resamples=RESAMPLES)[0] for t in range(values.shape[1])]
        assert line["low"] == [None if np.isnan(x) else float(f"{x:.6g}") for x in low]
        rows = tables[f"{title}: numbers"][1:]
        assert len(rows) == min(len(run.history), LISTED.line)
        for row, step, column_values in zip(rows, run.history["step"], values.T, strict=True):
            assert row[0] == f"{step:,}"
            assert row[1] == number_text(iqm(column_values))
            several = len(run.seeds) > 1
            assert row[4:] == [number_text(x) for x in column_values] * several


@pytest.mark.slow
def test_a_report_of_a_network(pole: Run) -> None:
    path = bx.write_report(pole)
    assert path == pole.folder / "report.html"
    bx.load(pole.folder)  # the file beside the others does not disturb the run
    with opened(path.as_uri()) as seen:
        assert seen.errors == seen.requests == []
        assert seen.page.title() == "dqn on CartPole-v1"
        headings = seen.page.locator("h2").all_text_contents()
        assert headings == [
            "Verdict", "Learning curves", "Values against returns", "An episode", "Slices of the values",
            "Step by step", "What happened while learning", "What was drawn from the replay buffer",
            "Where the time went", "Settings", "Versions and machine",
        ]  # fmt: skip
        check_charts(seen.page, pole)
        score = seen.page.locator(".cards li").first.inner_text()
        assert f"{pole.summary().iqm:.4g}" in score
        tables = numbers_of_tables(seen.page)
        assert [row[1] for row in tables["Scores of the final policies"][1:]] == [number_text(x) for x in pole.scores]
        settings = {row[0]: row[1:3] for row in tables["Settings of pole"][1:]}
        assert settings["batch_size"] == ["16", "given"]
        assert settings["gamma"] == ["0.99", "agent's default"]
        starts = tables["Start of the episodes: value and discounted return, means"][1:]
        played = [play_with_values(pole.policy(seed), pole.find_source()) for seed in pole.seeds]
        for row, episodes in zip(starts, played, strict=True):
            assert episodes is not None
            predicted = np.mean([episode.predicted[0] for episode in episodes])
            got = np.mean([episode.returns[0] for episode in episodes])
            assert row[1:4] == [number_text(float(x), 5) for x in (predicted, got, predicted - got)]
        assert seen.violations() == []


def test_a_report_of_a_table_has_intervals_and_the_optimum(cliff: Run, tmp_path: Path) -> None:
    path = bx.write_report(cliff.folder, tmp_path / "it.html")
    with opened(path.as_uri(), dark=True, width=390, height=800) as seen:
        check_charts(seen.page, cliff)
        assert seen.errors == seen.requests == []
        assert seen.violations() == []
        wide = seen.page.evaluate("document.documentElement.scrollWidth")
        assert wide <= 390, "nothing makes a phone scroll sideways"
        assert "optimum" in seen.page.locator("#curves .legend").first.inner_text()


def test_the_map_follows_the_slider_over_training(tmp_path: Path) -> None:
    agent = bx.QLearning(learning_rate=0.5)
    run = bx.train("cliff", agent, steps=4_000, records=4, final_episodes=1, keep_policies=True)
    tables = {step: policy.table() for step, policy in run.policies_over_time(0)}
    assert len(tables) == 4
    exact = bx.solve(bx.cliff(), run.config.gamma)
    path = bx.write_report(run, tmp_path / "it.html", explain=())
    with opened(path.as_uri()) as seen:
        figure = seen.page.locator("#map-0")
        slider = figure.locator("input")
        for at, (step, table_) in enumerate(tables.items()):
            slider.focus()
            seen.page.keyboard.press("Home")
            for _ in range(at):
                seen.page.keyboard.press("ArrowRight")
            right, off = distance(exact, table_)
            words = f"the greedy action is an exact one in {right} of 37 states; values are up to {off:.3g} off"
            assert figure.locator(".readout").inner_text() == f"after {step:,} steps; {words}"
            assert figure.locator("svg:visible").count() == 1
            titles = figure.locator("svg:visible g.cell title").all_text_contents()
            shown = {int(m[1]): float(m[2]) for t in titles if (m := re.search(r"state (\d+)[^:]*: value (\S+?);", t))}
            assert len(shown) > 30
            for state, value in shown.items():
                assert value == pytest.approx(table_[state].max(), rel=1e-5, abs=1e-12)
        assert seen.errors == []
        assert seen.violations() == []


def distance(exact: bx.Solution, table_: np.ndarray) -> tuple[int, float]:
    """In how many states that occur a greedy action is exact, and the largest error of a value; by hand."""
    assert exact.mdp is not None
    known = np.flatnonzero(reachable(exact.mdp))
    best = exact.q[known] >= exact.v[known, None] - 1e-9
    right = best[np.arange(known.size), table_[known].argmax(axis=1)]
    return int(right.sum()), float(np.abs(table_[known].max(axis=1) - exact.v[known]).max())


def test_the_exact_answer_is_shown_on_the_map_and_instead_of_it(tmp_path: Path) -> None:
    run = bx.train("cliff", "q-learning", steps=2_000, records=2, final_episodes=1, keep_policies=True)
    exact = bx.solve(bx.cliff(), run.config.gamma)
    path = bx.write_report(run, tmp_path / "it.html", explain=())
    with opened(path.as_uri()) as seen:
        figure, choice = seen.page.locator("#map-0"), seen.page.locator("#map-0 select")
        marks = figure.locator('[data-layer="policy"]')
        assert not marks.is_visible()
        choice.focus()
        seen.page.keyboard.press("ArrowDown")
        assert figure.locator("svg:visible").count() == 2
        seen.page.set_viewport_size({"width": 390, "height": 844})
        widths = figure.locator("svg:visible").evaluate_all("(all) => all.map((each) => each.clientWidth)")
        assert widths == [int(figure.locator("svg:visible").first.get_attribute("width") or 0)] * 2, (
            "it scrolls on a phone"
        )
        assert seen.page.evaluate("document.documentElement.scrollWidth") == 390
        assert seen.violations() == []
        known = reachable(bx.cliff())
        best = exact.q[known] >= exact.v[known, None] - 1e-9
        assert marks.locator('polygon[fill="#ffffff"]').count() == best.sum()
        boxes = figure.locator("svg:visible").evaluate_all(
            "(all) => all.map((each) => JSON.stringify(each.getBoundingClientRect()))"
        )
        assert boxes[0] == boxes[1], "marks lie on the cells"
        assert seen.violations() == []
        seen.page.keyboard.press("ArrowDown")
        assert figure.locator("svg:visible").count() == 1
        assert figure.locator(".readout").inner_text() == "the exact answer"
        assert figure.locator("input").is_disabled()
        titles = figure.locator("svg:visible g.cell title").all_text_contents()
        shown = {int(m[1]): float(m[2]) for t in titles if (m := re.search(r"state (\d+)[^:]*: value (\S+?);", t))}
        assert shown == {s: pytest.approx(exact.v[s], rel=1e-5) for s in np.flatnonzero(known).tolist()}
        assert seen.errors == []
        assert seen.violations() == []


def test_seeds_theme_and_readout_by_keyboard(cliff: Run, tmp_path: Path) -> None:
    path = bx.write_report(cliff, tmp_path / "it.html")
    with opened(path.as_uri()) as seen:
        page = seen.page
        seeds = page.locator('.picture g[class*="seeds_"]').first
        assert not seeds.is_visible()
        page.locator("#seeds").press("Enter")
        assert seeds.is_visible()
        before = page.evaluate("getComputedStyle(document.body).backgroundColor")
        page.locator("#theme").press("Space")
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
        assert seen.violations() == []
        figure = page.locator("figure.chart").first
        figure.locator(".picture").focus()
        page.keyboard.press("End")
        values = cliff.history["exact/policy_return"][:, -1]
        low, high = bootstrap_interval(values, resamples=RESAMPLES)
        words = [f"{float(f'{x:.6g}'):g}" for x in (iqm(values), low, high)]
        said = figure.locator(".readout").inner_text().replace(",", "")
        assert said == f"environment steps 3000: {words[0]} [{words[1]} {words[2]}]"
        assert seen.errors == []


@pytest.mark.slow
def test_several_runs_are_compared(pole: Run, cliff: Run, tmp_path: Path) -> None:
    path = bx.write_report({"one": pole, "two": cliff, HOSTILE: cliff}, tmp_path / "it.html", explain=())
    with opened(path.as_uri()) as seen:
        assert seen.errors == seen.requests == []
        assert seen.page.title() == "Report of 3 runs"
        assert seen.page.evaluate("window.hacked") is None
        differing = numbers_of_tables(seen.page)["Settings in which the runs differ"]
        assert ["environment", "CartPole-v1", "cliff", "cliff"] in differing
        assert seen.violations() == []


def test_hostile_names_are_text(tmp_path: Path) -> None:
    run = made_run(5, 4, ("eval/mean_reward", f"own/{HOSTILE}"), HOSTILE)
    run.environment = {"command": [HOSTILE], "packages": {HOSTILE: HOSTILE}}
    run.env_kwargs = {HOSTILE: HOSTILE}
    path = tmp_path / "it.html"
    path.write_text(report_page({HOSTILE: run}), encoding="utf-8")
    with opened(path.as_uri()) as seen:
        assert seen.page.evaluate("window.hacked") is None
        assert seen.errors == seen.requests == []
        assert "<script>window.hacked" in seen.page.locator("h1").inner_text()
        assert seen.page.locator("main img").count() == 0


@pytest.mark.slow
def test_a_report_of_a_long_run_is_small_and_opens_fast(tmp_path: Path) -> None:
    columns = ("eval/mean_reward", "rollout/ep_rew_mean", "rollout/ep_len_mean", "rollout/episodes", "train/loss",
               "train/q", "train/max_reward", "rollout/exploration_rate", "eval/mean_ep_length", "time/fps", "own/a",
               "own/b")  # fmt: skip
    path = bx.write_report(made_run(10, 1_000, columns), tmp_path / "it.html", explain=())
    assert path.stat().st_size < 3_000_000
    with opened(path.as_uri()) as seen:
        loaded = seen.page.evaluate("performance.timing.loadEventEnd - performance.timing.navigationStart")
        assert 0 < loaded < 2_000
        assert seen.errors == []


# ---- what can be wrong


def test_an_unfinished_run_says_so() -> None:
    run = made_run(2, 3, ("train/loss",))
    run.scores = []
    page = report_page({"it": run}, explain=())
    assert "has not ended; 3,000 of 3,000 environment steps so far" in page
    run.history = History([0, 1])
    assert "has not ended; no record of its 3,000 environment steps yet" in report_page({"it": run}, explain=())


@pytest.mark.parametrize(
    ("runs", "path", "words"),
    [
        ([], None, "1 to 20 runs; got 0"), (3, None, "runs or their folders; got 3"),
        ("no such folder", None, "no such folder"), ([None], None, "runs or their folders"),
    ],
)  # fmt: skip
def test_what_is_not_a_run(runs: Any, path: Any, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        bx.write_report(runs, path)


def test_a_place_that_is_not_a_file(tmp_path: Path) -> None:
    run = made_run(1, 2, ("train/loss",))
    with pytest.raises(ConfigError, match="not saved in a folder"):
        bx.write_report(run)
    with pytest.raises(ConfigError, match="is a folder"):
        bx.write_report(run, tmp_path)
    with pytest.raises(ConfigError, match="does not exist"):
        bx.write_report(run, tmp_path / "a" / "b.html")
    with pytest.raises(ConfigError, match="write path="):
        bx.write_report(run, out="x.html")  # type: ignore[call-arg]


def test_equal_names_are_told_apart() -> None:
    run = made_run(1, 1, ("train/loss",))
    assert list(read_runs([run, run])) == ["CartPole-v1-dqn", "CartPole-v1-dqn (2)"]


def test_the_command(cliff: Run, tmp_path: Path) -> None:
    out = tmp_path / "it.html"
    done = CliRunner().invoke(main, ["report", str(cliff.folder), "--out", str(out), "--json", "--quiet"])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) == {"file": str(out), "bytes": out.stat().st_size}
    wrong = CliRunner().invoke(main, ["report", str(tmp_path / "nothing")])
    assert wrong.exit_code == 2


# ---- several runs


def words_on(page: str) -> str:
    """The text of a page without its elements."""
    return html.unescape(re.sub(r"<[^>]*>", " ", page))


def test_an_endless_policy_of_one_seed_does_not_hide_the_others() -> None:
    values = np.random.default_rng(2).normal(size=(6, 3))
    values[0, 1] = -np.inf
    line = make_line("one", np.arange(3), values, [f"seed {i}" for i in range(6)])
    assert line.middle[1] == iqm(values[:, 1])
    assert math.isnan(line.seeds[0, 1])
    low, high = bootstrap_interval(values[:, 1], resamples=RESAMPLES)
    assert low == -np.inf
    assert math.isnan(line.low[1])
    assert line.high[1] == high


def test_runs_that_count_other_things_have_charts_of_their_own() -> None:
    steps, episodes = (made_run(2, 3, ("eval/mean_reward", "train/loss")) for _ in range(2))
    episodes.options = RunOptions(episodes=3_000)
    page = learning_section({"a": steps, "b": episodes}).body
    assert re.findall(r'"axis":"([a-z ]+)"', page) == ["environment steps", "episodes"]
    assert re.findall(r'"name":"([ab])"', page) == ["a", "b"]
    assert "var(--color-2)" in page, "a run keeps its color"


def test_runs_of_other_optima_have_a_level_each() -> None:
    one, other, same = (made_run(2, 3, ("exact/policy_return",)) for _ in range(3))
    for run, best in ((one, 1.0), (other, 2.0), (same, 1.0)):
        run.history.append(4_000, {"exact/optimal_return": best})
    assert optima_of({"a": one, "c": same}, ["a", "c"]) == [("optimum", 1.0)]
    runs = {"a": one, "b": other}
    assert optima_of(runs, ["a", "b"]) == [("optimum of a", 1.0), ("optimum of b", 2.0)]
    assert optima_of({"a": made_run(1, 1, ("train/loss",))}, ["a"]) == []


def test_the_settings_that_differ_are_also_those_of_the_environment_and_the_run() -> None:
    one, other = made_run(2, 3, ("train/loss",)), made_run(2, 3, ("train/loss",))
    assert "The runs have the same settings" in different_settings({"a": one, "b": other})
    other.env_kwargs, other.options, other.seeds = {"is_slippery": False}, RunOptions(records=5), [4, 9]
    rows = re.findall(
        r'<th scope="row">(.*?)</th><td>(.*?)</td><td>(.*?)</td>', different_settings({"a": one, "b": other})
    )
    assert sorted(rows) == [
        ("environment argument is_slippery", "–", "False"), ("records", "20", "5"), ("seeds", "0, 1", "4, 9"),
    ]  # fmt: skip


def test_the_beginning_names_its_runs_and_says_how_many_it_leaves_out() -> None:
    run = made_run(1, 1, ("train/loss",))
    assert lead_of({"it": run}).startswith('<p class="lead">dqn in CartPole-v1')
    assert '<p class="lead">mine: dqn in CartPole-v1' in lead_of({"it": run, "mine": run})
    assert "2 more runs below." in lead_of({str(i): run for i in range(8)})
    assert "below" not in lead_of({str(i): run for i in range(6)})


def test_a_run_that_was_stopped_early_says_so_in_its_verdict() -> None:
    run = made_run(2, 3, ("train/loss",))
    run.stopped = EarlyStop(1_500, "good enough")
    said = words_on(verdict_of(run))
    assert "This run was stopped early at step 1,500: good enough." in said
    assert "1,500" in said.replace("step 1,500", "")
    assert "3,000" not in said


def test_what_is_discounted_says_so(cliff: Run) -> None:
    assert "optimum (discounted)" in verdict_of(cliff)
    body = curves_section({"it": cliff}).body
    assert "exact returns are discounted by γ" in body
    assert ">0</text>" in body
    assert ">0k<" not in body
    assert "policy / optimum (discounted)" in describe_run(cliff)
    limited = made_run(2, 3, ("exact/policy_return",))
    assert "discounted" not in curves_section({"it": limited}).body


def test_what_contradicts_itself_is_an_error(cliff: Run) -> None:
    done = CliRunner().invoke(main, ["report", str(cliff.folder), "--explain", "5", "--no-explain"])
    assert done.exit_code == 2
    assert "--explain and --no-explain exclude each other" in done.output


def test_every_run_has_the_steps_that_were_asked_for(cliff: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = {str(i): cliff for i in range(MOST_RUNS + 1)}
    assert [window["start"] for window in windows_of(runs, [5], False)] == [5] * (MOST_RUNS + 1)
    monkeypatch.setattr(windows, "chosen_steps", lambda run, steps: [5])
    assert len(windows_of(runs, None, False)) == MOST_RUNS


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="a folder in which nobody can write")
def test_a_folder_that_cannot_be_written_to_is_said_before_the_work(tmp_path: Path, monkeypatch: Any) -> None:
    """Root may write everywhere else."""
    run = bx.train("corridor", "q-learning", steps=50, final_episodes=1, out=tmp_path / "run")
    monkeypatch.setattr(report_file, "report_page", lambda *_: pytest.fail("it works before it looks"))
    monkeypatch.setattr(explaining, "explain", lambda *_, **__: pytest.fail("it works before it looks"))
    with pytest.raises(ConfigError, match="cannot write to output folder /proc"):
        bx.write_report(run, "/proc/it.html")
    with pytest.raises(ConfigError, match="cannot write to output folder /proc"):
        video_path("/proc/it.gif")
    for option in ("--html", "--json"):
        words = ["explain", str(tmp_path / "run"), "--at", "7", option, "/proc/it"]
        done = CliRunner().invoke(main, words)
        assert (done.exit_code, "cannot write to output folder /proc" in done.output) == (2, True), done.output
