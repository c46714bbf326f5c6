"""Plain Python and Optax. The optimizers of Optax that an agent can use, by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import optax
from optax import contrib

OTHER_KINDS = {"lbfgs", "noisy_sgd", "optimistic_adam"}  # they need the loss or a random key, or are deprecated
BY_LAYERS = {"adafactor", "fromage", "lamb", "lars", "muon", "novograd", "sm3"}  # they treat each layer separately


def find(optimizer: str) -> Callable[..., optax.GradientTransformation] | None:
    """Return the function of Optax with this name, or None."""
    return contrib.muon if optimizer == "muon" else getattr(optax, optimizer, None)


def arguments(optimizer: str) -> set[str]:
    """Return the argument names of an optimizer of Optax; empty if there is none of this name that an agent can use."""
    make = find(optimizer)
    if not inspect.isfunction(make) or optimizer.startswith(("_", "scale_by")) or optimizer in OTHER_KINDS:
        return set()
    return set(inspect.signature(make).parameters)


def optimizers() -> list[str]:
    """Return the names of all optimizers."""
    return [name for name in sorted({*dir(optax), "muon"}) if "learning_rate" in arguments(name)]
