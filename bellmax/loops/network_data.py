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

import jax
import jax.numpy as jnp
import numpy as np

from bellmax.agent_config import AgentConfig
from bellmax.contracts import ConfigError, Experience
from bellmax.deep.config import ReplayConfig
from bellmax.deep.state import DeepAgent
from bellmax.dispatch import in_32_bits
from bellmax.files import checkpoint
from bellmax.files.dataset import Dataset
from bellmax.keys import make_key
from bellmax.loops.experience import as_experience, find_faults
from bellmax.loops.loop import Loop, guarded
from bellmax.loops.network_checks import check_memory
from bellmax.loops.network_learning import compiler_options, make_improver
from bellmax.loops.network_pieces import by_seed, measure_rows, piece_rounds, pieces
from bellmax.loops.parts import Part, join, nothing
from bellmax.replay.frames import room_for
from bellmax.sources import Source


class OfflineState(NamedTuple):
    """All of one seed's run that evolves; the rows of the memory do not, and all seeds share them."""

    learner: Any
    sampler: Any
    key: Any


def config_for_data(config: AgentConfig, source: Source, data: Dataset) -> Any:
    """The config as the offline loop needs it: a memory as large as the data, and a clock of gradient steps.

    There are as many gradient steps between updates of the target network as when the agent plays. All data are there
    from the first step on, so that importance weights correct in full from then on.

    Raises:
        ConfigError: such an agent cannot, or the data do not fit the world; all of it in one message.
    """
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


def fill(agent: DeepAgent, experience: Experience) -> Any:
    """The agent's memory with all of `experience` [n] in it."""

    def put(memory: Any, row: Experience) -> tuple[Any, None]:
        return agent.memory.add(memory, jax.tree.map(lambda x: x[None], row)), None

    return jax.jit(lambda rows: jax.lax.scan(put, agent.memory.init(), rows)[0])(experience)


class DataNetwork:
    """The parts of the loop; see `Loop` for what each does. Seeds are stacked by `vmap` where a group has several."""

    def __init__(self, config: Any, source: Source, steps: int, data: Dataset) -> None:
        """For a run of `steps` gradient steps on each seed."""
        self.config, self.source, self.stride = config, source, config.gradient_steps
        self.agent = config.make(source.space, source.n_actions, steps)
        self.improve = make_improver(self.agent, config)
        self.memory = fill(self.agent, as_experience(data, source.space, config.gamma))
        self.most = piece_rounds(config, source.space, source.n_actions, self.stride)
        self.begin = jax.jit(self.first_state)
        self.chunk = functools.cache(self.make_chunk)

    def first_state(self, key: Any) -> OfflineState:
        """The state of a seed before its first step."""
        init_key, run_key = jax.random.split(key)
        return OfflineState(self.agent.init(init_key), self.memory.sampler, run_key)

    def make_chunk(self, rounds: int, stacked: bool) -> Any:
        """`chunk(state, memory, t) -> (state, metrics)`: so many rounds of gradient steps, compiled."""

        def run(state: OfflineState, held: Any, t: Any) -> tuple[OfflineState, Any]:
            def round_(mind: tuple[Any, Any], clock: tuple[Any, Any]) -> tuple[tuple[Any, Any], Any]:
                now, key = clock
                (learner, kept), metrics = self.improve(
                    (mind[0], held._replace(sampler=mind[1])), now + self.stride, key
                )
                return (learner, kept.sampler), metrics

            clocks = t + self.stride * jnp.arange(rounds)
            keys = jax.vmap(jax.random.fold_in, (None, 0))(state.key, clocks)
            (learner, sampler), metrics = jax.lax.scan(round_, (state.learner, state.sampler), (clocks, keys))
            return OfflineState(learner, sampler, state.key), metrics

        body = jax.vmap(run, in_axes=(0, None, None)) if stacked else run
        return jax.jit(body, compiler_options=compiler_options(self.source.space))

    def start(self, seeds: Sequence[int]) -> OfflineState:
        """All seeds of a group, before their first step."""
        states: list[OfflineState] = [self.begin(make_key(seed)) for seed in seeds]
        return states[0] if len(states) == 1 else OfflineState(*jax.tree.map(lambda *x: jnp.stack(x), *states))

    def go(
        self, state: OfflineState, t: int, n: int, pause: Callable[[], bool]
    ) -> tuple[OfflineState, list[Part], int]:
        """Gradient steps from `t` on."""
        stacked, told, done = state.key.ndim > 0, [], 0
        for rounds in pieces(n // self.stride, self.most):
            state, metrics = self.chunk(rounds, stacked)(state, self.memory, np.int32(t + done))
            told.append(jax.device_get(metrics))
            done += rounds * self.stride
            if pause():
                break
        none = nothing().episodes
        return state, [join(*(Part(none, dict(metrics)) for metrics in one)) for one in by_seed(state, told)], done

    def snapshot(self, state: OfflineState) -> list[dict[str, Any]]:
        """The present policy of each seed."""
        if not state.key.ndim:
            return [self.agent.parameters(state.learner)]
        seeds = range(state.key.size)
        return [self.agent.parameters(jax.tree.map(lambda x, i=i: x[i], state.learner)) for i in seeds]

    def restore(self, seeds: Sequence[int], arrays: dict[str, Any], step: int = 0) -> OfflineState:
        """The inverse of a checkpoint."""
        del step  # its random numbers follow from the clock
        return checkpoint.from_arrays(self.start(seeds), arrays, "checkpoint")


@in_32_bits
def network_data_loop(
    config: Any, source: Source, kind: str, steps: int, data: Dataset, group: int | None = None
) -> Loop:
    """The loop of a network for a run of `steps` gradient steps on each seed; `kind` is that of its evaluation.

    `config` and `data` are those that `config_for_data` has passed.

    Raises:
        ConfigError, ResourceError: it is too long, or would not fit in memory.
    """
    if steps >= 2**31:
        raise ConfigError(f"steps={steps} is beyond the 32-bit clock of a network's run; stay below 2^31")
    check_memory(config, source, steps, 1)  # all seeds share the data
    if group is None:
        group = 1 if jax.default_backend() == "cpu" else sys.maxsize
    own = DataNetwork(config, source, steps, data)
    return guarded(Loop(
        kind, own.stride, group, True, own.start, own.go, measure_rows, own.snapshot, checkpoint.to_arrays, own.restore,
        lambda state: None,
    ))  # fmt: skip
