"""JAX. Several networks as one, whose output is the mean of theirs, for ONE observation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bellmax.contracts import Array, Arrays, Obs
from bellmax.deep.following import Follower, chosen
from bellmax.deep.method import Network
from bellmax.networks.packing import Params
from bellmax.trees import tree_map


class Mean(NamedTuple):
    """The mean of several outputs: of values, quantiles at the same levels, or probabilities of the same atoms."""

    outputs: tuple[Any, ...]

    def mean(self) -> Array:
        """Return Q [A]."""
        return _mean([output.mean() for output in self.outputs])

    def returns(self, draws: Array) -> Array:
        """Return what a target averages, [A] or [A, n]."""
        return _mean([output.returns(draws) for output in self.outputs])

    def member(self, k: Array) -> Mean:
        """Return the output of member k of an ensemble, the mean over its copies."""
        return Mean(tuple(output.member(k) for output in self.outputs))


class Several(NamedTuple):
    """Networks, each with its own memory cell if they have one; features and cells are tuples."""

    networks: tuple[Network[Any, Any], ...]

    def features(self, obs: Obs) -> tuple[Any, ...]:
        """Return the features of an observation by each network."""
        return tuple(network.features(obs) for network in self.networks)

    def begin(self) -> Arrays:
        """Return the states of the memory cells at the start of an episode."""
        return tuple(network.begin() for network in self.networks)

    def resume(self, cell: Arrays) -> Arrays:
        """Return their states at a step for which an agent stored `cell`: all are that."""
        return tuple(network.resume(cell) for network in self.networks)

    def remember(self, cell: Arrays, features: tuple[Any, ...]) -> tuple[Arrays, tuple[Any, ...]]:
        """Take one step of each memory cell."""
        steps = [network.remember(*each) for network, *each in zip(self.networks, cell, features, strict=True)]
        return tuple(after for after, _ in steps), tuple(seen for _, seen in steps)

    def head(self, seen: tuple[Any, ...]) -> Mean:
        """Return the mean of their outputs."""
        return Mean(tuple(network.head(each) for network, each in zip(self.networks, seen, strict=True)))

    def __call__(self, obs: Obs) -> Mean:
        """Return the mean of their outputs for an observation, without a cell."""
        return Mean(tuple(network(obs) for network in self.networks))


def _mean(arrays: Sequence[Array]) -> Array:
    return jnp.mean(jnp.stack(arrays), axis=0)


def mean_of_copies(k: int, period: int) -> Follower[Params]:
    """Return a target network that averages the last `k` copies, one every `period` gradient steps.

    It averages their outputs, not their parameters: Anschel et al. (2017), "Averaged-DQN", algorithm 2.
    """

    def init(params: Params) -> Params:
        return tree_map(lambda x: jnp.repeat(x[None], k, axis=0), params)

    def update(copies: Params, params: Params, updates: Array, key: Array, obs: Obs) -> tuple[Params, Params]:
        del key, obs
        newer = tree_map(lambda old, x: jnp.concatenate([old[1:], x[None]]), copies, params)
        return chosen(updates % period == 0, newer, copies), params

    def network(copies: Params, make: Callable[[Params], Network[Any, Any]]) -> Network[Any, Any]:
        return Several(tuple(make(tree_map(lambda x, i=i: x[i], copies)) for i in range(k)))

    return Follower(init, update, lambda copies, params, mix: jax.vmap(mix)(copies), network)
