"""JAX. The recorders of networks, one for each of their loops: start or restore a state, advance it, record it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, Protocol, TypeVar

from bellmax.contracts import ArrayDict
from bellmax.deep.config import DeepConfig, ReplayConfig
from bellmax.dispatch import in_32_bits
from bellmax.files import checkpoint
from bellmax.files.dataset import Dataset
from bellmax.loops.network_data import OfflineState
from bellmax.loops.network_gymnasium import NetworkRun
from bellmax.loops.network_pieces import Keyed, pieces, unstack
from bellmax.loops.network_rounds import RunState
from bellmax.recording.acting_steps import is_known
from bellmax.recording.data_steps import DataRecorder
from bellmax.recording.host_network_steps import BlockRecorder
from bellmax.recording.network_steps import RoundRecorder
from bellmax.recording.table_recorders import Saved, Tick
from bellmax.recording.window import RecordedStep
from bellmax.sources import Source

S = TypeVar("S", bound=Keyed)
S_co = TypeVar("S_co", covariant=True)
FEW = 256  # rounds that are advanced one by one, since another program takes seconds to compile


def network_flow(config: DeepConfig, *, from_data: bool = False) -> tuple[str, ...]:
    """Return the order of the phases of an agent with a network."""
    acting = () if from_data else ("observe", "choose", "step", "store", "reset")
    inside = ("target", "loss", "gradient") if is_known(config) else ("loss",)
    replays = isinstance(config, ReplayConfig)
    priorities = ("priorities",) if replays and getattr(config, "prioritized", False) else ()
    return (*acting, "wait", "sample", *inside, "update", *priorities, *(("sync",) if replays else ()))


class StateLoop(Protocol[S_co]):
    """What is needed of a loop whose state is arrays."""

    stride: int
    most: int

    def start(self, seeds: Sequence[int]) -> S_co:
        """See `Loop`."""

    def restore(self, seeds: Sequence[int], arrays: ArrayDict, step: int = 0) -> S_co:
        """See `Loop`."""


class SingleRounds(Protocol[S]):
    """A recorder of single rounds: `RoundRecorder` or `DataRecorder`."""

    @property
    def loop(self) -> StateLoop[S]:
        """The loop whose rounds are recorded."""

    def record(self, state: S, t: int) -> tuple[S, S, list[RecordedStep]]:
        """Return (the state by the loop, the state by the parts, the steps)."""

    def advance(self, state: S, rounds: int, t: int) -> S:
        """Take rounds by the loop's own program."""


class StateRecorder(Generic[S]):
    """Records a network whose state is arrays, round by round. See `Recorder`."""

    def __init__(self, rounds: SingleRounds[S], flow: tuple[str, ...]) -> None:
        """Prepare to record these rounds."""
        self.rounds, self.own, self.flow, self.t = rounds, rounds.loop, flow, 0
        self.stride, self.lead, self.block = self.own.stride, 0, self.own.stride
        self.by_parts: S | None = None

    @in_32_bits
    def start(self, seed: int) -> None:
        """See `Recorder`."""
        self.state, self.t = self.own.start([seed]), 0

    @in_32_bits
    def restore(self, saved: Saved) -> None:
        """See `Recorder`."""
        self.state = unstack(self.own.restore(saved.seeds, saved.arrays, saved.step))[saved.place]
        self.t = saved.step

    def clock(self) -> int:
        """See `Recorder`."""
        return self.t

    @in_32_bits
    def forward(self, until: int, tick: Tick) -> None:
        """See `Recorder`."""
        rounds = (until - self.t) // self.stride
        for size in [1] * rounds if rounds <= FEW else pieces(rounds, self.own.most):
            self.state = self.rounds.advance(self.state, size, self.t)
            self.t += size * self.stride
            tick(self.t)

    @in_32_bits
    def record(self) -> list[RecordedStep]:
        """See `Recorder`."""
        self.state, self.by_parts, steps = self.rounds.record(self.state, self.t)
        self.t += self.stride
        return steps

    @in_32_bits
    def dump(self) -> ArrayDict:
        """See `Recorder`."""
        return checkpoint.to_arrays(self.state)

    def close(self) -> None:
        """See `Recorder`."""


class CompiledNetworkRecorder(StateRecorder[RunState]):
    """Records a network in a compiled environment."""

    @in_32_bits
    def __init__(self, config: DeepConfig, source: Source, steps: int) -> None:
        """Prepare for a run of `steps` environment steps."""
        super().__init__(RoundRecorder(config, source, steps), network_flow(config))


class DataNetworkRecorder(StateRecorder[OfflineState]):
    """Records a network that learns from data."""

    @in_32_bits
    def __init__(self, config: DeepConfig, source: Source, steps: int, data: Dataset) -> None:
        """Prepare for a run of `steps` gradient steps; `config` is as the loop needs it."""
        super().__init__(DataRecorder(config, source, steps, data), network_flow(config, from_data=True))


class HostNetworkRecorder:
    """Records a network in Gymnasium environments. See `Recorder`."""

    @in_32_bits
    def __init__(self, config: DeepConfig, source: Source, steps: int) -> None:
        """Prepare for a run of `steps` environment steps."""
        self.blocks = BlockRecorder(config, source, steps)
        self.own, self.flow = self.blocks.loop, network_flow(config)
        self.stride, self.lead, self.block = self.own.stride, 0, self.blocks.block
        self.run: NetworkRun | None = None

    @in_32_bits
    def start(self, seed: int) -> None:
        """See `Recorder`."""
        self.run = self.own.start([seed])

    @in_32_bits
    def restore(self, saved: Saved) -> None:
        """See `Recorder`."""
        self.run = self.own.restore(saved.seeds, saved.arrays, saved.step)

    def running(self) -> NetworkRun:
        """Return the state."""
        assert self.run is not None  # noqa: S101 - it was started or restored
        return self.run

    def clock(self) -> int:
        """See `Recorder`."""
        return self.running().t

    @in_32_bits
    def forward(self, until: int, tick: Tick) -> None:
        """See `Recorder`."""
        run = self.running()

        def note() -> bool:
            tick(run.t)
            return False

        if until > run.t:
            self.own.go(run, run.t, until - run.t, note)

    @in_32_bits
    def record(self) -> list[RecordedStep]:
        """See `Recorder`."""
        return self.blocks.record(self.running(), self.clock())

    @in_32_bits
    def dump(self) -> ArrayDict:
        """See `Recorder`."""
        return self.own.dump(self.running())

    def close(self) -> None:
        """See `Recorder`."""
        if self.run is not None:
            self.own.close(self.run)
