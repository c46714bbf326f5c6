"""NumPy and JAX. Distributions of returns, of a policy whose network learns them: C51, QR-DQN, IQN and their like."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import numpy as np

from bellmax import spaces
from bellmax.agent_config import AgentConfig
from bellmax.catalog import is_deep
from bellmax.contracts import ArrayDict, ConfigError, FloatArray, HostObs, Space
from bellmax.dispatch import in_32_bits, near
from bellmax.training.policy_values import blank_carry
from bellmax.waiting import compiling_first

if TYPE_CHECKING:
    from bellmax.contracts import Array, Obs
    from bellmax.deep.config import DeepConfig
    from bellmax.deep.state import Carry

Spread: TypeAlias = Callable[[object, HostObs], tuple[np.ndarray, np.ndarray]]


class ReturnDistribution(NamedTuple):
    """Distributions of the discounted return that each action promises; of a batch with a leading axis [B].

    Attributes:
        values: [A, N], in the units of the rewards: the atoms of C51, the same for all actions; the quantiles of QR-DQN
            and IQN, in the order of their levels.
        probabilities: [A, N], of these values; 1 / N each for quantiles.
    """

    values: FloatArray
    probabilities: FloatArray

    @property
    def mean(self) -> FloatArray:
        """The expected returns [A]: the action values, by which the policy acts."""
        return np.asarray((self.values * self.probabilities).sum(axis=-1))


@in_32_bits
def make_spread(config: AgentConfig, space: Space, n_actions: int, arrays: ArrayDict) -> Spread:
    """Return `spread(carry, batch) -> (values, probabilities)` [n, A, N] of one policy; a carry may be None.

    Raises:
        ConfigError: the policy learned expected returns only.
    """
    if not is_deep(config):
        raise ConfigError(f"{config.name} learns expected returns in a table; {_remedy()}")
    network = config
    function, parameters = distribution_function(network, space, n_actions), near(dict(arrays))

    @in_32_bits
    def spread(carry: object, batch: HostObs) -> tuple[np.ndarray, np.ndarray]:
        n = len(spaces.leaf_arrays(batch)[0])
        values, probabilities = function(
            parameters, blank_carry(network, space, n_actions, n) if carry is None else carry, batch
        )
        return np.asarray(values), np.asarray(probabilities)

    return spread


@functools.lru_cache(maxsize=16)
@in_32_bits
def distribution_function(config: DeepConfig, space: Space, n_actions: int) -> Callable[..., tuple[Any, Any]]:
    """Return `read(arrays, carry, batch) -> (values, probabilities)` [n, A, N], compiled once per kind."""
    import jax

    from bellmax.deep.building import build_network
    from bellmax.keys import make_key
    from bellmax.networks.packing import from_named

    built = build_network(config, config.method(), space, n_actions)
    blank = built.module(built.fresh(make_key(0)))

    def read(arrays: ArrayDict, carry: Carry, batch: Obs) -> tuple[Array, Array]:
        net = built.network(built.pack(from_named(blank, arrays)), None)

        def one(carry: Carry, obs: Obs) -> tuple[Array, Array]:
            if config.recurrent == "none":
                output = net(obs)
            else:
                output = net.head(net.remember(carry.cell, net.features(obs))[1])
            if not hasattr(output, "distribution"):
                raise ConfigError(f"the network of {config.name} learns expected returns; {_remedy()}")
            values, probabilities = output.distribution()
            return values, probabilities

        both: tuple[Array, Array] = jax.vmap(one)(carry, batch)
        return both

    return compiling_first(jax.jit(read))


def _remedy() -> str:
    return "'c51', 'qr-dqn', 'iqn' and 'rainbow' learn distributions: train one of them, or use q_values"
