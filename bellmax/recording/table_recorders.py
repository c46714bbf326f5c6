"""NumPy. The recorders of tables, one for each of their loops: start or restore a state, advance it, record it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import numpy as np

from bellmax.contracts import ArrayDict
from bellmax.files import checkpoint
from bellmax.files.dataset import Dataset
from bellmax.loops.choosing import make_data_loop
from bellmax.loops.loop import Loop
from bellmax.loops.table_compiled import PIECE, CompiledTables
from bellmax.loops.table_data import as_seen, read_rows
from bellmax.loops.table_gymnasium import TabularRun
from bellmax.loops.table_setup import Setup, set_up
from bellmax.recording.table_flows import describer, table_flow
from bellmax.recording.table_parts import TableParts
from bellmax.recording.table_steps import RecordedTable, compiled_step, data_step
from bellmax.recording.window import RecordedStep
from bellmax.sources import Source
from bellmax.tabular.agent import Learner, TabularConfig, build_rates
from bellmax.tabular.stepping import TabularState

Tick = Callable[[int], None]  # called with the clock, now and then


class Saved(NamedTuple):
    """The state of a group of seeds in a checkpoint, and the place of one seed among them."""

    seeds: Sequence[int]
    place: int
    arrays: ArrayDict
    step: int


class Recorder(Protocol):
    """One seed of a run, which is advanced by its loop and recorded.

    Attributes:
        stride: steps that are recorded together.
        lead: steps before the window that must be played, so that it is known how its first action was chosen.
        block: a window begins at a multiple of this.
        flow: the order of the phases.
    """

    stride: int
    lead: int
    block: int
    flow: tuple[str, ...]

    def start(self, seed: int) -> None:
        """Create the state of a seed before its first step."""

    def restore(self, saved: Saved) -> None:
        """Restore the state of a seed."""

    def clock(self) -> int:
        """Return the steps so far."""

    def forward(self, until: int, tick: Tick) -> None:
        """Advance by the loop to the clock `until`, or to the end of the run."""

    def record(self) -> list[RecordedStep]:
        """Record what comes next, `stride` steps or more; [] at the end of the run."""

    def dump(self) -> ArrayDict:
        """Return the arrays of everything that changes, as the loop's `dump` does."""

    def close(self) -> None:
        """Free what the state uses."""


def make_parts(config: TabularConfig, learner: Learner, state: TabularState, setup: Setup) -> TableParts:
    """Return the parts of a step of this learner."""
    return TableParts(config, learner, state, setup.order, describer(learner.update))


class CompiledTableRecorder:
    """Records a table in a compiled environment. See `Recorder`."""

    def __init__(self, config: TabularConfig, source: Source, steps: int, *, episodes: bool) -> None:
        """Prepare for a run of `steps` environment steps, or of so many episodes."""
        self.stride, self.lead, self.block = 1, 1, 1
        self.own, self.most = CompiledTables(config, source, steps, episodes=episodes), steps if episodes else 0
        rates = self.own.learner.rates
        self.learner = self.own.learner._replace(rates=rates._replace(last=steps)) if episodes else self.own.learner
        self.flow = table_flow(self.learner.update, look_ahead=self.learner.look_ahead, from_data=False)
        self.parts: TableParts | None = None

    def start(self, seed: int) -> None:
        """See `Recorder`."""
        (self.state,) = self.own.start([seed])

    def restore(self, saved: Saved) -> None:
        """See `Recorder`."""
        self.state = self.own.restore(saved.seeds, saved.arrays, saved.step)[saved.place]

    def clock(self) -> int:
        """See `Recorder`."""
        return int(self.state.clock.time[0])

    def ended(self) -> bool:
        """Return whether a run of episodes has ended."""
        return bool(self.most and int(self.state.clock.ended[0]) >= self.most)

    def forward(self, until: int, tick: Tick) -> None:
        """See `Recorder`."""
        size = min(PIECE, max(until - self.clock(), 1))
        returns, lengths = np.empty(size), np.empty(size, np.int64)
        while self.clock() < until and not self.ended():
            span = min(size, until - self.clock())
            self.own.run_steps(self.learner, self.own.world, self.state, span, returns, lengths)
            tick(self.clock())

    def record(self) -> list[RecordedStep]:
        """See `Recorder`."""
        if self.ended():
            return []
        if self.parts is None:
            self.parts = make_parts(self.own.config, self.learner, self.state, self.own.setup)
        return [compiled_step(self.parts, self.own.world)]

    def dump(self) -> ArrayDict:
        """See `Recorder`."""
        return self.own.dump((self.state,))

    def close(self) -> None:
        """See `Recorder`."""


