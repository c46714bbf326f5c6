"""JAX. Say in one sentence what is wrong with a method of your own: it is traced, not run, when the agent is made."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from bellmax.contracts import Array, BellmaxError, ConfigError, Space
from bellmax.deep.building import build_network, make_experience
from bellmax.deep.config import DeepConfig
from bellmax.keys import make_key
from bellmax.registry import describe_error
from bellmax.trees import real_shape, shapes_in_words


@functools.lru_cache(maxsize=16)
def check_method(config: DeepConfig, space: Space, n_actions: int) -> None:
    """Check the shapes of what `output` and `loss` of an agent's method return for one observation and transition.

    Raises:
        ConfigError: they fail or return something else than a `Method` says.
    """
    method, transition = config.method(), make_experience(config, space).transition
    built, recurrent = build_network(config, method, space, n_actions), config.recurrent != "none"
    title = f"the method of {type(config).__name__}"
    head = f"[{n_actions}]" if not method.n_outputs else f"[{n_actions}, {method.n_outputs}]"

    def mean(key: Array) -> object:
        net = built.network(built.fresh(key), None)
        if recurrent:
            return net.head(net.remember(net.begin(), net.features(transition.obs))[1]).mean()
        return net(transition.obs).mean()

    def loss(key: Array) -> object:
        net = built.network(built.fresh(key), None)
        return method.loss(net, net, transition, jnp.float32(1.0), jnp.zeros(method.n_draws))

    where = f"`output` of {title}, whose network returns {head}, the last axis by n_outputs"
    made = traced(config, where, mean)
    if real_shape(made) != (n_actions,):
        raise ConfigError(
            f"{where}: mean() must return the value of each action, float32 [{n_actions}]; got {shapes_in_words(made)}"
        )
    if recurrent:  # its loss is traced on sequences
        return
    made = traced(config, f"`loss` of {title}", loss)
    parts = made if isinstance(made, tuple) and len(made) == 3 else (None, None, None)
    metrics = list(parts[2].values()) if isinstance(parts[2], dict) else [None]
    numbers = all(getattr(metric, "shape", None) == () for metric in metrics)
    if not (real_shape(parts[0]) == real_shape(parts[1]) == () and numbers):
        raise ConfigError(
            f"`loss` of {title} must return (loss, priority, metrics) of one transition: two numbers, and a dictionary "
            f"of numbers by name; got {shapes_in_words(made)}"
        )


def traced(config: DeepConfig, where: str, function: Callable[[Array], object]) -> object:
    """Return the shapes of what a function of a key returns.

    Raises:
        ConfigError: it raises an error, of somebody's own code.
    """
    try:
        made: object = jax.eval_shape(function, make_key(0))
    except Exception as error:
        if isinstance(error, BellmaxError):
            raise
        raise ConfigError(f"{where}: {describe_error(error, type(config).__module__)}") from error
    return made
