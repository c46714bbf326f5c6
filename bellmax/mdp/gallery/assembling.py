"""NumPy. How the environments of the gallery are written: a list of states and a step function."""

from __future__ import annotations

import functools
import inspect
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, ParamSpec, Unpack

from bellmax.arguments import HIGHEST, describe, integer, is_integer, one_of, real
from bellmax.contracts import ConfigError, unknown
from bellmax.machine import check_fits, out_of_memory
from bellmax.mdp.model import FiniteMDP
from bellmax.mdp.reading import Labels, flatten

P = ParamSpec("P")
LISTED, IN_ARRAYS = 700, 150  # bytes of one outcome while a model is made from lists, and from arrays
Outcomes = list[tuple[Any, ...]]  # (probability, next_state, reward, terminated), a fifth number is reward_std


def tabulate(
    states: Sequence[Any],
    n_actions: int | Callable[[Any], int],
    step: Callable[[Any, int], Outcomes],
    *,
    start: Sequence[Any],
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
    count = Counter(start)
    first = [count[state] / len(start) for state in states]
    return FiniteMDP.from_entries(**flatten(table)._asdict(), start=first, **labels)


def check_outcomes(name: str, value: int, n_outcomes: int, power: int = 1, each: int = LISTED) -> None:
    """Check that a model with so many outcomes, which grow with a power of the argument `name`, fits in memory.

    Raises:
        ResourceError: it does not; the message says which value fits.
    """
    size = f"{n_outcomes:,}" if n_outcomes < 10**12 else f"{n_outcomes:.0e}"

    def remedy(share: float) -> str:
        fits = int(share ** (1 / power) * value) - (power > 1)  # some grow with a power of the next number
        return f"{name}={fits} fits" if fits > 1 else "make the model smaller"

    check_fits(n_outcomes * each, f"a model with {name}={value} and {size} outcomes", remedy)


def world(function: Callable[P, FiniteMDP]) -> Callable[P, FiniteMDP]:
    """Check the numbers, flags and words of an environment's arguments against their annotations before it is built."""
    signature = inspect.signature(function)

    @functools.wraps(function)
    def checked(*args: P.args, **kwargs: P.kwargs) -> FiniteMDP:
        for name in kwargs:
            if name not in signature.parameters:
                raise ConfigError(f"{function.__name__}: {unknown('argument', name, signature.parameters)}")
        bound = signature.bind(*args, **kwargs)
        for name, value in bound.arguments.items():
            kind = str(signature.parameters[name].annotation)
            bound.arguments[name] = _check(f"{function.__name__}({name}=)", kind, value)
        with out_of_memory(f"the model {function.__name__}", "make it smaller"):
            return function(*bound.args, **bound.kwargs)

    return checked


def _check(name: str, kind: str, value: object) -> object:
    if kind.endswith(" | None"):
        return None if value is None else _check(name, kind.removesuffix(" | None"), value)
    if kind == "float":
        return real(name, value)
    if kind == "int":
        return integer(name, value, 0 if "seed" in name else -HIGHEST)
    if kind.startswith("Literal["):
        return one_of(name, value, [each.strip(" '\"") for each in kind[len("Literal[") : -1].split(",")])
    if (kind == "bool" and not isinstance(value, bool)) or (kind == "str" and not isinstance(value, str)):
        raise ConfigError(f"`{name}` must be {'a string' if kind == 'str' else 'True or False'}; got {describe(value)}")
    if kind == "Sequence[float]":
        unordered = isinstance(value, str | bytes | Mapping | set | frozenset) or not hasattr(value, "__len__")
        if unordered or getattr(value, "ndim", 1) != 1:
            raise ConfigError(f"`{name}` must be a sequence of numbers; got {describe(value)}")
        numbers: Any = value
        return tuple(real(f"{name}[{i}]", each) for i, each in enumerate(numbers))
    if kind == "Cell":
        if not (isinstance(value, list | tuple) and len(value) == 2 and all(map(is_integer, value))):
            raise ConfigError(f"`{name}` must be (row, column); got {describe(value)}")
        return (int(value[0]), int(value[1]))
    return value


def rest(state: Hashable) -> Outcomes:
    """What an end does: no one acts in it, but every state has its rows."""
    return [(1.0, state, 0.0, True)]
