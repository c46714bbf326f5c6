"""Plain Python. `Comparison`: the scores of several runs, and of each pair how far apart they are, with intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from bellmax.contracts import Json
from bellmax.difference_statistics import Estimate
from bellmax.files.storage import finite
from bellmax.pictures.curve_data import curve_of
from bellmax.pictures.curve_svg import curves_svg
from bellmax.pictures.html_card import html_table
from bellmax.pictures.map_svg import escaped
from bellmax.report.text import render
from bellmax.rich_parts import RenderableType, Table
from bellmax.summary_statistics import MIN_SEEDS, Summary, with_interval
from bellmax.training.history import SCORES, first_common
from bellmax.training.run import Run

ShownTable: TypeAlias = tuple[Sequence[str], Sequence[Sequence[str]], str]  # header, rows and a last line
MOST_PAIRS = 30  # rows of a printed table; to_json has all


class RunScores(NamedTuple):
    """The row of one run: its name, what ran for how many `steps` (or another `unit`), and its scores together."""

    name: str
    agent: str
    steps: int
    unit: str
    summary: Summary


class Pair(NamedTuple):
    """How far the run `later` is above the run `earlier`; intervals are NaN if one of them has fewer than 5 seeds.

    Attributes:
        earlier, later: names of the two runs, in the order in which they were given.
        iqm: the difference of the interquartile means, later - earlier.
        mean: the difference of the means.
        improvement: the probability that a seed of `later` scores higher than a seed of `earlier`; ties count half.
        fewest: how many seeds the run with fewer has.
    """

    earlier: str
    later: str
    iqm: Estimate
    mean: Estimate
    improvement: Estimate
    fewest: int

    def in_words(self) -> str:
        """Return what the interval of the difference of IQMs shows."""
        if self.fewest < MIN_SEEDS:
            return f"too few seeds for an interval: it needs {MIN_SEEDS} in each run"
        if math.isnan(self.iqm.low):
            return "no interval: scores are not numbers, or infinite"
        if self.iqm.low > 0.0:
            return "higher"
        return "lower" if self.iqm.high < 0.0 else "no clear difference"


@dataclass(frozen=True, eq=False, repr=False)
class Comparison:
    """What `compare` returns; it prints as tables, and a notebook shows it with the learning curves.

    Attributes:
        world: the environment.
        metric: what the scores are, in words.
        confidence: nominal coverage of all intervals.
        scores: a row for each run.
        pairs: each two runs.
        settings: the settings that differ, by name, with the text of each run's value.
        remarks: what to know before trusting the numbers.
        runs: the runs by name.
    """

    world: str
    metric: str
    confidence: float
    scores: tuple[RunScores, ...]
    pairs: tuple[Pair, ...]
    settings: Mapping[str, tuple[str, ...]]
    remarks: tuple[str, ...]
    runs: Mapping[str, Run]

    def __str__(self) -> str:
        parts: list[RenderableType] = [f"{self.world}: {self.metric}"]
        for header, rows, more in self._tables():
            table = Table()
            for name in header:
                table.add_column(name)
            for row in rows:
                table.add_row(*row)
            parts += [table, *([more] if more else [])]
        return render(*parts, *(f"look: {remark}" for remark in self.remarks))

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        """Return the tables and the learning curves for a notebook."""
        tables = "".join(html_table(header, rows) + f"<p>{escaped(more)}</p>" * bool(more)
                         for header, rows, more in self._tables())  # fmt: skip
        notes = "".join(f"<p>look: {escaped(remark)}</p>" for remark in self.remarks)
        title = f"<p><strong>{escaped(self.world)}</strong>: {escaped(self.metric)}</p>"
        return f"<div>{title}{tables}{self.picture()}{notes}</div>"

    def picture(self) -> str:
        """Return the learning curves of all runs as SVG; "" if they have no column in common that shows one."""
        name = first_common([run.history for run in self.runs.values()], SCORES)
        if name is None:
            return ""
        curves = [curve_of(key, run.history["step"], run.history[name], confidence=self.confidence)
                  for key, run in self.runs.items() if len(run.history) > 1]  # fmt: skip
        axes = " or ".join(dict.fromkeys(run.axis for run in self.runs.values()))
        return curves_svg(curves, name, x_label=axes, width=560, height=300) if curves else ""

    def to_json(self) -> Json:
        """Return everything except the runs as JSON, with None for a number that is not finite."""
        rows = []
        for row in self.scores:
            summary = {name: value for name, value in row.summary._asdict().items() if name != "scores"}
            rows.append({**row._asdict(), "summary": summary, "scores": row.summary.scores.tolist()})
        pairs = [
            {name: value._asdict() if isinstance(value, Estimate) else value for name, value in pair._asdict().items()}
            | {"in_words": pair.in_words()}
            for pair in self.pairs
        ]
        settings = {name: dict(zip(self.runs, texts, strict=True)) for name, texts in self.settings.items()}
        result: Json = finite({
            "world": self.world, "metric": self.metric, "confidence": self.confidence, "runs": rows, "pairs": pairs,
            "settings": settings, "remarks": list(self.remarks),
        })  # fmt: skip
        return result

    def pair_table(self) -> ShownTable:
        """Return the differences of the first pairs: a header, a row for each, and a line on those left out."""
        percent = f"[{100 * self.confidence:g} %]"
        rows = [
            (
                f"{pair.later} - {pair.earlier}", with_interval(*pair.iqm), with_interval(*pair.mean),
                with_interval(*pair.improvement), pair.in_words(),
            )
            for pair in self.pairs[:MOST_PAIRS]
        ]  # fmt: skip
        more = len(self.pairs) - MOST_PAIRS
        header = ("difference", f"of IQM {percent}", f"of mean {percent}", f"P(higher) {percent}", "in words")
        rest = f"... and {more:,} more pairs; bx.compare(runs).to_json() or bellmax compare --json has all"
        return header, rows, rest if more > 0 else ""

    def _tables(self) -> list[ShownTable]:
        """The tables: runs, pairs, and settings where some differ."""
        percent = f"[{100 * self.confidence:g} %]"
        runs = [
            (
                row.name, row.agent, f"{row.steps:,} {row.unit}", f"{row.summary.n:,}",
                with_interval(row.summary.iqm, row.summary.iqm_low, row.summary.iqm_high),
                with_interval(row.summary.mean, row.summary.mean_low, row.summary.mean_high),
                f"{row.summary.minimum:.4g}", f"{row.summary.maximum:.4g}",
            )
            for row in self.scores
        ]  # fmt: skip
        tables: list[ShownTable] = [
            (
                ("run", "agent", "length", "seeds", f"IQM {percent}", f"mean {percent}", "worst seed", "best seed"),
                runs,
                "",
            ),
            self.pair_table(),
        ]  # fmt: skip
        if self.settings:
            rows = [(name, *texts) for name, texts in self.settings.items()]
            tables.append((("setting that differs", *self.runs), rows, ""))
        return tables
