"""NumPy. What there is to show of the states of a model: action values, greedy actions, visits, errors; as arrays."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, NamedTuple, TypeAlias, get_args

import numpy as np

from bellmax.arguments import one_of
from bellmax.contracts import BoolArray, ConfigError, FloatArray, Json
from bellmax.mdp.layout import Layout

What: TypeAlias = Literal["value", "policy", "q", "visits", "error"]
WHAT: tuple[What, ...] = get_args(What)
WORDS: dict[What, str] = {
    "value": "value", "policy": "value", "q": "action value", "visits": "visits", "error": "error of a value",
}  # fmt: skip


class StateNumbers(NamedTuple):
    """Numbers of S states with A actions.

    Attributes:
        title: what they are of.
        q: [S, A] action values; -inf where the state lacks the action.
        greedy: [S, A] all actions that are as good as the best one.
        known: [S] the states in which somebody acts; the numbers of others say nothing.
        action_names: [A] words.
        state_names: [S] what states are called, or empty.
        layout: where they are on a map; None without one.
        visits: [S, A] how often each pair was updated, or None.
        optimal_q: [S, A] the exact values, for the error; or None.
        missing: why `visits` or the error cannot be shown, by what was asked for.
        v: [S] the values of the states, where they are not those of the best actions.
    """

    title: str
    q: FloatArray
    greedy: BoolArray
    known: BoolArray
    action_names: tuple[str, ...]
    state_names: tuple[object, ...] = ()
    layout: Layout | None = None
    visits: FloatArray | None = None
    optimal_q: FloatArray | None = None
    missing: Mapping[str, str] = {}
    v: FloatArray | None = None

    @property
    def values(self) -> FloatArray:
        """[S]: `v`, or else the value of the best action; NaN in a state without one."""
        if self.v is not None:
            return np.asarray(self.v, np.float64)
        largest = np.asarray(self.q, np.float64).max(axis=1)
        return np.where(np.isfinite(largest), largest, np.nan)


class Asked(NamedTuple):
    """The numbers that were asked for: of states [S], and of their actions [S, A], NaN where there are none."""

    of_states: FloatArray
    of_actions: FloatArray


def ask(numbers: StateNumbers, what: object) -> Asked:
    """The numbers of one kind: values for "value", "policy" and "q", and otherwise visits or errors.

    An error is |Q - Q*| of the action where it is largest; of actions, Q - Q* with its sign.

    Raises:
        ConfigError: it is another kind, or there are no such numbers; the message says why.
    """
    kind = one_of("what", what, WHAT)
    exists = np.isfinite(numbers.q)
    if kind == "visits" and numbers.visits is not None:
        return Asked(np.where(exists, numbers.visits, 0).sum(axis=1), np.where(exists, numbers.visits, np.nan))
    if kind == "error" and numbers.optimal_q is not None:
        error = np.full(exists.shape, np.nan)
        np.subtract(numbers.q, numbers.optimal_q, out=error, where=exists & np.isfinite(numbers.optimal_q))
        return Asked(np.where(np.isnan(error), 0.0, np.abs(error)).max(axis=1), error)
    if kind in ("visits", "error"):
        raise ConfigError(f"cannot show what={kind!r}: {numbers.missing.get(kind, 'there are no such numbers')}")
    return Asked(numbers.values, np.where(exists, numbers.q, np.nan))


def tied(q: FloatArray, allowed: BoolArray | None = None, error: float = 0.0) -> BoolArray:
    """[S, A]: the actions that are as good as the best of `q [S, A]`, by the rule of `bellmax.greedy_policy`.

    `allowed [S, A]` says which actions the states have; `error` is how far a value may be from the exact one.
    """
    values = np.where(np.isfinite(q) if allowed is None else allowed & np.isfinite(q), q, -np.inf)
    highest = values.max(axis=1, keepdims=True)
    size = np.abs(np.where(np.isfinite(values), values, 0.0)).max(axis=1, keepdims=True)
    good: BoolArray = np.isfinite(values) & (values >= highest - np.clip(2 * error, 1e-12 * size, 1e-9 * size))
    return good


def numbers_as_json(numbers: StateNumbers) -> dict[str, Json]:
    """All numbers, whatever is drawn of them, with the layout; for machines."""
    layout = numbers.layout
    place: Json = None
    if layout is not None:
        place = {
            "rows": layout.rows, "columns": layout.columns, "cell": layout.cell.tolist(),
            "kinds": layout.kinds.tolist(), "arrows": [arrow and list(arrow) for arrow in layout.arrows],
            "panel": layout.panel.tolist(), "panels": list(layout.panels), "fences": layout.fences.tolist(),
        }  # fmt: skip
    error = ask(numbers, "error") if numbers.optimal_q is not None else None
    return {
        "title": numbers.title,
        "states": len(numbers.q),
        "actions": list(numbers.action_names),
        "state_names": [str(name) for name in numbers.state_names],
        "value": numbers.values.tolist(),
        "q": numbers.q.tolist(),
        "greedy": [np.flatnonzero(row).tolist() for row in numbers.greedy],
        "known": numbers.known.tolist(),
        "visits": None if numbers.visits is None else numbers.visits.tolist(),
        "error": None if error is None else error.of_states.tolist(),
        "layout": place,
    }
