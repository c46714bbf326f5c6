"""NumPy and SciPy sparse. From the arrays that people and other libraries have, to the columns of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeGuard

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from bellmax.arguments import one_of
from bellmax.contracts import ConfigError, FloatArray, IntArray
from bellmax.mdp.reading import Columns, column, distribution, resting, which_actions

LAYOUTS = ("SAS", "ASS")  # the order of the axes: state, action, next state; or action, state, next state
Sparse: TypeAlias = sp.sparray | sp.spmatrix
Stack: TypeAlias = npt.ArrayLike | Sparse | Sequence[npt.ArrayLike | Sparse] | Mapping[int, npt.ArrayLike | Sparse]
EXPECTED = "[S, A, S], [A, S, S], a list of A matrices [S, S], or a matrix [S*A, S] with a row for each pair"


class Transitions(NamedTuple):
    """Transition probabilities, however they were written.

    Attributes:
        n_states: S.
        n_actions: A.
        pair: [E] int64 `s * A + a`.
        successor: [E] int64.
        probability: [E] float64.
        square: the layout of arrays whose shape does not decide it.
        rows: [L] the pair of each row, where P is a matrix of rows; else None.
        row: [E] the row of each entry, where P is a matrix of rows; else zeros.
    """

    n_states: int
    n_actions: int
    pair: IntArray
    successor: IntArray
    probability: FloatArray
    square: str
    rows: IntArray | None
    row: IntArray


class Coordinates(NamedTuple):
    """The entries of an array that are not 0: `axes`, one [E] int64 for each, and `value [E]`; its shape."""

    axes: tuple[IntArray, ...]
    value: FloatArray
    shape: tuple[int, ...]


def gather(
    P: Stack, R: Stack, R_std: Stack, *, layout: str | None, s_indices: object, a_indices: object,
    terminal_states: object, mask: object, n_allowed: object, start: int | npt.ArrayLike,
) -> tuple[Columns, list[str]]:  # fmt: skip
    """The columns of arrays, and what is to be remarked; see `FiniteMDP.from_arrays`."""
    layout = None if layout is None else one_of("layout", layout, LAYOUTS)
    given, notes = read_transitions(P, layout, s_indices, a_indices)
    S, A = given.n_states, given.n_actions
    paid, noise = rewards(R, "R", given), rewards(R_std, "R_std", given)
    notes += [
        f"{name} is a list of {S} vectors of {S} numbers, one for each state or one for each action; they were "
        f"read as [S, A], one for each state. Give an array: np.stack({name}), for actions np.stack({name}, axis=1)"
        for name, value in (("R", R), ("R_std", R_std)) if S == A and _are_vectors(value) and len(value) == S
    ]  # fmt: skip
    has = which_actions(mask, n_allowed, S, A)
    terminal = _terminal_states(terminal_states, S)
    first = distribution(start, S)
    ends = terminal
    if first.shape == (S,) and np.all(np.isin(np.flatnonzero(first), terminal)):  # a bandit: acting is in the end
        ends = terminal[first[terminal] == 0]
    gone = np.bincount(given.pair, paid != -np.inf, S * A) == 0  # all that can happen is worth -inf
    if has is not None:
        gone |= ~has.ravel()
        has = has & (~gone.reshape(S, A) | (np.bincount(given.pair, minlength=S * A) == 0).reshape(S, A))
        has[ends] = True
    kept = ~gone[given.pair] & ~np.isin(given.pair // A, ends)
    pair, successor, reward, terminated = resting(ends, A)
    entries = {
        "pair": (given.pair[kept], pair),
        "successor": (given.successor[kept], successor),
        "probability": (given.probability[kept], np.ones(pair.size)),
        "reward": (paid[kept], reward),
        "terminated": (np.isin(given.successor[kept], terminal), terminated),
        "reward_std": (noise[kept], np.zeros(pair.size)),
    }
    joined = {name: np.concatenate(parts) for name, parts in entries.items()}
    return Columns(n_states=S, n_actions=A, mask=has, **joined), notes


def read_transitions(
    P: Stack, layout: str | None, s_indices: object, a_indices: object
) -> tuple[Transitions, list[str]]:
    """P in any of its forms, and a remark where its shape does not decide its layout.

    Raises:
        ConfigError: it is in none of them; the message says which shape it has and how to turn it.
    """
    indexed = s_indices is not None or a_indices is not None
    cube, listed = coordinates(P, "P")
    if len(cube.shape) == 2:
        if cube.shape[0] == cube.shape[1] and not indexed and not sp.issparse(P):
            raise ConfigError(f"P has shape {cube.shape}, expected {EXPECTED}; for a single action, give P[:, None]")
        return _of_rows(cube, layout, s_indices, a_indices), []
    if indexed:
        raise ConfigError(f"s_indices and a_indices need P [L, S], with a row for each pair; P has shape {cube.shape}")
    if len(cube.shape) != 3:
        raise ConfigError(f"P has shape {cube.shape}, expected {EXPECTED}")
    found, notes = _find_layout(cube, layout, listed)
    S, A = cube.shape[2], cube.shape[LAYOUTS.index(found) ^ 1]
    state, action, successor = cube.axes if found == "SAS" else (cube.axes[1], cube.axes[0], cube.axes[2])
    pair = state * A + action
    _refuse_turned(cube, pair, S * A)
    return Transitions(S, A, pair, successor, cube.value, found, None, np.zeros(pair.size, np.int64)), notes


def _find_layout(cube: Coordinates, layout: str | None, listed: bool) -> tuple[str, list[str]]:
    first, second, last = cube.shape
    fits = [name for name, size in zip(LAYOUTS, (first, second), strict=True) if size == last]
    if layout is not None and layout not in fits:
        fits = []
    if not fits:
        wanted = {"SAS": "[S, A, S]", "ASS": "[A, S, S]"}.get(layout or "", "[S, A, S] or [A, S, S]")
        turned = f"; if its axes are [S, S', A], give np.moveaxis(P, 2, 1), which is {(first, last, second)}"
        raise ConfigError(
            f"P has shape {cube.shape}, expected {wanted}" + (turned if first == second and layout != "ASS" else "")
        )
    if layout is not None or len(fits) == 1 or last == 1:
        return layout or fits[0], []
    if listed:  # matrices in a list are one for each action, in every library
        return "ASS", []
    note = (
        f"P has shape {cube.shape}, which fits [S, A, S] and [A, S, S]; it was read as [S, A, S]. Say which: "
        "layout='SAS', or layout='ASS' for mdptoolbox's order (or transpose it: P.transpose(1, 0, 2))"
    )
    return "SAS", [note]


def _refuse_turned(cube: Coordinates, pair: IntArray, n_pairs: int) -> None:
    """Probabilities that sum to one over another axis than the last: columns for rows."""
    total = np.bincount(pair, cube.value, n_pairs)
    if not _all_one(total[total != 0]):
        for axis, order in ((0, (2, 1, 0)), (1, (0, 2, 1))):
            others = [i for i in range(3) if i != axis]
            shape = [cube.shape[i] for i in others]
            if shape[0] * shape[1] > cube.value.size:  # some sum is 0; and S x S sums may be too many to hold
                continue
            row = cube.axes[others[0]] * shape[1] + cube.axes[others[1]]
            if _all_one(np.bincount(row, cube.value, shape[0] * shape[1])):
                raise ConfigError(
                    f"P {cube.shape} sums to one over its axis {axis}, and not over the last, the next state; "
                    f"give P.transpose{order}"
                )


def _all_one(total: npt.NDArray[Any]) -> bool:
    return bool(np.all(np.abs(total - 1) < 1e-4))


def _of_rows(matrix: Coordinates, layout: str | None, s_indices: object, a_indices: object) -> Transitions:
    """A matrix [L, S] with a row for each pair: those of the indices, or all of them in the order of the layout."""
    L, S = matrix.shape
    if s_indices is None and a_indices is None:
        if S == 0 or L % S:
            raise ConfigError(f"P has shape {matrix.shape}, expected {EXPECTED}; or give s_indices and a_indices [L]")
        A, index = L // S, np.arange(L)
        rows = index if layout != "ASS" else index % S * A + index // S
    else:
        if s_indices is None or a_indices is None:
            raise ConfigError("s_indices and a_indices go together: give both, each [L], or neither")
        state, action = (
            column(given, "successor", name) for given, name in ((s_indices, "s_indices"), (a_indices, "a_indices"))
        )
        for name, given in (("s_indices", state), ("a_indices", action)):
            if given.shape != (L,):
                raise ConfigError(f"{name} has shape {given.shape}, expected {(L,)}: one for each row of P")
            if given.size and (given.min() < 0 or (name == "s_indices" and given.max() >= S)):
                raise ConfigError(f"{name} runs from {given.min()} to {given.max()}; P has {S} states from 0")
        A = int(action.max(initial=0)) + 1
        rows = state * A + action
        unique, count = np.unique(rows, return_counts=True)
        if (count > 1).any():
            twice = int(unique[count > 1][0])
            raise ConfigError(f"state {twice // A}, action {twice % A} has two rows in s_indices and a_indices")
    row, successor = matrix.axes
    return Transitions(S, A, rows[row], successor, matrix.value, layout or "SAS", rows, row)


def rewards(R: Stack, name: str, given: Transitions) -> FloatArray:
    """[E]: the reward (or its noise) of each entry of P, from any of the forms of R.

    Raises:
        ConfigError: R is in none of them.
    """
    S, A, rows = given.n_states, given.n_actions, given.rows
    state, action = np.divmod(given.pair, A)
    array, listed = coordinates(R, name)
    vectors = _are_vectors(R)
    if array.shape == ():
        return np.full(state.size, float(array.value.sum()))
    if rows is not None and array.shape == rows.shape:
        return _look_up(array, (given.row,))
    if array.shape == (S,):
        return _look_up(array, (state,))
    if array.shape == (S, A):
        return _look_up(array, (state, action))
    if vectors and array.shape == (A, S):  # as P is a list of matrices, R may be one of vectors
        return _look_up(array, (action, state))
    if rows is not None and array.shape == (rows.size, S):
        return _look_up(array, (given.row, given.successor))
    layouts = {(S, A, S): "SAS", (A, S, S): "ASS"} if S != A else {(S, S, S): "ASS" if listed else given.square}
    if array.shape in layouts:
        first = (state, action) if layouts[array.shape] == "SAS" else (action, state)
        return _look_up(array, (*first, given.successor))
    forms = [(S,), (S, A), (S, A, S), *([(A, S, S)] if S != A else [])]
    forms += [] if rows is None else [rows.shape, (rows.size, S)]
    turned = f"; {name}.T has shape {(S, A)}" if array.shape == (A, S) else ""
    expected = ", ".join(str(form) for form in dict.fromkeys(forms[:-1])) + f" or {forms[-1]}"
    raise ConfigError(f"{name} has shape {array.shape}, expected {expected}{turned}")


def _are_vectors(values: object) -> TypeGuard[Sequence[npt.NDArray[Any]]]:
    """Whether it is a list of arrays with one axis."""
    return isinstance(values, list | tuple) and all(isinstance(one, np.ndarray) and one.ndim == 1 for one in values)


def _look_up(array: Coordinates, where: tuple[IntArray, ...]) -> FloatArray:
    """[E]: the array's values at these indices; 0 where it has no entry."""
    key = np.ravel_multi_index(array.axes, array.shape)
    wanted = np.ravel_multi_index(where, array.shape)
    values, position = np.append(array.value, 0.0), np.searchsorted(key, wanted)
    missing = np.append(key, -1)[position] != wanted
    return np.where(missing, 0.0, values[position])


