"""NumPy and SciPy sparse. What is legal in a model, but often a slip."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from bellmax.mdp.outcomes import Outcomes, name_pair, name_state, reachable

SHOWN = 5


def find_remarks(mdp: Outcomes, gamma: float | None = None) -> list[str]:
    """One line a kind, each with its first states and actions; see `FiniteMDP.remarks`."""
    acts = reachable(mdp)
    endless = _never_ends(mdp, acts) if gamma == 1.0 else ()  # discounted, a task that goes on is as good as any
    return [*_never_entered(mdp, acts), *_pays_for_ever(mdp, acts), *endless]


def _never_entered(mdp: Outcomes, acts: npt.NDArray[Any]) -> Iterator[str]:
    """States that no policy can enter from the start, not even by ending there."""
    entered = acts.copy()
    entered[mdp.successor[acts[mdp.pair // mdp.n_actions]]] = True
    if not entered.all():
        yield f"never entered from the start: {_list(name_state(mdp, int(s)) for s in np.flatnonzero(~entered))}"


def _pays_for_ever(mdp: Outcomes, acts: npt.NDArray[Any]) -> Iterator[str]:
    """Rewards in a state that no action leaves or ends: it may have been meant to be terminal."""
    state = mdp.pair // mdp.n_actions
    held = acts.copy()
    held[state[(mdp.successor != state) | mdp.terminated]] = False
    paid = np.unique(mdp.pair[held[state] & (mdp.reward != 0)])
    if paid.size:
        yield f"pays on every step, and nothing leaves or ends it: {_list(name_pair(mdp, int(p)) for p in paid)}"


def _never_ends(mdp: Outcomes, acts: npt.NDArray[Any]) -> Iterator[str]:
    ends = mdp.terminated & acts[mdp.pair // mdp.n_actions]
    if mdp.max_episode_steps is None and not ends.any():
        yield "no outcome that can happen ends the episode, in no state by no action, and there is no time limit"


def _list(names: Iterator[str]) -> str:
    every = list(names)
    more = f" and {len(every) - SHOWN} more" if len(every) > SHOWN else ""
    return "; ".join(every[:SHOWN]) + more
