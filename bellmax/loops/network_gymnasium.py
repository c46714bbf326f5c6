"""NumPy and JAX. The loop of a network in Gymnasium environments; learning runs beside stepping.

The agent acts with one dispatch per vector step. A thread learns in blocks of `BLOCK` vector steps (of one round, if a
round is longer); meanwhile, the agent acts with the parameters of the previous block. These are at most two blocks old
and always equally old, so that a run does not depend on which thread was faster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from bellmax.contracts import (
    Array,
    ArrayDict,
    BoolArray,
    CheckpointError,
    CorruptCheckpoint,
    Experience,
    HostObs,
    Transition,
)
from bellmax.deep.config import DeepConfig
from bellmax.deep.state import Carry, LearnerState
from bellmax.dispatch import in_32_bits, making_near, near
from bellmax.envs.host_world import HostWorld
from bellmax.files import checkpoint
from bellmax.files.dataset import Dataset
from bellmax.keys import APART, make_key
from bellmax.loops.experience import from_memory
from bellmax.loops.gymnasium_episodes import EpisodeCounter, fresh_seed, restore_worlds, save_worlds
from bellmax.loops.logs import SeedLog
from bellmax.loops.loop import Loop, guarded, mean_metrics
from bellmax.loops.network_blocks import make_block, make_vector_actor
from bellmax.loops.network_learning import LearnerAndMemory, ranks
from bellmax.loops.step_times import Profile
from bellmax.loops.stopping import Pool
from bellmax.sources import Source
from bellmax.trees import tree_map
from bellmax.waiting import compiling, compiling_first

BLOCK_METRICS = "block."  # begins the names of the metrics of the block that is being learned, in a checkpoint
BLOCK = 16  # vector steps; longer blocks need fewer exchanges, and act with older parameters
Block: TypeAlias = tuple[LearnerAndMemory, LearnerState, Mapping[str, "Array | np.ndarray"]]  # learned from a block


def stacked(*rows: np.ndarray) -> np.ndarray:
    """Return `[T, N, ...]` of T arrays `[N, ...]`; for small ones, twice as fast as np.stack."""
    return np.concatenate(rows).reshape(len(rows), *rows[0].shape)


@dataclass
class NetworkRun:
    """One seed of a network in Gymnasium environments, at environment step `t`.

    `times` are those that its profile measured for the present record, and `block` the block that is being learned. All
    arrays of JAX are near (dispatch.py).
    """

    world: HostWorld
    episodes: EpisodeCounter
    key: Array
    actor: LearnerState
    block: Future[Block]
    thread: Pool
    obs: HostObs
    carry: Carry
    over: BoolArray
    profile: Profile
    t: int = 0
    times: dict[str, float] = field(default_factory=dict)
    pending: list[tuple[Experience, BoolArray]] = field(default_factory=list)
    metrics: list[Mapping[str, Array | np.ndarray]] = field(default_factory=list)


class GymnasiumNetwork:
    """The functions of the loop, see `Loop`."""

    def __init__(self, config: DeepConfig, source: Source, steps: int) -> None:
        """Prepare for `steps` environment steps on each seed."""
        self.config, self.source = config, source
        self.agent = config.make(source.space, source.n_actions, steps)
        self.act = make_vector_actor(self.agent, config.num_envs)
        self.learn = compiling_first(make_block(self.agent, config, source.space))
        self.stride = config.train_freq * config.num_envs
        self.last = steps // self.stride * self.stride
        self.length = max(1, BLOCK // config.train_freq) * config.train_freq
        self.gamma, self.remembers = np.float32(config.gamma), config.recurrent != "none"

    def start(self, seeds: Sequence[int]) -> NetworkRun:
        """See `Loop`."""
        (seed,) = seeds
        return self.open_at(seed, 0)

    def open_at(self, seed: int, step: int) -> NetworkRun:
        """Create environments and a learner, as if at environment step `step`."""
        agent, world = self.agent, self.source.open_worlds(self.config.num_envs, training=True)
        with compiling(), making_near():
            init_key, run_key = jax.random.split(make_key(seed))
            learner = agent.init(init_key)
            actor = tree_map(jnp.copy, agent.actor(learner))
            keys = jax.random.split(jax.random.fold_in(init_key, APART), world.n)
            both, carry = (learner, agent.memory.init()), jax.vmap(agent.begin)(keys, ranks(world.n))
        (both, actor, carry, run_key), over = near((both, actor, carry, run_key)), np.zeros(world.n, np.bool_)
        thread = Pool(1)
        block: Future[Block] = thread.submit(lambda: (both, actor, {}))
        obs = world.reset(fresh_seed(seed, step))
        with compiling():  # before the first step; what it chooses is not used
            self.act(actor, carry, over, obs, run_key, np.int32(0))
        episodes, profile = EpisodeCounter.of(world.n), Profile(world.name)
        return NetworkRun(world, episodes, run_key, actor, block, thread, obs, carry, over, profile, step)

    def go(self, run: NetworkRun, t: int, n: int, pause: Callable[[], bool]) -> tuple[NetworkRun, list[SeedLog], int]:
        """See `Loop`; a thread learns from a block while the next one is stepped."""
        begun, first = time.perf_counter(), t
        while t + self.config.num_envs <= first + n:
            self.step(run, t)
            t += self.config.num_envs
            run.t = t
            if len(run.pending) == self.length or t == self.last:  # the last block may be shorter
                self.submit(run, t)
            if pause():
                break
        if t == self.last and t > first:
            run.metrics.append(run.block.result()[2])
        gathered, run.metrics = [m for m in run.metrics if m], []
        rows = {name: np.concatenate([m[name] for m in gathered]) for name in gathered[0]} if gathered else {}
        run.profile.whole += time.perf_counter() - begun
        return run, [SeedLog(run.episodes.drain(), rows)], t - first

    def step(self, run: NetworkRun, t: int) -> None:
        """Act and step once in every environment; add the experience to those pending."""
        asked = time.perf_counter()
        chosen, cell, run.carry = self.act(run.actor, run.carry, run.over, run.obs, run.key, np.int32(t))
        actions, cell = np.asarray(chosen), jax.tree.map(np.asarray, cell) if self.remembers else ()
        run.profile.act += time.perf_counter() - asked
        step = run.world.step(actions)
        run.profile.steps.append(run.world.seconds)
        discount = self.gamma * ~step.terminated
        columns: tuple[Any, ...] = (run.obs, actions, step.reward, discount, step.next_obs)
        ended: Any = step.terminated | step.truncated
        run.over = ended | ~step.valid  # a step in which an environment resets itself also begins an episode
        run.pending.append((Experience(Transition(*columns), ended.astype(np.int32), cell), step.valid))
        run.obs = step.obs
        run.episodes.record(step)

    def submit(self, run: NetworkRun, t: int) -> None:
        """Send the pending steps to the learning thread, and use the parameters of the previous block from now on."""
        asked = time.perf_counter()
        both, run.actor, metrics = run.block.result()
        run.profile.wait += time.perf_counter() - asked
        run.metrics.append(metrics)
        experience, valid = tree_map(stacked, *run.pending)
        begin = np.int32(t - valid.size)
        run.pending = []

        @in_32_bits
        def work() -> Block:
            start = time.perf_counter()
            done: Block = self.learn(both, experience, valid, run.key, begin)
            done = jax.block_until_ready(done)  # type: ignore[no-untyped-call]
            run.profile.learn += time.perf_counter() - start
            return done

        run.block = run.thread.submit(work)

    def measure(self, run: NetworkRun, rows: Sequence[ArrayDict], n: int) -> list[dict[str, float]]:
        """See `Loop`: means of what was learned, the profile, and the steps that were left out."""
        run.times |= run.profile.drain()
        dropped = {"rollout/dropped": float(run.world.dropped)} if run.world.dropped else {}
        return [{**mean_metrics(rows[0]), **run.times, **dropped}]

    def snapshot(self, run: NetworkRun) -> list[ArrayDict]:
        """See `Loop`."""
        (learner, _), _, _ = run.block.result()
        return [self.agent.parameters(learner)]

    def experience(self, run: NetworkRun) -> list[Dataset]:
        """See `Loop`."""
        (_, memory), _, _ = run.block.result()
        return [from_memory(self.config, self.source.space, memory)]

    def dump(self, run: NetworkRun) -> ArrayDict:
        """See `Loop`: also the pending steps, and the positions of the environments."""
        both, actor, metrics = run.block.result()
        return {
            **checkpoint.to_arrays((both, run.actor, actor, run.carry, tuple(run.pending))),
            **{f"{BLOCK_METRICS}{name}": np.asarray(rows) for name, rows in metrics.items()},
            "over": run.over,
            **save_worlds(run.world, run.obs, run.episodes),
        }

    def restore(self, seeds: Sequence[int], arrays: ArrayDict, step: int = 0) -> NetworkRun:
        """See `Loop`."""
        (seed,) = seeds
        run = self.open_at(seed, step)
        try:
            return self.filled(run, arrays, fresh_seed(seed, step))
        except CheckpointError:
            self.close(run)
            raise

    def filled(self, run: NetworkRun, arrays: ArrayDict, seed: int) -> NetworkRun:
        """Put the state in a checkpoint's arrays into a new run; environments that cannot be restored use `seed`."""
        both, actor, _ = run.block.result()
        n = run.world.n
        zeros, integers = np.zeros(n, np.float32), np.zeros(n, np.int32)
        columns: tuple[Any, ...] = (run.obs, integers, zeros, zeros, run.obs, integers)
        cell = jax.tree.map(np.asarray, self.agent.remembered(run.carry))
        row = (Experience(Transition(*columns[:5]), columns[5], cell), np.zeros(n, np.bool_))
        count = len({path.split(".")[2] for path in arrays if path.startswith("state.4.")})
        with making_near():
            saved = checkpoint.from_arrays((both, run.actor, actor, run.carry, (row,) * count), arrays, "checkpoint")
        both, run.actor, actor, run.carry = near(saved[:4])
        pending = saved[4]
        run.obs, lost = restore_worlds(run.world, arrays, seed, run.episodes)
        if checkpoint.REPLAY_STEP in arrays:  # the steps between it and the pending ones are missing
            both = both[0], self.agent.memory.close(both[1])
        if lost.any() and pending:  # an episode that was cut off bootstraps from its last step
            last, valid = pending[-1]
            cut: Any = np.where(lost, np.ones_like(last.over), last.over)
            pending = (*pending[:-1], (last._replace(over=cut), valid))
        elif lost.any():
            both = both[0], self.agent.memory.close(both[1])
        run.pending = list(pending)
        over = arrays.get("over", lost)
        if over.dtype != np.bool_ or over.shape != lost.shape:
            raise CorruptCheckpoint(f"the checkpoint's `over` is not of {n} environments")
        run.over = over | lost
        names = [name for name in arrays if name.startswith(BLOCK_METRICS)]
        metrics = {name.removeprefix(BLOCK_METRICS): arrays[name] for name in names}
        run.block = run.thread.submit(lambda: (both, actor, metrics))
        return run

    def close(self, run: NetworkRun) -> None:
        """See `Loop`: wait for the thread, then close the environments."""
        run.thread.shutdown()
        run.world.close()

    def kill(self, run: NetworkRun) -> None:
        """See `Loop`: end both at once."""
        run.thread.shutdown(wait=False)
        run.world.kill()


@in_32_bits
def gymnasium_network_loop(config: DeepConfig, source: Source, steps: int) -> Loop[NetworkRun]:
    """Return the loop of a network in Gymnasium environments, for `steps` environment steps on each seed."""
    own = GymnasiumNetwork(config, source, steps)
    return guarded(Loop(
        "host", own.stride, 1, False, own.start, own.go, own.measure, own.snapshot, own.dump, own.restore, own.close,
        own.experience, forget=lambda run: run.times.clear(), clock=lambda run: run.t, kill=own.kill,
        replay="state.0.1.",
    ))  # fmt: skip
