"""JAX. The gradient steps of a round, and how XLA compiles them: shared by all loops of networks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from bellmax.contracts import Array, Space
from bellmax.deep.config import DeepConfig
from bellmax.deep.state import DeepAgent, LearnerState
from bellmax.networks.images import image_of
from bellmax.replay.ring import NOWHERE
from bellmax.spaces import leaves_of

LearnerAndMemory: TypeAlias = tuple[LearnerState, Any]  # the state of an agent and that of its memory
Metrics: TypeAlias = dict[str, Array]
Improve: TypeAlias = Callable[[LearnerAndMemory, Array, Array], tuple[LearnerAndMemory, Metrics]]
Priorities: TypeAlias = tuple[Array, Array]  # index [B] and priority [B]


def ranks(n: int) -> Array:
    """Return the rank of each of n environments side by side [N]: 0 for the first, 1 for the last."""
    return jnp.linspace(0.0, 1.0, n)


def make_improver(agent: DeepAgent, config: DeepConfig) -> Improve:
    """Return `improve((learner, memory), t, key) -> ((learner, memory), metrics)`: the gradient steps of one round.

    Until the clock has passed `learning_starts`, nothing is learned and all metrics are 0, also "learned".
    """

    def learn(learner: LearnerState, kept: Any, key: Array) -> tuple[LearnerState, Priorities, Metrics]:
        sample_key, learn_key = jax.random.split(key)
        batch, weight, index = agent.memory.sample(kept, sample_key, learner.updates)
        learner, learned = agent.learn(learner, (batch, weight), learn_key)
        return learner, (index, learned.priority), {**learned.metrics, "learned": jnp.ones(())}

    def wait(learner: LearnerState, kept: Any, key: Array) -> tuple[LearnerState, Priorities, Metrics]:
        _, (index, priority), metrics = jax.eval_shape(learn, learner, kept, key)
        nothing = jnp.full(index.shape, NOWHERE, index.dtype), jnp.zeros(priority.shape)
        return learner, nothing, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), metrics)

    def improve(both: LearnerAndMemory, t: Array, key: Array) -> tuple[LearnerAndMemory, Metrics]:
        def once(both: LearnerAndMemory, key: Array) -> tuple[LearnerAndMemory, Metrics]:
            learner, kept = both
            # all seeds share the clock, so that this stays a branch when seeds are stacked by vmap; it only reads the
            # memory: if a branch wrote to it, XLA would copy all of it
            learner, priorities, metrics = jax.lax.cond(t > config.learning_starts, learn, wait, learner, kept, key)
            return (learner, agent.memory.update(kept, *priorities)), metrics

        keys = jax.random.split(key, config.gradient_steps)
        if config.gradient_steps == 1:
            return once(both, keys[0])
        both, metrics = jax.lax.scan(once, both, keys)
        return both, jax.tree.map(jnp.mean, metrics)

    return improve


def compiler_options(space: Space | None) -> dict[str, str | bool]:
    """Return XLA's options for a loop's body over observations of `space`: one thread per seed.

    By default, on CPUs it orders operations so that threads can share them, and splits large ones over the cores; for
    operations of microseconds, the communication costs more than the work (decision 2). Images are worth splitting.
    """
    if jax.default_backend() != "cpu":
        return {}
    options: dict[str, str | bool] = {
        "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
        "xla_cpu_multi_thread_eigen": False,
    }
    whole = {"xla_disable_hlo_passes": "cpu-parallel-task-assigner"}
    images = space is not None and any(map(image_of, leaves_of(space)))
    return options if images else {**options, **whole}
