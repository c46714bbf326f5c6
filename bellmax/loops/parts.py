"""NumPy. What a seed tells between two records: in parts, which end wherever a loop stops, and as arrays of a file."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bellmax.contracts import CorruptCheckpoint, FloatArray, IntArray
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


class Part(NamedTuple):
    """What one seed tells of a part of a chunk: the episodes that ended, and rows of metrics [rounds] by name."""

    episodes: Episodes
    rows: dict[str, Any]


def nothing() -> Part:
    """A part in which nothing happened."""
    return Part(Episodes(np.zeros(0), np.zeros(0, np.int64)), {})


def join(*parts: Part) -> Part:
    """Parts that follow each other, as one."""
    told = [part for part in parts if part.episodes.returns.size or part.rows]
    if len(told) < 2:
        return told[0] if told else nothing()
    episodes = Episodes(*(np.concatenate(columns) for columns in zip(*(part.episodes for part in told), strict=True)))
    names = dict.fromkeys(name for part in told for name in part.rows)
    return Part(episodes, {n: np.concatenate([part.rows[n] for part in told if n in part.rows]) for n in names})


def read_part(arrays: Mapping[str, Any], prefix: str) -> Part:
    """A part among the arrays of a checkpoint.

    Raises:
        ValueError, LookupError: it is not one.
    """
    rows = {name.removeprefix(f"{prefix}rows."): a for name, a in arrays.items() if name.startswith(f"{prefix}rows.")}
    returns, lengths = arrays[f"{prefix}returns"], arrays[f"{prefix}lengths"]
    kinds = [returns.dtype.kind, lengths.dtype.kind, *(row.dtype.kind for row in rows.values())]
    shapes = {row.shape for row in rows.values()}
    if kinds[:2] != ["f", "i"] or returns.ndim != 1 or returns.shape != lengths.shape or len(shapes) > 1:
        raise ValueError(f"{prefix}returns, lengths and rows do not belong together")
    return Part(Episodes(returns, lengths), rows)


OWN = "run."  # begins the names of these arrays in a group's checkpoint; all others are the loop's


def to_own(clock: int, parts: Sequence[Part], scales: Sequence[Any]) -> dict[str, Any]:
    """What the trainer knows of a group, by name: its clock, and of each seed its part and the scale of its values."""
    arrays = {f"{OWN}clock": np.array([clock])}
    for i, (part, scale) in enumerate(zip(parts, scales, strict=True)):
        arrays |= {f"{OWN}{i}.returns": part.episodes.returns, f"{OWN}{i}.lengths": part.episodes.lengths}
        arrays |= {f"{OWN}{i}.rows.{name}": np.asarray(row) for name, row in part.rows.items()}
        arrays[f"{OWN}{i}.scale"] = np.asarray(scale, np.float64)
    return arrays


def check_step(step: int, last: int, groups: Sequence[Mapping[str, Any]]) -> None:
    """Hold the step that a checkpoint names against the clocks of its groups, and the `last` step of the run.

    Raises:
        CorruptCheckpoint: it is another one.
    """
    found = [np.asarray(group[f"{OWN}clock"]) for group in groups if f"{OWN}clock" in group]
    clocks = [int(clock[0]) for clock in found if clock.shape == (1,)]
    if step > last or (clocks and min(clocks) != step):
        there = f"its states are at {min(clocks):,}" if clocks else f"the run ends at {last:,}"
        raise CorruptCheckpoint(
            f"the checkpoint names step {step:,}, but {there}; restore checkpoint.json as it was saved, or train again"
        )


def from_own(arrays: Mapping[str, Any], n: int, low: int, high: int) -> tuple[int, list[Part], list[Any]] | None:
    """(clock, parts, scales) of the n seeds of a group, whose clock is from `low` to `high`; None if there are none.

    Raises:
        CorruptCheckpoint: they are not what `to_own` wrote.
    """
    if f"{OWN}clock" not in arrays:
        return None
    try:
        clock = int(arrays[f"{OWN}clock"].item())
        if not low <= clock <= high:
            raise ValueError(f"step {clock} is not between the records at {low} and {high}")
        scales = [arrays[f"{OWN}{i}.scale"] for i in range(n)]
        if any(scale.dtype != np.float64 or scale.shape != (2,) for scale in scales):
            raise ValueError("a scale is not two numbers")
        return clock, [read_part(arrays, f"{OWN}{i}.") for i in range(n)], scales
    except storage.MALFORMED as error:
        raise CorruptCheckpoint(f"the checkpoint does not fit the history of its run: {error}") from error