def coordinates(values: object, name: str) -> tuple[Coordinates, bool]:
    """The entries of an array, of a sparse matrix of any format, or of a list of matrices; and whether it was a list.

    They are sorted, the last axis running fastest; those at the same place are added up.
    """
    if sp.issparse(values):
        return _of_sparse(values, name), False
    if isinstance(values, Mapping) and list(values) == list(range(len(values))):  # from action to matrix
        values = list(values.values())
    if matrices := _matrices(values):
        parts = [coordinates(one, f"{name}[{i}]")[0] for i, one in enumerate(matrices)]
        shapes = {part.shape for part in parts}
        if len(shapes) > 1 or len(parts[0].shape) != 2:
            raise ConfigError(f"{name} lists matrices of shapes {sorted(shapes)}, expected one for each action [S, S]")
        which = np.repeat(np.arange(len(parts)), [part.value.size for part in parts])
        axes = (which, *(np.concatenate([part.axes[i] for part in parts]) for i in range(2)))
        return Coordinates(axes, np.concatenate([part.value for part in parts]), (len(parts), *parts[0].shape)), True
    array = column(values, "reward", name)
    axes = np.nonzero(np.atleast_1d(array)) if array.ndim else ()
    return Coordinates(axes, array[axes] if array.ndim else array.reshape(1), array.shape), False


