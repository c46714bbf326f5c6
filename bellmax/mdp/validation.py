"""NumPy and SciPy sparse. From what people write down to sound columns; every fault by state and action."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bellmax.types import ConfigError

if TYPE_CHECKING:
    from bellmax.mdp.model import FiniteMDP

SUM_TOLERANCE = 1e-8  # how far probabilities may sum from one: wider than float64 rounding, narrower than a typo
SHOWN_PROBLEMS = 10
DTYPES = {
    "indptr": np.int64,
    "pair": np.int64,
    "successor": np.int64,
    "probability": np.float64,
    "reward": np.float64,
    "terminated": np.bool_,
    "start": np.float64,
}


def column(values: Any, field: str) -> npt.NDArray[Any]:
    """`values` in the dtype of `field`; refuses what would lose its meaning, such as 1.5 as a state."""
    dtype = np.dtype(DTYPES[field])
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ConfigError(f"{field} is not an array: {error}") from error
    if array.size and not np.can_cast(array.dtype, dtype, "same_kind"):
        raise ConfigError(f"{field} has dtype {array.dtype}, expected {dtype}")
    return array.astype(dtype, copy=False)


def distribution(start: int | npt.ArrayLike, n_states: int) -> npt.NDArray[Any]:
    """The start distribution [S] of one state, or the given one as it is."""
    if not isinstance(start, int | np.integer):
        return column(start, "start")
    if n_states and not 0 <= start < n_states:
        raise ConfigError(f"start state {start} is outside 0 to {n_states - 1}")
    return column(np.arange(n_states) == start, "start")


def flatten(successors: Any) -> tuple[int, int, list[tuple[Any, ...]]]:
    """(S, A, columns pair, successor, probability, reward, terminated) of Gymnasium's nested layout."""
    rows = [_in_order(row, f"state {s}: actions") for s, row in enumerate(_in_order(successors, "states"))]
    n_actions = len(rows[0]) if rows else 0
    entries: list[tuple[Any, ...]] = []
    for s, row in enumerate(rows):
        if len(row) != n_actions:
            raise ConfigError(f"state {s} has {len(row)} actions, state 0 has {n_actions}; they must be as many")
        for a, outcomes in enumerate(row):
            for outcome in outcomes:
                if not isinstance(outcome, Sequence) or len(outcome) != 4:
                    expected = "(probability, next_state, reward, terminated)"
                    raise ConfigError(f"state {s}, action {a}: {outcome!r} is not {expected}")
                probability, successor, reward, terminated = outcome
                entries.append((s * n_actions + a, successor, probability, reward, terminated))
    return len(rows), n_actions, list(zip(*entries, strict=True)) if entries else [()] * 5


def validate(mdp: FiniteMDP) -> None:
    """Raise one ConfigError that lists what is wrong: the first ten problems and how many more there are."""
    problems = list(_shape_problems(mdp))
    if not problems:  # the other checks need sound shapes
        problems = [
            *_label_problems(mdp),
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


def _shape_problems(mdp: FiniteMDP) -> Iterator[str]:
    if mdp.n_states < 1 or mdp.n_actions < 1:
        yield f"it has {mdp.n_states} states and {mdp.n_actions} actions, expected at least one of each"
        return
    n_pairs, n_entries = mdp.n_states * mdp.n_actions, mdp.successor.size
    expected = {"indptr": (n_pairs + 1,), "start": (mdp.n_states,)}
    expected |= dict.fromkeys(("successor", "probability", "reward", "terminated"), (n_entries,))
    wrong = [field for field, shape in expected.items() if getattr(mdp, field).shape != shape]
    yield from (f"{field} has shape {getattr(mdp, field).shape}, expected {expected[field]}" for field in wrong)
    if "indptr" not in wrong:
        first, last = int(mdp.indptr[0]), int(mdp.indptr[-1])
        if first != 0 or last != n_entries or np.any(np.diff(mdp.indptr) < 0):
            yield f"indptr runs from {first} to {last}, expected a rise from 0 to {n_entries}"


def _label_problems(mdp: FiniteMDP) -> Iterator[str]:
    for field, expected in (("action_names", mdp.n_actions), ("state_names", mdp.n_states)):
        if (given := len(getattr(mdp, field))) not in (0, expected):
            yield f"{field} has {given} names, expected {expected} or none"
    if mdp.max_episode_steps is not None and mdp.max_episode_steps < 1:
        yield f"max_episode_steps is {mdp.max_episode_steps}, expected at least 1, or None for no limit"


def _outcome_problems(mdp: FiniteMDP) -> Iterator[str]:
    """Faults of single entries, one kind after the other."""
    pair, successor, probability, reward = mdp.pair, mdp.successor, mdp.probability, mdp.reward

    def where(entry: np.integer[Any]) -> str:
        return _name(mdp, int(pair[entry]))

    for e in np.flatnonzero(~np.isfinite(probability)):
        yield f"{where(e)}: probability {probability[e]} of successor {successor[e]} is not finite"
    for e in np.flatnonzero(probability < 0):
        yield f"{where(e)}: probability {probability[e]} of successor {successor[e]} is negative"
    for e in np.flatnonzero(~np.isfinite(reward)):
        yield f"{where(e)}: reward {reward[e]} on the way to successor {successor[e]} is not finite"
    for e in np.flatnonzero((successor < 0) | (successor >= mdp.n_states)):
        yield f"{where(e)}: successor {successor[e]} is outside 0 to {mdp.n_states - 1}"


def _sum_problems(mdp: FiniteMDP) -> Iterator[str]:
    total = np.bincount(mdp.pair, mdp.probability, mdp.n_states * mdp.n_actions)
    length = np.diff(mdp.indptr)
    # A NaN or an infinite sum is silent here: its entry has been named already.
    for p in np.flatnonzero(np.isfinite(total) & (np.abs(total - 1) > SUM_TOLERANCE)):
        what = f"probabilities sum to {total[p]:.10g}, not 1" if length[p] else "no successors"
        yield f"{_name(mdp, int(p))}: {what}"


def _start_problems(mdp: FiniteMDP) -> Iterator[str]:
    wrong = np.flatnonzero(~np.isfinite(mdp.start) | (mdp.start < 0))
    yield from (f"start: probability {mdp.start[s]} of state {s} is negative or not finite" for s in wrong)
    total = mdp.start.sum()
    if np.isfinite(total) and abs(total - 1) > SUM_TOLERANCE:
        yield f"start: probabilities sum to {total:.10g}, not 1"


def _name(mdp: FiniteMDP, pair: int) -> str:
    return f"state {pair // mdp.n_actions}, action {pair % mdp.n_actions}"


def _in_order(nested: Any, what: str) -> Sequence[Any]:
    """A list, or a mapping from 0, 1, ... as a list."""
    if not isinstance(nested, Mapping):
        return list(nested)
    if set(nested) != set(range(len(nested))):
        raise ConfigError(f"{what} must be numbered 0 to {len(nested) - 1}, not {list(nested)[:10]}")
    return [nested[i] for i in range(len(nested))]
