"""NumPy. The loop of a table or of tiles in Gymnasium environments: one kernel call per step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from bellmax.contracts import (
    ArrayDict,
    CheckpointError,
    ConfigError,
    CorruptCheckpoint,
    HostObs,
    IntArray,
    Masked,
)
from bellmax.envs.host_steps import HostStep
from bellmax.envs.host_world import HostWorld
from bellmax.files import checkpoint
from bellmax.loops.gymnasium_episodes import EpisodeCounter, fresh_seed, restore_worlds, save_worlds
from bellmax.loops.logs import SeedLog
from bellmax.loops.loop import Loop
from bellmax.loops.table_memory import check_room, is_large
from bellmax.loops.table_records import check_end, explored, mean_error, read_state
from bellmax.loops.table_setup import set_up, snapshot
from bellmax.sources import Source
from bellmax.spaces import visible
from bellmax.tabular import stepping
from bellmax.tabular.agent import TabularConfig, build_rates
from bellmax.tabular.own_kernels import FAILURES, explain_failure
from bellmax.tabular.representation import MaskedTiles, Tiles
from bellmax.tabular.tiles import Coder, encode
from bellmax.waiting import compiling

NO_MASKS = np.zeros((3, 0, 0), np.bool_)


@dataclass
class TabularRun:
    """One seed in Gymnasium environments, which returned the observations `seen` [N, ...].

    Attributes:
        obs: [N] the rows of the table for these, see `table_rows`; None before the first step.
        actions: [N] the chosen ones.
        slot: the next one to store tiles in.
        rows: of a large table, those that have been written to: only they are copied. Else None.
        fresh: observations since `rows` was computed.
    """

    world: HostWorld
    table: stepping.TabularState
    episodes: EpisodeCounter
    seen: HostObs
    actions: IntArray
    obs: IntArray | None = None
    slot: int = 0
    rows: IntArray | None = None
    fresh: list[IntArray] = field(default_factory=list)


def table_rows(run: TabularRun, coder: Coder | None, seen: HostObs) -> IntArray:
    """Return the rows [N] of observations [N, ...] in the table: states, cells, or the slots that hold their tiles."""
    if coder is None:
        states: IntArray = visible(seen)
        return states
    tiles = encode(coder, visible(seen))
    q = run.table.q
    if not isinstance(q, Tiles | MaskedTiles):
        return tiles[:, 0]
    slots = (run.slot + np.arange(len(tiles))) % len(q.active)
    q.active[slots] = tiles
    run.slot = (run.slot + len(tiles)) % len(q.active)
    return slots


class GymnasiumTable:
    """The functions of the loop, see `Loop`.

    With `episodes`, `steps` and the arguments of `go` count episodes.
    """

    def __init__(self, config: TabularConfig, source: Source, steps: int, *, episodes: bool) -> None:
        """Prepare for `steps` on each seed.

        Raises:
            ConfigError, ResourceError: as `set_up`, or the agent follows one episode in several environments.
        """
        self.config, self.source, self.steps, self.episodes = config, source, steps, episodes
        self.setup, self.stride = set_up(config, source), source.fixed or 1
        self.agent = self.setup.agent
        self.learner = self.agent.learner(build_rates(config, steps, episodes=episodes))
        if episodes and self.stride > 1:
            raise ConfigError(
                f"episodes can only be counted in one environment, and {source.name} has {self.stride}; pass steps"
            )
        if self.agent.episodic and self.stride > 1:
            raise ConfigError(
                f"{config.name} follows one episode, and {source.name} has {self.stride} environments; pass one "
                "environment, or its id"
            )

    def start(self, seeds: Sequence[int]) -> TabularRun:
        """See `Loop`."""
        (seed,) = seeds
        return self.open_at(seed, 0)

    def open_at(self, seed: int, step: int) -> TabularRun:
        """Create environments and a table, as if at environment step `step`."""
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
        """See `Loop`: steps, or episodes, so far."""
        clock = run.table.clock
        return int((clock.ended if self.episodes else clock.time)[0])

    def go(self, run: TabularRun, t: int, n: int, pause: Callable[[], bool]) -> tuple[TabularRun, list[SeedLog], int]:
        """See `Loop`: steps, or whole episodes, from the clock of the table on."""
        first, step_by = self.clock(run), 1 if self.episodes else run.world.n
        if run.obs is None and n:
            self.begin(run)
        while self.clock(run) + step_by <= first + n:
            if self.episodes:
                check_end(self.source.name, run.table, int(run.episodes.running_length[0]))
            self.step(run)
            if pause():
                break
        return run, [SeedLog(run.episodes.drain(), {})], self.clock(run) - first

    def begin(self, run: TabularRun) -> None:
        """Choose the first action: a step without a transition (of 0 rows).

        If the run was resumed, the episode in the learner's memory cannot continue.
        """
        self.agent.forget(run.table.memory)
        none, run.obs = np.zeros(0, bool), table_rows(run, self.setup.coder, run.seen)
        nothing = HostStep(run.seen, run.seen, np.zeros(0, np.float32), none, none, none, none, none)
        with compiling():
            self.learn(run, run.obs[:0], nothing, run.obs[:0], run.obs)

    def step(self, run: TabularRun) -> None:
        """Step every environment once, learn from it and choose the next actions."""
        setup, obs = self.setup, run.obs
        assert obs is not None  # noqa: S101 - `begin` has set it
        step = run.world.step(run.actions if setup.order is None else setup.order[obs, run.actions])
        if not step.valid.all():  # the next step does not follow those in a window or a trace
            self.agent.forget(run.table.memory)
        following = acting = table_rows(run, setup.coder, step.next_obs)
        if (step.terminated | step.truncated | ~step.valid).any():  # an environment has started a new episode
            acting = table_rows(run, setup.coder, step.obs)
        run.table.error[0] += self.learn(run, obs, step, following, acting)
        run.table.error[1] += run.world.n
        if run.rows is not None:
            run.fresh.append(obs)
        run.seen, run.obs = step.obs, acting
        run.episodes.record(step)

    def learn(self, run: TabularRun, obs: IntArray, step: HostStep, following: IntArray, acting: IntArray) -> float:
        """Call the kernel once: choose actions for `acting`, and return the sum of absolute TD errors."""
        chosen, masks = np.empty_like(run.actions), NO_MASKS
        if self.setup.masked:
            three = (run.seen, step.next_obs, step.obs)
            masks = np.stack([seen.mask for seen in three if isinstance(seen, Masked)])
        continues, over = 1.0 - step.terminated, step.terminated | step.truncated
        batch = stepping.Batch(obs, run.actions, step.reward, continues, over, following, masks)
        try:
            error = stepping.observe(self.learner, run.table, batch, step.valid, acting, chosen)
        except FAILURES as failure:
            raise explain_failure(self.learner.update, self.config, failure) from failure
        run.actions = chosen
        return error

    def measure(self, run: TabularRun, rows: Sequence[ArrayDict], n: int) -> list[dict[str, float]]:
        """See `Loop`: the mean error, the steps that were left out, and the metrics of the table's own clock."""
        dropped = {"rollout/dropped": float(run.world.dropped)} if run.world.dropped else {}
        metrics = {"train/td_error": mean_error(run.table), **dropped}
        return [metrics | explored(self.config, run.table, self.steps, self.episodes)]

    def forget(self, run: TabularRun) -> None:
        """See `Loop`."""
        run.table.error[:] = 0.0

    def snapshot(self, run: TabularRun) -> list[ArrayDict]:
        """See `Loop`: of a large table, only the rows that were written to are copied."""
        if run.rows is not None:
            run.rows = np.unique(np.concatenate([run.rows, *run.fresh]))
            run.fresh = []
        return [snapshot(run.table, self.setup, run.rows)]

    def dump(self, run: TabularRun) -> ArrayDict:
        """See `Loop`: also the positions of the environments."""
        if run.obs is None:  # before the first step
            return checkpoint.to_arrays(run.table)
        now = {"obs": np.asarray(run.obs, np.int64), "actions": run.actions, "slot": np.array([run.slot])}
        return {**checkpoint.to_arrays(run.table), **now, **save_worlds(run.world, run.seen, run.episodes)}

    def restore(self, seeds: Sequence[int], arrays: ArrayDict, step: int = 0) -> TabularRun:
        """See `Loop`: if one environment cannot be restored, learning starts new episodes in all of them."""
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

    def put_back(self, run: TabularRun, arrays: ArrayDict, seed: int) -> None:
        """Restore the environments, and the actions that were chosen for their present observations."""
        if "actions" not in arrays:
            return
        run.seen, lost = restore_worlds(run.world, arrays, seed, run.episodes)
        if lost.any():
            return
        if not {"obs", "slot"} <= arrays.keys():
            raise CorruptCheckpoint("the checkpoint has actions, but lacks the observations that they are for")
        obs, actions, slot = (arrays[name] for name in ("obs", "actions", "slot"))
        shape = self.setup.shape
        slots = len(getattr(run.table.q, "active", ())) or shape.n_states
        n = run.world.n
        wanted = ("obs", obs, n, slots), ("actions", actions, n, shape.n_actions), ("slot", slot, 1, slots)
        for name, array, size, most in wanted:
            if array.dtype != np.int64 or array.shape != (size,) or (array < 0).any() or (array >= most).any():
                raise CorruptCheckpoint(f"the checkpoint's {name} is not of {n} environments")
        run.obs, run.actions, run.slot = obs, actions, int(slot[0])


def gymnasium_table_loop(
    config: TabularConfig, source: Source, steps: int, n_seeds: int = 1, *, episodes: bool = False
) -> Loop[TabularRun]:
    """Return the loop of a table in Gymnasium environments; with `episodes`, as in `compiled_table_loop`.

    Raises:
        ConfigError, ResourceError: as `GymnasiumTable`, or the tables of all seeds do not fit in memory.
    """
    own = GymnasiumTable(config, source, steps, episodes=episodes)
    check_room(config, own.setup.shape, source.name, n_seeds, own.setup.masked)
    return Loop(
        "host", own.stride, 1, False, own.start, own.go, own.measure, own.snapshot,
        own.dump, own.restore, lambda run: run.world.close(), forget=own.forget,
        clock=own.clock, kill=lambda run: run.world.kill(),
    )  # fmt: skip