def _matrices(values: object) -> list[object]:
    """What a list holds that has a sparse matrix, or an array of objects that has a matrix; nothing of others."""
    if isinstance(values, np.ndarray):
        found = [*values] if values.dtype == object else []
        return found if any(sp.issparse(one) or np.ndim(one) == 2 for one in found) else []
    return [*values] if isinstance(values, list | tuple) and any(map(sp.issparse, values)) else []


def _of_sparse(matrix: object, name: str) -> Coordinates:
    given: Any = matrix  # sparse, of any format
    entries = sp.coo_array(given)
    axes = tuple(np.asarray(axis, np.int64) for axis in entries.coords)
    value = column(entries.data, "reward", name)
    order = np.ravel_multi_index(axes, entries.shape)
    unique, place = np.unique(order, return_inverse=True)
    total = np.zeros(unique.size)
    np.add.at(total, place, value)
    return Coordinates(np.unravel_index(unique, entries.shape), total, entries.shape)


def _terminal_states(states: object, n_states: int) -> IntArray:
    """[N] int64: their numbers, of numbers or of one flag for each state."""
    if isinstance(states, set | frozenset):
        states = sorted(states)
    try:
        given = np.atleast_1d(np.asarray(() if states is None else states))
    except ValueError as error:
        raise ConfigError(f"`terminal_states` must be numbers of states, or a flag for each: {error}") from error
    if given.dtype == np.bool_:
        if given.shape != (n_states,):
            raise ConfigError(f"terminal_states has {given.size} flags, expected {n_states}, or the numbers of states")
        given = np.flatnonzero(given)
    ends = column(given, "successor", "terminal_states")
    if ends.size == n_states > 2 and np.all((ends == 0) | (ends == 1)):
        raise ConfigError(
            f"terminal_states={ends.tolist()[:10]} could be {n_states} flags or the numbers 0 and 1; give flags as "
            f"bool, np.array(...) == 1, or the numbers, {np.flatnonzero(ends).tolist()[:10]}"
        )
    if outside := [int(state) for state in ends if not 0 <= state < n_states]:
        raise ConfigError(f"terminal_states {outside} are outside 0 to {n_states - 1}")
    return np.unique(ends)
