"""Numba. What learners ask of Q: a value, its change, the greedy action, the largest and the mean value."""

from __future__ import annotations

import numpy as np

from bellmax.tabular.kernel import Index, branch, kernel
from bellmax.tabular.representation import (
    Representation,
    add,
    feature,
    is_allowed,
    n_actions,
    n_active,
    n_choices,
    weight,
)


@kernel
def value(q: Representation, obs: Index, action: Index) -> float:
    """Q(s, a): the sum of the weights of the active features."""
    total = 0.0
    for i in range(n_active(q)):
        total += weight(q, feature(q, obs, i), action)
    return total


@kernel
def change(q: Representation, obs: Index, action: Index, amount: float) -> None:
    """Raise Q(s, a) by `amount`, spread evenly over the active features: α is divided by the number of tilings."""
    share = amount / n_active(q)
    for i in range(n_active(q)):
        add(q, feature(q, obs, i), action, share)


@kernel
def greedy(q: Representation, obs: Index) -> int:
    """The action of highest value; the lowest index among equals."""
    n = n_actions(q, obs)
    if n == 4:  # a length known to the compiler is unrolled
        return _first_largest(q, obs, 4)
    if n == 2:
        return _first_largest(q, obs, 2)
    return _first_largest(q, obs, n)


@kernel
def largest(q: Representation, obs: Index) -> float:
    """The highest value of an action in `obs`."""
    n = n_actions(q, obs)
    if n == 4:
        return _maximum(q, obs, 4)
    if n == 2:
        return _maximum(q, obs, 2)
    return _maximum(q, obs, n)


@kernel
def _first_largest(q: Representation, obs: Index, n: int) -> int:
    """A policy seldom changes its mind: real branches, so that the next step begins before the row is compared."""
    best, highest = 0, value(q, obs, 0)
    for action in range(1, n):
        candidate = value(q, obs, action)
        if is_allowed(q, obs, action) and (candidate > highest or not is_allowed(q, obs, best)):
            best, highest = branch(action), candidate
    return best


@kernel
def _maximum(q: Representation, obs: Index, n: int) -> float:
    """No branches: nothing waits for the target, which may be a conditional move away."""
    highest = value(q, obs, 0) if is_allowed(q, obs, 0) else -np.inf
    for action in range(1, n):
        candidate = value(q, obs, action) if is_allowed(q, obs, action) else -np.inf
        highest = candidate if candidate > highest else highest
    return highest


@kernel
def mean_value(q: Representation, obs: Index) -> float:
    """The mean value of the actions in `obs`."""
    total = 0.0
    for action in range(n_actions(q, obs)):
        total += value(q, obs, action) if is_allowed(q, obs, action) else 0.0
    return total / n_choices(q, obs)
