"""JAX. Record the rounds of a network in a compiled environment: environment steps, then gradient steps.

The loop's own program takes each round from the state before it, so that a window ends in the bits of the loop. The
numbers are those of the parts of the same round, called one after the other on the same state.
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bellmax.contracts import Array
from bellmax.deep.config import DeepConfig
from bellmax.loops.network_compiled import CompiledNetwork
from bellmax.loops.network_learning import compiler_options
from bellmax.loops.network_rounds import RunState, keys_of_step, make_vector_step
from bellmax.recording.acting_steps import choose_phase, end_phase, make_view, step_phase
from bellmax.recording.learning_steps import make_learning, record_learning
from bellmax.recording.pqn_steps import make_fresh_learning, record_fresh_learning
from bellmax.recording.sampled import store_phase_of
from bellmax.recording.window import Phase, RecordedStep, first_rows
from bellmax.sources import Source
from bellmax.trees import tree_map


class RoundRecorder:
    """Records rounds: the parts of `CompiledNetwork`, compiled one by one."""

    def __init__(self, config: DeepConfig, source: Source, steps: int) -> None:
        """Prepare for a run of `steps` environment steps."""
        self.config, self.loop = config, CompiledNetwork(config, source, steps)
        world, agent = source.compile(), self.loop.agent
        self.n = config.num_envs
        self.vector_step = jax.jit(
            make_vector_step(world, agent, config), compiler_options=compiler_options(world.observation_space)
        )
        self.keys = jax.jit(self.keys_of_round)
        shapes = world.observation_space, world.n_actions, steps
        self.view = make_view(config, agent, *shapes)
        self.fresh = make_fresh_learning(config, *shapes)
        self.learning = make_learning(config, agent, *shapes)

    def keys_of_round(self, key: Array, t: Array) -> tuple[Any, Array]:
        """Return the keys of each vector step of the round at `t`, and that of its gradient steps."""
        step_key, learn_key = jax.random.split(jax.random.fold_in(key, t))
        each = jax.random.split(step_key, self.config.train_freq)
        return [keys_of_step(key, self.n) for key in each], learn_key

    def record(self, state: RunState, t: int) -> tuple[RunState, RunState, list[RecordedStep]]:
        """Record the round at `t`: return (the state by the loop, the state by the parts, the steps)."""
        keys, learn_key = self.keys(state.key, jnp.int32(t))
        parts, steps = tree_map(jnp.copy, state), list[RecordedStep]()
        for k, each in enumerate(keys):
            parts, step = self.record_step(parts, t + k * self.n, each)
            steps.append(step)
        both, end = (parts.learner, parts.memory), t + self.n * len(keys)
        if self.fresh is not None:
            both, phases = record_fresh_learning(self.fresh, self.learning, both, end, learn_key)
        else:
            both, phases = record_learning(self.learning, both, end, learn_key)
        steps[-1] = steps[-1]._replace(phases=(*steps[-1].phases, *phases))
        return self.advance(state, 1, t), parts._replace(learner=both[0], memory=both[1]), steps

    def advance(self, state: RunState, rounds: int, t: int) -> RunState:
        """Take `rounds` from step `t` on by the loop's own program."""
        after: RunState = self.loop.chunk(rounds, False)(state, jnp.int32(t))[0]
        return after

    def record_step(self, state: RunState, t: int, keys: tuple[Array, ...]) -> tuple[RunState, RecordedStep]:
        """Take one step in every environment and record that of the first."""
        clock = jnp.int32(t)
        found = self.view(state.learner, state.carry, state.obs, keys[0], clock)
        after, (experience, record) = self.vector_step(state, (clock, keys))
        actions, over = np.asarray(experience.transition.action), bool(np.asarray(record.ended)[0])
        score, length = float(record.episode_return[0]), int(record.episode_length[0])
        terminated = over and float(np.asarray(experience.transition.discount)[0]) == 0.0
        phases = [
            Phase("observe", {"obs": first_rows(state.obs, 1)[0]}), choose_phase(self.config, found, actions),
            step_phase(experience, terminated, score, n=self.n),
            store_phase_of(self.config, state.memory, after.memory, experience),
        ]  # fmt: skip
        if over:
            phases.append(end_phase(score, length, after.obs))
        return after, RecordedStep(t, length - 1, tuple(phases))
