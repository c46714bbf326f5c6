"""NumPy. From what people write down to the columns of a model."""

from __future__ import annotations

import numbers
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, NamedTuple, TypedDict

import numpy as np
import numpy.typing as npt

from bellmax.arguments import brief, describe, integer, is_integer
from bellmax.contracts import BoolArray, ConfigError, FloatArray, IntArray, counted
from bellmax.machine import check_fits
from bellmax.mdp.layout import Grid

ROUNDING_SEEN = 1e-12  # how far from one the sum of a row may be without a word
FLOAT32_ROUNDING = 2.0**-24  # the relative error of one number

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
    "allowed": np.bool_,
}


def column(values: object, field: str, name: str = "") -> npt.NDArray[Any]:
    """`values` in the dtype of `field`; refuses what would lose its meaning, such as 1.5 as a state."""
    name = name or field
    dtype = np.dtype(DTYPES[field])
    if np.ma.is_masked(values):
        raise ConfigError(f"{name} is a masked array, and what it hides would count; give {name}.filled(0), say")
    if isinstance(values, set | frozenset):
        values = sorted(values)
    try:
        array = np.asarray(values)
    except ValueError as error:
        raise ConfigError(f"{name} is not an array: {brief(error)}") from error
    if array.dtype == object and dtype.kind == "f":  # fractions, say
        array = _floats(array, name)
    exact = not array.size or np.can_cast(array.dtype, dtype, "same_kind")
    if not exact and array.dtype.kind in "iufb":  # 1.0 is a state, and 1 a flag
        with np.errstate(invalid="ignore"):
            exact = bool(np.all(array == array.astype(dtype)))
    if not exact:
        raise ConfigError(f"{name} has dtype {array.dtype}, expected {dtype}")
    return array.astype(dtype, copy=False)


def _floats(array: npt.NDArray[Any], name: str) -> npt.NDArray[Any]:
    """An array of Python's numbers (integers, fractions, decimals) as float64."""
    for value in array.flat:
        if not isinstance(value, numbers.Real | Decimal):
            held = repr(value) if isinstance(value, str) or value is None else f"a {type(value).__name__}"
            if isinstance(value, Mapping):
                held += f"; give a list of its values, one for each action: list({name}.values())"
            raise ConfigError(f"{name} has dtype object, expected float64; it holds {held}")
    try:
        return array.astype(np.float64)
    except OverflowError as error:
        raise ConfigError(f"{name}: {error}") from error


def distribution(start: int | npt.ArrayLike, n_states: int) -> npt.NDArray[Any]:
    """The start distribution [S] of one state, or the given one as it is."""
    given = start[()] if isinstance(start, np.ndarray) and start.ndim == 0 else start
    if is_integer(given):
        if n_states and not 0 <= given < n_states:
            raise ConfigError(f"start state {describe(given)} is outside 0 to {n_states - 1}")
        return column(np.arange(n_states) == given, "start")
    if not hasattr(given, "__len__") or isinstance(given, str | bytes | Mapping):
        raise ConfigError(f"`start` must be a state or probabilities [S]; got {describe(given)}")
    return without_rounding(column(given, "start"))


