"""NumPy. What a record of a run consists of: columns, the first episodes of each seed, and the updates of each pair."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from bellmax.contracts import FloatArray, IntArray
from bellmax.files.run_files import KEPT_VISITS
from bellmax.loops.logs import Episodes
from bellmax.loops.loop import Chunk
from bellmax.training.history import chunk_columns
from bellmax.training.policy import Policy
from bellmax.training.run import Run


def record_columns(run: Run, chunks: Sequence[Chunk], step: int) -> dict[str, FloatArray | float]:
    """Return the columns of one record of the history, without evaluation."""
    columns: dict[str, FloatArray | float] = {"time/total_timesteps": float(step)}
    if run.options.data is None:  # a run with data does not explore
        columns["rollout/exploration_rate"] = float(run.config.epsilon(step, run.steps))
    return {**columns, **chunk_columns(chunks)}


class KeptRecords:
    """Fills `run.episodes` and `run.visits` record by record, each within a limit on its memory.

    If a resumed run does not have the earlier ones (an older version did not store them), later ones are left out: an
    incomplete array would look complete.
    """

    def __init__(self, run: Run, n_records: int) -> None:
        """Prepare for a run of `n_records` records in all, of which `run.history` has the first."""
        self.run, self.n_records = run, n_records
        self.visits: IntArray | None = None
        self.parts: list[list[Episodes]] = [[] for _ in run.seeds]
        if not len(run.history):
            run.episodes = [Episodes(np.zeros(0), np.zeros(0, np.int64)) for _ in run.seeds]
        share = run.options.keep_episodes // len(run.seeds)
        self.room = [share - episodes.returns.size for episodes in run.episodes]

    def keep(self, chunks: Sequence[Chunk], policies: Sequence[Policy]) -> None:
        """Store the episodes and visits of the history's last record."""
        for i, room in enumerate(self.room):
            returns, lengths = chunks[i].episodes
            if room > 0 and returns.size:
                self.parts[i].append(Episodes(returns[:room].copy(), lengths[:room].copy()))
                self.room[i] -= returns.size
        if all("visits" in policy.arrays for policy in policies):
            self.count(policies)

    def count(self, policies: Sequence[Policy]) -> None:
        """Add one record to `run.visits`."""
        run, record = self.run, len(self.run.history) - 1
        shape = self.n_records, len(run.seeds), *policies[0].arrays["visits"].shape
        if math.prod(shape) > KEPT_VISITS or record != (0 if run.visits is None else len(run.visits)):
            return
        if self.visits is None:
            self.visits = np.zeros(shape, np.int64)
            if run.visits is not None:
                self.visits[:record] = run.visits
        self.visits[record] = [policy.arrays["visits"] for policy in policies]
        run.visits = self.visits[: record + 1]

    def gather(self) -> None:
        """Move all stored episodes to `run.episodes`."""
        for i, parts in enumerate(self.parts):
            if parts:
                columns = zip(self.run.episodes[i], *parts, strict=True)
                self.run.episodes[i] = Episodes(*(np.concatenate(column) for column in columns))
                parts.clear()
