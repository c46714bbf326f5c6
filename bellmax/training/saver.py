"""NumPy. Save a run at intervals: a thread writes a snapshot of it while training goes on, one save at a time."""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, wait

from bellmax.contracts import ArrayDict, CorruptCheckpoint, ResourceError, RunWarning
from bellmax.files.blocks import in_blocks, known_blocks
from bellmax.files.checkpoint import SavedGroup, replay_files
from bellmax.files.lock import check_held, place_held
from bellmax.files.saved_files import Files, files_of
from bellmax.loops.stopping import Pool
from bellmax.loops.table_memory import LARGE
from bellmax.stderr import warn
from bellmax.training import saved_runs
from bellmax.training.run import Run

MOST_FAILURES = 3  # saves in a row that may fail before training stops


class Saver:
    """Saves the checkpoints of a run; `replay` begins the names of its replay buffer's arrays, "" without one.

    Attributes:
        replay_due: the time (seconds, `time.monotonic`) from which on a save includes the replay buffer.
    """

    def __init__(self, run: Run, replay: str) -> None:
        self.run, self.replay = run, replay
        self.failures, self.replay_due = 0, -math.inf
        self._saving: Future[None] | None = None
        self._next_due = -math.inf  # `replay_due`, once the save under way has succeeded

    def begin(self, step: int, dumped: Iterable[ArrayDict]) -> None:
        """Save a checkpoint of the arrays of each group; when this returns, they may change.

        It waits for the save before, see `settle`; and for this one if policies are views of a table that learns.
        """
        self.settle()
        now, every = time.monotonic(), self.run.options.save_replay_every or 0.0
        try:
            files, older = self._files(), list[list[str]]()
            if now < self.replay_due:
                with contextlib.suppress(CorruptCheckpoint):  # it is damaged: save it again
                    older = replay_files(files)
            known = known_blocks(files)
        except ResourceError as error:  # the disk failed: as if it had failed in the thread
            self._saving = Future()
            self._saving.set_exception(error)
            return
        self._next_due = self.replay_due if older else now + every
        live = self._has_views()
        groups = self._groups(dumped, known, older, copied=not live)
        if not live:
            snapshot = deque(groups)
            groups = (snapshot.popleft() for _ in range(len(snapshot)))  # what is written is not needed in memory
        writer = Pool(1)
        self._saving = writer.submit(saved_runs.save_run, saved_runs.frozen(self.run), step, groups)
        writer.shutdown(wait=False)
        if live:
            wait([self._saving])

    def save(
        self,
        step: int | None = None,
        dumped: Iterable[ArrayDict] = (),
        *,
        afresh: bool = False,
        experience: bool = False,
    ) -> None:
        """Save a checkpoint, its replay buffer too, before anything goes on; the arguments are as in `save_run`.

        Raises:
            ResourceError: a file cannot be written.
        """
        self.settle(last=True)
        known = set[str]() if afresh else known_blocks(self._files())
        groups = self._groups(dumped, known, [], copied=False)
        saved_runs.save_run(self.run, step, groups, afresh=afresh, experience=experience)
        self.failures = 0

    def settle(self, *, last: bool = False) -> None:
        """Wait for the save under way; if it failed, warn: the last saved state stays, and training continues.

        Args:
            last: another save follows at once, which shows whether anything is lost.

        Raises:
            ResourceError: it failed several times in a row.
        """
        if self._saving is None:
            return
        try:
            self._saving.result()
            self.failures, self.replay_due = 0, self._next_due
        except Exception as error:
            self.failures += 1
            if last:
                return
            if self.failures == MOST_FAILURES or not isinstance(error, ResourceError | MemoryError):
                raise
            what = error if isinstance(error, ResourceError) else f"cannot save the run: out of memory ({error})"
            warn(f"{what}; training continues (failure {self.failures} of {MOST_FAILURES} in a row)", RunWarning)
        finally:
            if self._saving.done():
                self._saving = None

    def _has_views(self) -> bool:
        """Whether policies change while training goes on: those of tables too large to copy at every record."""
        arrays = [a for each in self.run.policies.values() for policy in each for a in policy.arrays.values()]
        return any(array.base is not None and array.size > LARGE for array in arrays)

    def _files(self) -> Files:
        assert self.run.folder is not None  # noqa: S101 - only saved runs come here
        check_held(self.run.folder)
        return files_of(place_held(self.run.folder))

    def _groups(
        self, dumped: Iterable[ArrayDict], known: set[str], older: list[list[str]], *, copied: bool
    ) -> Iterator[SavedGroup]:
        """What is saved of each group; `older` are the files of replay buffers that are not saved again."""
        for g, arrays in enumerate(dumped):
            replay = {name: a for name, a in arrays.items() if self.replay and name.startswith(self.replay)}
            state = in_blocks({name: a for name, a in arrays.items() if name not in replay}, known, copied=copied)
            yield SavedGroup(state, older[g] if older else in_blocks(replay, known, copied=copied))
