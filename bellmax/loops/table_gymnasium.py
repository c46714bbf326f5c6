"""NumPy. The loop of a table or of tiles through Gymnasium: one kernel call per step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bellmax.contracts import CheckpointError, ConfigError, CorruptCheckpoint, Masked
from bellmax.envs.host_steps import HostStep
from bellmax.envs.host_world import HostWorld
from bellmax.files import checkpoint
from bellmax.loops.gymnasium_episodes import EpisodeCounter, fresh_seed, restore_worlds, save_worlds
from bellmax.loops.loop import Loop
from bellmax.loops.parts import Part
from bellmax.loops.table_memory import check_room, is_large
from bellmax.loops.table_records import check_end, explored, mean_error, read_state
from bellmax.loops.table_setup import set_up, snapshot
from bellmax.sources import Source
from bellmax.spaces import visible
from bellmax.tabular import stepping
from bellmax.tabular.agent import build_rates
from bellmax.tabular.representation import MaskedTiles, Tiles
from bellmax.tabular.tiles import Coder, encode

NO_MASKS = np.zeros((3, 0, 0), np.bool_)


@dataclass
class TabularRun:
    """One seed on a Gymnasium world: `obs` [N] as the table knows it, `seen` [N, ...] as the world gave it."""

    world: HostWorld
    table: stepping.TabularState
    episodes: EpisodeCounter
    seen: Any
    obs: Any = None
    actions: Any = None
    slot: int = 0
    rows: Any = None  # of a large table, those that have been written to, so that only they are copied; else None
    fresh: list[Any] = field(default_factory=list)  # observations since these were gathered


def as_known(run: TabularRun, coder: Coder | None, seen: Any) -> Any:
    """Observations [N, ...] as the table knows them [N]: states, cells, or the slots in which their tiles are noted."""
    if coder is None:
        return visible(seen)
    tiles = encode(coder, visible(seen))
    q = run.table.q
    if not isinstance(q, Tiles | MaskedTiles):
        return tiles[:, 0]
    slots = (run.slot + np.arange(len(tiles))) % len(q.active)
    q.active[slots] = tiles
    run.slot = (run.slot + len(tiles)) % len(q.active)
    return slots


class GymnasiumTable:
    """The parts of the loop; see `Loop` for what each does.

    Where the run is of so many `episodes`, `steps` and what `go` is given count them.
    """

    def __init__(self, config: Any, source: Source, steps: int, *, episodes: bool) -> None:
        """Raises as `set_up`, or ConfigError: the learner follows one episode and there are several environments."""
        self.config, self.source, self.steps, self.episodes = config, source, steps, episodes
        self.setup, self.stride = set_up(config, source), source.fixed or 1
        self.agent = self.setup.agent
        self.learner = self.agent.learner(build_rates(config, steps, episodes=episodes))
        if episodes and self.stride > 1:
            raise ConfigError(
                f"episodes are counted in one environment, and {source.name} is {self.stride}; give steps"
            )
        if self.agent.episodic and self.stride > 1:
            raise ConfigError(
                f"{config.name} follows one episode and {source.name} is {self.stride} worlds; give one, or its id"
            )

    def start(self, seeds: Sequence[int]) -> TabularRun:
        """One seed, before its first step."""
        (seed,) = seeds
        return self.open_at(seed, 0)

    def open_at(self, seed: int, step: int) -> TabularRun:
        """New environments and a new table, as if at environment step `step`."""
        setup, config = self.setup, self.config
        world = self.source.open_worlds(1, training=True)
        table = setup.init(config, seed, worlds=world.n)
        first = config.initial_q if self.agent.initial_q is None else self.agent.initial_q
        sparse = is_large(setup.shape) and first == 0 and setup.n_allowed is None and config.tilings == 1
        return TabularRun(
            world, table, EpisodeCounter.of(world.n), world.reset(fresh_seed(seed, step)),
            actions=np.zeros(world.n, np.int64), rows=np.zeros(0, np.int64) if sparse else None,
        )  # fmt: skip

    def clock(self, run: TabularRun) -> int:
        """Steps, or episodes, so far."""
        clock = run.table.clock
        return int((clock.ended if self.episodes else clock.time)[0])

    def go(self, run: TabularRun, t: int, n: int, pause: Callable[[], bool]) -> tuple[TabularRun, list[Part], int]:
        """Steps, or whole episodes, from the clock of the table on."""
        first, step_by = self.clock(run), 1 if self.episodes else run.world.n
        if run.obs is None and n:
            self.begin(run)
        while self.clock(run) + step_by <= first + n:
            if self.episodes:
                check_end(self.source.name, run.table, int(run.episodes.running_length[0]))
            self.step(run)
            if pause():
                break
        return run, [Part(run.episodes.drain(), {})], self.clock(run) - first

    def begin(self, run: TabularRun) -> None:
        """See the present observation and choose a first action: a step without a transition (of 0 rows).

        An episode that learning remembers went with its process, if the run was resumed.
        """
        self.agent.forget(run.table.memory)
        none, run.obs = np.zeros(0, bool), as_known(run, self.setup.coder, run.seen)
        nothing = HostStep(run.seen, run.seen, np.zeros(0, np.float32), none, none, none, none, none)
        self.learn(run, run.obs[:0], nothing, run.obs[:0], run.obs)

    def step(self, run: TabularRun) -> None:
        """Step once in every environment, learn from it and choose the next actions."""
        setup = self.setup
        step = run.world.step(run.actions if setup.order is None else setup.order[run.obs, run.actions])
        if not step.valid.all():  # what comes next does not follow what a window or a trace remembers
            self.agent.forget(run.table.memory)
        following = acting = as_known(run, setup.coder, step.next_obs)
        if (step.terminated | step.truncated | ~step.valid).any():  # a world has begun anew
            acting = as_known(run, setup.coder, step.obs)
        run.table.error[0] += self.learn(run, run.obs, step, following, acting)
        run.table.error[1] += run.world.n
        if run.rows is not None:
            run.fresh.append(run.obs)
        run.seen, run.obs = step.obs, acting
        run.episodes.record(step)

    def learn(self, run: TabularRun, obs: Any, step: HostStep, following: Any, acting: Any) -> Any:
        """The one call of the kernel; returns the sum of absolute errors, and leaves actions for `acting`."""
        chosen, masks = np.empty_like(run.actions), NO_MASKS
        if self.setup.masked:
            three = (run.seen, step.next_obs, step.obs)
            masks = np.stack([seen.mask for seen in three if isinstance(seen, Masked)])
        continues, over = 1.0 - step.terminated, step.terminated | step.truncated
        batch = stepping.Batch(obs, run.actions, step.reward, continues, over, following, masks)
        error = stepping.observe(self.learner, run.table, batch, step.valid, acting, chosen)
        run.actions = chosen
        return error

    def measure(self, run: TabularRun, rows: Any, n: int) -> list[dict[str, float]]:
        """The mean error, what was left out, and what goes by the table's own clock."""
        dropped = {"rollout/dropped": float(run.world.dropped)} if run.world.dropped else {}
        metrics = {"train/td_error": mean_error(run.table), **dropped}
        return [metrics | explored(self.config, run.table, self.steps, self.episodes)]

    def forget(self, run: TabularRun) -> None:
        """A new record begins."""
        run.table.error[:] = 0.0

    def snapshot(self, run: TabularRun) -> list[dict[str, Any]]:
        """The present policy; of a large table only the rows that were written to are copied."""
        if run.rows is not None:
            run.rows = np.unique(np.concatenate([run.rows, *run.fresh]))
            run.fresh = []
        return [snapshot(run.table, self.setup, run.rows)]

    def dump(self, run: TabularRun) -> dict[str, Any]:
        """Everything that evolves."""
        if run.obs is None:  # before the first step
            return checkpoint.to_arrays(run.table)
        now = {"obs": np.asarray(run.obs, np.int64), "actions": run.actions, "slot": np.array([run.slot])}
        return {**checkpoint.to_arrays(run.table), **now, **save_worlds(run.world, run.seen, run.episodes)}

    def restore(self, seeds: Sequence[int], arrays: dict[str, Any], step: int = 0) -> TabularRun:
        """The inverse of `dump`; where an environment cannot be put back, learning begins a new episode in all."""
        (seed,) = seeds
        saved = arrays.get("state.clock.time", np.zeros(1, np.int64)).ravel()
        clock = max(int(saved[0]), step, 0) if saved.size else step
        run = self.open_at(seed, clock)
        try:
            run.table = read_state(run.table, arrays)
            self.put_back(run, arrays, fresh_seed(seed, clock))
        except CheckpointError:
            run.world.close()
            raise
        if run.rows is not None:
            run.rows = np.flatnonzero(run.table.visits.any(axis=1))
        return run

    def put_back(self, run: TabularRun, arrays: dict[str, Any], seed: int) -> None:
        """The environments, and what was chosen for their present observations."""
        if "actions" not in arrays:
            return
        run.seen, lost = restore_worlds(run.world, arrays, seed, run.episodes)
        if lost.any():
            return
        obs, actions, slot = (arrays[name] for name in ("obs", "actions", "slot"))
        shape = self.setup.shape
        slots = len(getattr(run.table.q, "active", ())) or shape.n_states
        n = run.world.n
        wanted = ("obs", obs, n, slots), ("actions", actions, n, shape.n_actions), ("slot", slot, 1, slots)
        for name, array, size, most in wanted:
            if array.dtype != np.int64 or array.shape != (size,) or (array < 0).any() or (array >= most).any():
                raise CorruptCheckpoint(f"the checkpoint's {name} is not of {n} environments")
        run.obs, run.actions, run.slot = obs, actions, int(slot[0])


def gymnasium_table_loop(config: Any, source: Source, steps: int, n_seeds: int = 1, *, episodes: bool = False) -> Loop:
    """Through Gymnasium. With `episodes` the run is of so many, as in `compiled_table_loop`.

    Raises:
        ConfigError: a learner that follows one episode is given several worlds at a time; or as `set_up`.
        ResourceError: the tables of all seeds do not fit in memory.
    """
    own = GymnasiumTable(config, source, steps, episodes=episodes)
    check_room(config, own.setup.shape, source.name, n_seeds, own.setup.masked)
    return Loop(
        "host", own.stride, 1, False, own.start, own.go, own.measure, own.snapshot,
        own.dump, own.restore, lambda run: run.world.close(), forget=own.forget,
        clock=own.clock, kill=lambda run: run.world.kill(),
    )  # fmt: skip
