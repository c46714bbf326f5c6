"""JAX. How an agent with a network acts, for ONE observation, and what it remembers within an episode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bellmax.contracts import Array, Space
from bellmax.deep.building import blank_cell
from bellmax.deep.config import DeepConfig
from bellmax.deep.method import Method, Network, mask_of
from bellmax.exploration import boltzmann, epsilon_greedy, ladder


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


def remembered(carry: Any) -> Any:
    """The part of a carry that learning needs."""
    return carry.cell if carry else ()


def make_actor(
    config: DeepConfig, method: Method, network: Callable[[Any, Any], Network], space: Space, steps: int
) -> tuple[Any, Any, Any]:
    """The three functions of an agent that act: (begin, act, q_values)."""
    blank = blank_cell(config, space)

    def begin(key: Array, rank: Any) -> Any:
        carry = Carry(
            jnp.float32(rank) if config.exploration == "ladder" else (),
            jax.random.randint(key, (), 0, method.n_members) if method.n_members else (),
            blank,
        )
        return carry if jax.tree.leaves(carry) else ()

    def look(net: Network, carry: Any, obs: Any) -> tuple[Any, Any]:
        if config.recurrent == "none":
            return net(obs), carry
        cell, seen = net.remember(carry.cell, net.features(obs))
        return net.head(seen), carry._replace(cell=cell)

    def act(state: Any, carry: Any, obs: Any, key: Array, t: Array) -> tuple[Array, Any]:
        noise, coin = jax.random.split(key) if config.noisy else (key, key)
        output, after = look(network(state.params, noise if config.noisy else None), carry, obs)
        mask = mask_of(obs)
        q = method.values(output.member(carry.member) if method.n_members else output, mask)
        epsilon = config.epsilon(t, steps)
        if config.exploration == "boltzmann":
            return boltzmann(q, jnp.float32(config.temperature), coin), after
        epsilon = ladder(epsilon, carry.rank) if config.exploration == "ladder" else epsilon
        return epsilon_greedy(q, epsilon, coin, mask), after

    def q_values(state: Any, carry: Any, obs: Any) -> tuple[Array, Any]:
        output, after = look(network(state.params, None), carry, obs)
        return method.values(output, mask_of(obs)), after

    return begin, act, q_values
