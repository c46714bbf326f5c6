"""Plain Python. The arguments that every constructor of a model passes on unchanged."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from bellmax.arguments import describe
from bellmax.contracts import ConfigError, listed, nearest
from bellmax.mdp.reading import Labels


def check_labels(labels: Mapping[str, Any]) -> None:
    """Refuse arguments that no constructor has, with what to write instead."""
    problems = []
    for name in labels.keys() - Labels.__annotations__.keys():
        if name in ("gamma", "discount", "beta"):
            remedy = "a model has no discount: give it to bellmax.solve(mdp, gamma)"
        elif name in ("order", "axes", "axis_order", "format"):
            remedy = "the order of the axes is layout='SAS' or layout='ASS', of from_arrays"
        elif name in ("layout", "map", "desc"):
            remedy = "where the states are on a map is grid=(rows, columns), or a map in letters"
        else:
            known = [*Labels.__annotations__, "start", "mask", "n_allowed", "terminal_states", "layout", "R_std"]
            near = nearest(name, known)
            remedy = f"did you mean {near!r}?" if near else f"known: {listed(known)}"
        problems.append(f"unknown argument {name!r}; {remedy}")
    if problems:
        raise ConfigError("; ".join(sorted(problems)))


def read_names(field: str, names: object) -> tuple[Any, ...]:
    """The names of states or actions in their order; () for None.

    Raises:
        ConfigError: they are not a sequence.
    """
    if names is None:
        return ()
    unordered = isinstance(names, str | bytes | Mapping | set | frozenset)
    if unordered or not isinstance(names, Iterable) or getattr(names, "ndim", 1) == 0:
        raise ConfigError(f"`{field}` must be a tuple of names; got {describe(names)}")
    return tuple(names)
