"""JAX. Networks side by side as one, whose output is the mean of theirs; for ONE observation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp

from bellmax.contracts import Array, Arrays, Obs
from bellmax.deep.method import Network


class Mean(NamedTuple):
    """The mean of several outputs: of values, of quantiles at the same levels, of probabilities of the same atoms."""

    outputs: tuple[Any, ...]

    def mean(self) -> Array:
        """Q [A]."""
        return _mean([output.mean() for output in self.outputs])

    def returns(self, draws: Array) -> Array:
        """What a target takes the mean of, [A] or [A, n]."""
        return _mean([output.returns(draws) for output in self.outputs])

    def member(self, k: Array) -> Mean:
        """Of an ensemble's member k, the mean over its copies."""
        return Mean(tuple(output.member(k) for output in self.outputs))


class Several(NamedTuple):
    """Networks with a memory cell each, if they have any; what each makes of an observation is a tuple."""

    networks: tuple[Network[Any, Any], ...]

    def features(self, obs: Obs) -> tuple[Any, ...]:
        """What the torsos make of an observation."""
        return tuple(network.features(obs) for network in self.networks)

    def begin(self) -> Arrays:
        """What the memory cells hold at an episode's start."""
        return tuple(network.begin() for network in self.networks)

    def resume(self, cell: Arrays) -> Arrays:
        """What they hold where an agent had stored `cell`: that, all of them."""
        return tuple(network.resume(cell) for network in self.networks)

    def remember(self, cell: Arrays, features: tuple[Any, ...]) -> tuple[Arrays, tuple[Any, ...]]:
        """One step of the memory cells."""
        steps = [network.remember(*each) for network, *each in zip(self.networks, cell, features, strict=True)]
        return tuple(after for after, _ in steps), tuple(seen for _, seen in steps)

    def head(self, seen: tuple[Any, ...]) -> Mean:
        """The mean of their outputs."""
        return Mean(tuple(network.head(each) for network, each in zip(self.networks, seen, strict=True)))

    def __call__(self, obs: Obs) -> Mean:
        """The mean of their outputs for an observation, without a cell."""
        return Mean(tuple(network(obs) for network in self.networks))


def _mean(arrays: Sequence[Array]) -> Array:
    return jnp.mean(jnp.stack(arrays), axis=0)
