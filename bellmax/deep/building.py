"""JAX. The network of an agent: its packed parameters, and the functions that losses and acting use."""

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
from bellmax.networks.network import (
    AnyNetwork,
    Spec,
    make_network,
    shapes,
    single_network,
    skeleton,
    with_noise,
)
from bellmax.spaces import visible, zeros


class Reading(NamedTuple, Generic[Out]):
    """A module whose output a method reads, for ONE observation with or without a mask."""

    module: AnyNetwork
    output: Callable[[Any], Out]

    def features(self, obs: Obs) -> Array:
        """Return the features of an observation."""
        return single_network(self.module).features(visible(obs))

    def begin(self) -> Arrays:
        """Return the state of the memory cell at the start of an episode; () without one."""
        return single_network(self.module).begin()

    def resume(self, cell: Arrays) -> Arrays:
        """Return its state at a step for which an agent stored `cell`."""
        return cell

    def remember(self, cell: Arrays, features: Array) -> tuple[Arrays, Array]:
        """Take one step of the memory cell; return (cell, input of the head)."""
        return single_network(self.module).remember(cell, features)

    def head(self, seen: Array) -> Out:
        """Return the output for what the memory cell returned, or for the features, without a cell."""
        return self.output(single_network(self.module).head(seen))

    def __call__(self, obs: Obs) -> Out:
        """Return the output for an observation, without a cell."""
        return self.output(self.module(visible(obs)))


class Built(NamedTuple, Generic[Out]):
    """The functions of a network on its packed parameters.

    Attributes:
        fresh: `fresh(key) -> params`.
        network: `network(params, noise key or None)`, the network for one observation.
        module: `module(params)`, the Equinox module.
        pack: `pack(module) -> params`.
        named: `named(params)`, the parameters as NumPy arrays by name.
    """

    fresh: Callable[[Array], packing.Params]
    network: Callable[[packing.Params, Array | None], Network[Array, Out]]
    module: Callable[[packing.Params], AnyNetwork]
    pack: Callable[[AnyNetwork], packing.Params]
    named: Callable[[packing.Params], dict[str, npt.NDArray[Any]]]


def spec_of(config: DeepConfig, method: Method[Any, Any]) -> Spec:
    """Return what the network consists of, by the settings and the method."""
    return Spec(
        config.network, config.net_arch, config.normalization, config.dueling, config.noisy, config.recurrent,
        method.n_outputs, method.n_cosines, method.n_members, method.prior_scale, config.normalize_observations,
    )  # fmt: skip


def module_shapes(config: DeepConfig, space: Space, n_actions: int) -> AnyNetwork:
    """Return the module of the network, with shapes in place of its parameters."""
    return shapes(space, n_actions, spec_of(config, config.method()))


def build_network(config: DeepConfig, method: Method[Numbers, Out], space: Space, n_actions: int) -> Built[Out]:
    """Return the network for these spaces."""
    spec = spec_of(config, method)
    kind = packing.by_layers if config.optimizer in BY_LAYERS else packing.by_vector
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
    """Return the state of a memory cell at the start of an episode; () without one."""
    return (
        ()
        if config.recurrent == "none"
        else single_network(skeleton(space, 2, spec_of(config, config.method()))).begin()
    )


def make_experience(config: DeepConfig, space: Space) -> Experience:
    """Return one experience of zeros, as a replay buffer stores it."""
    obs = jax.tree.map(jnp.asarray, zeros(space))
    transition = Transition(obs, jnp.int32(0), jnp.float32(0), jnp.float32(0), obs)
    return Experience(transition, jnp.int32(0), blank_cell(config, space))
