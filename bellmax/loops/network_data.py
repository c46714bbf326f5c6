"""JAX. Offline learning: the loop in which no world is stepped. Levine et al. (2020), "Offline reinforcement learning".

The replay memory is filled with a data set before the first step and stays as it is; a step of the run is one gradient
step. The learner is the one of the other loops: what a method needs to learn from fixed data is in its loss.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from bellmax.agent_config import AgentConfig, is_tabular
from bellmax.contracts import Agent, ConfigError, Experience
from bellmax.dispatch import in_32_bits
from bellmax.files import checkpoint
from bellmax.files.dataset import Dataset
from bellmax.loops import choosing
from bellmax.loops.experience import as_experience, find_faults
from bellmax.loops.loop import Loop, guarded
from bellmax.loops.parts import Part, join, nothing
from bellmax.sources import Source


class OfflineState(NamedTuple):
    """All of one seed's run that evolves; the rows of the memory do not, and all seeds share them."""

    learner: Any
    sampler: Any
    key: Any


def prepare(config: AgentConfig, source: Source, data: Dataset) -> Any:
    """The config as the offline loop needs it: a memory as large as the data, and a clock of gradient steps.

    There are as many gradient steps between updates of the target network as when the agent plays. All data are there
    from the first step on, so that importance weights correct in full from then on.

    Raises:
        ConfigError: such an agent cannot, or the data do not fit the world; all of it in one message.
    """
    if is_tabular(config):
        from bellmax.loops import table_data

        return table_data.prepare(config, source, data)
    from bellmax.deep.config import ReplayConfig
    from bellmax.replay.frames import room_for

    if not isinstance(config, ReplayConfig):
        raise ConfigError(
            f"{config.name} learns only from what it has just done and cannot learn from data; use cql, bcq, dqn, or "
            "another with replay"
        )
    if config.recurrent != "none":
        raise ConfigError(f"{config.name} with recurrent={config.recurrent!r} cannot learn from data; give none")
    problems = find_faults(data, source.space, source.n_actions, in_order=config.window > 1)
    ready, shape = config, (data.steps,)
    flags = data.terminated.shape == data.truncated.shape == shape
    room = room_for(data.obs, data.next_obs, data.terminated | data.truncated) if flags else data.steps
    try:
        rate = config.gradient_steps / (config.train_freq * config.num_envs)
        ready = dataclasses.replace(
            config,
            buffer_size=max(room, 1),
            num_envs=1,
            train_freq=config.gradient_steps,
            learning_starts=0,
            target_update_interval=max(1, int(config.target_update_interval * rate)),
            priority_beta=config.priority_beta_final,
            exploration="epsilon-greedy",
        )
    except ConfigError as error:
        problems += [f"with {data.steps} steps of data, {error}"] if data.steps else []
    if problems:
        raise ConfigError("; ".join(problems))
    return ready


def fill(agent: Agent, experience: Experience) -> Any:
    """The agent's memory with all of `experience` [n] in it."""
    import jax

    def put(memory: Any, row: Experience) -> tuple[Any, None]:
        return agent.memory.add(memory, jax.tree.map(lambda x: x[None], row)), None

    return jax.jit(lambda rows: jax.lax.scan(put, agent.memory.init(), rows)[0])(experience)


def make_loop(
    config: Any, source: Source, kind: str, steps: int, data: Dataset, group: int | None = None, *, n_seeds: int = 1
) -> Loop:
    """The offline loop for a run of `steps` updates on each of `n_seeds` seeds; `kind` is the loop of its evaluation.

    `config` and `data` are those that `prepare` has passed.

    Raises:
        ConfigError, ResourceError: it is too long, or would not fit in memory.
    """
    if is_tabular(config):
        from bellmax.loops import table_data

        return table_data.make_loop(config, source, kind, steps, data, n_seeds)
    return deep_loop(config, source, kind, steps, data, group)


