"""JAX. How an agent with a network acts, for ONE observation, and what it remembers within an episode."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bellmax.contracts import Array, Space
from bellmax.deep.config import DeepConfig
from bellmax.deep.targets import Values, mask_of
from bellmax.exploration import boltzmann, epsilon_greedy, ladder
from bellmax.networks.network import skeleton
from bellmax.spaces import visible


class Carry(NamedTuple):
    """What acting remembers within an episode; parts that the agent does not need are ().

    Attributes:
        rank: of this world among those side by side, 0 to 1.
        member: the network that this episode follows.
        cell: of a recurrent network.
    """

    rank: Any = ()
    member: Any = ()
    cell: Any = ()


def blank_cell(config: DeepConfig, space: Space) -> Any:
    """What a memory cell holds at an episode's start; () without one."""
    return () if config.recurrent == "none" else skeleton(space, 2, config.spec).begin()


def remembered(carry: Any) -> Any:
    """The part of a carry that learning needs."""
    return carry.cell if carry else ()


def make_actor(config: DeepConfig, values: Values, network: Any, space: Space, steps: int) -> tuple[Any, Any, Any]:
    """The three functions of an agent that act: (begin, act, q_values)."""
    recurrent, members = config.recurrent != "none", config.spec.n_members
    blank = blank_cell(config, space)

    def begin(key: Array, rank: Any) -> Any:
        carry = Carry(
            jnp.float32(rank) if config.exploration == "ladder" else (),
            jax.random.randint(key, (), 0, members) if members else (),
            blank,
        )
        return carry if jax.tree.leaves(carry) else ()

    def look(module: Any, cell: Any, obs: Any) -> tuple[Any, Any]:
        if not recurrent:
            return module(obs), ()
        cell, seen = module.remember(cell, module.features(visible(obs)))
        return module.head(seen), cell

    def act(state: Any, carry: Any, obs: Any, key: Array, t: Array) -> tuple[Array, Any]:
        noise, coin = jax.random.split(key) if config.noisy else (key, key)
        output, cell = look(network(state.params, noise if config.noisy else None), carry and carry.cell, obs)
        mask = mask_of(obs)
        q = values(output[carry.member][None] if members else output, config, mask)
        epsilon = config.epsilon(t, steps)
        if config.exploration == "boltzmann":
            action = boltzmann(q, jnp.float32(config.temperature), coin)
        else:
            epsilon = ladder(epsilon, carry.rank) if config.exploration == "ladder" else epsilon
            action = epsilon_greedy(q, epsilon, coin, mask)
        return action, carry._replace(cell=cell) if carry else carry

    def q_values(state: Any, carry: Any, obs: Any) -> tuple[Array, Any]:
        output, cell = look(network(state.params, None), carry and carry.cell, obs)
        return values(output, config, mask_of(obs)), carry._replace(cell=cell) if carry else carry

    return begin, act, q_values
