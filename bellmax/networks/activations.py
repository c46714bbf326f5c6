"""JAX and Equinox. What the hidden layers of a network return for ONE observation, for metrics of its health."""

from __future__ import annotations

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from bellmax.contracts import Array, Obs
from bellmax.networks.network import AnyNetwork, Ensemble, Head, ImplicitHead, TorsoAndHead
from bellmax.networks.torsos import MLP, Convolutions

LEVELS = 8  # τ at which the layers of an implicit head are looked at: 1/16, 3/16, ...


def hidden_layers(module: AnyNetwork, obs: Obs) -> tuple[list[Array], list[Array]]:
    """Return (hidden layers, last hidden layers) for one observation, of a network without a memory cell.

    The first are the outputs of each layer after ReLU, whose last axis is that of its neurons or channels: [F],
    [H, W, C] of a convolution, or [K, F] of an implicit head at K levels. The others, [F] or [K, F], are what the last
    linear layer reads, dueling streams side by side. Of an ensemble, each member has its own.
    """
    if isinstance(module, Ensemble):
        each: Any = eqx.filter_vmap(lambda member: _of_one(member, obs))(module.members)
        members = range(jax.tree.leaves(each)[0].shape[0])
        layers, last = each
        return [layer[k] for k in members for layer in layers], [last[k] for k in members]
    layers, last = _of_one(module, obs)
    return layers, [last]


def _of_one(module: TorsoAndHead, obs: Obs) -> tuple[list[Array], Array]:
    seen = obs if module.standardizer is None else module.standardizer(obs)
    features = module.torso(seen)
    torso = [features]  # of another kind: one layer
    if isinstance(module.torso, MLP | Convolutions):
        torso = module.torso.hidden(seen)  # type: ignore[arg-type]
    if isinstance(module.head, ImplicitHead):
        middles = (np.arange(LEVELS)[:, None] + 0.5) / LEVELS
        cosines = jnp.asarray(np.cos(np.pi * np.arange(1, module.head.n_cosines + 1) * middles), jnp.float32)
        embedded = jax.nn.relu(jax.vmap(module.head.embedding)(cosines))
        head = module.head.head
        streams, last = jax.vmap(lambda weights: _of_head(head, features * weights))(embedded)
        return [*torso, embedded, *streams], last
    streams, last = _of_head(module.head, features)
    return [*torso, *streams], last


def _of_head(head: Head, features: Array) -> tuple[list[Array], Array]:
    streams = [stream.hidden(features) for stream in (head.advantage, head.value) if stream is not None]
    ends = [layers[-1] for layers in streams if layers]
    return [layer for layers in streams for layer in layers], jnp.concatenate(ends) if ends else features
