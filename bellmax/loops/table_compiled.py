"""NumPy. The loop of a table or of tiles over a compiled world: a model's arrays, or one of the classic worlds."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from bellmax.contracts import IncompatibleCheckpoint
from bellmax.files import checkpoint
from bellmax.loops import table_records
from bellmax.loops.loop import Loop
from bellmax.loops.parts import Episodes, Part, join
from bellmax.loops.table_memory import check_room
from bellmax.loops.table_records import check_end, explored, mean_error, read_state
from bellmax.loops.table_setup import set_up, snapshot
from bellmax.mdp.successors import in_front
from bellmax.sources import Source
from bellmax.tabular import stepping
from bellmax.tabular.agent import build_rates
from bellmax.tabular.classic_kernels import build_classic
from bellmax.tabular.model_kernels import build_model

PIECE = 20_000  # environment steps of the first piece of a chunk; those after it grow until they take a moment


class CompiledTables:
    """The parts of the loop, for the seeds of a group one after the other; see `Loop` for what each does.

    Where the run is of so many `episodes`, `steps` and what `go` is given count them.
    """

    def __init__(self, config: Any, source: Source, steps: int, *, episodes: bool) -> None:
        """Raises as `set_up`."""
        self.config, self.name, self.steps, self.episodes = config, source.name, steps, episodes
        world: Any
        self.place = 0
        if source.mdp is not None:
            world = build_model(in_front(source.mdp)[0], source.mdp.max_episode_steps)
            self.setup = set_up(config, source, world.width)
        else:
            self.setup = set_up(config, source)
            assert self.setup.coder is not None  # noqa: S101 - classic worlds are of real numbers
            world, self.place = build_classic(source.name, self.setup.coder)
        self.world, self.learner = world, self.setup.agent.learner(build_rates(config, steps, episodes=episodes))

    def start(self, seeds: Sequence[int]) -> Any:
        """All seeds of a group, before their first step."""
        return tuple(self.setup.init(self.config, seed, self.place) for seed in seeds)

    def go(self, states: Any, t: int, n: int, pause: Callable[[], bool]) -> tuple[Any, list[Part], int]:
        """In pieces of environment steps, all seeds of the group side by side."""
        parts: list[list[Part]] = [[] for _ in states]
        episodes, learner = self.episodes, self.learner
        if episodes:
            learner = learner._replace(rates=learner.rates._replace(last=t + n))
        done, size = 0, PIECE if episodes else min(n, PIECE)
        returns, lengths = np.empty(size), np.empty(size, np.int64)
        while done < n:
            size, begin = size if episodes else min(size, n - done), time.perf_counter()
            if size > returns.size:
                returns, lengths = np.empty(size), np.empty(size, np.int64)
            for state, told in zip(states, parts, strict=True):
                if episodes and state.clock.ended[0] >= t + n:
                    continue
                span = min(size, table_records.LONGEST_EPISODE - int(state.clock.length[0])) if episodes else size
                count, _ = stepping.run(learner, self.world, state, span, returns, lengths)
                told.append(Part(Episodes(returns[:count].copy(), lengths[:count].copy()), {}))
                if episodes:
                    check_end(self.name, state, int(state.clock.length[0]))
            done = min(int(state.clock.ended[0]) for state in states) - t if episodes else done + size
            seconds = time.perf_counter() - begin
            size = size * 2 if seconds < 0.1 else max(1, size // 2) if seconds > 0.4 else size
            if pause():
                break
        return states, [join(*told) for told in parts], done

    def measure(self, states: Any, rows: Any, n: int) -> list[dict[str, float]]:
        """The mean error of each seed, and what goes by its own clock."""
        return [
            {"train/td_error": mean_error(state), **explored(self.config, state, self.steps, self.episodes)}
            for state in states
        ]

    def forget(self, states: Any) -> None:
        """A new record begins."""
        for state in states:
            state.error[:] = 0.0

    def snapshot(self, states: Any) -> list[dict[str, Any]]:
        """The present policy of each seed."""
        return [snapshot(state, self.setup) for state in states]

    def dump(self, states: Any) -> dict[str, Any]:
        """Everything that evolves, every array with a leading axis of seeds."""
        each = [checkpoint.to_arrays(state) for state in states]
        return {name: np.stack([arrays[name] for arrays in each]) for name in each[0]}

    def restore(self, seeds: Sequence[int], arrays: dict[str, Any], step: int = 0) -> Any:
        """The inverse of `dump`."""
        if any(array.shape[:1] != (len(seeds),) for array in arrays.values()):
            raise IncompatibleCheckpoint(f"checkpoint: its arrays are not those of {len(seeds)} seeds")
        each = [{name: array[i] for name, array in arrays.items()} for i in range(len(seeds))]
        return tuple(read_state(*pair) for pair in zip(self.start(seeds), each, strict=True))


def compiled_table_loop(
    config: Any, source: Source, steps: int, group: int, n_seeds: int = 1, *, episodes: bool = False
) -> Loop:
    """Over the arrays of a model, or a classic world; `group` of `n_seeds` seeds one after the other.

    With `episodes` the run is of so many episodes: `steps`, and what `advance` is given, count them.

    Raises:
        ConfigError, ResourceError: as `set_up`, or the tables of all seeds do not fit in memory.
    """
    own = CompiledTables(config, source, steps, episodes=episodes)
    check_room(config, own.setup.shape, source.name, n_seeds)
    return Loop(
        "compiled", 1, group, True, own.start, own.go, own.measure, own.snapshot, own.dump, own.restore,
        lambda states: None, forget=own.forget,
    )  # fmt: skip
