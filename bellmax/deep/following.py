"""JAX. What happens after a gradient: parts in a chain, each with a state, as Optax has transformations before it.

A part sees the new parameters after each gradient step, and may change them. Target networks are here; the averaged
policy is in averaging.py, the running statistics of observations in standardizing.py, resets in resets.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bellmax.contracts import Array
from bellmax.deep.method import Network
from bellmax.deep.several import Several

Mix = Callable[[Any], Any]  # parameters before a reset to parameters after it


def _unchanged(state: Any, params: Any, mix: Mix) -> Any:
    del params, mix
    return state


def _single(state: Any, network: Callable[[Any], Network]) -> Network:
    return network(state)


class Part(NamedTuple):
    """One thing that follows a gradient step.

    Attributes:
        init: `init(params) -> state`, no array of which is one of `params`: donation would free it twice.
        update: `update(state, params, updates, key, obs) -> (state, params)`, after so many gradient steps, the last of
            them on these observations [..., ...].
        anew: `anew(state, params, mix) -> state` at a reset to `params`; `mix(old)` resets other parameters alike.
        network: of a target: `network(state, make) -> Network`, where `make(params)` is the network of any parameters.
    """

    init: Callable[[Any], Any]
    update: Callable[[Any, Any, Array, Array, Any], tuple[Any, Any]]
    anew: Callable[[Any, Any, Mix], Any] = _unchanged
    network: Callable[[Any, Callable[[Any], Network]], Network] = _single


def chained(**parts: Part) -> Part:
    """The parts in this order, as one; its state is a dictionary of theirs, in which others may have a place too."""

    def init(params: Any) -> dict[str, Any]:
        return {name: part.init(params) for name, part in parts.items()}

    def update(states: dict[str, Any], params: Any, updates: Array, key: Array, obs: Any) -> tuple[dict[str, Any], Any]:
        new = dict(states)
        for name, part in parts.items():
            new[name], params = part.update(states[name], params, updates, key, obs)
        return new, params

    def anew(states: dict[str, Any], params: Any, mix: Mix) -> dict[str, Any]:
        return {**states, **{name: part.anew(states[name], params, mix) for name, part in parts.items()}}

    return Part(init, update, anew)


def mixed(share: Any, new: Any, old: Any) -> Any:
    """`share` of new parameters and the rest of old ones."""
    return jax.tree.map(lambda x, y: share * x + (1.0 - share) * y, new, old)


def _chosen(condition: Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), new, old)


def own_copy(params: Any) -> Any:
    """Parameters in buffers of their own."""
    return jax.tree.map(jnp.copy, params)


def copied(period: int) -> Part:
    """A target network that is copied every `period` gradient steps: Mnih et al. (2015)."""
    return polyak(period, 1.0)


def polyak(period: int, tau: float) -> Part:
    """A target network that moves a share `tau` towards the network every `period` gradient steps."""

    def update(target: Any, params: Any, updates: Array, key: Array, obs: Any) -> tuple[Any, Any]:
        del key, obs
        return _chosen(updates % period == 0, mixed(tau, params, target), target), params

    return Part(own_copy, update, lambda target, params, mix: mix(target))


def mean_of_copies(k: int, period: int) -> Part:
    """A target network that is the mean of the last `k` copies, one every `period` gradient steps.

    Anschel et al. (2017), "Averaged-DQN", algorithm 2: the mean of what they say, not of their parameters.
    """

    def init(params: Any) -> Any:
        return jax.tree.map(lambda x: jnp.repeat(x[None], k, axis=0), params)

    def update(copies: Any, params: Any, updates: Array, key: Array, obs: Any) -> tuple[Any, Any]:
        del key, obs
        newer = jax.tree.map(lambda old, x: jnp.concatenate([old[1:], x[None]]), copies, params)
        return _chosen(updates % period == 0, newer, copies), params

    def network(copies: Any, make: Callable[[Any], Network]) -> Network:
        return Several(tuple(make(jax.tree.map(lambda x, i=i: x[i], copies)) for i in range(k)))

    return Part(init, update, lambda copies, params, mix: jax.vmap(mix)(copies), network)
