"""JAX. The loop of a network in a compiled environment; its program is in `network_rounds.py`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np

from bellmax.contracts import ArrayDict
from bellmax.deep.config import DeepConfig, ReplayConfig
from bellmax.dispatch import in_32_bits
from bellmax.files import checkpoint
from bellmax.files.dataset import Dataset
from bellmax.keys import make_key
from bellmax.loops import network_rounds
from bellmax.loops.experience import from_memory
from bellmax.loops.logs import Episodes, SeedLog, join_logs
from bellmax.loops.loop import Loop, guarded
from bellmax.loops.network_pieces import by_seed, few_pieces, measure_rows, piece_rounds, pieces, unstack
from bellmax.loops.network_rounds import RunState, StepRecord
from bellmax.loops.nonfinite import find_in_buffer, find_in_round
from bellmax.sources import Source
from bellmax.trees import tree_map
from bellmax.waiting import compiling_first

MOST_AGAIN = 1_000_000  # environment steps that are repeated to find a value that is not finite: seconds


class CompiledNetwork:
    """The functions of the loop, see `Loop`; seeds are stacked by `vmap` if a group has several."""

    def __init__(self, config: DeepConfig, source: Source, steps: int, uneven: bool = False) -> None:
        """Prepare for `steps` environment steps on each seed, in chunks of many lengths if they are `uneven`."""
        world = source.compile()
        self.config, self.source = config, source
        self.stride = config.train_freq * config.num_envs
        self.agent = config.make(world.observation_space, world.n_actions, steps)
        self.begin = compiling_first(jax.jit(functools.partial(network_rounds.start_run, world, self.agent, config)))
        self.chunk = functools.cache(
            lambda rounds, stacked: compiling_first(
                network_rounds.make_chunk(world, self.agent, config, rounds, stacked)
            )
        )
        self.most = piece_rounds(config, world.observation_space, world.n_actions, self.stride)
        self.split = few_pieces if uneven else pieces

    def start(self, seeds: Sequence[int]) -> RunState:
        """See `Loop`."""
        states: list[RunState] = [self.begin(make_key(seed)) for seed in seeds]
        stacked = states[0] if len(states) == 1 else tree_map(lambda *x: jnp.stack(x), *states)
        return tree_map(jnp.copy, stacked)  # XLA cannot overwrite a buffer that is used twice

    def go(self, state: RunState, t: int, n: int, pause: Callable[[], bool]) -> tuple[RunState, list[SeedLog], int]:
        """See `Loop`."""
        stacked, done = state.key.ndim > 0, 0
        recorded: list[tuple[StepRecord, ArrayDict]] = []
        for rounds in self.split(n // self.stride, self.most):
            state, records = self.chunk(rounds, stacked)(state, jnp.int32(t + done))
            recorded.append(jax.device_get(records))
            done += rounds * self.stride
            if pause():
                break
        logs = [join_logs(*(as_log(*records) for records in one)) for one in by_seed(state, recorded)]
        return state, logs, done

    def snapshot(self, state: RunState) -> list[ArrayDict]:
        """See `Loop`."""
        return [self.agent.parameters(one.learner) for one in unstack(state)]

    def restore(self, seeds: Sequence[int], arrays: ArrayDict, step: int = 0) -> RunState:
        """See `Loop`."""
        del step  # random numbers follow from the clock
        state = checkpoint.from_arrays(self.start(seeds), arrays, "checkpoint")
        if checkpoint.REPLAY_STEP not in arrays:
            return state
        close = self.agent.memory.close if len(seeds) == 1 else jax.vmap(self.agent.memory.close)
        return state._replace(memory=jax.jit(close, donate_argnums=0)(state.memory))

    def blame(self, seeds: Sequence[int], state: RunState, step: int) -> list[str]:
        """See `Loop`."""
        if isinstance(self.config, ReplayConfig):
            return [find_in_buffer(self.config, self.source.space, one, step) for one in unstack(state)]
        return [self.run_again(seed, min(step, MOST_AGAIN)) for seed in seeds]

    def run_again(self, seed: int, steps: int) -> str:
        """Return where an environment first gave what is not finite, or "": the run is repeated, round by round."""
        state, chunk = self.start([seed]), self.chunk(1, False)
        episodes = np.zeros(self.config.num_envs, np.int64)
        for t in range(0, steps, self.stride):
            state, (record, _) = chunk(state, jnp.int32(t))
            (rollout, _), _ = state.memory
            if found := find_in_round(rollout.transition, record, episodes, t):
                return found
            episodes += np.asarray(record.ended).reshape(-1, episodes.size).sum(axis=0)
        return ""

    def experience(self, state: RunState) -> list[Dataset]:
        """See `Loop`."""
        return [from_memory(self.config, self.source.space, one.memory) for one in unstack(state)]


@in_32_bits
def compiled_network_loop(
    config: DeepConfig, source: Source, steps: int, group: int | None = None, *, uneven: bool = False
) -> Loop[RunState]:
    """Return the loop of a network in a compiled environment; with `uneven`, its chunks have many lengths.

    `group` seeds are stacked by `vmap`; by default 1 on a CPU, where threads fill the cores and stacking makes each
    seed slower (measured: 10,000 steps/s with four stacked seeds, 15,000 with one), and all on an accelerator.
    """
    if group is None:
        group = 1 if jax.default_backend() == "cpu" else sys.maxsize
    own = CompiledNetwork(config, source, steps, uneven)
    return guarded(
        Loop(
            "compiled", own.stride, group, True, own.start, own.go, measure_rows, own.snapshot, checkpoint.to_arrays,
            own.restore, lambda state: None, own.experience, blame=own.blame, replay="state.memory.",
        )
    )  # fmt: skip


def as_log(record: StepRecord, metrics: ArrayDict) -> SeedLog:
    """Return the log of one seed from the records of its `scan`."""
    ended, returns, lengths = (np.asarray(column).ravel() for column in record)
    episodes = Episodes(returns[ended].astype(np.float64), lengths[ended].astype(np.int64))
    return SeedLog(episodes, {name: np.asarray(row) for name, row in metrics.items()})
