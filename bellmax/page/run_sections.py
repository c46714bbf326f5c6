"""NumPy. What a page says about runs in words and tables: verdicts, time, settings, versions."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import asdict

import numpy as np

from bellmax.contracts import Json, counted
from bellmax.files.provenance import inexact
from bellmax.page.columns import axis_of, is_time
from bellmax.page.document import Child, Html, Section, inner, number_text, table, tag
from bellmax.report.settings import settings_of
from bellmax.report.text import describe_optimality, describe_summary
from bellmax.summary_statistics import MIN_SEEDS, with_interval
from bellmax.training.run import Run

PARTS = {
    "time/env_ms": "steps of the environment", "time/act_ms": "choosing actions",
    "time/wait_ms": "waiting for learning",
    "time/overhead_ms": "everything else of the loop",
}  # fmt: skip
WHOLE, BESIDE = "time/step_ms", "time/learn_ms"
SHOWN_SEEDS = 100  # rows of a table
LED = 6  # runs with a sentence at the beginning of the page


def headings(runs: Mapping[str, Run], name: str) -> Html | None:
    """Return the heading of a run, where there are several."""
    return tag("h3", name) if len(runs) > 1 else None


def is_over(run: Run) -> bool:
    """Return whether a run has ended, and so has scores."""
    return bool(run.scores)


def lead_of(runs: Mapping[str, Run]) -> Html:
    """Return the first sentences of the page: what each run came to."""
    several, more = len(runs) > 1, len(runs) - LED
    said = [f"{name}: {sentence_of(run)}" if several else sentence_of(run) for name, run in list(runs.items())[:LED]]
    shown = [tag("p", sentence, class_="lead") for sentence in said]
    return inner([*shown, tag("p", f"{counted(more, 'more run')} below.", class_="lead") if more > 0 else None])


def sentence_of(run: Run) -> str:
    """Return the result of a run in one sentence."""
    trained = f"{run.config.name} in {run.world}, {counted(len(run.seeds), 'seed')}"
    if not is_over(run):
        planned = f"{run.steps:,} {axis_of(run)}"
        far = f"{run.history.step[-1]:,} of {planned} so far" if run.history.step else f"no record of its {planned} yet"
        return f"{trained}: has not ended; {far}."
    summary = run.summary()
    score = with_interval(summary.iqm, summary.iqm_low, summary.iqm_high)
    few = f"; an interval needs {MIN_SEEDS} seeds" if summary.n < MIN_SEEDS else ", with a 95 % interval"
    early = f"; {run.early}" if run.stopped else ""
    return f"{trained}: score {score} after {run.end:,} {axis_of(run)} (interquartile mean{few}){early}."


def verdict_section(runs: Mapping[str, Run]) -> Section:
    """Return the verdict on each run in words, its scores, and the score of every seed."""
    body = [inner([headings(runs, name), verdict_of(run)]) for name, run in runs.items()]
    return Section("verdict", "Verdict", inner(body))


def verdict_of(run: Run) -> Html:
    """Return the verdict on one run."""
    early = [f"This run was {run.early}."] if run.stopped else []
    exact = [tag("p", line, class_="remark") for line in (*early, *inexact(run.environment))]
    if not is_over(run):
        where = f"`bellmax resume {run.folder}` finishes it." if run.folder else ""
        return inner([tag("p", f"This run has not ended, so it has no scores yet. {where}"), exact])
    summary, verdict = run.summary(), run.verdict()
    discounted = " (discounted)" * verdict.discounted
    between = (
        "" if np.isnan(summary.iqm_low) else f" [{number_text(summary.iqm_low, 4)}, {number_text(summary.iqm_high, 4)}]"
    )
    cards = [(f"final score{between}", number_text(summary.iqm, 4)), ("random play", number_text(verdict.random, 4))]
    if not np.isnan(verdict.best):
        cards.append((f"best in training{discounted}", number_text(verdict.best, 4)))
    if "exact/optimal_return" in run.history.columns:
        optimum = float(run.history["exact/optimal_return"][0, -1])
        cards.append((f"optimum{discounted}", number_text(optimum, 6)))
    cards += [("seeds", f"{len(run.seeds):,}"), (axis_of(run), f"{run.end:,}")]
    shown = [tag("li", tag("span", words, class_="value"), tag("span", what, class_="what")) for what, words in cards]
    remarks = [tag("p", remark, class_="remark") for remark in verdict.remarks]
    lines = [describe_summary(summary), *str(verdict).splitlines()[: 2 if verdict.discounted else 1]]
    if "exact/is_optimal" in run.history.columns:
        lines.append(describe_optimality(run.steps_to_optimal(), run.unit.removesuffix("s")))
    return inner([
        tag("ul", shown, class_="cards"), remarks or tag("p", "No obvious problem was found."), exact,
        tag("ul", [tag("li", f"{line[0].upper()}{line[1:]}.") for line in lines]),
        tag("details", tag("summary", "Score of every seed"), seeds_of(run)),
    ])  # fmt: skip


def seeds_of(run: Run) -> Html:
    """Return the score of every seed, and of its final episodes."""
    rows: list[list[Child]] = []
    for i, seed in enumerate(run.seeds[:SHOWN_SEEDS]):
        row: list[Child] = [f"seed {seed}", number_text(run.scores[i])]
        if run.evaluations:
            returns, lengths = run.evaluations[i]
            size = returns.size
            figures = (returns.min(), returns.max(), lengths.mean()) if size else (np.nan,) * 3
            row += [*(number_text(float(figure)) for figure in figures), f"{size:,}"]
        rows.append(row)
    head = ["", "score", *(["lowest return", "highest return", "mean length", "episodes"] if run.evaluations else [])]
    more = f", the first {SHOWN_SEEDS} of {len(run.seeds):,}" if len(run.seeds) > SHOWN_SEEDS else ""
    return table(head, rows, f"Scores of the final policies{more}")


def time_section(runs: Mapping[str, Run]) -> Section:
    """Return where the time of each run went, as far as it was measured."""
    body = [inner([headings(runs, name), time_of(run)]) for name, run in runs.items() if len(run.history)]
    return Section("time", "Where the time went", inner(body))


def time_of(run: Run) -> Html:
    """Return the time of one run: steps per second, and the parts of a step in a Gymnasium environment."""
    speed = run.history["time/fps"] if "time/fps" in run.history.columns else np.full((1, 1), np.nan)
    known = speed[np.isfinite(speed)]
    words = f"Median speed {float(np.median(known)):,.0f} steps per second, over all seeds. " if known.size else ""
    if not any(is_time(name) for name in run.history.columns):
        why = "The compiled loop acts, steps and learns in one program, so its parts have no times of their own."
        return tag("p", words + (why if run.loop == "compiled" else ""))
    whole = mean_of(run, WHOLE)
    rows = []
    for column, what in PARTS.items():
        part = mean_of(run, column)
        share = part / whole if whole > 0 else np.nan
        bar = tag(
            "svg", tag("rect", x=0, y=0, width=round(100 * max(share, 0.0), 2) if share == share else 0, height=10),
            viewBox="0 0 100 10", width=100, height=10, class_="color-1", fill="currentColor", aria_hidden="true",
        )  # fmt: skip
        rows.append([what, number_text(part, 4), f"{share:.1%}" if share == share else "–", bar])
    rows.append(["one step of all environments", number_text(whole, 4), "100.0%", ""])
    note = f"Learning took {number_text(mean_of(run, BESIDE), 4)} ms per step, in a thread beside the others."
    shares = table(["part", "milliseconds", "share", ""], rows, "Mean time of a step, over records and seeds")
    return inner([tag("p", words), shares, tag("p", note, class_="note")])


def mean_of(run: Run, column: str) -> float:
    """Return the mean of a column over seeds and records, NaN if it is not there."""
    if column not in run.history.columns:
        return float("nan")
    values = run.history[column]
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else float("nan")


def settings_section(runs: Mapping[str, Run]) -> Section:
    """Return every setting of each run with where it came from; of several runs first those that differ."""
    parts: list[Html | None] = [different_settings(runs) if len(runs) > 1 else None]
    for name, run in runs.items():
        rows = [
            [row.name, str(row.value), row.origin, row.text]
            for _, group in itertools.groupby(settings_of(run), key=lambda row: row.group)
            for row in group
        ]
        settings = table(["setting", "value", "from", "what it does"], rows, f"Settings of {name}", class_="words")
        options = table(["option", "value"], list(options_of(run)), f"Options of {name}", class_="words")
        chosen = [row for row in rows if row[2] != "agent's default"]
        said = ", ".join(f"{name}={value}" for name, value, *_ in chosen) or "none"
        parts.append(
            inner([
                headings(runs, name),
                tag("p", f"Differs from the agent's defaults in: {said}."),
                tag("details", tag("summary", f"All {counted(len(rows), 'setting')}"), settings),
                tag("details", tag("summary", "Options of the run"), options),
            ])
        )  # fmt: skip
    return Section("settings", "Settings", inner(parts))


def options_of(run: Run) -> Iterator[tuple[str, str]]:
    """Yield the arguments of `train` that are not settings of the agent, each as name and value."""
    yield "environment", run.world
    for name, value in run.env_kwargs.items():
        yield f"environment argument {name}", str(value)
    yield "agent", run.config.name
    yield axis_of(run), f"{run.steps:,}"
    first = ", ".join(map(str, run.seeds[:20]))
    yield "seeds", f"{first}, ... ({len(run.seeds):,} seeds)" if len(run.seeds) > 20 else first
    yield "loop", run.loop
    for name, value in asdict(run.options).items():
        yield name, str(value)


def different_settings(runs: Mapping[str, Run]) -> Html:
    """Return the settings and options in which runs differ, a column for each run; – where a run does not have one."""
    tables = {name: {row.name: str(row.value) for row in settings_of(run)} for name, run in runs.items()}
    for name, run in runs.items():
        tables[name] |= dict(options_of(run))
    names = list(dict.fromkeys(setting for values in tables.values() for setting in values))
    rows: list[list[Child]] = []
    for setting in names:
        found = [values.get(setting, "–") for values in tables.values()]
        if len(set(found)) > 1:
            rows.append([setting, *found])
    if not rows:
        return tag("p", "The runs have the same settings.")
    return table(["setting", *tables], rows, "Settings in which the runs differ", class_="words")


def versions_section(runs: Mapping[str, Run]) -> Section:
    """Return the versions and the machine of each saved run."""
    parts = []
    for name, run in runs.items():
        facts = dict(run.environment)
        packages = facts.pop("packages", {})
        facts.pop("continued", None)
        rows = [[key, words_of_fact(value)] for key, value in facts.items()]
        rows += [[key, str(value)] for key, value in packages.items()] if isinstance(packages, Mapping) else []
        if rows:
            parts.append(
                inner([headings(runs, name), table(["", "version"], rows, f"Versions of {name}", class_="words")])
            )
    return Section("versions", "Versions and machine", inner(parts) if parts else Html())


def words_of_fact(value: Json) -> str:
    """Return an entry of environment.json as text; a list of words as one line."""
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
