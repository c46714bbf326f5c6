"""NumPy. How the worlds of the gallery are written: a list of states and a step function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Unpack

from bellmax.mdp.model import FiniteMDP, Labels
from bellmax.mdp.reading import flatten

Outcomes = list[tuple[Any, ...]]  # (probability, next_state, reward, terminated), a fifth number is reward_std


def tabulate(
    states: Sequence[Any],
    n_actions: int | Callable[[Any], int],
    step: Callable[[Any, int], Outcomes],
    *,
    start: Any,
    **labels: Unpack[Labels],
) -> FiniteMDP:
    """The model of `step(state, action)`, its states numbered as listed; `start` lists equally likely states.

    Unlike `FiniteMDP.from_function` it keeps the numbers of the book, and states that are never entered.
    """
    number = {state: i for i, state in enumerate(states)}
    table = [
        [
            [(outcome[0], number[outcome[1]], *outcome[2:]) for outcome in step(state, action)]
            for action in range(n_actions(state) if callable(n_actions) else n_actions)
        ]
        for state in states
    ]
    first = [start.count(state) / len(start) for state in states]
    return FiniteMDP.from_entries(**flatten(table)._asdict(), start=first, **labels)


def rest(state: Any) -> Outcomes:
    """What an end does: no one acts in it, but every state has its rows."""
    return [(1.0, state, 0.0, True)]
