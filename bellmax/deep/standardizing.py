"""JAX. The running mean and variance of observations: a part that follows a gradient step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bellmax.contracts import Array, Obs, Space
from bellmax.deep.building import Built
from bellmax.deep.following import Follower, own_copy
from bellmax.networks.layers import Standardizer
from bellmax.networks.network import single_network, standardizer_of, with_standardizer
from bellmax.networks.packing import Params
from bellmax.spaces import visible, zeros
from bellmax.trees import tree_map


def statistics(
    read: Callable[[Params], Standardizer], write: Callable[[Params, Standardizer], Params]
) -> Follower[Standardizer]:
    """Return the part that updates the running mean and variance of observations, parameters without a gradient.

    `read(params)` returns them and `write(params, them)` puts them back, so that no optimizer changes them.
    """

    def update(
        running: Standardizer, params: Params, updates: Array, key: Array, obs: Obs
    ) -> tuple[Standardizer, Params]:
        del updates, key
        running = running.seen(obs)
        return running, write(params, running)

    return Follower(lambda params: own_copy(read(params)), update)


def read_statistics(built: Built[Any]) -> Callable[[Params], Standardizer]:
    """Return `read(params)`, the running mean and variance of observations in the parameters."""
    return lambda params: standardizer_of(single_network(built.module(params)))


def write_statistics(built: Built[Any]) -> Callable[[Params, Standardizer], Params]:
    """Return `write(params, statistics) -> params`."""
    return lambda params, new: built.pack(with_standardizer(single_network(built.module(params)), new))


def as_rows(obs: Obs, space: Space) -> Obs:
    """Return the part of observations [..., ...] that networks see, as a batch [B, ...]."""
    seen: Obs = visible(obs)
    return tree_map(lambda x, one: x.reshape(-1, *one.shape), seen, zeros(visible(space)))
