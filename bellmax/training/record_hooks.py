"""NumPy. Functions of yours that are called after each record: for metrics of your own, and to stop early."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np

from bellmax.arguments import check_flag, describe, real
from bellmax.contracts import LONGEST_WORD, ConfigError, FloatArray, listed
from bellmax.files.dataset import Dataset
from bellmax.printing import plain
from bellmax.registry import describe_error, place_of
from bellmax.training.grading import GRADES
from bellmax.training.groups import SeedGroups
from bellmax.training.history import ALIASES, LONGEST_NAME, MOST_COLUMNS
from bellmax.training.policy import Policy
from bellmax.training.run import Run
from bellmax.training.saved_runs import frozen

OURS = ("rollout/", "train/", "time/", "eval/", "exact/", "system/")  # begin the names of bellmax's columns
NOTE = "on_record: "  # begins the note on what a function raised


@dataclass(frozen=True)
class Record:
    """What a function of `on_record` is called with.

    Attributes:
        step: of the record: environment steps, with data gradient steps, in a run of so many episodes these.
        seeds: of the run.
        columns: of this record, by name, each [seeds], see `History`; also those of the functions before this one.
        policies: the present policy of each seed; its arrays cannot be written to.
        run: the run so far, with this record in its history; to be read, not changed.
        experience: `experience()` returns the content of the replay buffer of each seed, one Dataset per seed, which
            takes the time and the memory of a copy. It raises ConfigError for an agent without one.
    """

    step: int
    seeds: Sequence[int]
    columns: Mapping[str, FloatArray]
    policies: Sequence[Policy]
    run: Run
    experience: Callable[[], list[Dataset]]

    def __repr__(self) -> str:
        return f"Record(step {self.step:,} of {self.run.steps:,}, columns: {', '.join(self.columns)})"


class StopTraining(Exception):
    """Raise it in a function of `on_record` to end training at this record.

    The run then ends as others do, with its final evaluation; the message is the reason that it reports.
    """


OnRecord: TypeAlias = Callable[[Record], "Mapping[str, object] | None"]


def read_hooks(on_record: object) -> tuple[OnRecord, ...]:
    """Return the functions in the argument `on_record`: None, one, or a list of them.

    Raises:
        ConfigError: something else is among them.
    """
    given = tuple(on_record) if isinstance(on_record, list | tuple) else () if on_record is None else (on_record,)
    if wrong := [each for each in given if not callable(each) or isinstance(each, type)]:
        raise ConfigError(
            f"`on_record` must be a function, called as on_record(record), or a list of them; got {describe(wrong[0])}"
        )
    return given


def hook_names(hooks: Sequence[OnRecord]) -> list[str]:
    """Return the names of functions, each as "module:name"."""
    return [place_of(hook) for hook in hooks]


def call_hooks(
    hooks: Sequence[OnRecord], run: Run, groups: SeedGroups[Any], step: int, columns: Mapping[str, FloatArray | float]
) -> tuple[dict[str, FloatArray], str | None]:
    """Call each function after a record; return the columns that they return, and the reason to stop if one gives any.

    All are called, also if an earlier one stops the run. What one raises is passed on, with a note.

    Args:
        hooks: the functions.
        run: so far, with the present policies, but without this record.
        groups: its seeds, whose replay buffers can be asked for.
        step: of the record.
        columns: of the record.

    Raises:
        ConfigError: what one returned cannot be columns.
    """
    own: dict[str, FloatArray] = {}
    reason: str | None = None
    if not hooks:
        return own, reason
    record = _record(run, groups, step, columns)
    for hook in hooks:
        name = place_of(hook)
        try:
            returned = hook(record)
        except StopTraining as stop:
            reason = reason or plain(str(stop) or f"{name} raised StopTraining")
            continue
        except Exception as error:
            said = describe_error(error, str(getattr(hook, "__module__", "")))
            error.add_note(f"{NOTE}{name} raised {said}, after the record of {run.unit.removesuffix('s')} {step:,}")
            raise
        more = read_columns(returned, name, record)
        own |= more
        record = replace(record, columns={**record.columns, **more})
    return own, reason


def _record(run: Run, groups: SeedGroups[Any], step: int, columns: Mapping[str, FloatArray | float]) -> Record:
    """The record, with a run that stays as it is now."""
    so_far = frozen(run)
    so_far.history.append(step, columns)
    so_far.policies = {which: list(map(_unwritable, each)) for which, each in so_far.policies.items()}
    policies = so_far.policies["final"]
    so_far.policies.setdefault("best", list(policies))
    if run.options.keep_policies:
        so_far.kept_policies.add(step, policies)

    def experience() -> list[Dataset]:
        if groups.loop.experience is None or not hasattr(run.config, "buffer_size"):
            what = "a run with data" if run.options.data else run.config.name
            raise ConfigError(f"record.experience(): {what} has no replay buffer; use observations of your own")
        return groups.experience()

    return Record(step, run.seeds, so_far.history.last_record(), policies, so_far, experience)


def _unwritable(policy: Policy) -> Policy:
    """The same policy; what a function writes to its arrays, which a table may still learn in, is an error."""
    views = {name: np.asarray(array).view() for name, array in policy.arrays.items()}
    for view in views.values():
        view.flags.writeable = False
    return replace(policy, arrays=views)


def read_columns(returned: object, name: str, record: Record) -> dict[str, FloatArray]:
    """Return the columns [seeds] in what the function `name` returned after a record.

    Raises:
        ConfigError: it is not a mapping from names to numbers; a name is taken or not printable, or there are too many;
            or a value is infinite, or not one number for each seed.
    """
    if returned is None:
        return {}
    if not isinstance(returned, Mapping):
        raise ConfigError(
            f"on_record: {name} returned {describe(returned)}; return None, or a dictionary {{name: number, or one for "
            "each seed}"
        )
    taken, columns = {"seed", "step", *ALIASES, *record.columns}, dict[str, FloatArray]()
    for key, value in returned.items():
        if not isinstance(key, str) or not key.strip() or len(key) > LONGEST_NAME or not key.isprintable():
            raise ConfigError(
                f"on_record: {name} returned a column {describe(key)}; a name is a printable string of at most "
                f"{LONGEST_NAME} letters"
            )
        if key in taken or key.startswith(OURS):
            raise ConfigError(
                f"on_record: {name} returned a column {key[:LONGEST_WORD]!r}, a name of bellmax's own or of an earlier "
                f"function; choose another, such as 'own/{key.rpartition('/')[2][:LONGEST_WORD]}'"
            )
        columns[key] = _numbers(value, f"on_record: {name} returned {key[:LONGEST_WORD]!r}", len(record.seeds))
    if len(taken) + len(columns) > MOST_COLUMNS:
        raise ConfigError(
            f"on_record: {name} returned {len(columns):,} columns; a history has at most {MOST_COLUMNS:,}"
        )
    return columns


def _numbers(value: object, where: str, n: int) -> FloatArray:
    """A number for each of n seeds."""
    try:
        numbers = np.asarray(value)
        if numbers.dtype.kind not in "biuf" or numbers.shape not in ((), (n,)):
            raise ValueError(numbers.dtype)
    except (TypeError, ValueError) as error:
        each = f", or {n}, one for each seed" if n > 1 else ""
        raise ConfigError(f"{where} = {describe(value)}; it must be a number{each}") from error
    if np.isinf(numbers.astype(np.float64)).any():
        raise ConfigError(f"{where} = {describe(value)}; it must be finite, or NaN where it is unknown")
    return np.broadcast_to(numbers.astype(np.float64), (n,))


def stop_at(score: float, column: str | None = None, *, mean: bool = False) -> OnRecord:
    """Return a function for `on_record` that ends training once every seed has a score in the same record.

    Args:
        score: that is high enough.
        column: of the history; by default that of the evaluations, exact if there is an exact answer.
        mean: whether the mean over seeds suffices.

    Raises:
        ConfigError: an argument has the wrong type; when it is called, the record does not have the column.
    """
    score = real("score", score)
    check_flag("mean", mean)
    if column is not None and not isinstance(column, str):
        raise ConfigError(f"`column` must be the name of a column of the history; got {describe(column)}")

    def stop(record: Record) -> None:
        name = column if column is not None else next((each for each in GRADES if each in record.columns), None)
        name = ALIASES.get(name or "", name or "")
        if name.startswith(("rollout/", "train/")) and name not in record.columns:
            return  # no episode has ended, or nothing was learned yet
        if name not in record.columns:
            wanted = f"the column {describe(column)}" if column else "an evaluation (eval_episodes above 0)"
            raise ConfigError(f"stop_at({score:g}) needs {wanted}; the record has {listed(record.columns)}")
        values = record.columns[name]
        reached = values.mean() if mean else values.min()
        if reached >= score:  # not if one is NaN
            raise StopTraining(f"{name} reached {reached:.6g}, {score:g} was asked for")

    return stop
