"""Numba. How a table acts: kernels of the shape `act(q, obs, epsilon, generator) -> action`."""

from __future__ import annotations

from typing import Any

from bellmax.tabular.kernel import coin_and_choice, kernel


@kernel
def greedy(q: Any, obs: Any) -> Any:
    """The action of highest value in q [S, A]; the lowest index among equals."""
    best = 0
    value = q[obs, 0]
    for action in range(1, q.shape[1]):
        if q[obs, action] > value:
            value = q[obs, action]
            best = action
    return best


@kernel
def epsilon_greedy(q: Any, obs: Any, epsilon: Any, generator: Any) -> Any:
    """With probability epsilon uniform over all actions, else greedy. Sutton and Barto (2018), section 2.2."""
    coin, choice = coin_and_choice(generator, q.shape[1])
    if coin < epsilon:
        return choice
    return greedy(q, obs)
