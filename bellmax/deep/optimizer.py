"""JAX and Optax. The optimizer that the settings describe: clipping, a schedule, and an optimizer of Optax by name."""

from __future__ import annotations

import math

import optax

from bellmax.deep.config import DeepConfig
from bellmax.deep.optax_names import arguments, find


def learning_rate_of(config: DeepConfig, steps: int) -> float | optax.Schedule:
    """Return the learning rate, or its schedule over the gradient steps of a run."""
    updates = max(1, math.ceil(config.updates(steps)))
    if config.learning_rate_schedule == "linear":
        return optax.linear_schedule(config.learning_rate, 0.0, updates)
    if config.learning_rate_schedule == "cosine":
        return optax.cosine_decay_schedule(config.learning_rate, updates)
    return config.learning_rate


def make_optimizer(config: DeepConfig, steps: int) -> optax.GradientTransformation:
    """Return clipping by global norm, then the optimizer, with its learning rate on the schedule over the run."""
    rate = learning_rate_of(config, steps)
    known = arguments(config.optimizer)
    options = {"eps": config.adam_epsilon} if "eps" in known else {}
    before = [optax.clip_by_global_norm(config.max_grad_norm)]
    if "weight_decay" in known:
        options["weight_decay"] = config.weight_decay
    elif config.weight_decay:
        before.append(optax.add_decayed_weights(config.weight_decay))
    make = find(config.optimizer)
    assert make is not None  # noqa: S101 - the config has checked the name
    return optax.chain(*before, make(rate, **options))
