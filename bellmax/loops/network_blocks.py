"""JAX. The two programs of a network on Gymnasium environments: one to act, one to learn from a block of steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bellmax.contracts import Array, Experience, Space
from bellmax.deep.config import DeepConfig
from bellmax.deep.state import DeepAgent
from bellmax.keys import APART
from bellmax.loops.network_learning import compiler_options, make_improver, ranks


def make_vector_actor(agent: DeepAgent, n: int) -> Callable[..., Any]:
    """`act(actor, carry [N], over [N], obs [N, ...], key, t) -> (actions [N], carry before, carry after)`.

    The host loop's one call per vector step. Where an episode was `over`, the carry begins anew first.
    """

    def act(actor: Any, carry: Any, over: Array, obs: Any, key: Array, t: Array) -> Any:
        key = jax.random.fold_in(key, 2 * t)  # even numbers act, odd ones learn
        keys = jax.random.split(key, n)
        fresh = jax.vmap(agent.begin)(jax.random.split(jax.random.fold_in(key, APART), n), ranks(n))

        def one(old: Any, new: Any, over: Array, obs: Any, key: Array) -> Any:
            before = jax.tree.map(lambda x, y: jnp.where(over, x, y), new, old)
            action, after = agent.act(actor, before, obs, key, t)
            return action, agent.remembered(before), after

        return jax.vmap(one)(carry, fresh, over, obs, keys)

    return jax.jit(act, compiler_options=compiler_options(None))


def make_block(agent: DeepAgent, config: DeepConfig, space: Space) -> Callable[..., Any]:
    """`learn((learner, memory), steps, valid, key, t) -> ((learner, memory), actor, metrics)`, of a block of steps.

    `steps` is an Experience of columns [T, N, ...], `valid` [T, N]; `t` counts environment steps before the first.
    `actor` is a copy that outlives the next call, which overwrites the learner.
    """
    improve = make_improver(agent, config)
    stride = config.num_envs * config.train_freq

    def learn(mind: tuple[Any, Any], steps: Experience, valid: Array, key: Array, t: Array) -> Any:
        def round_(mind: tuple[Any, Any], now: tuple[Any, Array]) -> tuple[tuple[Any, Any], dict[str, Array]]:
            columns, t = now
            kept, _ = jax.lax.scan(lambda m, c: (agent.memory.add(m, *c), None), mind[1], columns)
            return improve((mind[0], kept), t, jax.random.fold_in(key, 2 * t + 1))  # type: ignore[no-any-return]

        rounds = valid.shape[0] // config.train_freq
        columns = jax.tree.map(lambda x: x.reshape(rounds, config.train_freq, *x.shape[1:]), (steps, valid))
        mind, metrics = jax.lax.scan(round_, mind, (columns, t + stride * (1 + jnp.arange(rounds))))
        return mind, jax.tree.map(jnp.copy, agent.actor(mind[0])), metrics

    return jax.jit(learn, donate_argnums=0, compiler_options=compiler_options(space))
