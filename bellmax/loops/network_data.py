"""JAX. The loop of a network that learns from data only. Levine et al. (2020), "Offline reinforcement learning".

The replay buffer is filled with a data set before the first step and does not change; a step of the run is one gradient
step. The learner is that of the other loops: everything that a method needs to learn from fixed data is in its loss.
"""

from __future__ import annotations

import dataclasses
import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np

from bellmax.agent_config import AgentConfig
from bellmax.contracts import Array, ArrayDict, ConfigError, Experience
from bellmax.deep.config import DeepConfig, ReplayConfig
from bellmax.deep.state import DeepAgent, LearnerState
from bellmax.dispatch import in_32_bits
from bellmax.files import checkpoint
from bellmax.files.dataset import Dataset
from bellmax.keys import make_key
from bellmax.loops.experience import as_experience, find_data_problems
from bellmax.loops.logs import SeedLog, empty_log, join_logs
from bellmax.loops.loop import Loop, guarded
from bellmax.loops.network_checks import check_memory
from bellmax.loops.network_learning import compiler_options, make_improver
from bellmax.loops.network_pieces import by_seed, few_pieces, measure_rows, piece_rounds, pieces
from bellmax.replay.frames import room_for
from bellmax.sources import Source
from bellmax.trees import tree_map
from bellmax.waiting import compiling_first


class OfflineState(NamedTuple):
    """Everything of one seed's run that changes; all seeds share the rows of the replay buffer, which do not."""

    learner: LearnerState
    sampler: Any
    key: Array


OfflineChunk: TypeAlias = Callable[[OfflineState, Any, np.int32], tuple[OfflineState, dict[str, Array]]]


def config_for_data(config: AgentConfig, source: Source, data: Dataset) -> ReplayConfig:
    """Return the config as the loop needs it: a buffer as large as the data, and a clock of gradient steps.

    Updates of the target network are as many gradient steps apart as in an environment. All data are there from the
    first step on, so that importance weights correct fully from then on.

    Raises:
        ConfigError: such an agent cannot learn from data, or the data do not fit the environment; one message reports
            everything.
    """
    if not isinstance(config, ReplayConfig):
        raise ConfigError(
            f"{config.name} learns only from its newest steps and cannot learn from data; use cql, bcq, dqn, or "
            "another agent with a replay buffer"
        )
    if config.recurrent != "none":
        raise ConfigError(
            f"{config.name} with recurrent={config.recurrent!r} cannot learn from data; use recurrent='none'"
        )
    problems = find_data_problems(data, source.space, source.n_actions, in_order=config.window > 1)
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
    """Return the agent's memory, of any type, with all of `experience` [n] in it."""

    def put(memory: Any, row: Experience) -> tuple[Any, None]:
        return agent.memory.add(memory, tree_map(lambda x: x[None], row)), None

    return jax.jit(lambda rows: jax.lax.scan(put, agent.memory.init(), rows)[0])(experience)


