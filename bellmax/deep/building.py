"""JAX. The network of an agent: its parameters, packed, and what losses and acting see of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from bellmax.contracts import Array, Arrays, Experience, Obs, Space, Transition
from bellmax.deep.config import DeepConfig
from bellmax.deep.method import Method, Network, Numbers, Out
from bellmax.deep.optax_names import BY_LAYERS
from bellmax.networks import packing
from bellmax.networks.network import AnyNetwork, Spec, TorsoAndHead, make_network, shapes, skeleton, with_noise
from bellmax.spaces import visible, zeros


class Reading(NamedTuple, Generic[Out]):
    """A module whose head is read by a method, for ONE observation, with its mask if it has one."""

    module: AnyNetwork
    output: Callable[[Any], Out]

    def features(self, obs: Obs) -> Array:
        """What the torso makes of an observation."""
        return whole(self.module).features(visible(obs))

    def begin(self) -> Arrays:
        """What the memory cell holds at an episode's start; () without one."""
        return whole(self.module).begin()

    def resume(self, cell: Arrays) -> Arrays:
        """What it holds where an agent had stored `cell`."""
        return cell

    def remember(self, cell: Arrays, features: Array) -> tuple[Arrays, Array]:
        """One step of the memory cell: (cell, what the head sees)."""
        return whole(self.module).remember(cell, features)

    def head(self, seen: Array) -> Out:
        """The output for what the memory cell returns; for the features, without a cell."""
        return self.output(whole(self.module).head(seen))

    def __call__(self, obs: Obs) -> Out:
        """The output for an observation, without a cell."""
        return self.output(self.module(visible(obs)))


class Built(NamedTuple, Generic[Out]):
    """The functions of a network on its packed parameters.

    Attributes:
        fresh: `fresh(key) -> params`.
        network: `network(params, noise key or None)`, for one observation.
        module: `module(params)`, the Equinox module itself; pack: `pack(module) -> params`.
        named: `named(params)`, NumPy arrays by name.
    """

    fresh: Callable[[Array], packing.Params]
    network: Callable[[packing.Params, Array | None], Network[Array, Out]]
    module: Callable[[packing.Params], AnyNetwork]
    pack: Callable[[AnyNetwork], packing.Params]
    named: Callable[[packing.Params], dict[str, npt.NDArray[Any]]]


def spec_of(config: DeepConfig, method: Method[Any, Any]) -> Spec:
    """What the network is made of: by the settings, and by what the method wants of it."""
    return Spec(
        config.network, config.net_arch, config.normalization, config.dueling, config.noisy, config.recurrent,
        method.n_outputs, method.n_cosines, method.n_members, method.prior_scale, config.normalize_observations,
    )  # fmt: skip


def module_shapes(config: DeepConfig, space: Space, n_actions: int) -> AnyNetwork:
    """The network's module with shapes for its parameters."""
    return shapes(space, n_actions, spec_of(config, config.method()))


def build(config: DeepConfig, method: Method[Numbers, Out], space: Space, n_actions: int) -> Built[Out]:
    """The network for these spaces."""
    spec = spec_of(config, method)
    kind = packing.by_layers if config.optimizer in BY_LAYERS else packing.flat
    pack, unpack = kind(skeleton(space, n_actions, spec))

    def network(params: packing.Params, noise: Array | None) -> Network[Array, Out]:
        module = unpack(params)
        if config.noisy and noise is not None:
            module = with_noise(module, noise)
        return Reading(module, method.output)

    return Built(
        lambda key: pack(make_network(space, n_actions, spec, key)),
        network,
        unpack,
        pack,
        lambda params: {name: np.asarray(leaf) for name, leaf in packing.to_named(unpack(params)).items()},
    )


def blank_cell(config: DeepConfig, space: Space) -> Arrays:
    """What a memory cell holds at an episode's start; () without one."""
    return () if config.recurrent == "none" else whole(skeleton(space, 2, spec_of(config, config.method()))).begin()


def whole(module: AnyNetwork) -> TorsoAndHead:
    """The module, which is a single network: an ensemble has no parts of its own."""
    if not isinstance(module, TorsoAndHead):
        raise TypeError(f"a network with a torso and a head is needed; got {type(module).__name__}")
    return module


def make_experience(config: DeepConfig, space: Space) -> Experience:
    """One experience of zeros, as a memory keeps it."""
    obs = jax.tree.map(jnp.asarray, zeros(space))
    transition = Transition(obs, jnp.int32(0), jnp.float32(0), jnp.float32(0), obs)
    return Experience(transition, jnp.int32(0), blank_cell(config, space))
