"""NumPy and JAX. From a batch of observations to action values: by a table, by tiles, by a network."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bellmax import spaces
from bellmax.catalog import is_tabular
from bellmax.contracts import Masked, Space
from bellmax.dispatch import in_32_bits, near

Look = Callable[[Any, Any], tuple[Any, Any]]


def make_look(config: Any, space: Space, n_actions: int, arrays: Mapping[str, Any]) -> Look:
    """`look(carry, batch) -> (q [n, A] of NumPy, carry)` of one policy; each part is prepared when it is first used."""
    if is_tabular(config):
        return _table(config, space, n_actions, arrays)
    one = functools.cache(lambda: _dense(config, space, n_actions, arrays) or several())
    several = functools.cache(lambda: _network(config, space, n_actions, arrays))

    def look(carry: Any, batch: Any) -> tuple[Any, Any]:
        n = len(spaces.leaf_arrays(batch)[0])
        return (one() if n == 1 else several())(carry, batch)

    return look


def _table(config: Any, space: Space, n_actions: int, arrays: Mapping[str, Any]) -> Look:
    q = arrays["q"]
    if "low" not in arrays:
        return lambda carry, batch: (q[batch], carry)
    from bellmax.tabular.cells import make_coder
    from bellmax.tabular.tiles import encode

    coder = make_coder(config, space, arrays["low"], arrays["high"], n_actions)
    return lambda carry, batch: (q[encode(coder, batch)].sum(axis=1), carry)


@in_32_bits
def _network(config: Any, space: Space, n_actions: int, arrays: Mapping[str, Any]) -> Look:
    """Any network, by JAX; its parameters are on the device from now on."""
    function = network_function(config, space, n_actions)[1]
    parameters = near(dict(arrays))

    @in_32_bits
    def look(carry: Any, batch: Any) -> tuple[Any, Any]:
        carry = blank_carry(config, space, n_actions, len(spaces.leaf_arrays(batch)[0])) if carry is None else carry
        q, carry = function(parameters, carry, batch)
        return np.asarray(q), carry

    return look


@in_32_bits
def _dense(config: Any, space: Space, n_actions: int, arrays: Mapping[str, Any]) -> Look | None:
    """A network of dense layers for one observation, by NumPy; None where it is another one.

    What its first layer sees of an observation and what its output means are the network's and the agent's own
    functions, called by JAX where they do anything: they are small enough for XLA to run them at once.
    """
    from bellmax.deep.building import module_shapes
    from bellmax.deep.method import mask_of
    from bellmax.networks.packing import from_named
    from bellmax.networks.plain import features_of, n_features, plain

    if config.recurrent != "none" or (values := config.make(space, n_actions, 1).values) is None:
        return None
    blank = module_shapes(config, space, n_actions)
    module = from_named(blank, {name: np.asarray(array) for name, array in arrays.items()})
    function = plain(module)
    if function is None:
        return None
    see = called(features_of(module), spaces.zeros(spaces.visible(space)))
    output = np.zeros(function(np.zeros((1, n_features(module)), np.float32)).shape[1:], np.float32)
    function = quietly(function)
    if isinstance(space, Masked):
        judge = called(lambda x, mask: values(x, mask_of(Masked((), mask))), output, np.ones(n_actions, np.bool_))
        return lambda carry, batch: (judge(function(see(batch.obs)), batch.mask), carry)
    read = called(lambda x: values(x, None), output)
    return lambda carry, batch: (read(function(see(batch))), carry)


def quietly(function: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """Without NumPy's warnings of numbers that are not finite: what an observation is, is the caller's matter."""

    def call(x: Any) -> Any:
        with np.errstate(all="ignore"):
            return function(x)

    return call


def called(function: Callable[..., Any], *example: Any) -> Callable[..., Any]:
    """`function` over a leading axis, from NumPy to NumPy; what only gives back what it is given is left out."""
    import jax

    program = jax.make_jaxpr(function)(*example).jaxpr
    if program.outvars == program.invars:
        return lambda given: given
    batched = jax.jit(jax.vmap(function))
    return in_32_bits(lambda *given: np.asarray(batched(*given)))


@functools.lru_cache(maxsize=16)
@in_32_bits
def network_function(config: Any, space: Space, n_actions: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """`begin(n) -> carry [n]` and `look(arrays, carry, batch) -> (q [n, A], carry)`, once for each kind of policy."""
    import jax

    if is_tabular(config):
        return lambda n: (), jax.jit(lambda arrays, carry, batch: (arrays["q"][batch], carry))

    from bellmax.deep.building import build
    from bellmax.deep.state import policy_state
    from bellmax.keys import make_key
    from bellmax.networks.packing import from_named

    agent, built = config.make(space, n_actions, 1), build(config, config.method(), space, n_actions)
    blank = built.module(built.fresh(make_key(0)))

    def begin(n: int) -> Any:
        return jax.vmap(agent.begin, (0, None))(jax.random.split(make_key(0), n), 0.0)

    def look(arrays: dict[str, Any], carry: Any, batch: Any) -> Any:
        return jax.vmap(agent.q_values, (None, 0, 0))(policy_state(built.pack(from_named(blank, arrays))), carry, batch)

    return begin, jax.jit(look)


@functools.lru_cache(maxsize=16)
@in_32_bits
def blank_carry(config: Any, space: Space, n_actions: int, n: int) -> Any:
    """The carry [n] at the start of an episode; not to be called while JAX traces."""
    import jax

    return near(jax.jit(network_function(config, space, n_actions)[0], static_argnums=0)(n))
