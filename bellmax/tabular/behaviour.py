"""Numba. How a table acts: kernels of the shape `act(q, obs, epsilon, generator) -> action`."""

from __future__ import annotations

from typing import Any

from bellmax.tabular.kernel import branch, coin_and_choice, kernel


@kernel
def greedy(q: Any, obs: Any) -> Any:
    """The action of highest value in q [S, A]; the lowest index among equals."""
    n = q.shape[1]
    if n == 4:  # a length known to the compiler is unrolled
        return _first_largest(q, obs, 4)
    if n == 2:
        return _first_largest(q, obs, 2)
    return _first_largest(q, obs, n)


@kernel
def largest(q: Any, obs: Any) -> Any:
    """The highest value of the row `obs` of q [S, A]."""
    n = q.shape[1]
    if n == 4:
        return _maximum(q, obs, 4)
    if n == 2:
        return _maximum(q, obs, 2)
    return _maximum(q, obs, n)


@kernel
def _first_largest(q: Any, obs: Any, n: int) -> Any:
    """A policy seldom changes its mind: real branches, so that the next step begins before the row is compared."""
    best, value = 0, q[obs, 0]
    for action in range(1, n):
        if q[obs, action] > value:
            best, value = branch(action), q[obs, action]
    return best


@kernel
def _maximum(q: Any, obs: Any, n: int) -> Any:
    """No branches: nothing waits for the target, which may be a conditional move away."""
    best = q[obs, 0]
    for action in range(1, n):
        value = q[obs, action]
        best = value if value > best else best
    return best


@kernel
def epsilon_greedy(q: Any, obs: Any, epsilon: Any, generator: Any) -> Any:
    """With probability epsilon uniform over all actions, else greedy. Sutton and Barto (2018), section 2.2."""
    coin, choice = coin_and_choice(generator, q.shape[1])
    if coin < epsilon:
        return choice
    return greedy(q, obs)
