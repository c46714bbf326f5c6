"""NumPy. What a loop yields between chunks, and the history that is made of it."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bellmax.types import FloatArray, IntArray


class Episodes(NamedTuple):
    """Episodes that ended within a chunk, in order: undiscounted return and length (environment steps) [E]."""

    returns: FloatArray
    lengths: IntArray


class Chunk(NamedTuple):
    """What one seed's chunk tells: the episodes that ended, and means of what was learnt, by name."""

    episodes: Episodes
    metrics: dict[str, float]


class Loop(NamedTuple):
    """A way to run a group of seeds, chunk by chunk; the host does the rest between chunks.

    Attributes:
        kind: "compiled" or "host".
        stride: environment steps go in multiples of this.
        group: seeds that one state holds, stacked; 1 unless seeds share an accelerator.
        parallel: groups may run in threads of one process.
        start: `start(seeds) -> state`.
        advance: `advance(state, t, steps) -> (state, chunks)`, one Chunk per seed of the group; `t` counts
            environment steps before the chunk, the same for all seeds.
        snapshot: `snapshot(state) -> [arrays]`, by name, of each seed's present policy.
        dump: `dump(state) -> arrays`, by name, of everything that evolves.
        restore: `restore(seeds, arrays) -> state`, the inverse; a Gymnasium world starts a new episode.
        close: `close(state)` frees what the state holds outside memory.
    """

    kind: str
    stride: int
    group: int
    parallel: bool
    start: Callable[[Sequence[int]], Any]
    advance: Callable[[Any, int, int], tuple[Any, list[Chunk]]]
    snapshot: Callable[[Any], list[dict[str, Any]]]
    dump: Callable[[Any], dict[str, Any]]
    restore: Callable[[Sequence[int], dict[str, Any]], Any]
    close: Callable[[Any], None]


def mean_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Means over the rounds that learnt, under their log keys; empty if none did."""
    learnt = np.asarray(metrics["learnt"]) > 0 if metrics else np.zeros(0, bool)
    if not learnt.any():
        return {}
    return {f"train/{k}": float(np.mean(v[learnt], dtype=np.float64)) for k, v in metrics.items() if k != "learnt"}


ALIASES = {"return": "rollout/ep_rew_mean", "length": "rollout/ep_len_mean", "loss": "train/loss"}


class History:
    """Columns over the records of a run: `step` [T] (environment steps), all others [seeds, T].

    Columns bear the log keys of Stable-Baselines3; "return", "length" and "loss" are short for theirs. A
    value that does not exist (no episode ended yet) is NaN.
    """

    def __init__(self, seeds: list[int]) -> None:
        self.seeds = seeds
        self.step: list[int] = []
        self._rows: list[list[Mapping[str, float]]] = []

    def append(self, step: int, rows: list[Mapping[str, float]]) -> None:
        """One record: the same moment in every seed."""
        self.step.append(step)
        self._rows.append(rows)

    def drop_after(self, step: int) -> None:
        """Forget the records later than `step`."""
        kept = sum(s <= step for s in self.step)
        del self.step[kept:], self._rows[kept:]

    @property
    def columns(self) -> list[str]:
        """Names of all columns but `seed` and `step`, in order of appearance."""
        return list(dict.fromkeys(name for rows in self._rows for row in rows for name in row))

    def __getitem__(self, name: str) -> Any:
        name = ALIASES.get(name, name)
        if name == "step":
            return np.array(self.step)
        if name not in self.columns:
            raise KeyError(f"no column {name!r}; there are: step, {', '.join(self.columns)}")
        return np.array([[row.get(name, np.nan) for row in rows] for rows in self._rows]).T

    def __len__(self) -> int:
        return len(self.step)

    def to_csv(self) -> str:
        """One line per seed and record; opens in pandas and in a spreadsheet."""
        columns = self.columns
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["seed", "step", *columns])
        for i, seed in enumerate(self.seeds):
            for step, rows in zip(self.step, self._rows, strict=True):
                values = (rows[i].get(name, np.nan) for name in columns)
                writer.writerow([seed, step, *("" if np.isnan(v) else repr(float(v)) for v in values)])
        return out.getvalue()

    @classmethod
    def from_csv(cls, text: str) -> History:
        """The inverse of `to_csv`; a torn last line is skipped."""
        lines = list(csv.reader(io.StringIO(text)))
        names = lines[0][2:]
        table: dict[tuple[int, int], dict[str, float]] = {}
        for line in lines[1:]:
            if len(line) == len(names) + 2:
                table[int(line[1]), int(line[0])] = {
                    name: float(v) for name, v in zip(names, line[2:], strict=True) if v != ""
                }
        history = cls(sorted({seed for _, seed in table}))
        for step in sorted({step for step, _ in table}):
            history.append(step, [table.get((step, seed), {}) for seed in history.seeds])
        return history
