"""NumPy. The contract of all loops, and what a loop tells of a chunk of steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bellmax.dispatch import in_32_bits
from bellmax.loops.parts import Episodes, Part
from bellmax.loops.stopping import never


class Chunk(NamedTuple):
    """What one seed's chunk tells: the episodes that ended, and means of what was learned, by name."""

    episodes: Episodes
    metrics: dict[str, float]


class Loop(NamedTuple):
    """A way to run a group of seeds, in pieces of any length; the host does the rest between them.

    Attributes:
        kind: "compiled" or "host".
        stride: environment steps go in multiples of this.
        group: seeds that one state holds, stacked; 1 unless seeds share an accelerator.
        parallel: groups may run in threads of one process.
        start: `start(seeds) -> state`.
        go: `go(state, t, steps, pause) -> (state, parts, done)`: `done` environment steps from step `t` on, a Part for
            each seed of the group; fewer than `steps` where `pause()`, asked after each of its own, is true.
        measure: `measure(state, rows, steps) -> [metrics]` of each seed over the `steps` since the last `forget`.
        snapshot: `snapshot(state) -> [arrays]`, by name, of each seed's present policy.
        dump: `dump(state) -> arrays`, by name, of everything that evolves.
        restore: `restore(seeds, arrays, step=0) -> state`, the inverse; a Gymnasium environment starts a new episode,
            of a seed that follows from its own and the step.
        close: `close(state)` frees what the state holds outside memory.
        experience: `experience(state) -> [Dataset]`, of each seed, what its replay memory holds; None without one.
        forget: `forget(state)` begins a new chunk: what `measure` tells of is over.
        clock: `clock(state)`, environment steps so far, also after a failure in `go`; None where there can be none.
        kill: `kill(state)` ends at once what else runs for it, and leaves it unusable.
    """

    kind: str
    stride: int
    group: int
    parallel: bool
    start: Callable[[Sequence[int]], Any]
    go: Callable[[Any, int, int, Callable[[], bool]], tuple[Any, list[Part], int]]
    measure: Callable[[Any, Sequence[dict[str, Any]], int], list[dict[str, float]]]
    snapshot: Callable[[Any], list[dict[str, Any]]]
    dump: Callable[[Any], dict[str, Any]]
    restore: Callable[..., Any]
    close: Callable[[Any], None]
    experience: Callable[[Any], list[Any]] | None = None
    forget: Callable[[Any], None] = lambda state: None
    clock: Callable[[Any], int | None] = lambda state: None
    kill: Callable[[Any], None] = lambda state: None

    def chunks(self, state: Any, parts: Sequence[Part], steps: int) -> list[Chunk]:
        """What each seed tells of a chunk of `steps`, all of whose parts are joined in `parts`."""
        metrics = self.measure(state, [part.rows for part in parts], steps)
        return [Chunk(part.episodes, each) for part, each in zip(parts, metrics, strict=True)]

    def advance(self, state: Any, t: int, steps: int) -> tuple[Any, list[Chunk]]:
        """A whole chunk, from the step `t` on: (state, one Chunk per seed of the group)."""
        state, parts, _ = self.go(state, t, steps, never)
        chunks = self.chunks(state, parts, steps)
        self.forget(state)
        return state, chunks


def guarded(loop: Loop) -> Loop:
    """A loop of JAX programs that run alike whatever the settings of JAX in this process."""
    parts: dict[str, Any] = {name: in_32_bits(part) for name, part in loop._asdict().items() if callable(part)}
    return loop._replace(**parts)


def mean_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Means over the rounds that learned (of "max_..." the largest), under their log keys; empty if none did."""
    learned = np.asarray(metrics["learned"]) > 0 if metrics else np.zeros(0, bool)
    if not learned.any():
        return {}
    seen = {k: np.asarray(v)[learned] for k, v in metrics.items() if k != "learned"}
    return {f"train/{k}": float(v.max() if k.startswith("max_") else v.mean(dtype=np.float64)) for k, v in seen.items()}
