"""JAX. Record the gradient steps of a network that learns from data only."""

from __future__ import annotations

import jax
import numpy as np

from bellmax.deep.config import DeepConfig
from bellmax.files.dataset import Dataset
from bellmax.loops.network_data import DataNetwork, OfflineState
from bellmax.recording.learning_steps import make_learning, record_learning
from bellmax.recording.window import RecordedStep
from bellmax.sources import Source


class DataRecorder:
    """Records rounds of gradient steps: the parts of `DataNetwork`, compiled one by one."""

    def __init__(self, config: DeepConfig, source: Source, steps: int, data: Dataset) -> None:
        """Prepare for a run of `steps` gradient steps."""
        self.loop = DataNetwork(config, source, steps, data)
        self.learning = make_learning(config, self.loop.agent, source.space, source.n_actions, steps)
        self.key_of = jax.jit(jax.random.fold_in)

    def record(self, state: OfflineState, t: int) -> tuple[OfflineState, OfflineState, list[RecordedStep]]:
        """Record the round at `t`: return (the state by the loop, the state by the parts, the steps)."""
        both = state.learner, self.loop.memory._replace(sampler=state.sampler)
        both, phases = record_learning(self.learning, both, t + self.loop.stride, self.key_of(state.key, np.int32(t)))
        parts = OfflineState(both[0], both[1].sampler, state.key)
        return self.advance(state, 1, t), parts, [RecordedStep(t, 0, tuple(phases))]

    def advance(self, state: OfflineState, rounds: int, t: int) -> OfflineState:
        """Take `rounds` from step `t` on by the loop's own program."""
        after: OfflineState = self.loop.chunk(rounds, False)(state, self.loop.memory, np.int32(t))[0]
        return after
