"""NumPy and JAX. The host loop of networks: any Gymnasium world; learning runs beside stepping.

The agent makes one dispatch per vector step, to act. Learning goes out to a thread of its own in blocks of
`BLOCK` vector steps (of one round, if a round is longer), and the agent acts meanwhile with the parameters of the
block before: at most two blocks old, and always equally old, so that a run does not depend on who was faster.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from bellmax.contracts import CheckpointError, EnvWarning, Experience, Transition
from bellmax.dispatch import in_32_bits, making_near, near
from bellmax.envs.host_world import HostStep, HostWorld
from bellmax.files import checkpoint
from bellmax.loops.loop import Loop, guarded, mean_metrics
from bellmax.loops.parts import Episodes, Part
from bellmax.loops.stopping import Pool
from bellmax.machine import resident_mb
from bellmax.sources import Source
from bellmax.stderr import warn

SLOW = 3.0  # times its first steps' duration, after which an environment is remarked
BLOCK = 16  # vector steps; longer blocks save hand-overs and act on older parameters


@dataclass
class Meter:
    """Returns and lengths of the running episodes [N], and of those that ended."""

    running_return: Any
    running_length: Any
    returns: list[float] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)

    def record(self, step: HostStep) -> None:
        """Count one vector step."""
        self.running_return += step.reward  # 0 where a row does not count
        self.running_length += step.valid
        if np.count_nonzero(step.ended):  # four times as fast as any()
            for i in np.flatnonzero(step.ended):
                self.returns.append(float(self.running_return[i]))
                self.lengths.append(int(self.running_length[i]))
        if np.count_nonzero(step.begins):  # what was cut short is not counted
            self.running_return[step.begins] = 0.0
            self.running_length[step.begins] = 0

    def drain(self) -> Episodes:
        """The episodes that ended since the last call."""
        episodes = Episodes(np.array(self.returns, np.float64), np.array(self.lengths, np.int64))
        self.returns, self.lengths = [], []
        return episodes


@dataclass
class Profile:
    """Where the time of a run goes, in seconds since the last record; learning runs beside the other three."""

    name: str
    whole: float = 0.0
    steps: list[float] = field(default_factory=list)  # what each took of the environment
    act: float = 0.0
    wait: float = 0.0
    learn: float = 0.0
    normal: list[float] = field(default_factory=list)  # medians of the first records [3], ms
    slow: int = 0  # records on end in which the median was far above those

    def drain(self) -> dict[str, float]:
        """Milliseconds a vector step: all of it, and its parts; and megabytes of memory."""
        if not self.steps:  # none since the record, as where a run was stopped at it
            return {}
        whole, env = self.whole, sum(self.steps)
        parts = {
            "step": whole, "env": env, "act": self.act, "wait": self.wait, "learn": self.learn,
            "overhead": whole - env - self.act - self.wait,
        }  # fmt: skip
        record = {f"time/{name}_ms": 1e3 * seconds / len(self.steps) for name, seconds in parts.items()}
        self._look(1e3 * float(np.median(self.steps)))
        self.steps, self.whole, self.act, self.wait, self.learn = [], 0.0, 0.0, 0.0, 0.0
        size = resident_mb()
        return {**record, "system/rss_mb": size} if size else record

    def _look(self, median_ms: float) -> None:
        """Remark, once, that the environment has become slower: in two records on end, so not by chance."""
        if len(self.normal) < 3:
            self.normal.append(median_ms)
            return
        usual = sorted(self.normal)[1]
        self.slow = self.slow + 1 if median_ms > SLOW * usual else 0
        if self.slow == 2:
            warn(
                f"{self.name}: its step takes {median_ms:.3g} ms now, and took {usual:.3g} at the start; the "
                "environment has become slower, or the machine is busy: check whether it accumulates state",
                EnvWarning, stacklevel=2,
            )  # fmt: skip
            self.normal = [math.inf] * 3


def stacked(*rows: Any) -> Any:
    """`[T, N, ...]` of T arrays `[N, ...]`; twice as fast as np.stack where they are small."""
    return np.concatenate(rows).reshape(len(rows), *rows[0].shape)


def fresh_seed(seed: int, step: int) -> int:
    """The seed of the environments of a run that begins, or goes on, at environment step `step`.

    From the second start on it is far from all seeds of training and evaluation, and follows from both numbers: with
    its old seed an environment would begin with the episodes that were learnt from before.
    """
    if step == 0:
        return seed
    word = int(np.random.SeedSequence([seed, step]).generate_state(1)[0])
    return 10**7 + word % (2**31 - 2 * 10**7)


def meter(n: int) -> Meter:
    """A meter for n worlds."""
    return Meter(np.zeros(n), np.zeros(n, np.int64))


@dataclass
class DeepRun:
    """One seed of a network on a Gymnasium world, at environment step `t`.

    `told` is what its profile measured for the present record.
    `block` is the block being learnt: a future of ((learner, ring), actor, metrics). All arrays of JAX
    are near (dispatch.py).
    """

    world: HostWorld
    meter: Meter
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


@in_32_bits
def deep_loop(config: Any, source: Source, steps: int) -> Loop:
    """A network on any Gymnasium world with discrete actions."""
    import jax
    import jax.numpy as jnp

    from bellmax.keys import APART, make_key
    from bellmax.loops import network_rounds
    from bellmax.loops.experience import from_memory

    agent = config.make(source.space, source.n_actions, steps)
    act = network_rounds.make_actor(agent, config.num_envs)
    learn = network_rounds.make_block(agent, config, source.space)
    stride = config.train_freq * config.num_envs
    length = max(1, BLOCK // config.train_freq) * config.train_freq
    gamma, remembers = np.float32(config.gamma), config.recurrent != "none"

    def start(seeds: Sequence[int]) -> DeepRun:
        (seed,) = seeds
        return open_at(seed, 0)

    def open_at(seed: int, step: int) -> DeepRun:
        world = source.open_worlds(config.num_envs, training=True)
        with making_near():
            init_key, run_key = jax.random.split(make_key(seed))
            learner = agent.init(init_key)
            actor = jax.tree.map(jnp.copy, agent.actor(learner))
            keys, ranks = jax.random.split(jax.random.fold_in(init_key, APART), world.n), network_rounds.ranks(world.n)
            mind, carry = (learner, agent.memory.init()), jax.vmap(agent.begin)(keys, ranks)
        (mind, actor, carry, run_key), over = near((mind, actor, carry, run_key)), np.zeros(world.n, np.bool_)
        thread = Pool(1)
        block: Future[Any] = thread.submit(lambda: (mind, actor, {}))
        obs = world.reset(fresh_seed(seed, step))
        profile = Profile(world.name)
        return DeepRun(world, meter(world.n), run_key, actor, block, thread, obs, carry, over, profile, step)

    def submit(run: DeepRun, t: int) -> None:
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
            done = jax.block_until_ready(learn(mind, experience, valid, run.key, begin))  # type: ignore[no-untyped-call]
            run.profile.learn += time.perf_counter() - start
            return done

        run.block = run.thread.submit(work)

    def go(run: DeepRun, t: int, n: int, pause: Callable[[], bool]) -> tuple[DeepRun, list[Part], int]:
        begun, first = time.perf_counter(), t
        while t + config.num_envs <= first + n:
            asked = time.perf_counter()
            chosen, cell, run.carry = act(run.actor, run.carry, run.over, run.obs, run.key, np.int32(t))
            actions, cell = np.asarray(chosen), jax.tree.map(np.asarray, cell) if remembers else ()
            run.profile.act += time.perf_counter() - asked
            step = run.world.step(actions)
            run.profile.steps.append(run.world.seconds)
            discount = gamma * ~step.terminated
            transition = Transition(run.obs, actions, step.reward, discount, step.next_obs)
            ended = step.terminated | step.truncated
            run.over = ended | ~step.valid  # an episode begins, too, after a step in which a world reset itself
            run.pending.append((Experience(transition, ended.astype(np.int32), cell), step.valid))
            run.obs = step.obs
            run.meter.record(step)
            t += config.num_envs
            run.t = t
            if len(run.pending) == length or t == steps // stride * stride:  # the last block may be shorter
                submit(run, t)
            if pause():
                break
        if t == steps // stride * stride and t > first:
            run.metrics.append(run.block.result()[2])
        gathered, run.metrics = [m for m in run.metrics if m], []
        rows = {name: np.concatenate([m[name] for m in gathered]) for name in gathered[0]} if gathered else {}
        run.profile.whole += time.perf_counter() - begun
        return run, [Part(run.meter.drain(), rows)], t - first

    def measure(run: DeepRun, rows: Sequence[dict[str, Any]], n: int) -> list[dict[str, float]]:
        run.told |= run.profile.drain()
        dropped = {"rollout/dropped": float(run.world.dropped)} if run.world.dropped else {}
        return [{**mean_metrics(rows[0]), **run.told, **dropped}]

    def snapshot(run: DeepRun) -> list[dict[str, Any]]:
        (learner, _), _, _ = run.block.result()
        return [agent.parameters(learner)]

    def close(run: DeepRun) -> None:
        run.thread.shutdown()
        run.world.close()

    def kill(run: DeepRun) -> None:
        run.thread.shutdown(wait=False)
        run.world.kill()

    def dump(run: DeepRun) -> dict[str, Any]:
        mind, actor, _ = run.block.result()
        return checkpoint.to_arrays((mind, run.actor, actor, run.carry, tuple(run.pending)))

    def restore(seeds: Sequence[int], arrays: dict[str, Any], step: int = 0) -> DeepRun:
        (seed,) = seeds
        run = open_at(seed, step)
        try:
            return filled(run, arrays)
        except CheckpointError:
            close(run)
            raise

    def filled(run: DeepRun, arrays: dict[str, Any]) -> DeepRun:
        mind, actor, _ = run.block.result()
        n = run.world.n
        zeros = np.zeros(n, np.float32)
        transition = Transition(run.obs, np.zeros(n, np.int32), zeros, zeros, run.obs)
        cell = jax.tree.map(np.asarray, agent.remembered(run.carry))
        row = (Experience(transition, np.zeros(n, np.int32), cell), np.zeros(n, np.bool_))
        count = len({path.split(".")[2] for path in arrays if path.startswith("state.4.")})
        with making_near():
            saved = checkpoint.from_arrays((mind, run.actor, actor, run.carry, (row,) * count), arrays, "checkpoint")
        mind, run.actor, actor, run.carry = near(saved[:4])
        pending = saved[4]
        if pending:  # the episodes that were going on were cut off: their last steps bootstrap
            last, valid = pending[-1]
            pending = (*pending[:-1], (last._replace(over=np.ones_like(last.over)), valid))
        else:
            mind = mind[0], agent.memory.close(mind[1])
        run.pending = list(pending)
        run.over = np.ones(run.world.n, np.bool_)  # its worlds have begun anew
        run.block = run.thread.submit(lambda: (mind, actor, {}))
        return run

    def experience(run: DeepRun) -> list[Any]:
        (_, memory), _, _ = run.block.result()
        return [from_memory(config, agent, source.space, memory)]

    return guarded(Loop(
        "host", stride, 1, False, start, go, measure, snapshot, dump, restore, close, experience,
        forget=lambda run: run.told.clear(), clock=lambda run: run.t, kill=kill,
    ))  # fmt: skip
