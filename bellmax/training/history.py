"""NumPy. The history of a run: columns over its records, and the columns of one record."""

from __future__ import annotations

import csv
import io
import math
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bellmax.contracts import ConfigError, FloatArray, counted
from bellmax.loops.loop import Chunk
from bellmax.pictures.curve_data import curve_of
from bellmax.pictures.curve_svg import curves_svg
from bellmax.pictures.html_card import html_card
from bellmax.printing import plain

if TYPE_CHECKING:
    from pandas import DataFrame


def chunk_columns(chunks: Sequence[Chunk]) -> dict[str, FloatArray]:
    """Return the columns [seeds] of one record: number, mean return and mean length of episodes, and the metrics."""
    counts = np.array([chunk.episodes.returns.size for chunk in chunks], np.int64)
    columns = {"rollout/episodes": counts.astype(np.float64)}
    for name in dict.fromkeys(name for chunk in chunks for name in chunk.metrics):
        columns[name] = np.array([chunk.metrics.get(name, math.nan) for chunk in chunks])
    if counts.any():
        seed = np.repeat(np.arange(counts.size), counts)
        number = np.where(counts > 0, counts, math.nan)
        for name, i in (("rollout/ep_rew_mean", 0), ("rollout/ep_len_mean", 1)):
            values = np.concatenate([chunk.episodes[i] for chunk in chunks])
            columns[name] = np.bincount(seed, values, counts.size) / number
    return columns


MOST_COLUMNS, LONGEST_NAME = 1_000, 200  # of a file

ALIASES = {"return": "rollout/ep_rew_mean", "length": "rollout/ep_len_mean", "loss": "train/loss"}

SCORES = ("exact/policy_return", "eval/mean_reward", "rollout/ep_rew_mean")  # how good policies are, best first