@in_32_bits
def deep_loop(config: Any, source: Source, kind: str, steps: int, data: Dataset, group: int | None = None) -> Loop:
    """The loop of a network for a run of `steps` gradient steps on each seed, as `make_loop` has it.

    `config` and `data` are those that `prepare` has passed.

    Raises:
        ConfigError, ResourceError: it is too long, or would not fit in memory.
    """
    import jax
    import jax.numpy as jnp

    from bellmax.keys import make_key
    from bellmax.loops import network_rounds

    if steps >= 2**31:
        raise ConfigError(f"steps={steps} is beyond the 32-bit clock of a network's run; stay below 2^31")
    choosing.check_memory(config, source, steps, 1)  # all seeds share the data
    agent = config.make(source.space, source.n_actions, steps)
    stride, improve = config.gradient_steps, network_rounds.make_improver(agent, config)
    memory = fill(agent, as_experience(data, source.space, config.gamma))
    if group is None:
        group = 1 if jax.default_backend() == "cpu" else sys.maxsize

    @jax.jit
    def begin(key: Any) -> OfflineState:
        init_key, run_key = jax.random.split(key)
        return OfflineState(agent.init(init_key), memory.sampler, run_key)

    def start(seeds: Sequence[int]) -> OfflineState:
        states: list[OfflineState] = [begin(make_key(seed)) for seed in seeds]
        return states[0] if len(states) == 1 else OfflineState(*jax.tree.map(lambda *x: jnp.stack(x), *states))

    @functools.cache
    def chunk(rounds: int, stacked: bool) -> Any:
        def run(state: OfflineState, held: Any, t: Any) -> tuple[OfflineState, Any]:
            def round_(mind: tuple[Any, Any], clock: tuple[Any, Any]) -> tuple[tuple[Any, Any], Any]:
                now, key = clock
                (learner, kept), metrics = improve((mind[0], held._replace(sampler=mind[1])), now + stride, key)
                return (learner, kept.sampler), metrics

            clocks = t + stride * jnp.arange(rounds)
            keys = jax.vmap(jax.random.fold_in, (None, 0))(state.key, clocks)
            (learner, sampler), metrics = jax.lax.scan(round_, (state.learner, state.sampler), (clocks, keys))
            return OfflineState(learner, sampler, state.key), metrics

        body = jax.vmap(run, in_axes=(0, None, None)) if stacked else run
        return jax.jit(body, compiler_options=network_rounds.compiler_options(source.space))

    most = choosing.piece_rounds(config, source.space, source.n_actions, stride)

    def go(state: OfflineState, t: int, n: int, pause: Callable[[], bool]) -> tuple[OfflineState, list[Part], int]:
        stacked, told, done = state.key.ndim > 0, [], 0
        for rounds in choosing.pieces(n // stride, most):
            state, metrics = chunk(rounds, stacked)(state, memory, np.int32(t + done))
            told.append(jax.device_get(metrics))
            done += rounds * stride
            if pause():
                break
        each = [told] if not stacked else [
            [jax.tree.map(lambda x, i=i: x[i], metrics) for metrics in told] for i in range(state.key.size)
        ]  # fmt: skip
        none = nothing().episodes
        return state, [join(*(Part(none, dict(metrics)) for metrics in one)) for one in each], done

    def snapshot(state: OfflineState) -> list[dict[str, Any]]:
        if not state.key.ndim:
            return [agent.parameters(state.learner)]
        return [agent.parameters(jax.tree.map(lambda x, i=i: x[i], state.learner)) for i in range(state.key.size)]

    def restore(seeds: Sequence[int], arrays: dict[str, Any], step: int = 0) -> OfflineState:
        del step  # its random numbers follow from the clock
        return checkpoint.from_arrays(start(seeds), arrays, "checkpoint")  # type: ignore[no-any-return]

    return guarded(
        Loop(
            kind,
            stride,
            group,
            True,
            start,
            go,
            choosing.measure_rows,
            snapshot,
            checkpoint.to_arrays,
            restore,
            lambda state: None,
        )
    )
