"""JAX. How an agent with a network acts, for ONE observation, and what it stores within an episode."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from bellmax.contracts import Act, Array, Obs, QValues, Space
from bellmax.deep.building import blank_cell
from bellmax.deep.config import DeepConfig
from bellmax.deep.method import Method, Network, Output, mask_of
from bellmax.deep.state import NOTHING, Carry, LearnerState
from bellmax.exploration import boltzmann, epsilon_greedy, ladder
from bellmax.networks.packing import Params


class Choice(NamedTuple):
    """What an action is chosen by, for ONE observation.

    Attributes:
        output: of the network.
        q: [A] action values, -inf where an action is not allowed.
        mask: [A] the allowed actions; None if all are.
        epsilon: the probability of exploring.
        key: of the random numbers of the choice.
    """

    output: Output
    q: Array
    mask: Array | None
    epsilon: Array
    key: Array


class Choose(Protocol):
    """Look at an observation before an action is chosen."""

    def __call__(self, state: LearnerState, carry: Carry, obs: Obs, key: Array, t: Array, /) -> tuple[Choice, Carry]:
        """Return what the action is chosen by, and the carry after."""


def make_choice(
    config: DeepConfig,
    method: Method[Any, Any],
    network: Callable[[Params, Array | None], Network[Any, Any]],
    steps: int,
) -> tuple[Callable[[Network[Any, Any], Carry, Obs], tuple[Any, Carry]], Choose]:
    """Return (look, choose): a network's output for an observation, and what an action is chosen by."""

    def look(net: Network[Any, Any], carry: Carry, obs: Obs) -> tuple[Any, Carry]:
        if config.recurrent == "none":
            return net(obs), carry
        cell, seen = net.remember(carry.cell, net.features(obs))
        return net.head(seen), carry._replace(cell=cell)

    def choose(state: LearnerState, carry: Carry, obs: Obs, key: Array, t: Array) -> tuple[Choice, Carry]:
        noise, coin = jax.random.split(key) if config.noisy else (key, key)
        output, after = look(network(state.params, noise if config.noisy else None), carry, obs)
        mask = mask_of(obs)
        q = method.values(output.member(carry.member) if method.n_members else output, mask)
        epsilon = config.epsilon(t, steps)
        epsilon = ladder(epsilon, carry.rank) if config.exploration == "ladder" else epsilon
        return Choice(output, q, mask, epsilon, coin), after

    return look, choose


def make_actor(
    config: DeepConfig,
    method: Method[Any, Any],
    network: Callable[[Params, Array | None], Network[Any, Any]],
    space: Space,
    steps: int,
) -> tuple[Callable[[Array, Array], Carry], Act[LearnerState, Carry], QValues[LearnerState, Carry]]:
    """Return the three functions with which an agent acts: (begin, act, q_values)."""
    blank = blank_cell(config, space)
    look, choose = make_choice(config, method, network, steps)

    def begin(key: Array, rank: Array) -> Carry:
        carry = Carry(
            jnp.float32(rank) if config.exploration == "ladder" else NOTHING,
            jax.random.randint(key, (), 0, method.n_members) if method.n_members else NOTHING,
            blank,
        )
        return carry if jax.tree.leaves(carry) else NOTHING

    def act(state: LearnerState, carry: Carry, obs: Obs, key: Array, t: Array) -> tuple[Array, Carry]:
        choice, after = choose(state, carry, obs, key, t)
        if config.exploration == "boltzmann":
            return boltzmann(choice.q, jnp.float32(config.temperature), choice.key), after
        return epsilon_greedy(choice.q, choice.epsilon, choice.key, choice.mask), after

    def q_values(state: LearnerState, carry: Carry, obs: Obs) -> tuple[Array, Carry]:
        output, after = look(network(state.params, None), carry, obs)
        return method.values(output, mask_of(obs)), after

    return begin, act, q_values
