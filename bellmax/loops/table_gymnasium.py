"""NumPy. The loops of learners with a table or tiles: over a compiled world, or through Gymnasium."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bellmax.contracts import CheckpointError, ConfigError, EnvContractError, IncompatibleCheckpoint
from bellmax.envs.host_world import HostStep, HostWorld
from bellmax.files import checkpoint
from bellmax.loops.loop import Loop
from bellmax.loops.network_gymnasium import Meter, fresh_seed, meter
from bellmax.loops.parts import Episodes, Part, join
from bellmax.loops.table_memory import check_room, is_large
from bellmax.loops.table_setup import set_up, snapshot
from bellmax.mdp.successors import in_front
from bellmax.sources import Source
from bellmax.spaces import visible
from bellmax.tabular import stepping
from bellmax.tabular.agent import TabularConfig, build_rates
from bellmax.tabular.classic_kernels import CLASSIC, build_classic
from bellmax.tabular.model_kernels import build_model
from bellmax.tabular.representation import MaskedTiles, Tiles
from bellmax.tabular.soundness import check_state
from bellmax.tabular.tiles import Coder, encode

PIECE = 20_000  # environment steps of the first piece of a chunk; those after it grow until they take a moment


def read_state(fresh: stepping.TabularState, arrays: dict[str, Any]) -> stepping.TabularState:
    """The state in a checkpoint's arrays, for a run whose state before its first step is `fresh`.

    Raises:
        IncompatibleCheckpoint: it is of another agent or world.
        CorruptCheckpoint: it cannot be the state of a learner: kernels would read and write outside of their arrays.
    """
    state: stepping.TabularState = checkpoint.from_arrays(fresh, arrays, "checkpoint")
    check_state(state, fresh, "checkpoint")
    return state


def is_compiled(source: Source) -> bool:
    """Whether a table can learn from the world in a compiled loop: it has a model, or is one of the classic worlds."""
    return source.mdp is not None or (source.compiled is not None and source.name in CLASSIC)


LONGEST_EPISODE = 10**7  # environment steps: one that a run of so many episodes waits for no longer


def explored(config: TabularConfig, state: stepping.TabularState, steps: int, episodes: bool) -> dict[str, float]:
    """Metrics that go by a seed's own clock: ε where it falls per episode, environment steps where episodes count."""
    own = {}
    if config.exploration_schedule == "per-episode":
        own["rollout/exploration_rate"] = float(config.epsilon(int(state.clock[stepping.ENDED]), steps))
    if episodes:
        own["time/total_timesteps"] = float(state.clock[stepping.TIME])
    return own


def mean_error(state: stepping.TabularState) -> float:
    """The mean absolute TD error of the environment steps since the last record."""
    return float(state.error[0]) / max(int(state.error[1]), 1)


def check_end(name: str, state: stepping.TabularState, length: int) -> None:
    """Refuse an episode that does not end.

    Raises:
        EnvContractError: it has lasted `LONGEST_EPISODE` steps.
    """
    if length >= LONGEST_EPISODE:
        raise EnvContractError(
            f"{name}: episode {state.clock[stepping.ENDED] + 1:,} has lasted {length:,} steps and has not ended; give "
            "it a time limit, such as env_kwargs={'max_episode_steps': 1000}, or steps in place of episodes"
        )


