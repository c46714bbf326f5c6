"""NumPy. The loop of a table or of tiles in a compiled environment: a model's arrays, or classic control."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

from bellmax.contracts import ArrayDict, IncompatibleCheckpoint
from bellmax.files import checkpoint
from bellmax.loops import table_records
from bellmax.loops.logs import Episodes, SeedLog, join_logs
from bellmax.loops.loop import Loop
from bellmax.loops.table_memory import check_room
from bellmax.loops.table_records import check_end, explored, mean_error, read_state
from bellmax.loops.table_setup import set_up, snapshot
from bellmax.mdp.successors import in_front
from bellmax.sources import Source
from bellmax.tabular import stepping
from bellmax.tabular.agent import TabularConfig, build_rates
from bellmax.tabular.classic_kernels import build_classic
from bellmax.tabular.model_kernels import build_model
from bellmax.tabular.own_kernels import FAILURES, explain_failure
from bellmax.waiting import compiling_first

PIECE = 20_000  # environment steps of the first piece of a chunk; later ones grow to about 0.2 s
States: TypeAlias = tuple[stepping.TabularState, ...]  # of the seeds of a group


class CompiledTables:
    """The functions of the loop, see `Loop`; the seeds of a group run one after the other.

    With `episodes`, `steps` and the arguments of `go` count episodes.
    """

    def __init__(self, config: TabularConfig, source: Source, steps: int, *, episodes: bool) -> None:
        """Prepare for `steps` on each seed; raises as `set_up`."""
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
        self.run_steps = compiling_first(stepping.run_steps)
        self.world, self.learner = world, self.setup.agent.learner(build_rates(config, steps, episodes=episodes))

    def start(self, seeds: Sequence[int]) -> States:
        """See `Loop`."""
        return tuple(self.setup.init(self.config, seed, self.place) for seed in seeds)

    def go(self, states: States, t: int, n: int, pause: Callable[[], bool]) -> tuple[States, list[SeedLog], int]:
        """See `Loop`: in pieces, all seeds after each other."""
        logs: list[list[SeedLog]] = [[] for _ in states]
        episodes, learner = self.episodes, self.learner
        if episodes:
            learner = learner._replace(rates=learner.rates._replace(last=t + n))
        done, size = 0, PIECE if episodes else min(n, PIECE)
        returns, lengths = np.empty(size), np.empty(size, np.int64)
        while done < n:
            size, begin = size if episodes else min(size, n - done), time.perf_counter()
            if size > returns.size:
                returns, lengths = np.empty(size), np.empty(size, np.int64)
            for state, log in zip(states, logs, strict=True):
                if episodes and state.clock.ended[0] >= t + n:
                    continue
                span = min(size, table_records.LONGEST_EPISODE - int(state.clock.length[0])) if episodes else size
                try:
                    count, _ = self.run_steps(learner, self.world, state, span, returns, lengths)
                except FAILURES as error:
                    raise explain_failure(learner.update, self.config, error) from error
                log.append(SeedLog(Episodes(returns[:count].copy(), lengths[:count].copy()), {}))
                if episodes:
                    check_end(self.name, state, int(state.clock.length[0]))
            done = min(int(state.clock.ended[0]) for state in states) - t if episodes else done + size
            seconds = time.perf_counter() - begin
            size = size * 2 if seconds < 0.1 else max(1, size // 2) if seconds > 0.4 else size
            if pause():
                break
        return states, [join_logs(*log) for log in logs], done

    def measure(self, states: States, rows: Sequence[ArrayDict], n: int) -> list[dict[str, float]]:
        """See `Loop`: the mean error of each seed, and the metrics of its own clock."""
        return [
            {"train/td_error": mean_error(state), **explored(self.config, state, self.steps, self.episodes)}
            for state in states
        ]

    def forget(self, states: States) -> None:
        """See `Loop`."""
        for state in states:
            state.error[:] = 0.0

    def snapshot(self, states: States) -> list[ArrayDict]:
        """See `Loop`."""
        return [snapshot(state, self.setup) for state in states]

    def dump(self, states: States) -> ArrayDict:
        """See `Loop`: every array has a leading axis of seeds."""
        each = [checkpoint.to_arrays(state) for state in states]
        return {name: np.stack([arrays[name] for arrays in each]) for name in each[0]}

    def restore(self, seeds: Sequence[int], arrays: ArrayDict, step: int = 0) -> States:
        """See `Loop`."""
        if any(array.shape[:1] != (len(seeds),) for array in arrays.values()):
            raise IncompatibleCheckpoint(f"checkpoint: its arrays are not those of {len(seeds)} seeds")
        each = [{name: array[i] for name, array in arrays.items()} for i in range(len(seeds))]
        return tuple(read_state(*pair) for pair in zip(self.start(seeds), each, strict=True))


def compiled_table_loop(
    config: TabularConfig, source: Source, steps: int, group: int, n_seeds: int = 1, *, episodes: bool = False
) -> Loop[States]:
    """Return the loop over the arrays of a model or in classic control, for groups of `group` of the `n_seeds` seeds.

    With `episodes`, `steps` and the arguments of `go` count episodes.

    Raises:
        ConfigError, ResourceError: as `set_up`, or the tables of all seeds do not fit in memory.
    """
    own = CompiledTables(config, source, steps, episodes=episodes)
    check_room(config, own.setup.shape, source.name, n_seeds)
    return Loop(
        "compiled", 1, group, True, own.start, own.go, own.measure, own.snapshot, own.dump, own.restore,
        lambda states: None, forget=own.forget,
    )  # fmt: skip
