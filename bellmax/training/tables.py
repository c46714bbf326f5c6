"""NumPy. The loops of learners with a table or tiles: over a compiled world, or through Gymnasium."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bellmax.envs.gymnasium import HostStep, HostWorld
from bellmax.mdp.successors import in_front
from bellmax.spaces import visible
from bellmax.tabular import train
from bellmax.tabular.agent import TabularConfig, build_rates
from bellmax.tabular.classic import CLASSIC, build_classic
from bellmax.tabular.representation import MaskedTiles, Tiles
from bellmax.tabular.soundness import check_state
from bellmax.tabular.tiles import Coder, encode
from bellmax.tabular.worlds import build_model
from bellmax.training import checkpoint
from bellmax.training.host import Meter, meter
from bellmax.training.records import Chunk, Episodes, Loop
from bellmax.training.table_memory import check_room, is_large
from bellmax.training.table_setup import set_up, snapshot
from bellmax.training.worlds import Source
from bellmax.types import ConfigError, EnvContractError


def read_state(fresh: train.TabularState, arrays: dict[str, Any]) -> train.TabularState:
    """The state in a checkpoint's arrays, for a run whose state before its first step is `fresh`.

    Raises:
        IncompatibleCheckpoint: it is of another agent or world.
        CorruptCheckpoint: it cannot be the state of a learner: kernels would read and write outside of their arrays.
    """
    state: train.TabularState = checkpoint.from_arrays(fresh, arrays, "checkpoint")
    check_state(state, fresh, "checkpoint")
    return state


def is_compiled(source: Source) -> bool:
    """Whether a table can learn from the world in a compiled loop: it has a model, or is one of the classic worlds."""
    return source.mdp is not None or (source.compiled is not None and source.name in CLASSIC)


LONGEST_EPISODE = 10**7  # environment steps: one that a run of so many episodes waits for no longer


def explored(config: TabularConfig, state: train.TabularState, steps: int, episodes: bool) -> dict[str, float]:
    """Metrics that go by a seed's own clock: ε where it falls per episode, environment steps where episodes count."""
    own = {}
    if config.exploration_schedule == "per-episode":
        own["rollout/exploration_rate"] = float(config.epsilon(int(state.clock[train.ENDED]), steps))
    if episodes:
        own["time/total_timesteps"] = float(state.clock[train.TIME])
    return own


def check_end(name: str, state: train.TabularState, length: int) -> None:
    """Refuse an episode that does not end.

    Raises:
        EnvContractError: it has lasted `LONGEST_EPISODE` steps.
    """
    if length >= LONGEST_EPISODE:
        raise EnvContractError(
            f"{name}: episode {state.clock[train.ENDED] + 1:,} has lasted {length:,} steps and has not ended; give the "
            "environment a time limit, such as env_kwargs={'max_episode_steps': 1000}, or steps in place of episodes"
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

    def advance(states: Any, t: int, n: int) -> tuple[Any, list[Chunk]]:
        returns, lengths, chunks = np.empty(n), np.empty(n, np.int64), []
        del t  # the kernel keeps the clock in its state
        for state in states:
            until = rates._replace(last=int(state.clock[train.ENDED]) + n) if episodes else rates
            count, errors, begin, span = 0, 0.0, int(state.clock[train.TIME]), LONGEST_EPISODE if episodes else n
            while True:
                before = state.clock[train.TIME]
                more, error = train.run(*kernels, until, state, span, returns[count:], lengths[count:])
                count, errors = count + more, errors + error * (state.clock[train.TIME] - before)
                if not episodes or count == n:
                    break
                check_end(source.name, state, int(state.clock[train.LENGTH]))
            ended = Episodes(returns[:count].copy(), lengths[:count].copy())
            error = errors / (state.clock[train.TIME] - begin)
            chunks.append(Chunk(ended, {"train/td_error": error, **explored(config, state, steps, episodes)}))
        return states, chunks

    def dump(states: Any) -> dict[str, Any]:
        each = [checkpoint.to_arrays(state) for state in states]
        return {name: np.stack([arrays[name] for arrays in each]) for name in each[0]}

    def restore(seeds: Sequence[int], arrays: dict[str, Any]) -> Any:
        each = [{name: array[i] for name, array in arrays.items()} for i in range(len(seeds))]
        return tuple(read_state(*pair) for pair in zip(start(seeds), each, strict=True))

    def snapshots(states: Any) -> list[dict[str, Any]]:
        return [snapshot(state, setup) for state in states]

    return Loop("compiled", 1, group, True, start, advance, snapshots, dump, restore, lambda states: None)


@dataclass
class TabularRun:
    """One seed on a Gymnasium world: `obs` [N] as the table knows it, `seen` [N, ...] as the world gave it."""

    world: HostWorld
    table: train.TabularState
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
        error = train.observe(
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
        world = source.open_worlds(1, training=True)
        table = setup.init(config, seed, worlds=world.n)
        first = config.initial_q if agent.initial_q is None else agent.initial_q
        sparse = is_large(setup.shape) and first == 0 and setup.n_allowed is None and config.tilings == 1
        return TabularRun(
            world, table, meter(world.n), world.reset(seed), actions=np.zeros(world.n, np.int64),
            rows=np.zeros(0, np.int64) if sparse else None,
        )  # fmt: skip

    def gather(run: TabularRun) -> Any:
        if run.rows is not None:
            run.rows = np.unique(np.concatenate([run.rows, *run.fresh]))
            run.fresh = []
        return run.rows

    def advance(run: TabularRun, t: int, n: int) -> tuple[TabularRun, list[Chunk]]:
        error, begun = 0.0, int(run.table.clock[train.TIME])
        if run.obs is None:
            begin(run)
        for k in itertools.count():
            if (run.table.clock[train.ENDED] >= t + n) if episodes else k == n // run.world.n:
                break
            if episodes:
                check_end(source.name, run.table, int(run.meter.running_length[0]))
            step = run.world.step(run.actions if setup.order is None else setup.order[run.obs, run.actions])
            if not step.valid.all():  # what comes next does not follow what a window or a trace remembers
                agent.forget(run.table.memory)
            following = acting = see(run, setup.coder, step.next_obs)
            if (step.terminated | step.truncated | ~step.valid).any():  # a world has begun anew
                acting = see(run, setup.coder, step.obs)
            error += call(run, run.obs, step, following, acting)
            if run.rows is not None:
                run.fresh.append(run.obs)
            run.seen, run.obs = step.obs, acting
            run.meter.record(step)
        dropped = {"rollout/dropped": float(run.world.dropped)} if run.world.dropped else {}
        metrics = {"train/td_error": error / max(run.table.clock[train.TIME] - begun, 1), **dropped}
        return run, [Chunk(run.meter.drain(), metrics | explored(config, run.table, steps, episodes))]

    def restore(seeds: Sequence[int], arrays: dict[str, Any]) -> TabularRun:
        run = start(seeds)
        run.table = read_state(run.table, arrays)
        if run.rows is not None:
            run.rows = np.flatnonzero(run.table.visits.any(axis=1))
        return run

    return Loop(
        "host", stride, 1, False, start, advance, lambda run: [snapshot(run.table, setup, gather(run))],
        lambda run: checkpoint.to_arrays(run.table), restore, lambda run: run.world.close(),
    )  # fmt: skip
