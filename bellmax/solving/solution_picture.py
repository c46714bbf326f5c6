"""NumPy. The picture of an exact answer: on a map, if the states of the model are on one."""

from __future__ import annotations

import numpy as np

from bellmax.arguments import describe
from bellmax.contracts import ConfigError, FloatArray, IntArray
from bellmax.mdp.layout import find_layout
from bellmax.mdp.model import FiniteMDP
from bellmax.mdp.outcomes import reachable
from bellmax.pictures.picture import Picture
from bellmax.pictures.state_numbers import StateNumbers, What, tied

MISSING = {
    "visits": "an exact answer has no visits; a run of a tabular agent has",
    "error": "an exact answer has no error beyond its bound; a run has",
}


def picture_of_answer(
    mdp: FiniteMDP | None,
    v: FloatArray,
    q: FloatArray,
    policy: IntArray,
    bound: float,
    what: What,
    *,
    title: str = "",
    everything: bool = False,
) -> Picture:
    """The picture of optimal values `v [S]`, `q [S, A]` and actions `policy [S]` of a model.

    States in which nobody acts, such as a goal, have no number. Arrows are all actions that are as good as the best.

    Raises:
        ConfigError: the model is not known, or the answer does not have what is asked for.
    """
    if mdp is None:
        raise ConfigError("this answer does not hold its model, so that it cannot be shown; use one from bellmax.solve")
    if not isinstance(title, str):
        raise ConfigError(f"`title` must be a string; got {describe(title)}")
    greedy = tied(q, mdp.allowed, bound if np.isfinite(bound) else 0.0)
    greedy[np.arange(mdp.n_states), policy] = True
    numbers = StateNumbers(
        title or f"{mdp.name or 'model'}: exact answer",
        np.where(mdp.allowed, q, -np.inf),
        greedy,
        reachable(mdp),
        action_names_of(mdp),
        mdp.state_names,
        find_layout(mdp),
        missing=MISSING,
        v=v,
    )
    return Picture(numbers, what, everything=everything)


def action_names_of(mdp: FiniteMDP) -> tuple[str, ...]:
    """What the actions of a model are called; their numbers where they have no names."""
    return tuple(map(str, mdp.action_names or range(mdp.n_actions)))
