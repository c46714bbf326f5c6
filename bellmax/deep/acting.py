"""JAX. How an agent with a network acts, for ONE observation, and what it stores within an episode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bellmax.contracts import Act, Array, Obs, QValues, Space
from bellmax.deep.building import blank_cell
from bellmax.deep.config import DeepConfig
from bellmax.deep.method import Method, Network, mask_of
from bellmax.deep.state import NOTHING, Carry, LearnerState
from bellmax.exploration import boltzmann, epsilon_greedy, ladder
from bellmax.networks.packing import Params


def make_actor(
    config: DeepConfig,
    method: Method[Any, Any],
    network: Callable[[Params, Array | None], Network[Any, Any]],
    space: Space,
    steps: int,
) -> tuple[Callable[[Array, Array], Carry], Act[LearnerState, Carry], QValues[LearnerState, Carry]]:
    """Return the three functions with which an agent acts: (begin, act, q_values)."""
    blank = blank_cell(config, space)

    def begin(key: Array, rank: Array) -> Carry:
        carry = Carry(
            jnp.float32(rank) if config.exploration == "ladder" else NOTHING,
            jax.random.randint(key, (), 0, method.n_members) if method.n_members else NOTHING,
            blank,
        )
        return carry if jax.tree.leaves(carry) else NOTHING

    def look(net: Network[Any, Any], carry: Carry, obs: Obs) -> tuple[Any, Carry]:
        if config.recurrent == "none":
            return net(obs), carry
        cell, seen = net.remember(carry.cell, net.features(obs))
        return net.head(seen), carry._replace(cell=cell)

    def act(state: LearnerState, carry: Carry, obs: Obs, key: Array, t: Array) -> tuple[Array, Carry]:
        noise, coin = jax.random.split(key) if config.noisy else (key, key)
        output, after = look(network(state.params, noise if config.noisy else None), carry, obs)
        mask = mask_of(obs)
        q = method.values(output.member(carry.member) if method.n_members else output, mask)
        epsilon = config.epsilon(t, steps)
        if config.exploration == "boltzmann":
            return boltzmann(q, jnp.float32(config.temperature), coin), after
        epsilon = ladder(epsilon, carry.rank) if config.exploration == "ladder" else epsilon
        return epsilon_greedy(q, epsilon, coin, mask), after

    def q_values(state: LearnerState, carry: Carry, obs: Obs) -> tuple[Array, Carry]:
        output, after = look(network(state.params, None), carry, obs)
        return method.values(output, mask_of(obs)), after

    return begin, act, q_values
