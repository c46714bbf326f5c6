"""JAX and Optax. The optimiser of a config, and the average of the parameters that it makes."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
import optax

from bellmax.contracts import Array
from bellmax.deep.config import DeepConfig, arguments

LONGEST_AVERAGE = 2_500  # gradient steps


def make_optimiser(config: DeepConfig, steps: int) -> optax.GradientTransformation:
    """Clip by global norm, then the optimiser, its step size on the config's schedule over the run."""
    rate: Any = config.learning_rate
    updates = max(1, math.ceil(config.updates(steps)))
    if config.learning_rate_schedule == "linear":
        rate = optax.linear_schedule(config.learning_rate, 0.0, updates)
    elif config.learning_rate_schedule == "cosine":
        rate = optax.cosine_decay_schedule(config.learning_rate, updates)
    known = arguments(config.optimizer)
    options = {"eps": config.adam_epsilon} if "eps" in known else {}
    before = [optax.clip_by_global_norm(config.max_grad_norm)]
    if "weight_decay" in known:
        options["weight_decay"] = config.weight_decay
    elif config.weight_decay:
        before.append(optax.add_decayed_weights(config.weight_decay))
    return optax.chain(*before, getattr(optax, config.optimizer)(rate, **options))


def is_schedule(state: Any) -> bool:
    """Whether a part of an optimiser's state is the clock of its step size."""
    return isinstance(state, optax.ScaleByScheduleState)


def averaged(average: Any, params: Any, count: Array) -> Any:
    """Return the average after `count` gradient steps, in which step k weighs about k^3 at first.

    Polynomial-decay averaging with η = 3: Shamir and Zhang (2013), equation 4. A greedy policy jumps between
    near-equal actions while its values settle; their average does not. The window of that average is a share of the
    run, and networks too far apart have no average that is a good network, so from `4 LONGEST_AVERAGE` gradient steps
    on it is an exponential average of the last `LONGEST_AVERAGE` (decision 38).
    """
    share = jnp.maximum(4.0 / (count + 3.0), 1.0 / LONGEST_AVERAGE)
    return jax.tree.map(lambda mean, x: mean + (x - mean) * share, average, params)
