"""JAX. What the programs of all loops of networks share: the gradient steps of a round, and how XLA compiles them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bellmax.contracts import Array, Space
from bellmax.deep.config import DeepConfig
from bellmax.deep.state import DeepAgent
from bellmax.networks.images import image_of
from bellmax.replay.ring import NOWHERE
from bellmax.spaces import leaves_of


def ranks(n: int) -> Array:
    """The rank of each of n worlds side by side [N]: 0 for the first, 1 for the last."""
    return jnp.linspace(0.0, 1.0, n)


def make_improver(agent: DeepAgent, config: DeepConfig) -> Callable[..., Any]:
    """`improve((learner, memory), t, key) -> ((learner, memory), metrics)`: the gradient steps of one round.

    Nothing happens until the clock has passed `learning_starts`; until then all metrics are 0, "learned" among them.
    All loops of networks use it.
    """

    def learn(learner: Any, kept: Any, key: Array) -> tuple[Any, Any, dict[str, Array]]:
        sample_key, learn_key = jax.random.split(key)
        batch, weight, index = agent.memory.sample(kept, sample_key, learner.updates)
        learner, learned = agent.learn(learner, (batch, weight), learn_key)
        return learner, (index, learned.priority), {**learned.metrics, "learned": jnp.ones(())}

    def wait(learner: Any, kept: Any, key: Array) -> tuple[Any, Any, dict[str, Array]]:
        _, (index, priority), metrics = jax.eval_shape(learn, learner, kept, key)
        nothing = jnp.full(index.shape, NOWHERE, index.dtype), jnp.zeros(priority.shape)
        return learner, nothing, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), metrics)

    def improve(mind: tuple[Any, Any], t: Array, key: Array) -> tuple[tuple[Any, Any], dict[str, Array]]:
        def once(mind: tuple[Any, Any], key: Array) -> tuple[tuple[Any, Any], dict[str, Array]]:
            learner, kept = mind
            # the clock is shared by all seeds, so that this stays a branch when seeds are stacked by vmap; it only
            # reads the memory, which XLA would copy whole if one of the branches wrote to it
            learner, priorities, metrics = jax.lax.cond(t > config.learning_starts, learn, wait, learner, kept, key)
            return (learner, agent.memory.update(kept, *priorities)), metrics

        keys = jax.random.split(key, config.gradient_steps)
        if config.gradient_steps == 1:
            return once(mind, keys[0])
        mind, metrics = jax.lax.scan(once, mind, keys)
        return mind, jax.tree.map(jnp.mean, metrics)

    return improve


def compiler_options(space: Space | None) -> dict[str, str | bool]:
    """How XLA compiles a loop's body over observations of `space`: one thread per seed.

    On CPUs it orders operations so that threads can share them, and cuts the larger ones into a piece for each core;
    for operations of microseconds the hand-over costs more than the work (decision 2). Pieces of images are worth it.
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
