"""Plain Python and Optax. Which of its optimizers an agent can learn with, by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import optax
from optax import contrib

OTHER_KINDS = {"lbfgs", "noisy_sgd", "optimistic_adam"}  # they want the loss or a random key, or are out of date
BY_LAYERS = {"adafactor", "fromage", "lamb", "lars", "muon", "novograd", "sm3"}  # they look at each layer by itself


def find(optimizer: str) -> Callable[..., optax.GradientTransformation] | None:
    """Optax's function of this name, or None."""
    return contrib.muon if optimizer == "muon" else getattr(optax, optimizer, None)


def arguments(optimizer: str) -> set[str]:
    """The argument names of one of Optax's optimizers; empty where it has none of this name, or one of another kind."""
    make = find(optimizer)
    if not inspect.isfunction(make) or optimizer.startswith(("_", "scale_by")) or optimizer in OTHER_KINDS:
        return set()
    return set(inspect.signature(make).parameters)


def optimizers() -> list[str]:
    """The names of all optimizers."""
    return [name for name in sorted({*dir(optax), "muon"}) if "learning_rate" in arguments(name)]
