"""NumPy. The seeds of a run in groups, each of which a loop advances at its own clock, in its own thread."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from concurrent.futures import wait
from typing import Generic, TypeVar

from bellmax.contracts import ArrayDict
from bellmax.files.dataset import Dataset
from bellmax.loops.logs import SeedLog, empty_log, join_logs
from bellmax.loops.loop import Chunk, Loop
from bellmax.loops.stopping import Pause, Pool, at_once, never

S = TypeVar("S")


class SeedGroups(Generic[S]):
    """All seeds of a run, in groups that share a state of type `S`.

    A group stops wherever a signal, a failure or a save finds it; a record is made when all have reached its step.

    Attributes:
        loop: what advances a group.
        seeds: of each group.
        states: of each group, after `open`.
        clocks: the step that each group has reached.
        logs: what each seed of each group has logged since the last record.
    """

    def __init__(self, loop: Loop[S], seeds: Sequence[int], begin: int) -> None:
        """Prepare groups that start at the step `begin`."""
        size = min(loop.group, len(seeds))
        self.loop = loop
        self.seeds = [list(seeds[i : i + size]) for i in range(0, len(seeds), size)]
        self.states: list[S] = []
        self.clocks = [begin for _ in self.seeds]
        self.logs = [[empty_log() for _ in seeds] for seeds in self.seeds]

    def open(self, pool: Pool, saved: Sequence[ArrayDict] | None) -> None:
        """Create the states of all groups, or restore those that were `saved`; `pool` runs them from now on."""
        self.pool, loop = pool, self.loop
        opened = pool.map(loop.start, self.seeds) if saved is None else pool.map(
            loop.restore, self.seeds, saved, self.clocks
        )  # fmt: skip
        for state in opened:
            self.states.append(state)

    @property
    def are_open(self) -> bool:
        """Whether every group has a state; not if one failed before its first step."""
        return len(self.states) == len(self.seeds)

    def advance(self, until: int, pause: Pause, report: Callable[[int], None]) -> None:
        """Bring the groups towards the step `until`; `report` is called with the steps of all seeds so far."""

        def go(g: int) -> tuple[int, list[SeedLog]]:
            t = self.clocks[g]
            self.states[g], logs, done = self.loop.go(self.states[g], t, until - t, pause)
            return t + done, logs

        futures, noted = [self.pool.submit(go, g) for g in range(len(self.seeds))], 0
        try:
            for noted, future in enumerate(futures):
                self.note(noted, *future.result())
                report(sum(t * len(seeds) for t, seeds in zip(self.clocks, self.seeds, strict=True)))
        except BaseException as error:
            if at_once(error):
                raise
            pause.over = True  # the others stop after their present step
            wait([future for future in futures if not future.cancel()])
            for g in range(noted, len(futures)):
                if not futures[g].cancelled() and futures[g].exception() is None:
                    self.note(g, *futures[g].result())
            self.catch_up()
            raise

    def note(self, g: int, t: int, logs: Sequence[SeedLog]) -> None:
        """Store that a group has reached the step `t`, and what it has logged on the way."""
        self.clocks[g] = t
        self.logs[g] = [join_logs(old, new) for old, new in zip(self.logs[g], logs, strict=True)]

    def catch_up(self) -> None:
        """After a failure, find out how far each group of a host loop is, and what it has logged."""
        for g, state in enumerate(self.states):
            if (t := self.loop.clock(state)) is not None and t != self.clocks[g]:
                self.note(g, t, self.loop.go(state, t, 0, never)[1])

    def chunks(self, steps: int) -> list[Chunk]:
        """Return the chunk of each seed since the last record, `steps` ago."""
        return [
            chunk
            for state, logs in zip(self.states, self.logs, strict=True)
            for chunk in self.loop.chunks(state, logs, steps)
        ]

    def begin_chunk(self) -> None:
        """Begin the chunk of the next record."""
        for state in self.states:
            self.loop.forget(state)
        self.logs = [[empty_log() for _ in seeds] for seeds in self.seeds]

    def snapshot(self) -> list[ArrayDict]:
        """Return the arrays of the present policy of each seed."""
        return [arrays for each in self.pool.map(self.loop.snapshot, self.states) for arrays in each]

    def experience(self) -> list[Dataset]:
        """Return the content of the replay buffer of each seed."""
        assert self.loop.experience is not None  # noqa: S101 - check_kept has looked
        return [data for each in self.pool.map(self.loop.experience, self.states) for data in each]

    def blame(self) -> str:
        """Return the first seed whose environment gave what is not finite, and where, in words; "" if none did."""
        for state, clock, seeds in zip(self.states, self.clocks, self.seeds, strict=True):
            for seed, found in zip(seeds, self.loop.blame(seeds, state, clock), strict=False):
                if found:
                    return f"seed {seed}, {found}"
        return ""

    def close(self) -> None:
        """Free the resources of all states, each once."""
        states, self.states = self.states, []
        with contextlib.ExitStack() as stack:
            for state in states:
                stack.callback(self.loop.close, state)

    def kill(self) -> None:
        """End at once everything that runs for the groups."""
        for state in self.states:
            self.loop.kill(state)