class DataNetwork:
    """The functions of the loop, see `Loop`; seeds are stacked by `vmap` if a group has several."""

    def __init__(self, config: DeepConfig, source: Source, steps: int, data: Dataset, uneven: bool = False) -> None:
        """Prepare for `steps` gradient steps on each seed, in chunks of many lengths if they are `uneven`."""
        self.config, self.source, self.stride = config, source, config.gradient_steps
        self.agent = config.make(source.space, source.n_actions, steps)
        self.improve = make_improver(self.agent, config)
        self.memory = fill(self.agent, as_experience(data, source.space, config.gamma))
        self.most = piece_rounds(config, source.space, source.n_actions, self.stride)
        self.split = few_pieces if uneven else pieces
        self.begin = compiling_first(jax.jit(self.first_state))
        self.chunk = functools.cache(lambda rounds, stacked: compiling_first(self.make_chunk(rounds, stacked)))

    def first_state(self, key: Array) -> OfflineState:
        """Return the state of a seed before its first step."""
        init_key, run_key = jax.random.split(key)
        return OfflineState(self.agent.init(init_key), self.memory.sampler, run_key)

    def make_chunk(self, rounds: int, stacked: bool) -> OfflineChunk:
        """Compile `chunk(state, memory, t) -> (state, metrics)`: so many rounds of gradient steps."""

        def run(state: OfflineState, held: Any, t: Array) -> tuple[OfflineState, dict[str, Array]]:
            def round_(
                both: tuple[LearnerState, Any], clock: tuple[Array, Array]
            ) -> tuple[tuple[LearnerState, Any], dict[str, Array]]:
                now, key = clock
                (learner, kept), metrics = self.improve(
                    (both[0], held._replace(sampler=both[1])), now + self.stride, key
                )
                return (learner, kept.sampler), metrics

            clocks = t + self.stride * jnp.arange(rounds)
            keys = jax.vmap(jax.random.fold_in, (None, 0))(state.key, clocks)
            (learner, sampler), metrics = jax.lax.scan(round_, (state.learner, state.sampler), (clocks, keys))
            return OfflineState(learner, sampler, state.key), metrics

        body = jax.vmap(run, in_axes=(0, None, None)) if stacked else run
        return jax.jit(body, compiler_options=compiler_options(self.source.space))

    def start(self, seeds: Sequence[int]) -> OfflineState:
        """See `Loop`."""
        states: list[OfflineState] = [self.begin(make_key(seed)) for seed in seeds]
        return states[0] if len(states) == 1 else tree_map(lambda *x: jnp.stack(x), *states)

    def go(
        self, state: OfflineState, t: int, n: int, pause: Callable[[], bool]
    ) -> tuple[OfflineState, list[SeedLog], int]:
        """See `Loop`; steps are gradient steps."""
        stacked, done = state.key.ndim > 0, 0
        recorded: list[ArrayDict] = []
        for rounds in self.split(n // self.stride, self.most):
            state, metrics = self.chunk(rounds, stacked)(state, self.memory, np.int32(t + done))
            recorded.append(jax.device_get(metrics))
            done += rounds * self.stride
            if pause():
                break
        none = empty_log().episodes
        rows = by_seed(state, recorded)
        return state, [join_logs(*(SeedLog(none, dict(metrics)) for metrics in one)) for one in rows], done

    def snapshot(self, state: OfflineState) -> list[ArrayDict]:
        """See `Loop`."""
        if not state.key.ndim:
            return [self.agent.parameters(state.learner)]
        seeds = range(state.key.size)
        return [self.agent.parameters(tree_map(lambda x, i=i: x[i], state.learner)) for i in seeds]

    def restore(self, seeds: Sequence[int], arrays: ArrayDict, step: int = 0) -> OfflineState:
        """See `Loop`."""
        del step  # random numbers follow from the clock
        return checkpoint.from_arrays(self.start(seeds), arrays, "checkpoint")


@in_32_bits
def network_data_loop(
    config: DeepConfig, source: Source, kind: str, steps: int, data: Dataset, group: int | None = None, *,
    uneven: bool = False,
) -> Loop[OfflineState]:  # fmt: skip
    """Return the loop of a network for `steps` gradient steps on each seed; `kind` is that of its evaluation.

    `config` is the result of `config_for_data`, which has checked `data`; with `uneven`, its chunks have many lengths.

    Raises:
        ConfigError, ResourceError: the run is too long, or does not fit in memory.
    """
    if steps >= 2**31:
        raise ConfigError(f"steps={steps} exceeds the 32-bit clock of networks; use less than 2^31")
    check_memory(config, source, steps, 1)  # all seeds share the data
    if group is None:
        group = 1 if jax.default_backend() == "cpu" else sys.maxsize
    own = DataNetwork(config, source, steps, data, uneven)
    return guarded(Loop(
        kind, own.stride, group, True, own.start, own.go, measure_rows, own.snapshot, checkpoint.to_arrays, own.restore,
        lambda state: None,
    ))  # fmt: skip
