"""JAX. The loop of a network over a compiled world: `network_rounds.py` has its program, all in one `scan`."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bellmax.dispatch import in_32_bits
from bellmax.files import checkpoint
from bellmax.keys import make_key
from bellmax.loops import network_rounds
from bellmax.loops.experience import from_memory
from bellmax.loops.loop import Loop, guarded
from bellmax.loops.network_pieces import by_seed, measure_rows, piece_rounds, pieces, unstack
from bellmax.loops.parts import Episodes, Part, join
from bellmax.sources import Source


class CompiledNetwork:
    """The parts of the loop, for seeds that are stacked by `vmap` where a group has several."""

    def __init__(self, config: Any, source: Source, steps: int) -> None:
        """For a run of `steps` environment steps on each seed."""
        world = source.compile()
        self.config, self.source = config, source
        self.stride = config.train_freq * config.num_envs
        self.agent = config.make(world.observation_space, world.n_actions, steps)
        self.begin = jax.jit(functools.partial(network_rounds.start_run, world, self.agent, config))
        self.chunk = functools.cache(
            lambda rounds, stacked: network_rounds.make_chunk(world, self.agent, config, rounds, stacked)
        )
        self.most = piece_rounds(config, world.observation_space, world.n_actions, self.stride)

    def start(self, seeds: Sequence[int]) -> Any:
        """See `Loop`."""
        states = [self.begin(make_key(seed)) for seed in seeds]
        stacked = states[0] if len(states) == 1 else jax.tree.map(lambda *x: jnp.stack(x), *states)
        return jax.tree.map(jnp.copy, stacked)  # a buffer in two places could not be overwritten in both

    def go(self, state: Any, t: int, n: int, pause: Callable[[], bool]) -> tuple[Any, list[Part], int]:
        """See `Loop`."""
        stacked, told, done = state.key.ndim > 0, [], 0
        for rounds in pieces(n // self.stride, self.most):
            state, records = self.chunk(rounds, stacked)(state, jnp.int32(t + done))
            told.append(jax.device_get(records))
            done += rounds * self.stride
            if pause():
                break
        return state, [join(*(read_records(*records) for records in one)) for one in by_seed(state, told)], done

    def snapshot(self, state: Any) -> list[dict[str, Any]]:
        """See `Loop`."""
        return [self.agent.parameters(one.learner) for one in unstack(state)]

    def restore(self, seeds: Sequence[int], arrays: dict[str, Any], step: int = 0) -> Any:
        """See `Loop`."""
        del step  # its random numbers follow from the clock
        return checkpoint.from_arrays(self.start(seeds), arrays, "checkpoint")

    def experience(self, state: Any) -> list[Any]:
        """See `Loop`."""
        return [from_memory(self.config, self.agent, self.source.space, one.memory) for one in unstack(state)]


@in_32_bits
def compiled_network_loop(config: Any, source: Source, steps: int, group: int | None = None) -> Loop:
    """A network over a compiled world.

    `group` seeds are stacked by `vmap`; by default one on a CPU, where threads fill the cores and stacking made
    each seed slower (measured: 10,000 steps/s for four stacked seeds, 15,000 for one), and all elsewhere.
    """
    if group is None:
        group = 1 if jax.default_backend() == "cpu" else sys.maxsize
    own = CompiledNetwork(config, source, steps)
    return guarded(
        Loop(
            "compiled", own.stride, group, True, own.start, own.go, measure_rows, own.snapshot, checkpoint.to_arrays,
            own.restore, lambda state: None, own.experience,
        )
    )  # fmt: skip


def read_records(record: Any, metrics: dict[str, Any]) -> Part:
    """The part of one seed from the arrays that its `scan` put out."""
    ended = record.ended.ravel()
    episodes = Episodes(
        record.episode_return.ravel()[ended].astype(np.float64),
        record.episode_length.ravel()[ended].astype(np.int64),
    )
    return Part(episodes, {name: np.asarray(row) for name, row in metrics.items()})
