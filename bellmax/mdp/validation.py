"""NumPy. What makes a model sound; every fault by state and action."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from bellmax.contracts import ConfigError
from bellmax.mdp.outcomes import Outcomes, name_pair, name_state

SUM_TOLERANCE = 1e-8  # how far probabilities may sum from one: wider than float64 rounding, narrower than a typo
SHOWN_PROBLEMS = 10


def validate(mdp: Outcomes) -> None:
    """Raise one ConfigError that lists what is wrong: the first ten problems and how many more there are."""
    problems = [*_shape_problems(mdp)] or [*_label_problems(mdp)]
    if not problems:  # the other checks need sound shapes and names
        problems = [
            *_action_problems(mdp),
            *_outcome_problems(mdp),
            *_sum_problems(mdp),
            *_start_problems(mdp),
        ]
    if problems:
        shown = problems[:SHOWN_PROBLEMS]
        if len(problems) > SHOWN_PROBLEMS:
            shown.append(f"and {len(problems) - SHOWN_PROBLEMS} more")
        title = f"FiniteMDP {mdp.name!r}" if mdp.name else "FiniteMDP"
        raise ConfigError("\n  ".join([f"{title} is not a valid model:", *shown]))


def _shape_problems(mdp: Outcomes) -> Iterator[str]:
    if mdp.n_states < 1 or mdp.n_actions < 1:
        yield f"it has {mdp.n_states} states and {mdp.n_actions} actions, expected at least one of each"
        return
    n_pairs, n_entries = mdp.n_states * mdp.n_actions, mdp.successor.size
    expected: dict[str, tuple[int, ...]] = {"indptr": (n_pairs + 1,), "start": (mdp.n_states,)}
    expected |= dict.fromkeys(("successor", "probability", "reward", "terminated", "reward_std"), (n_entries,))
    expected["allowed"] = (mdp.n_states, mdp.n_actions)
    wrong = [field for field, shape in expected.items() if getattr(mdp, field).shape != shape]
    yield from (f"{field} has shape {getattr(mdp, field).shape}, expected {expected[field]}" for field in wrong)
    if "indptr" not in wrong:
        first, last = int(mdp.indptr[0]), int(mdp.indptr[-1])
        if first != 0 or last != n_entries or np.any(np.diff(mdp.indptr) < 0):
            yield f"indptr runs from {first} to {last}, expected a rise from 0 to {n_entries}"


def _label_problems(mdp: Outcomes) -> Iterator[str]:
    for field, expected in (("action_names", mdp.n_actions), ("state_names", mdp.n_states)):
        if (given := len(getattr(mdp, field))) not in (0, expected):
            yield f"{field} has {given} names, expected {expected} or none"
    if mdp.max_episode_steps is not None and mdp.max_episode_steps < 1:
        yield f"max_episode_steps is {mdp.max_episode_steps}, expected at least 1, or None for no limit"


def _action_problems(mdp: Outcomes) -> Iterator[str]:
    for s in np.flatnonzero(~mdp.allowed.any(axis=1)):
        remedy = "if episodes end there, the way in must terminate (`terminal_states`)"
        yield f"{name_state(mdp, int(s))}: it has no action; {remedy}"


def _outcome_problems(mdp: Outcomes) -> Iterator[str]:
    """Faults of single entries, one kind after the other."""
    pair, successor, probability, reward = mdp.pair, mdp.successor, mdp.probability, mdp.reward

    def where(entry: np.integer[Any]) -> str:
        return name_pair(mdp, int(pair[entry]))

    for e in np.flatnonzero(~np.isfinite(probability)):
        yield f"{where(e)}: probability {probability[e]} of successor {successor[e]} is not finite"
    for e in np.flatnonzero(probability < 0):
        yield f"{where(e)}: probability {probability[e]} of successor {successor[e]} is negative"
    for e in np.flatnonzero(~np.isfinite(reward)):
        yield f"{where(e)}: reward {reward[e]} on the way to successor {successor[e]} is not finite"
    for e in np.flatnonzero(~np.isfinite(mdp.reward_std) | (mdp.reward_std < 0)):
        yield f"{where(e)}: reward_std {mdp.reward_std[e]} is negative or not finite"
    for e in np.flatnonzero((successor < 0) | (successor >= mdp.n_states)):
        yield f"{where(e)}: successor {successor[e]} is outside 0 to {mdp.n_states - 1}"


def _sum_problems(mdp: Outcomes) -> Iterator[str]:
    total = np.bincount(mdp.pair, mdp.probability, mdp.n_states * mdp.n_actions)
    length, allowed = np.diff(mdp.indptr), mdp.allowed.ravel()
    # A NaN or an infinite sum is silent here: its entry has been named already.
    for p in np.flatnonzero(allowed & np.isfinite(total) & (np.abs(total - 1) > SUM_TOLERANCE)):
        what = f"probabilities sum to {total[p]:.10g}, not 1" if length[p] else "no successors"
        yield f"{name_pair(mdp, int(p))}: {what}"
    for p in np.flatnonzero(~allowed & (length > 0)):
        yield f"{name_pair(mdp, int(p))}: it has outcomes, but its state does not have the action"


def _start_problems(mdp: Outcomes) -> Iterator[str]:
    wrong = np.flatnonzero(~np.isfinite(mdp.start) | (mdp.start < 0))
    yield from (f"start: probability {mdp.start[s]} of state {s} is negative or not finite" for s in wrong)
    total = mdp.start.sum()
    if np.isfinite(total) and abs(total - 1) > SUM_TOLERANCE:
        yield f"start: probabilities sum to {total:.10g}, not 1"
