"""NumPy. The learning curves of runs, and a chart of every other column of their histories."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TypeAlias

import numpy as np

from bellmax.contracts import counted
from bellmax.page.charts import DRAWN_SEEDS, Chart, Line, draw_chart, make_line
from bellmax.page.columns import HIDDEN, LEARNING, axis_of, is_time, score_column, words_of
from bellmax.page.document import Html, Section, inner, tag
from bellmax.training.facts import is_discounted
from bellmax.training.history import SCORES
from bellmax.training.run import Run

MOST_CHARTS = 40  # of a page; a run may have hundreds of columns of your own
Level: TypeAlias = tuple[str, float]  # the name and the value of a horizontal line


def lines_of(runs: Mapping[str, Run], shown: Iterable[str], column: str) -> tuple[Line, ...]:
    """Return a line for each of the runs `shown` that has a column; a run keeps its color in all charts."""
    color = {name: i for i, name in enumerate(runs)}
    return tuple(
        make_line(name, run.history["step"], run.history[column], [f"seed {seed}" for seed in run.seeds], color[name])
        for name, run in ((name, runs[name]) for name in shown)
        if column in run.history.columns and np.isfinite(run.history[column]).any()
    )


def chart_of(
    runs: Mapping[str, Run], shown: Sequence[str], column: str, identifier: str, levels: Sequence[Level] = ()
) -> Html:
    """Return the chart of a column of the runs `shown`, whose steps are of one unit; nothing if none has numbers."""
    lines = lines_of(runs, shown, column)
    if not lines:
        return Html()
    title, note = words_of(column)
    words = f"{note} ({column})" if title != column else ""
    chart = Chart(identifier, title, words, lines, axis_of(runs[shown[0]]), tuple(levels))
    return draw_chart(chart)


def optima_of(runs: Mapping[str, Run], shown: Sequence[str]) -> list[Level]:
    """Return the exact optimal return of each of the runs `shown` that has one; a single level where they agree."""
    column = "exact/optimal_return"
    known = [name for name in shown if column in runs[name].history.columns]
    found = {name: float(runs[name].history.last(column)[0]) for name in known}
    if len(set(found.values())) == 1:
        return [("optimum", next(iter(found.values())))]
    return [(f"optimum of {name}", value) for name, value in found.items()]


def curves_section(runs: Mapping[str, Run]) -> Section:
    """Return the learning curves, one chart for each environment and kind of score, and the button for seeds."""
    groups: dict[tuple[str, str | None, str], list[str]] = {}
    for name, run in runs.items():
        groups.setdefault((run.world, score_column(run), run.unit), []).append(name)
    figures = []
    for i, ((world, column, _), group) in enumerate(groups.items()):
        if column is None:
            continue
        levels = optima_of(runs, group) if column == SCORES[0] else []
        heading = tag("h3", world) if len(groups) > 1 else None
        figures += [heading, tag("div", chart_of(runs, group, column, f"curve-{i}", levels), class_="hero")]
    if not any(figures):
        return Section("curves", "Learning curves", tag("p", "No record has a score yet."))
    seeds = max(len(run.seeds) for run in runs.values())
    shown = max(DRAWN_SEEDS.of(len(group)) for group in groups.values())
    notes = ["The line is the interquartile mean over seeds, the band its 95 % interval (from five seeds on)."]
    notes += [f"Up to {shown} seeds of each run are drawn."] if seeds > shown else []
    drawn = [runs[name].history[column] for (_, column, _), group in groups.items() if column for name in group]
    if any(np.isinf(values).any() for values in drawn):
        notes.append("An infinite value, of a policy that never ends, counts as the lowest one, and is not drawn.")
    if any(is_discounted(run.history, run.config.gamma) for run in runs.values()):
        notes.append("Where an environment has no time limit, exact returns are discounted by γ.")
    button = tag("button", "Every seed", id="seeds", type="button", aria_pressed="false") if seeds > 1 else None
    note = tag("p", " ".join(notes), class_="note")
    return Section("curves", "Learning curves", inner([note, tag("div", button), *figures]))


def learning_section(runs: Mapping[str, Run]) -> Section:
    """Return charts of loss, values, TD errors and ε, then of all other columns."""
    names = list(dict.fromkeys(name for run in runs.values() for name in run.history.columns))
    curves, units = {score_column(run) for run in runs.values()}, dict.fromkeys(run.unit for run in runs.values())
    drawn = curves if len(curves) == 1 else set()  # else another run may have it besides its learning curve
    rest = [name for name in names if name not in HIDDEN and not is_time(name) and name not in drawn]
    ordered = [*(name for name in LEARNING if name in rest), *(name for name in rest if name not in LEARNING)]
    charts = []
    for i, column in enumerate(ordered[:MOST_CHARTS]):
        shown = {name: run for name, run in runs.items() if score_column(run) != column}
        for j, unit in enumerate(units):
            group = [name for name, run in shown.items() if run.unit == unit]
            charts.append(chart_of(runs, group, column, f"column-{i}-{j}"))
    left_out = len(ordered) - MOST_CHARTS
    note = tag("p", f"{counted(left_out, 'more column')} in history.csv.") if left_out > 0 else None
    body = inner([tag("div", charts, class_="charts"), note]) if any(charts) else Html()
    return Section("learning", "What happened while learning", body)
