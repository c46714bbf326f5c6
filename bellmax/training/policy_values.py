"""NumPy and JAX. Compute action values from a batch of observations: by a table, by tiles, or by a network."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from bellmax import spaces
from bellmax.agent_config import AgentConfig
from bellmax.catalog import is_deep, is_tabular
from bellmax.contracts import ArrayDict, BoolArray, HostObs, Masked, Space
from bellmax.dispatch import in_32_bits, near
from bellmax.waiting import compiling_first

if TYPE_CHECKING:
    from bellmax.contracts import Array, Obs
    from bellmax.deep.config import DeepConfig
    from bellmax.deep.state import Carry
    from bellmax.tabular.agent import TabularConfig

Batch: TypeAlias = "HostObs | Masked[HostObs, BoolArray]"  # observations [n, ...]
Look: TypeAlias = Callable[[object, Batch], tuple[np.ndarray, object]]
OnArrays: TypeAlias = Callable[..., np.ndarray]  # a function from arrays to an array


def make_look(config: AgentConfig, space: Space, n_actions: int, arrays: ArrayDict) -> Look:
    """Return `look(carry, batch) -> (q [n, A] of NumPy, carry)` of one policy; its parts are prepared at first use."""
    if is_tabular(config):
        return _table(config, space, n_actions, arrays)
    assert is_deep(config)  # noqa: S101 - there are two families
    network = config
    one = functools.cache(lambda: _dense(network, space, n_actions, arrays) or several())
    several = functools.cache(lambda: _network(network, space, n_actions, arrays))

    def look(carry: object, batch: Batch) -> tuple[np.ndarray, object]:
        n = len(spaces.leaf_arrays(batch)[0])
        return (one() if n == 1 else several())(carry, batch)

    return look


def _table(config: TabularConfig, space: Space, n_actions: int, arrays: ArrayDict) -> Look:
    q = arrays["q"]
    if "low" not in arrays:
        return lambda carry, batch: (q[batch], carry)
    from bellmax.tabular.cells import make_coder
    from bellmax.tabular.tiles import encode

    coder = make_coder(config, space, arrays["low"], arrays["high"], n_actions)
    return lambda carry, batch: (q[encode(coder, batch)].sum(axis=1), carry)


@in_32_bits
def _network(config: DeepConfig, space: Space, n_actions: int, arrays: ArrayDict) -> Look:
    """Any network, by JAX; its parameters are copied to the device once."""
    function = network_function(config, space, n_actions)[1]
    parameters = near(dict(arrays))

    @in_32_bits
    def look(carry: object, batch: Batch) -> tuple[np.ndarray, object]:
        carry = blank_carry(config, space, n_actions, len(spaces.leaf_arrays(batch)[0])) if carry is None else carry
        q, carry = function(parameters, carry, batch)
        return np.asarray(q), carry

    return look


@in_32_bits
def _dense(config: DeepConfig, space: Space, n_actions: int, arrays: ArrayDict) -> Look | None:
    """A network of dense layers for one observation, by NumPy; None for any other network.

    Functions of the network before its first layer, and of the agent after its output, run in JAX if they do anything:
    they are small, so that XLA runs them at once.
    """
    from bellmax.deep.building import module_shapes
    from bellmax.deep.method import mask_of
    from bellmax.networks.packing import from_named
    from bellmax.networks.plain import as_numpy, features_of, n_inputs

    if config.recurrent != "none" or (values := config.make(space, n_actions, 1).values) is None:
        return None
    blank = module_shapes(config, space, n_actions)
    module = from_named(blank, {name: np.asarray(array) for name, array in arrays.items()})
    function = as_numpy(module)
    if function is None:
        return None
    see = called(features_of(module), spaces.zeros(spaces.visible(space)))
    output = np.zeros(function(np.zeros((1, n_inputs(module)), np.float32)).shape[1:], np.float32)
    function = quietly(function)
    if isinstance(space, Masked):
        judge = called(lambda x, mask: values(x, mask_of(Masked((), mask))), output, np.ones(n_actions, np.bool_))

        def look(carry: object, batch: Batch) -> tuple[np.ndarray, object]:
            assert isinstance(batch, Masked)  # noqa: S101 - as the space is
            return judge(function(see(batch.obs)), batch.mask), carry

        return look
    read = called(lambda x: values(x, None), output)
    return lambda carry, batch: (read(function(see(batch))), carry)


def quietly(function: OnArrays) -> OnArrays:
    """Return `function` without NumPy's warnings about numbers that are not finite."""

    def call(x: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            return function(x)

    return call


def called(function: Callable[..., Array], *example: HostObs) -> OnArrays:
    """Return a JAX `function` over a leading axis, from NumPy to NumPy; an identity is left out."""
    import jax

    program = jax.make_jaxpr(function)(*example).jaxpr
    if program.outvars == program.invars:
        return lambda given: given
    batched = jax.jit(jax.vmap(function))
    return in_32_bits(lambda *given: np.asarray(batched(*given)))


@functools.lru_cache(maxsize=16)
@in_32_bits
def network_function(
    config: AgentConfig, space: Space, n_actions: int
) -> tuple[Callable[[int], Any], Callable[..., tuple[Any, Any]]]:
    """Return `begin(n) -> carry [n]` and `look(arrays, carry, batch) -> (q [n, A], carry)`, compiled once per kind."""
    import jax

    if is_tabular(config):
        return lambda n: (), jax.jit(lambda arrays, carry, batch: (arrays["q"][batch], carry))
    assert is_deep(config)  # noqa: S101 - there are two families

    from bellmax.deep.building import build_network
    from bellmax.deep.state import policy_state
    from bellmax.keys import make_key
    from bellmax.networks.packing import from_named

    agent, built = config.make(space, n_actions, 1), build_network(config, config.method(), space, n_actions)
    blank = built.module(built.fresh(make_key(0)))

    def begin(n: int) -> Any:
        rank: Any = 0.0
        return jax.vmap(agent.begin, (0, None))(jax.random.split(make_key(0), n), rank)

    def look(arrays: ArrayDict, carry: Carry, batch: Obs) -> tuple[Any, Any]:
        state = policy_state(built.pack(from_named(blank, arrays)))
        q, after = jax.vmap(agent.q_values, (None, 0, 0))(state, carry, batch)
        return q, after

    return begin, compiling_first(jax.jit(look))


@functools.lru_cache(maxsize=16)
@in_32_bits
def blank_carry(config: DeepConfig, space: Space, n_actions: int, n: int) -> object:
    """Return the carry [n] at the start of an episode; not to be called while JAX traces."""
    import jax

    carry: object = near(jax.jit(network_function(config, space, n_actions)[0], static_argnums=0)(n))
    return carry
