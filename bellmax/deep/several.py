"""JAX. Several networks as one, whose output is the mean of theirs, for ONE observation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from bellmax.contracts import Array, Arrays, Obs
from bellmax.deep.method import Network


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
