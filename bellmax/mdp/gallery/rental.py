"""NumPy. Jack's car rental."""

from __future__ import annotations

import math

import numpy as np

from bellmax.contracts import ConfigError, FloatArray
from bellmax.mdp.gallery.assembling import IN_ARRAYS, check_outcomes, world
from bellmax.mdp.model import FiniteMDP


@world
def car_rental(max_cars: int = 20, max_moves: int = 5) -> FiniteMDP:
    """Jack rents out cars at two places, and may move some overnight.

    ::

        (n1, n2) --move cars--> (m1, m2) --rent--> --return--> (n1', n2')     each place holds 20 at most
                   -2 a car                +10 a car                          state 21 n1 + n2, at the end of a day
                                  place 1:  Poisson 3  Poisson 3
                                  place 2:  Poisson 4  Poisson 2              γ = 0.9

    The actions 0, 1, 2, 3, 4, ... move 0, +1, -1, +2, -2, ... cars from place 1 to place 2, or as many as there are.
    In this order the lowest of equally good actions moves no more than it says. What goes over 20 leaves the problem;
    cars that are returned can be rented the day after. A reward is the mean over how many were rented, given the
    cars at the end of the day. It never ends; every state is a start. The best policy moves from 5 to -4 cars.

    Source: Sutton and Barto (2018), Example 4.2, Figure 4.2. Raises ConfigError for no cars or negative moves.
    """
    if max_cars < 1 or max_moves < 0:
        raise ConfigError(f"max_cars={max_cars} must be at least 1 and max_moves={max_moves} at least 0")
    check_outcomes("max_cars", max_cars, (max_cars + 1) ** 4 * (2 * max_moves + 1), 4, IN_ARRAYS)
    moves = np.array(sorted(range(-max_moves, max_moves + 1), key=lambda cars: (abs(cars), -cars)))
    size, n_actions = max_cars + 1, moves.size
    first, first_paid = _place(max_cars, rented=3.0, returned=3.0)
    second, second_paid = _place(max_cars, rented=4.0, returned=2.0)
    n1, n2, wish = (axis.ravel() for axis in np.indices((size, size, n_actions)))
    moved = np.clip(moves[wish], -n2, n1)
    m1, m2 = np.minimum(n1 - moved, max_cars), np.minimum(n2 + moved, max_cars)
    probability = first[m1][:, :, None] * second[m2][:, None, :]  # [S*A, n1', n2']
    reward = first_paid[m1][:, :, None] + second_paid[m2][:, None, :] - 2.0 * np.abs(moved)[:, None, None]
    n_pairs, n_states = n1.size, size * size
    return FiniteMDP.from_entries(
        n_states,
        n_actions,
        pair=np.repeat(np.arange(n_pairs), n_states),
        successor=np.tile(np.arange(n_states), n_pairs),
        probability=probability.ravel(),
        reward=reward.ravel(),
        terminated=np.zeros(n_pairs * n_states, np.bool_),
        start=np.full(n_states, 1 / n_states),
        name="car-rental",
        action_names=tuple(f"{cars:+d}" for cars in moves),
        state_names=tuple((i, j) for i in range(size) for j in range(size)),
    )


def _place(max_cars: int, rented: float, returned: float) -> tuple[FloatArray, FloatArray]:
    """One place's day: P(cars at its end | cars in the morning) and the mean income of it, both [m, n']."""
    size = max_cars + 1
    probability, income = np.zeros((size, size)), np.zeros((size, size))
    for morning in range(size):
        for sold, p_sold in enumerate(_poisson(rented, morning)):
            left = morning - sold
            for back, p_back in enumerate(_poisson(returned, max_cars - left)):
                probability[morning, left + back] += p_sold * p_back
                income[morning, left + back] += 10.0 * sold * p_sold * p_back
    return probability, np.divide(income, probability, out=np.zeros_like(income), where=probability > 0)


def _poisson(mean: float, most: int) -> list[float]:
    """P(min(X, most) = k) for k = 0 to `most`."""
    below = [math.exp(-mean) * mean**k / math.factorial(k) for k in range(most)]
    return [*below, max(1.0 - sum(below), 0.0)]
