"""NumPy. The learning curves of runs, and a chart of every other column of their histories."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bellmax.contracts import counted
from bellmax.page.charts import DRAWN_SEEDS, Chart, Line, draw_chart, make_line
from bellmax.page.columns import HIDDEN, LEARNING, axis_of, is_time, score_column, words_of
from bellmax.page.document import Html, Section, inner, tag
from bellmax.training.history import SCORES
from bellmax.training.run import Run

MOST_CHARTS = 40  # of a page; a run may have hundreds of columns of your own


def lines_of(runs: Mapping[str, Run], column: str) -> tuple[Line, ...]:
    """Return a line for each run that has a column; a run keeps its color in all charts."""
    return tuple(
        make_line(name, run.history["step"], run.history[column], [f"seed {seed}" for seed in run.seeds], color)
        for color, (name, run) in enumerate(runs.items())
        if column in run.history.columns and np.isfinite(run.history[column]).any()
    )


def chart_of(runs: Mapping[str, Run], column: str, identifier: str, levels: tuple[tuple[str, float], ...] = ()) -> Html:
    """Return the chart of a column; nothing if no run has numbers in it."""
    lines = lines_of(runs, column)
    if not lines:
        return Html()
    title, note = words_of(column)
    words = f"{note} ({column})" if title != column else ""
    chart = Chart(identifier, title, words, lines, axis_of(next(iter(runs.values()))), levels)
    return draw_chart(chart)


def curves_section(runs: Mapping[str, Run]) -> Section:
    """Return the learning curves, one chart for each environment and kind of score, and the button for seeds."""
    groups: dict[tuple[str, str | None, str], dict[str, Run]] = {}
    for name, run in runs.items():
        groups.setdefault((run.world, score_column(run), run.unit), {})[name] = run
    figures = []
    for i, ((world, column, _), group) in enumerate(groups.items()):
        if column is None:
            continue
        best = [run.history["exact/optimal_return"] for run in group.values() if column == SCORES[0]]
        levels = (("optimum", float(best[0][0, -1])),) if best and best[0].size else ()
        heading = tag("h3", world) if len(groups) > 1 else None
        figures += [heading, tag("div", chart_of(group, column, f"curve-{i}", levels), class_="hero")]
    if not any(figures):
        return Section("curves", "Learning curves", tag("p", "No record has a score yet."))
    seeds = max(len(run.seeds) for run in runs.values())
    drawn = f"Up to {DRAWN_SEEDS} seeds of each run are drawn." if seeds > DRAWN_SEEDS else ""
    note = f"The line is the interquartile mean over seeds, the band its 95 % interval (from five seeds on). {drawn}"
    button = tag("button", "Every seed", id="seeds", type="button", aria_pressed="false") if seeds > 1 else None
    return Section("curves", "Learning curves", inner([tag("p", note, class_="note"), tag("div", button), *figures]))


def learning_section(runs: Mapping[str, Run]) -> Section:
    """Return charts of loss, values, TD errors and ε, then of all other columns."""
    names = list(dict.fromkeys(name for run in runs.values() for name in run.history.columns))
    curves = {score_column(run) for run in runs.values()}
    rest = [name for name in names if name not in HIDDEN and not is_time(name) and name not in curves]
    ordered = [*(name for name in LEARNING if name in rest), *(name for name in rest if name not in LEARNING)]
    charts = [chart_of(runs, name, f"column-{i}") for i, name in enumerate(ordered[:MOST_CHARTS])]
    left_out = len(ordered) - MOST_CHARTS
    note = tag("p", f"{counted(left_out, 'more column')} in history.csv.") if left_out > 0 else None
    body = inner([tag("div", charts, class_="charts"), note]) if any(charts) else Html()
    return Section("learning", "What happened while learning", body)
