"""JAX. The two programs of a network in Gymnasium environments: act, and learn from a block of steps."""

from __future__ import annotations

from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from bellmax.contracts import Array, Arrays, BoolArray, Experience, HostObs, Obs, Space
from bellmax.deep.config import DeepConfig
from bellmax.deep.state import Carry, DeepAgent, LearnerState
from bellmax.keys import APART
from bellmax.loops.network_learning import LearnerAndMemory, compiler_options, make_improver, ranks
from bellmax.trees import tree_map


class VectorAct(Protocol):
    """Act in every environment: the one call of the host loop per vector step."""

    def __call__(
        self, actor: LearnerState, carry: Carry, over: BoolArray, obs: HostObs, key: Array, t: np.int32, /
    ) -> tuple[Array, Arrays, Carry]:
        """Return (actions [N], the part of the carry before that learning needs, the carry after).

        Where an episode was `over` [N], the carry is first reset.
        """


class LearnBlock(Protocol):
    """Learn from a block of vector steps."""

    def __call__(
        self, both: LearnerAndMemory, steps: Experience, valid: BoolArray, key: Array, t: np.int32, /
    ) -> tuple[LearnerAndMemory, LearnerState, dict[str, Array]]:
        """Return ((learner, memory), actor, metrics); the learner and memory that were passed are overwritten.

        `steps` are columns [T, N, ...], `valid` [T, N]; `t` counts environment steps before the first. `actor` is a
        copy, which the next call does not overwrite.
        """


def make_vector_actor(agent: DeepAgent, n: int) -> VectorAct:
    """Compile the call by which `agent` acts in n environments."""

    def act(
        actor: LearnerState, carry: Carry, over: Array, obs: Obs, key: Array, t: Array
    ) -> tuple[Array, Arrays, Carry]:
        key = jax.random.fold_in(key, 2 * t)  # even numbers act, odd ones learn
        keys = jax.random.split(key, n)
        fresh = jax.vmap(agent.begin)(jax.random.split(jax.random.fold_in(key, APART), n), ranks(n))

        def one(old: Carry, new: Carry, over: Array, obs: Obs, key: Array) -> tuple[Array, Arrays, Carry]:
            before = tree_map(lambda x, y: jnp.where(over, x, y), new, old)
            action, after = agent.act(actor, before, obs, key, t)
            return action, agent.remembered(before), after

        return jax.vmap(one)(carry, fresh, over, obs, keys)

    compiled: VectorAct = jax.jit(act, compiler_options=compiler_options(None))
    return compiled


def make_block(agent: DeepAgent, config: DeepConfig, space: Space) -> LearnBlock:
    """Compile the call by which `agent` learns from a block of steps."""
    improve = make_improver(agent, config)
    stride = config.num_envs * config.train_freq

    def learn(
        both: LearnerAndMemory, steps: Experience, valid: Array, key: Array, t: Array
    ) -> tuple[LearnerAndMemory, LearnerState, dict[str, Array]]:
        def round_(both: LearnerAndMemory, now: tuple[Any, Array]) -> tuple[LearnerAndMemory, dict[str, Array]]:
            columns, t = now
            kept, _ = jax.lax.scan(lambda m, c: (agent.memory.add(m, *c), None), both[1], columns)
            return improve((both[0], kept), t, jax.random.fold_in(key, 2 * t + 1))

        rounds = valid.shape[0] // config.train_freq
        columns = jax.tree.map(lambda x: x.reshape(rounds, config.train_freq, *x.shape[1:]), (steps, valid))
        both, metrics = jax.lax.scan(round_, both, (columns, t + stride * (1 + jnp.arange(rounds))))
        return both, tree_map(jnp.copy, agent.actor(both[0])), metrics

    compiled: LearnBlock = jax.jit(learn, donate_argnums=0, compiler_options=compiler_options(space))
    return compiled
