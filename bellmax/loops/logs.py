"""NumPy. What a seed logs between two records, in parts that end wherever a loop stops, and its arrays in a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from bellmax.contracts import ArrayDict, CorruptCheckpoint, FloatArray, IntArray
from bellmax.files import storage


class Episodes(NamedTuple):
    """Episodes in the order in which they ended: undiscounted return and length (environment steps) [E]."""

    returns: FloatArray
    lengths: IntArray

    def __repr__(self) -> str:
        if not np.size(self.returns):
            return "Episodes(none)"
        return (
            f"Episodes({np.size(self.returns):,}: mean return {np.mean(self.returns):.6g}, "
            f"mean length {np.mean(self.lengths):.6g})"
        )


class SeedLog(NamedTuple):
    """What one seed has logged over some steps: the episodes that ended, and rows of metrics [rounds] by name."""

    episodes: Episodes
    rows: ArrayDict


def empty_log() -> SeedLog:
    """Return a log without episodes or metrics."""
    return SeedLog(Episodes(np.zeros(0), np.zeros(0, np.int64)), {})


def join_logs(*logs: SeedLog) -> SeedLog:
    """Return one log of logs that follow each other."""
    filled = [log for log in logs if log.episodes.returns.size or log.rows]
    if len(filled) < 2:
        return filled[0] if filled else empty_log()
    episodes = Episodes(*(np.concatenate(columns) for columns in zip(*(log.episodes for log in filled), strict=True)))
    names = dict.fromkeys(name for log in filled for name in log.rows)
    return SeedLog(episodes, {n: np.concatenate([log.rows[n] for log in filled if n in log.rows]) for n in names})


def read_log(arrays: ArrayDict, prefix: str) -> SeedLog:
    """Read a log from the arrays of a checkpoint.

    Raises:
        ValueError, LookupError: it is not complete.
    """
    rows = {name.removeprefix(f"{prefix}rows."): a for name, a in arrays.items() if name.startswith(f"{prefix}rows.")}
    returns, lengths = arrays[f"{prefix}returns"], arrays[f"{prefix}lengths"]
    kinds = [returns.dtype.kind, lengths.dtype.kind, *(row.dtype.kind for row in rows.values())]
    shapes = {row.shape for row in rows.values()}
    if kinds[:2] != ["f", "i"] or returns.ndim != 1 or returns.shape != lengths.shape or len(shapes) > 1:
        raise ValueError(f"{prefix}returns, lengths and rows do not match")
    return SeedLog(Episodes(returns, lengths), rows)


OWN = "run."  # begins the names of the trainer's arrays in a group's checkpoint; all others are the loop's


def own_arrays(
    clock: int, logs: Sequence[SeedLog], scales: Sequence[np.ndarray], best: Sequence[ArrayDict] = ()
) -> ArrayDict:
    """Return the trainer's arrays of a group, by name: its clock, and each seed's log, scale of values, best policy."""
    arrays: ArrayDict = {f"{OWN}clock": np.array([clock])}
    for i, (log, scale) in enumerate(zip(logs, scales, strict=True)):
        arrays |= {f"{OWN}{i}.returns": log.episodes.returns, f"{OWN}{i}.lengths": log.episodes.lengths}
        arrays |= {f"{OWN}{i}.rows.{name}": np.asarray(row) for name, row in log.rows.items()}
        arrays[f"{OWN}{i}.scale"] = np.asarray(scale, np.float64)
    for name in best[0] if best else ():
        arrays[f"{OWN}best.{name}"] = np.stack([policy[name] for policy in best])
    return arrays


def read_best(arrays: ArrayDict, like: Sequence[ArrayDict]) -> list[ArrayDict]:
    """Return the best policies in a group's checkpoint, one for each seed; `like` are the present ones. [] without any.

    Raises:
        CorruptCheckpoint: they are not policies of these seeds.
    """
    prefix = f"{OWN}best."
    stacked = {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
    expected = {name: (array.dtype, (len(like), *array.shape)) for name, array in like[0].items()}
    if stacked and {name: (array.dtype, array.shape) for name, array in stacked.items()} != expected:
        raise CorruptCheckpoint("the best policies in the checkpoint are not those of this run")
    return [{name: array[i] for name, array in stacked.items()} for i in range(len(like))] if stacked else []


def without_own(arrays: ArrayDict) -> ArrayDict:
    """Return the loop's arrays of a group's checkpoint."""
    return {name: array for name, array in arrays.items() if not name.startswith(OWN)}


def read_own_arrays(
    arrays: ArrayDict, n: int, low: int, high: int
) -> tuple[int, list[SeedLog], list[np.ndarray]] | None:
    """Return (clock, logs, scales) of the n seeds of a group, whose clock is from `low` to `high`; None without them.

    Raises:
        CorruptCheckpoint: `own_arrays` did not return them.
    """
    if f"{OWN}clock" not in arrays:
        return None
    try:
        clock = int(arrays[f"{OWN}clock"].item())
        if not low <= clock <= high:
            raise ValueError(f"step {clock} is not between the records at {low} and {high}")
        scales = [arrays[f"{OWN}{i}.scale"] for i in range(n)]
        if any(scale.dtype != np.float64 or scale.shape not in ((2,), (4,)) for scale in scales):
            raise ValueError("a scale is not four numbers")
        return clock, [read_log(arrays, f"{OWN}{i}.") for i in range(n)], scales
    except storage.MALFORMED as error:
        raise CorruptCheckpoint(f"the checkpoint does not fit the history of its run: {error}") from error


def check_step(step: int, last: int, groups: Sequence[Mapping[str, np.ndarray]]) -> None:
    """Check the step in a checkpoint's manifest against the clocks of its groups and the `last` step of the run.

    Raises:
        CorruptCheckpoint: they differ.
    """
    found = [np.asarray(group[f"{OWN}clock"]) for group in groups if f"{OWN}clock" in group]
    clocks = [int(clock[0]) for clock in found if clock.shape == (1,)]
    if step > last or (clocks and min(clocks) != step):
        there = f"its states are at {min(clocks):,}" if clocks else f"the run ends at {last:,}"
        raise CorruptCheckpoint(
            f"the checkpoint names step {step:,}, but {there}; resume from another checkpoint, or train again"
        )