def compiled_loop(
    config: Any, source: Source, steps: int, group: int, n_seeds: int = 1, *, episodes: bool = False
) -> Loop:
    """Over the arrays of a model, or a classic world; `group` of `n_seeds` seeds one after the other.

    With `episodes` the run is of so many episodes: `steps`, and what `advance` is given, count them.

    Raises:
        ConfigError, ResourceError: as `set_up`, or the tables of all seeds do not fit in memory.
    """
    world: Any
    place = 0
    if source.mdp is not None:
        world = build_model(in_front(source.mdp)[0], source.mdp.max_episode_steps)
        setup = set_up(config, source, world.width)
    else:
        setup = set_up(config, source)
        assert setup.coder is not None  # noqa: S101 - classic worlds are of real numbers
        world, place = build_classic(source.name, setup.coder)
    check_room(config, setup.shape, source.name, n_seeds)
    agent, rates = setup.agent, build_rates(config, steps, episodes=episodes)
    kernels = (agent.update, agent.behaviour, agent.look_ahead, agent.options, world)

    def start(seeds: Sequence[int]) -> Any:
        return tuple(setup.init(config, seed, place) for seed in seeds)

    def go(states: Any, t: int, n: int, pause: Callable[[], bool]) -> tuple[Any, list[Part], int]:
        """In pieces of environment steps, all seeds of the group side by side."""
        parts: list[list[Part]] = [[] for _ in states]
        until = rates._replace(last=t + n) if episodes else rates
        done, size = 0, PIECE if episodes else min(n, PIECE)
        returns, lengths = np.empty(size), np.empty(size, np.int64)
        while done < n:
            size, begin = size if episodes else min(size, n - done), time.perf_counter()
            if size > returns.size:
                returns, lengths = np.empty(size), np.empty(size, np.int64)
            for state, told in zip(states, parts, strict=True):
                if episodes and state.clock[stepping.ENDED] >= t + n:
                    continue
                span = min(size, LONGEST_EPISODE - int(state.clock[stepping.LENGTH])) if episodes else size
                count, _ = stepping.run(*kernels, until, state, span, returns, lengths)
                told.append(Part(Episodes(returns[:count].copy(), lengths[:count].copy()), {}))
                if episodes:
                    check_end(source.name, state, int(state.clock[stepping.LENGTH]))
            done = min(int(state.clock[stepping.ENDED]) for state in states) - t if episodes else done + size
            seconds = time.perf_counter() - begin
            size = size * 2 if seconds < 0.1 else max(1, size // 2) if seconds > 0.4 else size
            if pause():
                break
        return states, [join(*told) for told in parts], done

    def measure(states: Any, rows: Any, n: int) -> list[dict[str, float]]:
        return [{"train/td_error": mean_error(state), **explored(config, state, steps, episodes)} for state in states]

    def forget(states: Any) -> None:
        for state in states:
            state.error[:] = 0.0

    def dump(states: Any) -> dict[str, Any]:
        each = [checkpoint.to_arrays(state) for state in states]
        return {name: np.stack([arrays[name] for arrays in each]) for name in each[0]}

    def restore(seeds: Sequence[int], arrays: dict[str, Any], step: int = 0) -> Any:
        if any(array.shape[:1] != (len(seeds),) for array in arrays.values()):
            raise IncompatibleCheckpoint(f"checkpoint: its arrays are not those of {len(seeds)} seeds")
        each = [{name: array[i] for name, array in arrays.items()} for i in range(len(seeds))]
        return tuple(read_state(*pair) for pair in zip(start(seeds), each, strict=True))

    def snapshots(states: Any) -> list[dict[str, Any]]:
        return [snapshot(state, setup) for state in states]

    return Loop(
        "compiled", 1, group, True, start, go, measure, snapshots, dump, restore, lambda states: None, forget=forget
    )


@dataclass
class TabularRun:
    """One seed on a Gymnasium world: `obs` [N] as the table knows it, `seen` [N, ...] as the world gave it."""

    world: HostWorld
    table: stepping.TabularState
    meter: Meter
    seen: Any
    obs: Any = None
    actions: Any = None
    slot: int = 0
    rows: Any = None  # of a large table, those that have been written to, so that only they are copied; else None
    fresh: list[Any] = field(default_factory=list)  # observations since these were gathered


def see(run: TabularRun, coder: Coder | None, seen: Any) -> Any:
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


def host_loop(config: Any, source: Source, steps: int, n_seeds: int = 1, *, episodes: bool = False) -> Loop:
    """Through Gymnasium: one kernel call per step. With `episodes` the run is of so many, as in `compiled_loop`.

    Raises:
        ConfigError: a learner that follows one episode is given several worlds at a time; or as `set_up`.
        ResourceError: the tables of all seeds do not fit in memory.
    """
    setup, stride = set_up(config, source), source.fixed or 1
    check_room(config, setup.shape, source.name, n_seeds, setup.masked)
    agent, rates = setup.agent, build_rates(config, steps, episodes=episodes)
    if episodes and stride > 1:
        raise ConfigError(f"episodes are counted in one environment, and {source.name} is {stride}; give steps")
    if agent.episodic and stride > 1:
        raise ConfigError(
            f"{config.name} follows one episode and {source.name} is {stride} worlds; give one, or its id"
        )

    no_masks = np.zeros((3, 0, 0), np.bool_)

    def call(run: TabularRun, obs: Any, step: HostStep, following: Any, acting: Any) -> Any:
        chosen, masks = np.empty_like(run.actions), no_masks
        if setup.masked:
            masks = np.stack([run.seen.mask, step.next_obs.mask, step.obs.mask])
        error = stepping.observe(
            agent.update, agent.behaviour, agent.look_ahead, agent.options, rates, run.table, obs, run.actions,
            step.reward, 1.0 - step.terminated, step.terminated | step.truncated, following, step.valid, acting, masks,
            chosen,
        )  # fmt: skip
        run.actions = chosen
        return error

    def begin(run: TabularRun) -> None:
        """See the present observation and choose a first action: a step without a transition (of 0 rows).

        An episode that learning remembers went with its process, if the run was resumed.
        """
        agent.forget(run.table.memory)
        none, run.obs = np.zeros(0, bool), see(run, setup.coder, run.seen)
        nothing = HostStep(run.seen, run.seen, np.zeros(0, np.float32), none, none, none, none, none)
        call(run, run.obs[:0], nothing, run.obs[:0], run.obs)

    def start(seeds: Sequence[int]) -> TabularRun:
        (seed,) = seeds
        return open_at(seed, 0)

    def open_at(seed: int, step: int) -> TabularRun:
        world = source.open_worlds(1, training=True)
        table = setup.init(config, seed, worlds=world.n)
        first = config.initial_q if agent.initial_q is None else agent.initial_q
        sparse = is_large(setup.shape) and first == 0 and setup.n_allowed is None and config.tilings == 1
        return TabularRun(
            world, table, meter(world.n), world.reset(fresh_seed(seed, step)), actions=np.zeros(world.n, np.int64),
            rows=np.zeros(0, np.int64) if sparse else None,
        )  # fmt: skip

    def gather(run: TabularRun) -> Any:
        if run.rows is not None:
            run.rows = np.unique(np.concatenate([run.rows, *run.fresh]))
            run.fresh = []
        return run.rows

    def clock(run: TabularRun) -> int:
        return int(run.table.clock[stepping.ENDED if episodes else stepping.TIME])

    def go(run: TabularRun, t: int, n: int, pause: Callable[[], bool]) -> tuple[TabularRun, list[Part], int]:
        first, step_by = clock(run), 1 if episodes else run.world.n
        if run.obs is None and n:
            begin(run)
        while clock(run) + step_by <= first + n:
            if episodes:
                check_end(source.name, run.table, int(run.meter.running_length[0]))
            step = run.world.step(run.actions if setup.order is None else setup.order[run.obs, run.actions])
            if not step.valid.all():  # what comes next does not follow what a window or a trace remembers
                agent.forget(run.table.memory)
            following = acting = see(run, setup.coder, step.next_obs)
            if (step.terminated | step.truncated | ~step.valid).any():  # a world has begun anew
                acting = see(run, setup.coder, step.obs)
            run.table.error[0] += call(run, run.obs, step, following, acting)
            run.table.error[1] += run.world.n
            if run.rows is not None:
                run.fresh.append(run.obs)
            run.seen, run.obs = step.obs, acting
            run.meter.record(step)
            if pause():
                break
        return run, [Part(run.meter.drain(), {})], clock(run) - first

    def measure(run: TabularRun, rows: Any, n: int) -> list[dict[str, float]]:
        dropped = {"rollout/dropped": float(run.world.dropped)} if run.world.dropped else {}
        metrics = {"train/td_error": mean_error(run.table), **dropped}
        return [metrics | explored(config, run.table, steps, episodes)]

    def forget(run: TabularRun) -> None:
        run.table.error[:] = 0.0

    def restore(seeds: Sequence[int], arrays: dict[str, Any], step: int = 0) -> TabularRun:
        (seed,) = seeds
        saved = arrays.get("state.clock", np.zeros(1, np.int64)).ravel()
        run = open_at(seed, max(int(saved[stepping.TIME]), step, 0) if saved.size else step)
        try:
            run.table = read_state(run.table, arrays)
        except CheckpointError:
            run.world.close()
            raise
        if run.rows is not None:
            run.rows = np.flatnonzero(run.table.visits.any(axis=1))
        return run

    return Loop(
        "host", stride, 1, False, start, go, measure, lambda run: [snapshot(run.table, setup, gather(run))],
        lambda run: checkpoint.to_arrays(run.table), restore, lambda run: run.world.close(), forget=forget,
        clock=clock, kill=lambda run: run.world.kill(),
    )  # fmt: skip