class History:
    """Columns over the records of a run: `step` [T] (environment steps), all others [seeds, T].

    Columns have the log keys of Stable-Baselines3; "return", "length" and "loss" are short forms. A missing value (no
    episode has ended yet) is NaN.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self.seeds = list(seeds)
        self.step: list[int] = []
        self._records: list[dict[str, FloatArray]] = []

    def append(self, step: int, values: Mapping[str, Any] | Sequence[Mapping[str, float]]) -> None:
        """Add the record of a step in every seed: `{name: [seeds] or one number for all}`, or a row per seed."""
        if not isinstance(values, Mapping):
            names = dict.fromkeys(name for row in values for name in row)
            values = {name: [row.get(name, math.nan) for row in values] for name in names}
        shape = (len(self.seeds),)
        self.step.append(step)
        self._records.append({name: np.broadcast_to(np.asarray(v, np.float64), shape) for name, v in values.items()})

    def copy(self) -> History:
        """Return a history of the same records, to which others can be added."""
        copied = History(self.seeds)
        copied.step, copied._records = list(self.step), list(self._records)
        return copied

    def last_record(self) -> dict[str, FloatArray]:
        """Return the columns [seeds] of the last record."""
        return dict(self._records[-1])

    def drop_after(self, step: int) -> None:
        """Remove the records after `step`."""
        kept = sum(s <= step for s in self.step)
        del self.step[kept:], self._records[kept:]

    @property
    def columns(self) -> list[str]:
        """Names of all columns except `seed` and `step`, in order of appearance."""
        return list(dict.fromkeys(name for record in self._records for name in record))

    def __getitem__(self, name: str) -> np.ndarray:
        name = ALIASES.get(name, name)
        if name == "step":
            return np.array(self.step)
        if not any(name in record for record in self._records):
            raise KeyError(f"no column {name!r}; there are: step, {', '.join(self.columns)}")
        missing = np.full(len(self.seeds), np.nan)
        return np.array([record.get(name, missing) for record in self._records]).T

    def last(self, name: str) -> FloatArray:
        """Return the last known value [seeds] of a column; NaN for a seed that has none.

        Raises:
            KeyError: there is no such column.
        """
        values = np.asarray(self[name], np.float64)
        seen = ~np.isnan(values)
        at = values.shape[1] - 1 - seen[:, ::-1].argmax(axis=1)
        return np.where(seen.any(axis=1), values[np.arange(len(values)), at], np.nan)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield a row for each seed and record: `pandas.DataFrame(history)` is a table of them."""
        columns = self.columns
        table = np.array([self[name] for name in columns]).reshape(len(columns), len(self.seeds), len(self))
        for i, seed in enumerate(self.seeds):
            for t, step in enumerate(self.step):
                yield {"seed": seed, "step": step, **dict(zip(columns, table[:, i, t].tolist(), strict=True))}

    def keys(self) -> list[str]:
        """Return the names of all columns: `dict(history)` has `step` [T] and the others [seeds, T]."""
        return ["step", *self.columns]

    def to_pandas(self) -> DataFrame:
        """Return a pandas DataFrame with one row for each seed and record: `seed`, `step`, and all columns.

        Raises:
            ConfigError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ConfigError("to_pandas needs pandas: pip install 'bellmax[pandas]'") from error
        n, records = len(self.seeds), len(self)
        seed, step = np.repeat(np.array(self.seeds, np.int64), records), np.tile(np.array(self.step, np.int64), n)
        return pandas.DataFrame({"seed": seed, "step": step, **{name: self[name].ravel() for name in self.columns}})

    def __repr__(self) -> str:
        columns = self.columns
        more = f" and {len(columns) - 12} more" if len(columns) > 12 else ""
        steps = f", steps {self.step[0]:,} to {self.step[-1]:,}" if self.step else ""
        names = textwrap.fill(
            f"columns: {', '.join(columns[:12])}{more}", 100, initial_indent="  ", subsequent_indent="  "
        )
        seeds = counted(len(self.seeds), "seed")
        return f"History({len(self)} records of {seeds}{steps})\n{names if columns else '  no columns'}"

    def picture(self, unit: str = "environment steps") -> str:
        """Return the curve of the column that shows best how good the policies are, as SVG; "" if there is none."""
        name = first_common([self], SCORES)
        if name is None or len(self) < 2:
            return ""
        return curves_svg([curve_of("", self["step"], self[name])], name, x_label=unit)

    def _repr_html_(self) -> str:
        """Return the history for a notebook: what it has, and its curve."""
        steps = f"{self.step[0]:,} to {self.step[-1]:,}" if self.step else "none"
        rows = (
            ("records", len(self)),
            ("steps", steps),
            ("seeds", len(self.seeds)),
            ("columns", ", ".join(self.columns) or "none"),
        )
        return html_card("History", rows, self.picture("steps"))

    def __contains__(self, name: object) -> bool:
        return ALIASES.get(str(name), name) in ("step", *self.columns)

    def __len__(self) -> int:
        return len(self.step)

    def to_csv(self) -> str:
        """Return the history as CSV, one line per seed and record."""
        columns = self.columns
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerow(["seed", "step", *columns])
        table = np.array([self[name] for name in columns]).reshape(len(columns), len(self.seeds), len(self))
        for seed, records in zip(self.seeds, np.moveaxis(table, 0, -1), strict=True):
            for step, values in zip(self.step, records.tolist(), strict=True):
                out.write(",".join([str(seed), str(step), *("" if v != v else repr(v) for v in values)]) + "\n")
        return out.getvalue()

    @classmethod
    def from_csv(cls, text: str, seeds: Sequence[int] | None = None) -> History:
        """Read what `to_csv` wrote; an incomplete last line is skipped. `seeds` are by default those of the lines.

        Raises:
            ValueError, LookupError: it is something else.
        """
        reader = csv.reader(io.StringIO(text))
        try:
            names = next(reader, [])
            if (
                names[:2] != ["seed", "step"]
                or len(names) > MOST_COLUMNS
                or any(len(name) > LONGEST_NAME or plain(name) != name for name in names)
            ):
                raise ValueError(f"its {len(names):,} columns are not those of a history")
            lines = [(int(line[0]), int(line[1]), line[2:]) for line in reader if len(line) == len(names)]
        except csv.Error as error:
            raise ValueError(str(error)) from error
        history = cls(list(dict.fromkeys(seed for seed, _, _ in lines)) if seeds is None else seeds)
        steps, n_seeds = {step: t for t, step in enumerate(sorted({step for _, step, _ in lines}))}, len(history.seeds)
        if len(steps) * n_seeds > 2 * len(lines):
            raise ValueError(f"the history has {len(lines):,} lines for {n_seeds:,} seeds and {len(steps):,} steps")
        row = {seed: i for i, seed in enumerate(history.seeds)}
        table = np.full((len(steps), len(names) - 2, n_seeds), np.nan)
        for seed, step, cells in lines:
            table[steps[step], :, row[seed]] = [float(cell or "nan") for cell in cells]
        for step, record in zip(steps, table, strict=True):
            known = zip(names[2:], record, strict=True)
            history.append(step, {name: values for name, values in known if not np.isnan(values).all()})
        return history


def first_common(histories: Sequence[History], names: Iterable[str]) -> str | None:
    """Return the first of `names` that is a column of all histories; None if there is none."""
    return next((name for name in names if all(name in history.columns for history in histories)), None)
