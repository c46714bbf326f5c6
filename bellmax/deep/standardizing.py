"""JAX. The running mean and variance of observations, one of the parts that follow a gradient step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from bellmax.contracts import Array, Space
from bellmax.deep.building import Built
from bellmax.deep.following import Part, own_copy
from bellmax.networks.network import with_standardizer
from bellmax.spaces import visible, zeros


def statistics(read: Callable[[Any], Any], write: Callable[[Any, Any], Any]) -> Part:
    """The running mean and variance of observations, which are parameters without a gradient.

    `read(params)` gives them, `write(params, them)` puts them back: no optimizer moves them.
    """

    def update(running: Any, params: Any, updates: Array, key: Array, obs: Any) -> tuple[Any, Any]:
        del updates, key
        running = running.seen(obs)
        return running, write(params, running)

    return Part(lambda params: own_copy(read(params)), update)


def read_statistics(built: Built) -> Callable[[Any], Any]:
    """`read(params)`, the running mean and variance of observations in them."""
    return lambda params: built.module(params).standardizer


def write_statistics(built: Built) -> Callable[[Any, Any], Any]:
    """`write(params, statistics) -> params`."""
    return lambda params, new: built.pack(with_standardizer(built.module(params), new))


def as_rows(obs: Any, space: Space) -> Any:
    """What networks see of observations [..., ...], as a batch [B, ...]."""
    return jax.tree.map(lambda x, one: x.reshape(-1, *one.shape), visible(obs), zeros(visible(space)))
