"""JAX. What follows a gradient step: a chain of parts, each with a state, as Optax chains transformations before it.

A part sees the new parameters after each gradient step, and can change them. Two target networks are here, a third one
in several.py, the average of the policy in averaging.py, statistics of observations in standardizing.py, and resets in
resets.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

import jax.numpy as jnp

from bellmax.contracts import Array, Obs
from bellmax.deep.method import Network
from bellmax.networks.packing import Params
from bellmax.trees import tree_map

Mix: TypeAlias = Callable[[Params], Params]  # parameters before a reset to parameters after it
State = TypeVar("State")  # of what follows
Tree = TypeVar("Tree")


class Update(Protocol[State]):
    """Follow a gradient step."""

    def __call__(self, state: State, params: Params, updates: Array, key: Array, obs: Obs, /) -> tuple[State, Params]:
        """Return (state, params) after `updates` gradient steps, the last of them on `obs` [..., ...]."""


def _unchanged(state: State, params: Params, mix: Mix) -> State:
    del params, mix
    return state


def _single(state: Any, make: Callable[[Params], Network[Any, Any]]) -> Network[Any, Any]:
    return make(state)


class Follower(NamedTuple, Generic[State]):
    """A part that follows each gradient step.

    Attributes:
        init: `init(params) -> state`. It must copy arrays of `params` that it stores: donation would free them twice.
        update: `update(state, params, updates, key, obs) -> (state, params)`, after `updates` gradient steps, the last
            of them on these observations [..., ...].
        restart: `restart(state, params, mix) -> state`, at a reset to `params`; `mix(old)` resets other ones alike.
        network: for a target: `network(state, make) -> Network`, where `make(params)` is the network of any parameters.
        share: for a target: of the network in an update; if it is not `tau`, a line says that `tau` has no effect.
    """

    init: Callable[[Params], State]
    update: Update[State]
    restart: Callable[[State, Params, Mix], State] = _unchanged
    network: Callable[[State, Callable[[Params], Network[Any, Any]]], Network[Any, Any]] = _single
    share: float = 1.0


def chained(**parts: Follower[Any]) -> Follower[dict[str, Any]]:
    """Return the parts in this order as one; its state is a dictionary of theirs, and other entries stay unchanged."""

    def init(params: Params) -> dict[str, Any]:
        return {name: part.init(params) for name, part in parts.items()}

    def update(
        states: dict[str, Any], params: Params, updates: Array, key: Array, obs: Obs
    ) -> tuple[dict[str, Any], Params]:
        new = dict(states)
        for name, part in parts.items():
            new[name], params = part.update(states[name], params, updates, key, obs)
        return new, params

    def restart(states: dict[str, Any], params: Params, mix: Mix) -> dict[str, Any]:
        return {**states, **{name: part.restart(states[name], params, mix) for name, part in parts.items()}}

    return Follower(init, update, restart)


def mixed(share: Array | float, new: Tree, old: Tree) -> Tree:
    """Return `share` of the new parameters plus the rest of the old ones."""
    return tree_map(lambda x, y: share * x + (1.0 - share) * y, new, old)


def chosen(condition: Array, new: Tree, old: Tree) -> Tree:
    """Return new parameters where the condition holds, else the old ones."""
    return tree_map(lambda x, y: jnp.where(condition, x, y), new, old)


def own_copy(params: Tree) -> Tree:
    """Return a copy of parameters in buffers of their own."""
    return tree_map(jnp.copy, params)


def copied(period: int) -> Follower[Params]:
    """Return a target network that is copied every `period` gradient steps. Mnih et al. (2015)."""
    return polyak(period, 1.0)


def polyak(period: int, tau: float) -> Follower[Params]:
    """Return a target network that moves by a share `tau` toward the network every `period` gradient steps."""

    def update(target: Params, params: Params, updates: Array, key: Array, obs: Obs) -> tuple[Params, Params]:
        del key, obs
        return chosen(updates % period == 0, mixed(tau, params, target), target), params

    return Follower(own_copy, update, lambda target, params, mix: mix(target), share=tau)