def without_rounding(probability: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Probabilities with 0 for those that rounding left just below it, such as 1 - 0.9 - 0.1."""
    below = (probability < 0) & (probability >= -ROUNDING_SEEN)
    return np.where(below, 0.0, probability) if below.any() else probability


class Labels(TypedDict, total=False):
    """What every constructor passes on unchanged."""

    max_episode_steps: int | None
    name: str
    action_names: tuple[str, ...]
    state_names: tuple[Any, ...]
    grid: Grid | None


class Columns(NamedTuple):
    """E outcomes, one a row, and which actions each state has: `mask [S, A]`, or None for those with outcomes."""

    n_states: int
    n_actions: int
    pair: Any
    successor: Any
    probability: Any
    reward: Any
    terminated: Any
    reward_std: Any
    mask: Any


def read_sizes(n_states: object, n_actions: object, n_outcomes: int = 0) -> tuple[int, int]:
    """`(S, A)` as Python's integers.

    Raises:
        ConfigError: they are not positive integers.
        ResourceError: a model of these sizes does not fit in memory.
    """
    S, A = integer("n_states", n_states), integer("n_actions", n_actions)
    check_fits(
        48 * S * A + 150 * n_outcomes,
        f"a model of {counted(S, 'state')} with {counted(A, 'action')}",
        lambda share: f"{counted(int(share * S), 'state')} fit",
    )
    return S, A


def which_actions(mask: object, n_allowed: object, n_states: int, n_actions: int) -> BoolArray | None:
    """[S, A] which actions there are, of a mask or of how many each state has; None where neither is given."""
    if mask is not None and n_allowed is not None:
        raise ConfigError("mask and n_allowed both say which actions there are; give one of them")
    if mask is not None:
        has = column(mask, "allowed", "mask")
        if has.shape != (n_states, n_actions):
            raise ConfigError(f"mask has shape {has.shape}, expected [S, A] = {(n_states, n_actions)}")
        return has
    if n_allowed is None:
        return None
    count = column(n_allowed, "n_allowed")
    if count.shape != (n_states,):
        raise ConfigError(f"n_allowed has shape {count.shape}, expected {(n_states,)}")
    for s in np.flatnonzero((count < 1) | (count > n_actions))[:1]:
        raise ConfigError(f"n_allowed: state {s} has {counted(int(count[s]), 'action')}, expected 1 to {n_actions}")
    return np.asarray(np.arange(n_actions) < count[:, None])


def read_entries(columns: Columns) -> tuple[list[npt.NDArray[Any]], FloatArray]:
    """`([pair, successor, reward, terminated, and reward_std if any], probability)`, each [E], those above 0."""
    weight = column(columns.probability, "probability")
    keys = [column(getattr(columns, name), name) for name in ("pair", "successor", "reward", "terminated")]
    if columns.reward_std is not None and np.any(noise := column(columns.reward_std, "reward_std")):
        keys.append(noise)
    if any(key.shape != weight.shape or key.ndim != 1 for key in keys):
        names = ("probability", "pair", "successor", "reward", "terminated", "reward_std")
        shapes = ", ".join(f"{name} {key.shape}" for name, key in zip(names, (weight, *keys), strict=False))
        raise ConfigError(f"columns have different shapes, expected one [E]: {shapes}")
    weight = without_rounding(weight)
    keys, weight = [key[weight != 0] for key in keys], weight[weight != 0]
    n_pairs = columns.n_states * columns.n_actions
    if (outside := keys[0][(keys[0] < 0) | (keys[0] >= n_pairs)]).size:
        raise ConfigError(f"pair {outside[0]} is outside 0 to {n_pairs - 1}")
    return keys, weight


def with_resting_ends(
    keys: list[npt.NDArray[Any]], weight: FloatArray, start: FloatArray, n_states: int, n_actions: int
) -> tuple[list[npt.NDArray[Any]], FloatArray, BoolArray]:
    """The entries and `mask [S, A]` of the pairs that have some; a state that has none, and is only an end, rests."""
    pair, successor, _, terminated = keys[:4]
    has = np.bincount(pair, minlength=n_states * n_actions).reshape(n_states, n_actions) > 0
    acted_in = start != 0 if start.shape == (n_states,) else np.zeros(n_states, np.bool_)
    acted_in[successor[~terminated & (successor >= 0) & (successor < n_states)]] = True
    ends = np.flatnonzero(~has.any(axis=1) & ~acted_in)
    if not ends.size:
        return keys, weight, np.zeros((0, 0), np.bool_) if has.all() else has
    has[ends] = True
    added = resting(ends, n_actions)
    keys = [np.concatenate(both) for both in zip(keys, (*added, np.zeros(added[0].size)), strict=False)]
    return keys, np.concatenate([weight, np.ones(added[0].size)]), np.zeros((0, 0), np.bool_) if has.all() else has


def resting(states: IntArray, n_actions: int) -> tuple[npt.NDArray[Any], ...]:
    """`(pair, successor, reward, terminated)` of states in which nobody acts: every action ends there for nothing."""
    pair = (states[:, None] * n_actions + np.arange(n_actions)).ravel()
    return pair, np.repeat(states, n_actions), np.zeros(pair.size), np.ones(pair.size, np.bool_)


def merged(keys: list[npt.NDArray[Any]], weight: FloatArray) -> tuple[list[npt.NDArray[Any]], FloatArray]:
    """Sorts [E] columns by the first, then the second ...; adds up the weights of rows that are equal."""
    order = np.lexsort(keys[::-1])
    keys, weight = [key[order] for key in keys], weight[order]
    if not np.all(weight > 0):
        return keys, weight  # a sum could hide a negative probability from `validate`
    new = np.ones(weight.size, np.bool_)
    new[1:] = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return [key[new] for key in keys], np.add.reduceat(weight, np.flatnonzero(new))


def summing_to_one(weight: FloatArray, indptr: IntArray, n_actions: int) -> tuple[FloatArray, list[str]]:
    """`weight [E]` with rows that miss one by no more than float32's rounding divided by their sums, and a remark.

    A row is what lies between two of `indptr`. Rows of n numbers of 24 bits, divided by their sum in float32, miss
    one by 0.8 √n 2^-24 or less (decision 29): wider than that, and narrower than a typo. Other rows keep every bit.
    """
    length = np.diff(indptr)
    total = np.ones(length.size)
    if weight.size:
        total[length > 0] = np.add.reduceat(weight, indptr[:-1][length > 0])
    with np.errstate(invalid="ignore"):
        off = np.abs(total - 1)
        rounded = (off > ROUNDING_SEEN) & (off <= FLOAT32_ROUNDING * np.maximum(4, 1.25 * np.sqrt(length)))
    if not rounded.any() or (weight < 0).any():
        return weight, []
    total[~rounded] = 1.0
    worst = int(np.argmax(np.where(rounded, off, 0)))
    which = f"state {worst // n_actions}, action {worst % n_actions}" if n_actions else "start"
    others = f" and of {rounded.sum() - 1:,} more pairs" if rounded.sum() > 1 else ""
    text = f"probabilities of {which}{others} miss a sum of 1 by {off[worst]:.2g} and were divided by their sum"
    return weight / np.repeat(total, length), [f"{text}; if they are float32, make them float64 to be exact"]


def flatten(successors: object) -> Columns:
    """The columns of Gymnasium's nested layout, in which a state may have fewer actions than another."""
    rows = [_actions(row, f"state {s}: actions") for s, row in enumerate(_in_order(successors, "states"))]
    n_actions = max((len(row) for row in rows), default=0)
    entries: list[tuple[Any, ...]] = []
    for s, row in enumerate(rows):
        for a, outcomes in enumerate(row):
            if not isinstance(outcomes, Iterable) or isinstance(outcomes, str | Mapping):
                raise ConfigError(f"state {s}, action {a}: {describe(outcomes)} is not a list of outcomes")
            entries += [(s * n_actions + a, *read_outcome(outcome, s, a)) for outcome in outcomes]
    columns = zip(*entries, strict=True) if entries else [()] * 6
    return Columns._make([len(rows), n_actions, *columns, None])


def read_outcome(outcome: object, state: object, action: int) -> tuple[Any, Any, Any, Any, Any]:
    """`(successor, probability, reward, terminated, reward_std)` of one outcome as Gymnasium writes it."""
    if not isinstance(outcome, Sequence | np.ndarray) or len(outcome) not in (4, 5):
        expected = "(probability, next_state, reward, terminated), nor that with a fifth number, reward_std"
        raise ConfigError(f"state {state}, action {action}: {describe(outcome)} is not {expected}")
    probability, successor, reward, terminated, *noise = outcome
    return successor, probability, reward, terminated, noise[0] if noise else 0.0


def _actions(nested: object, what: str) -> Sequence[Any]:
    """The rows of a state; of an action that it does not have an empty one, whether None or left out of a mapping."""
    if isinstance(nested, Mapping):
        if wrong := [a for a in nested if not isinstance(a, int | np.integer) or a < 0]:
            raise ConfigError(f"{what} must be numbered from 0, not {wrong[:10]}")
        nested = [nested.get(a) for a in range(max(nested, default=-1) + 1)]
    return [() if row is None else row for row in _in_order(nested, what)]


def _in_order(nested: object, what: str) -> Sequence[Any]:
    """A list, or a mapping from 0, 1, ... as a list."""
    if not isinstance(nested, Iterable) or isinstance(nested, str) or getattr(nested, "ndim", 1) == 0:
        raise ConfigError(f"{what} must be a list, or a mapping from 0, 1, ..., not {describe(nested)}")
    if not isinstance(nested, Mapping):
        return list(nested)
    if set(nested) != set(range(len(nested))):
        raise ConfigError(f"{what} must be numbered 0 to {len(nested) - 1}, not {list(nested)[:10]}")
    return [nested[i] for i in range(len(nested))]
