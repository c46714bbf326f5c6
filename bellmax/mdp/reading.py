"""NumPy. From what people write down to the columns of a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bellmax.types import ConfigError

DTYPES = {
    "indptr": np.int64,
    "pair": np.int64,
    "successor": np.int64,
    "probability": np.float64,
    "reward": np.float64,
    "terminated": np.bool_,
    "start": np.float64,
    "reward_std": np.float64,
    "n_allowed": np.int64,
}


def column(values: Any, field: str, name: str = "") -> npt.NDArray[Any]:
    """`values` in the dtype of `field`; refuses what would lose its meaning, such as 1.5 as a state."""
    name = name or field
    dtype = np.dtype(DTYPES[field])
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ConfigError(f"{name} is not an array: {error}") from error
    if array.size and not np.can_cast(array.dtype, dtype, "same_kind"):
        raise ConfigError(f"{name} has dtype {array.dtype}, expected {dtype}")
    return array.astype(dtype, copy=False)


def distribution(start: int | npt.ArrayLike, n_states: int) -> npt.NDArray[Any]:
    """The start distribution [S] of one state, or the given one as it is."""
    if not isinstance(start, int | np.integer):
        return column(start, "start")
    if n_states and not 0 <= start < n_states:
        raise ConfigError(f"start state {start} is outside 0 to {n_states - 1}")
    return column(np.arange(n_states) == start, "start")


class Columns(NamedTuple):
    """What `FiniteMDP.from_entries` takes: E outcomes, one a row, and how many actions each state has."""

    n_states: int
    n_actions: int
    pair: Any
    successor: Any
    probability: Any
    reward: Any
    terminated: Any
    reward_std: Any
    n_allowed: Any


def flatten(successors: Any) -> Columns:
    """The columns of Gymnasium's nested layout, in which a state may have fewer actions than another."""
    rows = [_in_order(row, f"state {s}: actions") for s, row in enumerate(_in_order(successors, "states"))]
    n_allowed = [len(row) for row in rows]
    n_actions = max(n_allowed, default=0)
    entries: list[tuple[Any, ...]] = []
    for s, row in enumerate(rows):
        for a, outcomes in enumerate(row):
            if not isinstance(outcomes, Iterable) or isinstance(outcomes, str | Mapping):
                raise ConfigError(f"state {s}, action {a}: {outcomes!r} is not a list of outcomes")
            entries += [(s * n_actions + a, *read_outcome(outcome, s, a)) for outcome in outcomes]
    columns = zip(*entries, strict=True) if entries else [()] * 6
    return Columns._make([len(rows), n_actions, *columns, n_allowed])


def read_outcome(outcome: Any, state: Any, action: int) -> tuple[Any, Any, Any, Any, Any]:
    """`(successor, probability, reward, terminated, reward_std)` of one outcome as Gymnasium writes it."""
    if not isinstance(outcome, Sequence) or len(outcome) not in (4, 5):
        expected = "(probability, next_state, reward, terminated), nor that with a fifth number, reward_std"
        raise ConfigError(f"state {state}, action {action}: {outcome!r} is not {expected}")
    probability, successor, reward, terminated, *noise = outcome
    return successor, probability, reward, terminated, noise[0] if noise else 0.0


def gather(P: npt.ArrayLike, R: npt.ArrayLike, R_std: npt.ArrayLike, terminal_states: Sequence[int]) -> Columns:
    """The columns of dense arrays: `P [S, A, S]`; `R` and `R_std` `[S, A]` or `[S, A, S]`, `R_std` also a number."""
    given = {"P": P, "R": R, "R_std": R_std}
    dense, reward, noise = (column(array, "reward", name) for name, array in given.items())
    if dense.ndim != 3 or dense.shape[0] != dense.shape[2]:
        raise ConfigError(f"P has shape {dense.shape}, expected [S, A, S]")
    S, A, _ = dense.shape
    for name, array in (("R", reward), ("R_std", noise)):
        if array.shape not in ((S, A), (S, A, S)) and (name == "R" or array.ndim):
            raise ConfigError(f"{name} has shape {array.shape}, expected {(S, A)} or {(S, A, S)}")
    ends = column(np.atleast_1d(terminal_states), "successor", "terminal_states")
    if outside := [int(state) for state in ends if not 0 <= state < S]:
        raise ConfigError(f"terminal_states {outside} are outside 0 to {S - 1}")
    state, action, successor = np.nonzero(dense)
    columns = [array[..., None] if array.ndim == 2 else array for array in (reward, noise)]
    paid, std = (np.broadcast_to(array, dense.shape)[state, action, successor] for array in columns)
    probability = dense[state, action, successor]
    return Columns(S, A, state * A + action, successor, probability, paid, np.isin(successor, ends), std, None)


def _in_order(nested: Any, what: str) -> Sequence[Any]:
    """A list, or a mapping from 0, 1, ... as a list."""
    if not isinstance(nested, Iterable) or isinstance(nested, str):
        raise ConfigError(f"{what} must be a list, or a mapping from 0, 1, ..., not {nested!r}")
    if not isinstance(nested, Mapping):
        return list(nested)
    if set(nested) != set(range(len(nested))):
        raise ConfigError(f"{what} must be numbered 0 to {len(nested) - 1}, not {list(nested)[:10]}")
    return [nested[i] for i in range(len(nested))]
