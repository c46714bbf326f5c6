"""NumPy. From a step function to the columns of a model: every state that can be met, breadth-first."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Hashable, Iterable, Mapping
from typing import Any

import numpy as np

from bellmax.arguments import check_callable, describe, integer
from bellmax.contracts import ConfigError, FloatArray
from bellmax.mdp.reading import Columns, column, read_outcome


def explore(
    step: Callable[[Any, int], Any], starts: object, n_actions: int | Callable[[Any], int], max_states: int
) -> tuple[Columns, FloatArray, tuple[Any, ...]]:
    """`(columns, start distribution [S], states [S])` of a step function; see `FiniteMDP.from_function`."""
    check_callable("step", step, "step(state, action)", optional=False)
    max_states = integer("max_states", max_states)
    first = _start_distribution(starts)
    number: dict[Any, int] = {}
    queue = list(first)  # the states in which someone acts, as they are met
    n_allowed = {_number(state, number, max_states): 0 for state in queue}
    columns = [array(code) for code in "qqqddbd"]  # state, action, and what read_outcome gives; compact
    for state in queue:
        s = number[state]
        n_allowed[s] = _count(n_actions(state) if callable(n_actions) else n_actions)
        for action in range(n_allowed[s]):
            for successor, *numbers in _outcomes(step, state, action):
                to, terminated = _number(successor, number, max_states), bool(numbers[2])
                if not terminated and to not in n_allowed:
                    n_allowed[to] = 0
                    queue.append(successor)
                _append(columns, (s, action, to, *numbers))
    widest = max(n_allowed.values())
    for end in range(len(number)):  # no one acts there, but every state has its rows
        if end not in n_allowed:
            n_allowed[end] = 1 if callable(n_actions) else widest
            for action in range(n_allowed[end]):
                _append(columns, (end, action, end, 1.0, 0.0, True, 0.0))
    start = np.zeros(len(number))
    start[: len(first)] = column(list(first.values()), "start")  # they were numbered first
    return _join(columns, len(number), widest), start, tuple(number)


def _start_distribution(starts: object) -> dict[Any, float]:
    """From one state, a list of equally likely ones, or a mapping to probabilities: the last."""
    if isinstance(starts, Mapping):
        first = dict(starts)
    elif isinstance(starts, list):
        first = {}
        for state in starts:
            _check_hashable(state)
            first[state] = first.get(state, 0.0) + 1 / len(starts)
    else:
        _check_hashable(starts)
        first = {starts: 1.0}
    if not first:
        raise ConfigError("starts is empty: give a state, a list of states, or a dict from state to probability")
    return first


def _number(state: Hashable, number: dict[Any, int], max_states: int) -> int:
    """The number of a state, a new one if necessary."""
    _check_hashable(state)
    if state not in number and len(number) >= max_states:
        raise ConfigError(
            f"more than max_states={max_states} states, the next is {describe(state)}; raise it if so many are"
        )
    return number.setdefault(state, len(number))


def _check_hashable(state: object) -> None:
    try:
        hash(state)
    except TypeError as error:
        raise ConfigError(f"state {describe(state)} is not hashable; use a tuple or a frozen dataclass") from error


def _outcomes(step: Callable[[Any, int], Any], state: Hashable, action: int) -> list[tuple[Any, Any, Any, Any, Any]]:
    """What `step` says of one pair, as `(successor, probability, reward, terminated, reward_std)`."""
    said = step(state, action)
    if not isinstance(said, Iterable) or isinstance(said, str | Mapping):
        raise ConfigError(
            f"state {describe(state)}, action {action}: step gave {describe(said)}, not a list of outcomes"
        )
    read = [read_outcome(outcome, describe(state), action) for outcome in said]
    try:
        return [(to, float(p), float(reward), bool(end), float(noise)) for to, p, reward, end, noise in read]
    except (TypeError, ValueError) as error:
        raise ConfigError(f"state {describe(state)}, action {action}: {error}") from error


def _count(actions: object) -> int:
    try:
        return integer("n_actions", actions, 0)
    except ConfigError as error:
        raise ConfigError(f"{error}; or give a function from a state to its number of actions") from error


def _append(columns: list[Any], entry: tuple[Any, ...]) -> None:
    for values, value in zip(columns, entry, strict=True):
        values.append(value)


def _join(columns: list[Any], n_states: int, n_actions: int) -> Columns:
    state, action, successor, probability, reward, terminated, noise = (np.asarray(values) for values in columns)
    pair = state * n_actions + action
    ends = terminated.astype(np.bool_)
    return Columns(n_states, n_actions, pair, successor, probability, reward, ends, noise, None)
