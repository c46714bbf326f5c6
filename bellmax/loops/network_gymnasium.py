"""NumPy and JAX. The host loop of networks: any Gymnasium world; learning runs beside stepping.

The agent makes one dispatch per vector step, to act. Learning goes out to a thread of its own in blocks of
`BLOCK` vector steps (of one round, if a round is longer), and the agent acts meanwhile with the parameters of the
block before: at most two blocks old, and always equally old, so that a run does not depend on who was faster.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bellmax.contracts import CheckpointError, CorruptCheckpoint, Experience, Transition
from bellmax.dispatch import in_32_bits, making_near, near
from bellmax.envs.host_world import HostWorld
from bellmax.files import checkpoint
from bellmax.keys import APART, make_key
from bellmax.loops.experience import from_memory
from bellmax.loops.gymnasium_episodes import EpisodeCounter, fresh_seed, restore_worlds, save_worlds
from bellmax.loops.loop import Loop, guarded, mean_metrics
from bellmax.loops.network_blocks import make_block, make_vector_actor
from bellmax.loops.network_learning import ranks
from bellmax.loops.parts import Part
from bellmax.loops.step_times import Profile
from bellmax.loops.stopping import Pool
from bellmax.sources import Source

BLOCK_METRICS = "block."  # begins the names of those of the block that is being learned, in a checkpoint
BLOCK = 16  # vector steps; longer blocks save hand-overs and act on older parameters


def stacked(*rows: Any) -> Any:
    """`[T, N, ...]` of T arrays `[N, ...]`; twice as fast as np.stack where they are small."""
    return np.concatenate(rows).reshape(len(rows), *rows[0].shape)


@dataclass
class NetworkRun:
    """One seed of a network on a Gymnasium world, at environment step `t`.

    `told` is what its profile measured for the present record.
    `block` is the block being learned: a future of ((learner, ring), actor, metrics). All arrays of JAX
    are near (dispatch.py).
    """

    world: HostWorld
    episodes: EpisodeCounter
    key: Any
    actor: Any
    block: Future[Any]
    thread: Pool
    obs: Any
    carry: Any
    over: Any
    profile: Profile
    t: int = 0
    told: dict[str, float] = field(default_factory=dict)
    pending: list[Any] = field(default_factory=list)
    metrics: list[Any] = field(default_factory=list)


class GymnasiumNetwork:
    """The parts of the loop; see `Loop` for what each does."""

    def __init__(self, config: Any, source: Source, steps: int) -> None:
        """For a run of `steps` environment steps on each seed."""
        self.config, self.source = config, source
        self.agent = config.make(source.space, source.n_actions, steps)
        self.act = make_vector_actor(self.agent, config.num_envs)
        self.learn = make_block(self.agent, config, source.space)
        self.stride = config.train_freq * config.num_envs
        self.last = steps // self.stride * self.stride
        self.length = max(1, BLOCK // config.train_freq) * config.train_freq
        self.gamma, self.remembers = np.float32(config.gamma), config.recurrent != "none"

    def start(self, seeds: Sequence[int]) -> NetworkRun:
        """One seed, before its first step."""
        (seed,) = seeds
        return self.open_at(seed, 0)

    def open_at(self, seed: int, step: int) -> NetworkRun:
        """New environments and a new learner, as if at environment step `step`."""
        agent, world = self.agent, self.source.open_worlds(self.config.num_envs, training=True)
        with making_near():
            init_key, run_key = jax.random.split(make_key(seed))
            learner = agent.init(init_key)
            actor = jax.tree.map(jnp.copy, agent.actor(learner))
            keys = jax.random.split(jax.random.fold_in(init_key, APART), world.n)
            mind, carry = (learner, agent.memory.init()), jax.vmap(agent.begin)(keys, ranks(world.n))
        (mind, actor, carry, run_key), over = near((mind, actor, carry, run_key)), np.zeros(world.n, np.bool_)
        thread = Pool(1)
        block: Future[Any] = thread.submit(lambda: (mind, actor, {}))
        obs = world.reset(fresh_seed(seed, step))
        episodes, profile = EpisodeCounter.of(world.n), Profile(world.name)
        return NetworkRun(world, episodes, run_key, actor, block, thread, obs, carry, over, profile, step)

    def go(self, run: NetworkRun, t: int, n: int, pause: Callable[[], bool]) -> tuple[NetworkRun, list[Part], int]:
        """Steps from `t` on; a block is learned from while the next one is stepped."""
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
        return run, [Part(run.episodes.drain(), rows)], t - first

    def step(self, run: NetworkRun, t: int) -> None:
        """Act and step once in every environment; what happened is pending."""
        asked = time.perf_counter()
        chosen, cell, run.carry = self.act(run.actor, run.carry, run.over, run.obs, run.key, np.int32(t))
        actions, cell = np.asarray(chosen), jax.tree.map(np.asarray, cell) if self.remembers else ()
        run.profile.act += time.perf_counter() - asked
        step = run.world.step(actions)
        run.profile.steps.append(run.world.seconds)
        discount = self.gamma * ~step.terminated
        columns: tuple[Any, ...] = (run.obs, actions, step.reward, discount, step.next_obs)
        ended: Any = step.terminated | step.truncated
        run.over = ended | ~step.valid  # an episode begins, too, after a step in which a world reset itself
        run.pending.append((Experience(Transition(*columns), ended.astype(np.int32), cell), step.valid))
        run.obs = step.obs
        run.episodes.record(step)

    def submit(self, run: NetworkRun, t: int) -> None:
        """Send the pending steps to learn; act from now on as the block before ended."""
        asked = time.perf_counter()
        mind, run.actor, metrics = run.block.result()
        run.profile.wait += time.perf_counter() - asked
        run.metrics.append(metrics)
        experience, valid = jax.tree.map(stacked, *run.pending)
        begin = np.int32(t - valid.size)
        run.pending = []

        @in_32_bits
        def work() -> Any:
            start = time.perf_counter()
            done = self.learn(mind, experience, valid, run.key, begin)
            done = jax.block_until_ready(done)  # type: ignore[no-untyped-call]
            run.profile.learn += time.perf_counter() - start
            return done

        run.block = run.thread.submit(work)

    def measure(self, run: NetworkRun, rows: Sequence[dict[str, Any]], n: int) -> list[dict[str, float]]:
        """Means of what was learned, the profile, and what was left out."""
        run.told |= run.profile.drain()
        dropped = {"rollout/dropped": float(run.world.dropped)} if run.world.dropped else {}
        return [{**mean_metrics(rows[0]), **run.told, **dropped}]

    def snapshot(self, run: NetworkRun) -> list[dict[str, Any]]:
        """The present policy."""
        (learner, _), _, _ = run.block.result()
        return [self.agent.parameters(learner)]

    def experience(self, run: NetworkRun) -> list[Any]:
        """What the replay memory holds."""
        (_, memory), _, _ = run.block.result()
        return [from_memory(self.config, self.agent, self.source.space, memory)]

    def dump(self, run: NetworkRun) -> dict[str, Any]:
        """Everything that evolves; the steps that are pending, too."""
        mind, actor, metrics = run.block.result()
        return {
            **checkpoint.to_arrays((mind, run.actor, actor, run.carry, tuple(run.pending))),
            **{f"{BLOCK_METRICS}{name}": np.asarray(rows) for name, rows in metrics.items()},
            "over": run.over,
            **save_worlds(run.world, run.obs, run.episodes),
        }

    def restore(self, seeds: Sequence[int], arrays: dict[str, Any], step: int = 0) -> NetworkRun:
        """The inverse of `dump`, with environments that begin new episodes."""
        (seed,) = seeds
        run = self.open_at(seed, step)
        try:
            return self.filled(run, arrays, fresh_seed(seed, step))
        except CheckpointError:
            self.close(run)
            raise

    def filled(self, run: NetworkRun, arrays: dict[str, Any], seed: int) -> NetworkRun:
        """A new run with the state in a checkpoint's arrays; environments that cannot be put back begin with `seed`."""
        mind, actor, _ = run.block.result()
        n = run.world.n
        zeros, integers = np.zeros(n, np.float32), np.zeros(n, np.int32)
        columns: tuple[Any, ...] = (run.obs, integers, zeros, zeros, run.obs, integers)
        cell = jax.tree.map(np.asarray, self.agent.remembered(run.carry))
        row = (Experience(Transition(*columns[:5]), columns[5], cell), np.zeros(n, np.bool_))
        count = len({path.split(".")[2] for path in arrays if path.startswith("state.4.")})
        with making_near():
            saved = checkpoint.from_arrays((mind, run.actor, actor, run.carry, (row,) * count), arrays, "checkpoint")
        mind, run.actor, actor, run.carry = near(saved[:4])
        pending = saved[4]
        run.obs, lost = restore_worlds(run.world, arrays, seed, run.episodes)
        if lost.any() and pending:  # an episode that was cut off bootstraps from its last step
            last, valid = pending[-1]
            cut: Any = np.where(lost, np.ones_like(last.over), last.over)
            pending = (*pending[:-1], (last._replace(over=cut), valid))
        elif lost.any():
            mind = mind[0], self.agent.memory.close(mind[1])
        run.pending = list(pending)
        over = arrays.get("over", lost)
        if over.dtype != np.bool_ or over.shape != lost.shape:
            raise CorruptCheckpoint(f"the checkpoint's `over` is not of {n} environments")
        run.over = over | lost
        names = [name for name in arrays if name.startswith(BLOCK_METRICS)]
        metrics = {name.removeprefix(BLOCK_METRICS): arrays[name] for name in names}
        run.block = run.thread.submit(lambda: (mind, actor, metrics))
        return run

    def close(self, run: NetworkRun) -> None:
        """Wait for the thread, close the environments."""
        run.thread.shutdown()
        run.world.close()

    def kill(self, run: NetworkRun) -> None:
        """End both at once."""
        run.thread.shutdown(wait=False)
        run.world.kill()


@in_32_bits
def gymnasium_network_loop(config: Any, source: Source, steps: int) -> Loop:
    """A network on any Gymnasium environment with discrete actions, for a run of `steps` on each seed."""
    own = GymnasiumNetwork(config, source, steps)
    return guarded(Loop(
        "host", own.stride, 1, False, own.start, own.go, own.measure, own.snapshot, own.dump, own.restore, own.close,
        own.experience, forget=lambda run: run.told.clear(), clock=lambda run: run.t, kill=own.kill,
    ))  # fmt: skip
