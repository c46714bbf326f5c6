"""NumPy. `write_report`: runs as one self-contained HTML file."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Never, TypeAlias

from bellmax.arguments import check_call, describe, integer, path_of
from bellmax.contracts import ConfigError, Json, counted
from bellmax.files import storage
from bellmax.page.comparison_section import comparison_section
from bellmax.page.document import Html, Section, assemble, tag
from bellmax.page.explainer import explainer_section
from bellmax.page.map_section import map_section
from bellmax.page.replay_section import replay_section
from bellmax.page.run_charts import curves_section, learning_section
from bellmax.page.run_sections import (
    lead_of,
    settings_section,
    time_section,
    verdict_section,
    versions_section,
)
from bellmax.page.surface import surface_section
from bellmax.page.value_sections import Outcome, episode_section, play_run, values_section
from bellmax.page.windows import MOST_RUNS as MOST_EXPLAINED
from bellmax.page.windows import windows_of
from bellmax.report.named_runs import name_of_folder
from bellmax.training.progress import progress as show_progress
from bellmax.training.run import Run
from bellmax.training.saved_runs import load

RunOrFolder: TypeAlias = "Run | str | os.PathLike[str]"
Runs: TypeAlias = "RunOrFolder | list[RunOrFolder] | tuple[RunOrFolder, ...] | Mapping[str, RunOrFolder]"
MOST_RUNS, MOST_WINDOWS = 20, 6
SCRIPTS = ("theme.js", "charts.js", "episodes.js", "maps.js")
NAME = "report.html"


def write_report(
    runs: Runs,
    path: str | os.PathLike[str] | None = None,
    *misplaced: Never,
    explain: int | Sequence[int] | None = None,
    progress: bool | None = None,
    **unknown_names: Never,
) -> Path:
    """Write one or several runs as a self-contained HTML file, which needs no network; return its path.

    Args:
        runs: a Run or the folder of one; several of them; or a dictionary of them by the name that the page shows.
        path: of the file; None: report.html in the folder of the first run.
        *misplaced: an error, which says what to write.
        explain: the step, or the steps, whose windows are recorded for the explainer; () for none. By default an early
            one and one at the end, as far as replaying the run to them takes only seconds.
        progress: show how far it is, if it takes longer than two seconds; by default only in a terminal.
        **unknown_names: an error, which says what to write.

    Raises:
        ConfigError: `runs` is not a run; no `path` for a run that was not saved; a run does not have a step of
            `explain`; or vl-convert is not installed.
        ResourceError: the file cannot be written.
    """
    check_call(
        write_report,
        "progress",
        misplaced,
        unknown_names,
        {"out": "path"},
        "two arguments without a name, runs and path",
    )
    named, steps = read_runs(runs), read_steps(explain)
    if path is None:
        folder = next(iter(named.values())).folder
        if folder is None:
            raise ConfigError("give write_report a `path` for the file: the run is not saved in a folder")
        path = folder / NAME
    target = path_of("path", path)
    if target.is_dir() or not target.parent.is_dir():
        what = "is a folder" if target.is_dir() else "is in a folder that does not exist"
        raise ConfigError(f"`path` {describe(str(target))} {what}; give the path of a file, such as {NAME}")
    storage.check_writable(target.absolute().parent)
    storage.write(target, report_page(named, progress, steps))
    return target


def read_steps(explain: object) -> tuple[int, ...] | None:
    """Return the steps at which windows are recorded; None: the report chooses.

    Raises:
        ConfigError: they are not steps, or more than `MOST_WINDOWS`.
    """
    if explain is None:
        return None
    given = list(explain) if isinstance(explain, list | tuple) else [explain]
    if len(given) > MOST_WINDOWS:
        raise ConfigError(f"`explain` must be up to {MOST_WINDOWS} steps; got {len(given):,}")
    return tuple(integer("explain", step, 0) for step in given)


def read_runs(runs: Runs) -> dict[str, Run]:
    """Return runs by the names that the page shows.

    Raises:
        ConfigError: there is none, or too many, or what is given is not a run.
    """
    given: list[tuple[object, object]] = [(None, runs)]
    if isinstance(runs, Mapping):
        given = list(runs.items())
    elif isinstance(runs, list | tuple):
        given = [(None, run) for run in runs]
    if not 1 <= len(given) <= MOST_RUNS:
        raise ConfigError(f"`runs` must be 1 to {MOST_RUNS} runs; got {len(given):,}")
    found: dict[str, Run] = {}
    for name, each in given:
        if not (name is None or (isinstance(name, str) and name)):
            raise ConfigError(f"the names of `runs` must be strings; got {describe(name)}")
        if not isinstance(each, Run | str | os.PathLike):
            raise ConfigError(f"`runs` must be runs or their folders; got {describe(each)}")
        run = each if isinstance(each, Run) else load(path_of("runs", each))
        found[free_name(name or label_of(run), found)] = run
    return found


def label_of(run: Run) -> str:
    """Return what a run is called: by its folder, which differs where runs have one agent and environment."""
    return name_of_folder(run.folder) if run.folder is not None else f"{run.world}-{run.config.name}"


def free_name(name: str, used: Mapping[str, Run]) -> str:
    """Return a name that is not used yet: with a number, if it is."""
    number = 1
    while (free := name if number == 1 else f"{name} ({number})") in used:
        number += 1
    return free


def report_page(runs: Mapping[str, Run], progress: bool | None = None, explain: Sequence[int] | None = None) -> str:
    """Return the page of runs as HTML; `explain` as in `write_report`."""
    sections: list[Section] = []
    windows: list[Mapping[str, Json]] = []
    outcomes: dict[str, Outcome] = {}

    def play() -> Section:
        outcomes.update({name: play_run(run, run.find_source()) for name, run in runs.items()})
        return values_section(outcomes)

    def record() -> Section:
        windows.extend(windows_of(runs, explain, progress))
        if not windows:
            return Section("explainer", "", Html())
        section = explainer_section(windows)
        if explain is not None or len(runs) <= MOST_EXPLAINED:
            return section
        note = tag("p", f"Of the first {MOST_EXPLAINED} runs; explain= or --explain STEP records all.", class_="note")
        return section._replace(body=Html(note + section.body))

    parts: dict[str, Callable[[], Section]] = {
        "verdict": lambda: verdict_section(runs),
        "learning curves": lambda: curves_section(runs),
        "comparison": lambda: comparison_section(runs),
        "maps": lambda: map_section(runs),
        "greedy episodes": play,
        "episode": lambda: episode_section(outcomes),
        "slices": lambda: surface_section(outcomes),
        "recorded steps": record,
        "charts": lambda: learning_section(runs),
        "replay buffer": lambda: replay_section(windows),
        "time": lambda: time_section(runs),
        "settings": lambda: settings_section(runs),
        "versions": lambda: versions_section(runs),
    }
    with show_progress(len(parts), "report", progress, "parts") as report:
        for i, (words, make) in enumerate(parts.items()):
            report(i, words)
            sections.append(make())
    scripts = [*SCRIPTS, "explainer.js"] if windows else SCRIPTS
    return assemble(title_of(runs), lead_of(runs), sections, scripts)


def title_of(runs: Mapping[str, Run]) -> str:
    """Return the title of the page."""
    if len(runs) > 1:
        return f"Report of {counted(len(runs), 'run')}"
    (run,) = runs.values()
    return f"{run.config.name} on {run.world}"
