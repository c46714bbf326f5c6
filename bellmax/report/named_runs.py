"""Plain Python. Several runs by name, from what people have: runs, folders, lists and dictionaries of them."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from bellmax.arguments import describe, path_of
from bellmax.contracts import LONGEST_WORD, ConfigError, listed, unknown
from bellmax.training.history import History, first_common
from bellmax.training.run import Run
from bellmax.training.saved_runs import load

OneRun: TypeAlias = Run | str | os.PathLike[str]
Runs: TypeAlias = OneRun | Sequence[OneRun] | Mapping[str, OneRun]
_WANTED = "a run, its folder, a list of these, or a dictionary {name: run}"


def named_runs(runs: Runs) -> dict[str, Run]:
    """Return runs by name; folders are loaded.

    Runs in a list have the names of their folders or, if they are not saved, of their agents; equal ones get a number.

    Raises:
        ConfigError: it is something else, there is no run, or a folder has none; also as `load`.
    """
    if isinstance(runs, Mapping):
        wrong = next((name for name in runs if not isinstance(name, str) or not name), None)
        if wrong is not None:
            raise ConfigError(f"`runs` must have names of letters; got {describe(wrong)}")
        found = {name: _read(run) for name, run in runs.items()}
    elif isinstance(runs, list | tuple):
        found = _with_names([_read(run) for run in runs])
    else:
        found = _with_names([_read(runs)])
    if not found:
        raise ConfigError(f"`runs` must be {_WANTED}; got none")
    return found


def _read(run: object) -> Run:
    if isinstance(run, Run):
        return run
    if isinstance(run, str | os.PathLike):
        return load(path_of("runs", run))
    raise ConfigError(f"`runs` must be {_WANTED}; got {describe(run)}")


def name_of_folder(folder: Path) -> str:
    """Return the last part of a path, also of one such as `.` or `..`."""
    return os.path.basename(os.path.abspath(folder)) or str(folder)


def _with_names(runs: Sequence[Run]) -> dict[str, Run]:
    plain_names = [name_of_folder(run.folder) if run.folder is not None else run.config.name for run in runs]
    if max(Counter(plain_names).values(), default=0) > 1:  # the same agent in other folders, or the same folder name
        plain_names = [str(run.folder) if run.folder is not None else run.config.name for run in runs]
    count, found = Counter[str](), dict[str, Run]()
    for name, run in zip(plain_names, runs, strict=True):
        count[name] += 1
        while (numbered := name if count[name] == 1 else f"{name} ({count[name]})") in found:
            count[name] += 1
        found[numbered] = run
    return found


def common_column(
    runs: Mapping[str, Run], column: object, usual: Sequence[str], what: str, argument: str = "column"
) -> str:
    """Return `column`, the value of an `argument`, or the first of the `usual` ones that all histories have.

    Raises:
        ConfigError: a run does not have it; or they have none of the usual ones in common, which are `what`.
    """
    if column is not None:
        if not isinstance(column, str):
            raise ConfigError(f"`{argument}` must be the name of a column; got {describe(column)}")
        for name, run in runs.items():
            if column == "step" or column not in run.history:
                raise ConfigError(
                    f"`{argument}` is not in {name[:LONGEST_WORD]}: {unknown('column', column, run.history.columns)}"
                )
        return column
    found = first_common([run.history for run in runs.values()], usual)
    if found is None:
        has = "; ".join(f"{name[:LONGEST_WORD]} has {_columns(run.history)}" for name, run in [*runs.items()][:5])
        raise ConfigError(
            f"no column of {what} ({', '.join(usual)}) is in every run: {has}; name one with `{argument}`"
        )
    return found


def _columns(history: History) -> str:
    return listed(history.columns) if len(history) else "no record yet"


def check_one_environment(runs: Mapping[str, Run]) -> None:
    """Raise where scores cannot be compared at all.

    Raises:
        ConfigError: the runs are of different environments.
    """
    worlds = {run.world for run in runs.values()}
    if len(worlds) > 1:
        said = listed(f"{name[:LONGEST_WORD]}: {run.world[:LONGEST_WORD]}" for name, run in runs.items())
        raise ConfigError(f"the runs are of different environments, whose scores have no common scale ({said}); "
                          "compare runs of one environment")  # fmt: skip