class HostTableRecorder:
    """Records a table in Gymnasium environments. See `Recorder`."""

    def __init__(self, config: TabularConfig, source: Source, steps: int, *, episodes: bool) -> None:
        """Prepare for a run of `steps` environment steps, or of so many episodes."""
        self.own, self.most = RecordedTable(config, source, steps, episodes=episodes), steps if episodes else 0
        self.stride = self.lead = self.block = self.own.stride
        learner = self.own.learner
        self.flow = table_flow(learner.update, look_ahead=learner.look_ahead, from_data=False)
        self.run: TabularRun | None = None

    def start(self, seed: int) -> None:
        """See `Recorder`."""
        self.run = self.own.start([seed])

    def restore(self, saved: Saved) -> None:
        """See `Recorder`."""
        self.run = self.own.restore(saved.seeds, saved.arrays, saved.step)

    def running(self) -> TabularRun:
        """Return the state."""
        assert self.run is not None  # noqa: S101 - it was started or restored
        return self.run

    def clock(self) -> int:
        """See `Recorder`."""
        return int(self.running().table.clock.time[0])

    def ended(self) -> bool:
        """Return whether a run of episodes has ended."""
        return bool(self.most and int(self.running().table.clock.ended[0]) >= self.most)

    def forward(self, until: int, tick: Tick) -> None:
        """See `Recorder`."""
        run = self.running()
        if run.obs is None and until > 0:
            self.own.begin(run)
        while self.clock() < until and not self.ended():
            self.own.step(run)
            tick(self.clock())

    def record(self) -> list[RecordedStep]:
        """See `Recorder`."""
        if self.ended():
            return []
        run = self.running()
        if not self.own.recording:
            self.own.parts = make_parts(self.own.config, self.own.learner, run.table, self.own.setup)
            self.own.recording = True
        self.own.recorded = []
        if run.obs is None:
            self.own.begin(run)
        self.own.step(run)
        return self.own.recorded

    def dump(self) -> ArrayDict:
        """See `Recorder`."""
        return self.own.dump(self.running())

    def close(self) -> None:
        """See `Recorder`."""
        if self.run is not None:
            self.run.world.close()


class DataTableRecorder:
    """Records a table that learns from data. See `Recorder`."""

    def __init__(self, config: TabularConfig, source: Source, kind: str, steps: int, data: Dataset) -> None:
        """Prepare for a run of `steps` updates; `data` have been checked."""
        self.stride, self.lead, self.block, self.steps = 1, 0, 1, steps
        self.loop: Loop[TabularState] = make_data_loop(config, source, kind, steps, data)
        self.config, self.setup = config, set_up(config, source)
        self.learner = self.setup.agent.learner(build_rates(config, steps))
        self.rows = read_rows(self.setup, source, as_seen(source, data))
        self.flow = table_flow(self.learner.update, look_ahead=False, from_data=True)

    def start(self, seed: int) -> None:
        """See `Recorder`."""
        self.state = self.loop.start([seed])

    def restore(self, saved: Saved) -> None:
        """See `Recorder`."""
        self.state = self.loop.restore(saved.seeds, saved.arrays, saved.step)

    def clock(self) -> int:
        """See `Recorder`."""
        return int(self.state.clock.time[0])

    def forward(self, until: int, tick: Tick) -> None:
        """See `Recorder`."""

        def note() -> bool:
            tick(self.clock())
            return False

        if until > self.clock():
            self.loop.go(self.state, self.clock(), until - self.clock(), note)

    def record(self) -> list[RecordedStep]:
        """See `Recorder`."""
        return [data_step(make_parts(self.config, self.learner, self.state, self.setup), self.rows)]

    def dump(self) -> ArrayDict:
        """See `Recorder`."""
        return checkpoint.to_arrays(self.state)

    def close(self) -> None:
        """See `Recorder`."""
