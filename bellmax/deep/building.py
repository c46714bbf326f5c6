"""JAX. The network of an agent: its parameters, packed, and what losses and acting see of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bellmax.contracts import Array, Experience, Space, Transition
from bellmax.deep.config import DeepConfig
from bellmax.deep.method import Method, Network, Output
from bellmax.deep.optax_names import BY_LAYERS
from bellmax.networks import packing
from bellmax.networks.network import Spec, make_network, shapes, skeleton, with_noise
from bellmax.spaces import visible, zeros


class Reading(NamedTuple):
    """A module whose head is read by a method, for ONE observation, with its mask if it has one."""

    module: Any
    output: Callable[[Any], Output]

    def features(self, obs: Any) -> Any:
        """What the torso makes of an observation."""
        return self.module.features(visible(obs))

    def begin(self) -> Any:
        """What the memory cell holds at an episode's start; () without one."""
        return self.module.begin()

    def resume(self, cell: Any) -> Any:
        """What it holds where an agent had stored `cell`."""
        return cell

    def remember(self, cell: Any, features: Any) -> tuple[Any, Any]:
        """One step of the memory cell: (cell, what the head sees)."""
        return self.module.remember(cell, features)  # type: ignore[no-any-return]

    def head(self, seen: Any) -> Output:
        """The output for what the memory cell returns; for the features, without a cell."""
        return self.output(self.module.head(seen))

    def __call__(self, obs: Any) -> Output:
        """The output for an observation, without a cell."""
        return self.output(self.module(visible(obs)))


class Built(NamedTuple):
    """The functions of a network on its packed parameters.

    Attributes:
        fresh: `fresh(key) -> params`.
        network: `network(params, noise key or None)`, for one observation.
        module: `module(params)`, the Equinox module itself; pack: `pack(module) -> params`.
        named: `named(params)`, NumPy arrays by name.
    """

    fresh: Callable[[Array], Any]
    network: Callable[[Any, Any], Network]
    module: Callable[[Any], Any]
    pack: Callable[[Any], Any]
    named: Callable[[Any], dict[str, Any]]


def spec_of(config: DeepConfig, method: Method) -> Spec:
    """What the network is made of: by the settings, and by what the method wants of it."""
    return Spec(
        config.network, config.net_arch, config.normalization, config.dueling, config.noisy, config.recurrent,
        method.n_outputs, method.n_cosines, method.n_members, method.prior_scale, config.normalize_observations,
    )  # fmt: skip


def module_shapes(config: DeepConfig, space: Space, n_actions: int) -> Any:
    """The network's module with shapes for its parameters."""
    return shapes(space, n_actions, spec_of(config, config.method()))


def build(config: DeepConfig, method: Method, space: Space, n_actions: int) -> Built:
    """The network for these spaces."""
    spec = spec_of(config, method)
    kind = packing.by_layers if config.optimizer in BY_LAYERS else packing.flat
    pack, unpack = kind(skeleton(space, n_actions, spec))

    def network(params: Any, noise: Any) -> Network:
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


def blank_cell(config: DeepConfig, space: Space) -> Any:
    """What a memory cell holds at an episode's start; () without one."""
    return () if config.recurrent == "none" else skeleton(space, 2, spec_of(config, config.method())).begin()


def make_experience(config: DeepConfig, space: Space) -> Experience:
    """One experience of zeros, as a memory keeps it."""
    obs = jax.tree.map(jnp.asarray, zeros(space))
    transition = Transition(obs, jnp.int32(0), jnp.float32(0), jnp.float32(0), obs)
    return Experience(transition, jnp.int32(0), blank_cell(config, space))
