"""NumPy. Charts of the page: static SVG by Vega-Lite (extra `report`), with a readout and the numbers in a table.

The colors are variables of the style sheet, so that one picture fits a light and a dark page. No script of Vega is in
the page: `assets/charts.js` shows the seeds and reads out values.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from bellmax.contracts import ConfigError, FloatArray, Json
from bellmax.files.storage import finite
from bellmax.page.document import Html, data_block, inner, number_text, table, tag
from bellmax.summary_statistics import MIN_SEEDS, iqm, percentiles_of_columns

WIDTH, HEIGHT = 480, 230  # of the plot, in the units of the picture
LEFT, RIGHT, TOP, BOTTOM = 58, 14, 10, 44
DRAWN_POINTS, LISTED_SEEDS = 2_000, 10  # of the single seeds of a chart; of a table
RESAMPLES = 500
MUCH_OF_AXIS = 0.8  # of the axis of single seeds: where the rest fills less, it has an axis of its own
COLORS = 6  # of the style sheet, for lines
DASHES = ("", "7 3", "2 3", "9 3 2 3")  # of lines, one after the other where colors begin again
SHORT: Json = {"format": "~s", "tickCount": 5, "labelExpr": "datum.value === 0 ? '0' : datum.label"}  # 10k, but not 0k
DOTS = 120  # records of a chart, up to which each is marked
PLACES = re.compile(r' (?:d|transform)="[^"]*"')  # where things are in a picture; not its texts, such as 0.025
LONG = re.compile(r"(\.\d)\d{2,}")  # decimals of them below a tenth of a unit of the picture
QUIET = "var(--quiet)"
CONFIG: dict[str, Json] = {
    "aria": False, "background": None, "view": {"stroke": None},
    "axis": {
        "labelColor": QUIET, "titleColor": QUIET, "gridColor": "var(--grid)", "domainColor": QUIET, "tickColor": QUIET,
        "labelFontSize": 12, "titleFontSize": 12, "titleFontWeight": "normal",
    },
}  # fmt: skip


class Most(NamedTuple):
    """How much of a line is shown, and less where a chart has many lines, so that a page stays small."""

    line: int
    chart: int
    least: int

    def of(self, lines: int) -> int:
        """Of each line of a chart that has so many."""
        return min(self.line, max(self.chart // lines, self.least))


READ_POINTS, LISTED, DRAWN_SEEDS = Most(200, 400, 20), Most(40, 120, 5), Most(50, 60, 3)


class Line(NamedTuple):
    """What one line of a chart shows.

    Attributes:
        name: in the legend.
        steps: [T], from left to right.
        middle, low, high: [T], the IQM over seeds and its 95 % interval, NaN where there is none.
        seeds: [seeds, T]; one row if there are no seeds behind the line.
        labels: the names of the rows of `seeds`.
        color: its number, from 0; a color of the style sheet, and with others again in another dash.
    """

    name: str
    steps: FloatArray
    middle: FloatArray
    low: FloatArray
    high: FloatArray
    seeds: FloatArray
    labels: tuple[str, ...]
    color: int = 0

    @property
    def shade(self) -> int:
        """The number of its color in the style sheet, from 1."""
        return self.color % COLORS + 1

    @property
    def dash(self) -> str:
        """Lengths of its dashes and gaps, as SVG has them; "" for a solid line."""
        return DASHES[self.color // COLORS % len(DASHES)]


class Chart(NamedTuple):
    """A chart.

    Attributes:
        identifier: of its element.
        title: what is drawn.
        note: a sentence on what it means.
        lines: at least one.
        axis: what is on the horizontal axis.
        levels: (name, value) of horizontal lines.
    """

    identifier: str
    title: str
    note: str
    lines: tuple[Line, ...]
    axis: str
    levels: tuple[tuple[str, float], ...] = ()


def make_line(name: str, steps: npt.ArrayLike, values: npt.ArrayLike, labels: Sequence[str], color: int = 0) -> Line:
    """Return the line of values [seeds, T]: the IQM over seeds and its interval.

    An infinite value counts as the largest or the smallest; what is not finite is not drawn.
    """
    rows = np.asarray(values, np.float64)
    with np.errstate(invalid="ignore"):  # both infinities have no mean
        drawn = (iqm(rows, axis=0), *column_intervals(rows), rows)
    middle, low, high, seeds = (np.where(np.isfinite(each), each, np.nan) for each in drawn)
    return Line(name, np.asarray(steps, np.float64), middle, low, high, seeds, tuple(labels), color)


def column_intervals(values: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return `bootstrap_interval(values[:, t], resamples=RESAMPLES)` of each column of values [seeds, T] at once."""
    seeds, records = values.shape
    low, high = np.full(records, np.nan), np.full(records, np.nan)
    if seeds < MIN_SEEDS:
        return low, high
    drawn = np.random.default_rng(0).integers(seeds, size=(RESAMPLES, seeds, 1))[..., 0]
    block = max(1, (1 << 21) // (RESAMPLES * seeds))
    for first in range(0, records, block):
        part = slice(first, first + block)
        estimates = iqm(values[:, part][drawn], axis=1)
        low[part], high[part] = percentiles_of_columns(estimates, 0.95)
    return low, high


def spaced_indices(n: int, most: int) -> npt.NDArray[np.intp]:
    """Return at most `most` indices below `n`, evenly spaced, with the first and the last."""
    return np.unique(np.linspace(0, n - 1, min(n, max(most, 2))).round().astype(np.intp))


def draw_chart(chart: Chart) -> Html:
    """Return a chart as a figure: picture, legend, readout, and its numbers in a table that opens.

    Raises:
        ConfigError: vl-convert is not installed.
    """
    across, up = extents(chart)
    named = [tag("li", key_of(line), line.name) for line in chart.lines]
    named += [
        tag("li", tag("span", class_="key level"), f"{name} {number_text(value, 5)}") for name, value in chart.levels
    ]
    several = any(len(line.seeds) > 1 for line in chart.lines)
    parts = [
        tag("figcaption", tag("strong", chart.title), " ", chart.note),
        tag(
            "div",
            chart_pictures(chart),
            class_="picture",
            tabindex=0,
            role="group",
            aria_label=f"{chart.title}: arrow keys read",
        ),
        tag("ul", named, class_="legend"),
        tag("p", class_="readout", aria_live="polite"),
        tag("details", tag("summary", "Numbers"), number_table(chart)),
        data_block(f"{chart.identifier}-data", readings(chart, across, up)),
    ]
    return tag("figure", parts, id=chart.identifier, class_="chart several" if several else "chart")


def key_of(line: Line) -> Html:
    """Return a piece of a line, for the legend."""
    stroke = tag(
        "line", x1=0, y1=4, x2=28, y2=4, stroke="currentColor", stroke_width=3, stroke_dasharray=line.dash or None
    )
    return tag("svg", stroke, viewBox="0 0 28 8", class_=f"line-key color-{line.shade}", aria_hidden="true")


def chart_pictures(chart: Chart) -> Html:
    """Return the picture of a chart; if single seeds, which are hidden at first, need a longer axis, one of each."""
    across, up = extents(chart)
    _, short = extents(chart, seeds=False)
    whole = vega_picture(specification(chart, across, up), chart.title)
    if short[1] - short[0] > MUCH_OF_AXIS * (up[1] - up[0]):
        return whole
    hidden = chart._replace(lines=tuple(line._replace(seeds=line.seeds[:0]) for line in chart.lines))
    fitting = vega_picture(specification(hidden, across, short), chart.title)
    return inner([tag("div", fitting, class_="without-seeds"), tag("div", whole, class_="with-seeds")])


def extents(chart: Chart, *, seeds: bool = True) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return the ends of both axes; the vertical one has all levels in it, and all single seeds or what is of all."""
    x = np.concatenate([line.steps for line in chart.lines])
    drawn = [np.concatenate([line.middle, line.low, line.high]) for line in chart.lines]
    drawn += [line.seeds.ravel() for line in chart.lines] if seeds else []
    y = np.concatenate([*drawn, [value for _, value in chart.levels]])
    y = y[np.isfinite(y)]
    low, high = (float(y.min()), float(y.max())) if y.size else (0.0, 1.0)
    margin = 0.04 * (high - low) or 0.5 * abs(high) or 1.0
    left, right = float(x.min(initial=0.0)), float(x.max(initial=1.0))
    return (left, right if right > left else left + 1.0), (low - margin, high + margin)


def readings(chart: Chart, across: tuple[float, float], up: tuple[float, float]) -> Json:
    """Return what the script reads out: values of up to `READ_POINTS` records, and where they are in the picture."""
    most = READ_POINTS.of(len(chart.lines))
    return {
        "plot": [LEFT, TOP, WIDTH, HEIGHT], "across": list(across), "up": list(up), "axis": chart.axis,
        "lines": [
            {
                "name": line.name, "steps": line.steps[at].tolist(), "middle": rounded(line.middle[at]),
                "low": rounded(line.low[at]), "high": rounded(line.high[at]),
            }
            for line in chart.lines
            for at in [spaced_indices(line.steps.size, most)]
        ],
    }  # fmt: skip


def rounded(values: FloatArray) -> list[float]:
    """Return numbers with 6 significant digits, which is what people read."""
    return [float(f"{value:.6g}") for value in values.tolist()]


def number_table(chart: Chart) -> Html:
    """Return the numbers of a chart, of up to `LISTED` records and `LISTED_SEEDS` seeds."""
    several = len(chart.lines) > 1
    head = [*(["line"] if several else []), chart.axis, "IQM", "low", "high"]
    shown_seeds = 0 if several else min(len(chart.lines[0].seeds), LISTED_SEEDS)
    if shown_seeds < 2:
        shown_seeds = 0
    head += chart.lines[0].labels[:shown_seeds]
    rows = []
    for line in chart.lines:
        for t in spaced_indices(line.steps.size, LISTED.of(len(chart.lines))).tolist():
            values = (line.middle[t], line.low[t], line.high[t], *line.seeds[:shown_seeds, t])
            rows.append(
                [*([line.name] if several else []), number_text(line.steps[t], 12), *(number_text(v) for v in values)]
            )
    return table(head, rows, f"{chart.title}: numbers")


def specification(chart: Chart, across: tuple[float, float], up: tuple[float, float]) -> dict[str, Json]:
    """Return the chart in Vega-Lite's words: bands, seeds, middles and levels, each above the ones before."""
    bands: list[Json] = []
    seeds: list[Json] = []
    middles: list[Json] = []
    x: Json = {
        "field": "x", "type": "quantitative", "title": chart.axis, "axis": SHORT,
        "scale": {"domain": list(across), "nice": False, "zero": False},
    }  # fmt: skip
    scale: Json = {"domain": list(up), "nice": False, "zero": False}

    def layer(name: str, rows: list[Json], mark: Json, y: str, **more: Json) -> Json:
        vertical: Json = {"field": y, "type": "quantitative", "title": None, "axis": {"tickCount": 5}, "scale": scale}
        return {"name": name, "data": {"values": rows}, "mark": mark, "encoding": {"x": x, "y": vertical, **more}}

    n_lines, marked = len(chart.lines), sum(line.steps.size for line in chart.lines) <= DOTS
    for i, line in enumerate(chart.lines):
        color, at = f"var(--color-{line.shade})", spaced_indices(line.steps.size, READ_POINTS.of(n_lines))
        dash: Json = [float(length) for length in line.dash.split()]
        if np.isfinite(line.low).any():
            rows = points(line.steps[at], low=line.low[at], high=line.high[at])
            area: Json = {"type": "area", "color": color, "opacity": 0.22}
            bands.append(layer(f"band_{i}", rows, area, "low", y2={"field": "high"}))
        if len(line.seeds) > 1:
            thin: Json = {"type": "line", "color": color, "strokeWidth": 0.9, "opacity": 0.6, "strokeDash": dash}
            seeds.append(layer(f"seeds_{i}", seed_points(line, n_lines), thin, "value", detail={"field": "seed"}))
        dots: Json = {"color": color, "size": 16} if marked else False
        thick: Json = {"type": "line", "color": color, "strokeWidth": 2.2, "strokeDash": dash, "point": dots}
        middles.append(layer(f"middle_{i}", points(line.steps[at], value=line.middle[at]), thick, "value"))
    for i, (_, value) in enumerate(chart.levels):
        rule: Json = {"type": "rule", "color": "var(--level)", "strokeDash": [5, 4], "strokeWidth": 1.4}
        level: Json = {"datum": value, "type": "quantitative", "title": None, "scale": scale}
        middles.append({"name": f"level_{i}", "data": {"values": [{}]}, "mark": rule, "encoding": {"y": level}})
    return {
        "width": WIDTH, "height": HEIGHT, "autosize": "none", "config": CONFIG, "layer": [*bands, *seeds, *middles],
        "padding": {"left": LEFT, "right": RIGHT, "top": TOP, "bottom": BOTTOM},
    }  # fmt: skip


def points(steps: FloatArray, **columns: FloatArray) -> list[Json]:
    """Return a row for each step with its number of each column; what is not finite is None, where a line breaks."""
    names = list(columns)
    table_ = np.stack([steps, *columns.values()], axis=1).tolist()
    rows: list[Json] = [finite(dict(zip(["x", *names], row, strict=True))) for row in table_]
    return rows


def seed_points(line: Line, n_lines: int) -> list[Json]:
    """Return the rows of single seeds of one of so many lines, of as many seeds and records as there is room for."""
    which = spaced_indices(len(line.seeds), DRAWN_SEEDS.of(n_lines))
    at = spaced_indices(line.steps.size, max(20, min(READ_POINTS.line, DRAWN_POINTS // (which.size * n_lines))))
    return [
        {"seed": line.labels[i], "x": step, "value": value if math.isfinite(value) else None}
        for i in which.tolist()
        for step, value in zip(line.steps[at].tolist(), line.seeds[i, at].tolist(), strict=True)
    ]


def vega_picture(spec: Mapping[str, Json], words: str) -> Html:
    """Return what Vega-Lite draws, as an element that fits its column and that screen readers call by `words`.

    Raises:
        ConfigError: vl-convert is not installed.
    """
    try:
        import vl_convert
    except ImportError as error:
        raise ConfigError("a report needs vl-convert: pip install 'bellmax[report]'") from error
    drawn: str = vl_convert.vegalite_to_svg(json.dumps(finite(dict(spec)), allow_nan=False))
    size = re.search(r'viewBox="([-\d. ]+)"', drawn)
    box = size[1] if size else f"0 0 {LEFT + WIDTH + RIGHT} {TOP + HEIGHT + BOTTOM}"
    inside = drawn[drawn.index(">", drawn.index("<svg")) + 1 : drawn.rindex("</svg>")]
    inside = re.sub(r' (style|role|aria-[a-z]+)="[^"]*"', "", inside)  # of parts; `words` are of the whole
    inside = PLACES.sub(lambda place: LONG.sub(r"\1", place[0]), inside)
    return tag("svg", Html(inside), viewBox=box, role="img", aria_label=words)
