"""NumPy. The contract of all loops, and what a seed reports of a chunk of steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import numpy as np

from bellmax.contracts import ArrayDict
from bellmax.dispatch import in_32_bits
from bellmax.files.dataset import Dataset
from bellmax.loops.logs import Episodes, SeedLog
from bellmax.loops.stopping import never
from bellmax.machine import out_of_memory

S = TypeVar("S")
S_co = TypeVar("S_co", covariant=True)
S_contra = TypeVar("S_contra", contravariant=True)


class Chunk(NamedTuple):
    """What one seed reports of a chunk of steps: the episodes that ended, and means of what was learned, by name."""

    episodes: Episodes
    metrics: dict[str, float]


class Go(Protocol[S]):
    """Advance a group of seeds."""

    def __call__(self, state: S, t: int, steps: int, pause: Callable[[], bool], /) -> tuple[S, list[SeedLog], int]:
        """Return (state, a log of each seed, the environment steps taken), from step `t` on.

        Fewer than `steps` are taken if `pause()`, which is called after each of the loop's own steps, is true.
        """


class Measure(Protocol[S_contra]):
    """Compute the metrics of a chunk."""

    def __call__(self, state: S_contra, rows: Sequence[ArrayDict], steps: int, /) -> list[dict[str, float]]:
        """Return the metrics of each seed over the `steps` since the last `forget`, whose logs have these `rows`."""


class Restore(Protocol[S_co]):
    """Create a state from a checkpoint."""

    def __call__(self, seeds: Sequence[int], arrays: ArrayDict, step: int = 0, /) -> S_co:
        """Return the state whose arrays `dump` returned.

        A Gymnasium environment that cannot be restored starts a new episode, from a seed that follows from the run's
        seed and the step. With `checkpoint.REPLAY_STEP` among the arrays, the replay buffer is older than the rest.
        """


class Loop(NamedTuple, Generic[S]):
    """A way to run a group of seeds, whose state has the type `S`, in pieces of any length.

    Attributes:
        kind: "compiled" or "host".
        stride: environment steps are taken in multiples of this.
        group: seeds that share one state; 1 unless they are stacked on an accelerator or are tables.
        parallel: whether groups may run in threads of one process.
        start: `start(seeds) -> state`, before the first step.
        go, measure, restore: see `Go`, `Measure` and `Restore`.
        snapshot: `snapshot(state) -> [arrays]`, by name, of each seed's present policy.
        dump: `dump(state) -> arrays`, by name, of everything that changes.
        close: `close(state)` frees the resources of a state.
        experience: `experience(state) -> [Dataset]`, the content of each seed's replay buffer; None without one.
        forget: `forget(state)` begins the next chunk.
        clock: `clock(state)`, environment steps so far, also after a failure in `go`; None if the loop cannot fail.
        kill: `kill(state)` ends at once everything that runs for a state, which is then unusable.
        blame: `blame(seeds, state, step) -> [words]` of each seed: where its environment was not finite, or "".
        replay: begins the names of the replay buffer's arrays in `dump`; "" without one.
    """

    kind: str
    stride: int
    group: int
    parallel: bool
    start: Callable[[Sequence[int]], S]
    go: Go[S]
    measure: Measure[S]
    snapshot: Callable[[S], list[ArrayDict]]
    dump: Callable[[S], ArrayDict]
    restore: Restore[S]
    close: Callable[[S], None]
    experience: Callable[[S], list[Dataset]] | None = None
    forget: Callable[[S], None] = lambda state: None
    clock: Callable[[S], int | None] = lambda state: None
    kill: Callable[[S], None] = lambda state: None
    blame: Callable[[Sequence[int], S, int], list[str]] = lambda seeds, state, step: []
    replay: str = ""

    def chunks(self, state: S, logs: Sequence[SeedLog], steps: int) -> list[Chunk]:
        """Return the chunk of each seed, from its log over the `steps` since the last `forget`."""
        metrics = self.measure(state, [log.rows for log in logs], steps)
        return [Chunk(log.episodes, each) for log, each in zip(logs, metrics, strict=True)]

    def advance(self, state: S, t: int, steps: int) -> tuple[S, list[Chunk]]:
        """Run a whole chunk from the step `t` on: return (state, the chunk of each seed of the group)."""
        state, logs, _ = self.go(state, t, steps, never)
        chunks = self.chunks(state, logs, steps)
        self.forget(state)
        return state, chunks


def guarded(loop: Loop[S]) -> Loop[S]:
    """Return a loop of JAX programs that does not depend on the settings of JAX in this process.

    Its functions raise `ResourceError` where memory does not suffice, so that what was learned is saved.
    """
    enough = out_of_memory("training", "use a smaller batch_size, buffer_size or net_arch, or fewer seeds")
    parts: dict[str, Any] = {name: enough(in_32_bits(part)) for name, part in loop._asdict().items() if callable(part)}
    return loop._replace(**parts)


def mean_metrics(metrics: Mapping[str, np.ndarray]) -> dict[str, float]:
    """Return means over the rounds that learned (of "max_..." the largest), by log key; {} if none did."""
    learned = np.asarray(metrics["learned"]) > 0 if metrics else np.zeros(0, bool)
    if not learned.any():
        return {}
    seen = {k: np.asarray(v)[learned] for k, v in metrics.items() if k != "learned"}
    return {f"train/{k}": float(v.max() if k.startswith("max_") else v.mean(dtype=np.float64)) for k, v in seen.items()}
