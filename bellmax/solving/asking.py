"""Plain Python and NumPy. What the functions of exact solving are given, when it is not what they want."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bellmax.arguments import brief, describe
from bellmax.contracts import BoolArray, ConfigError, FloatArray, unknown
from bellmax.mdp.gallery import GALLERY
from bellmax.mdp.model import FiniteMDP


def check_model(mdp: object) -> FiniteMDP:
    """`mdp`, if it is a model.

    Raises:
        ConfigError: it is something else; the message says how to make a model of it.
    """
    if isinstance(mdp, FiniteMDP):
        return mdp
    kind = type(mdp).__name__
    what = "" if mdp is None else f"{'an' if kind[0] in 'aeiouAEIO' else 'a'} {kind}, "
    raise ConfigError(f"{_brief(mdp)} is {what}not a FiniteMDP{_remedy(mdp)}")


def _remedy(given: object) -> str:
    kind = type(given).__name__
    if isinstance(given, str):
        if given in GALLERY:
            return f". Give bellmax.{GALLERY[given].__name__}()"
        if "-v" in given or "/" in given:
            return f". Give bellmax.FiniteMDP.from_gymnasium({given!r})"
        return f": {unknown('model', given, GALLERY)}"
    if (uncalled := next((make for make in GALLERY.values() if make is given), None)) is not None:
        return f". Call it: {uncalled.__name__}()"
    if kind in ("Run", "Policy"):
        return ", the model that it is about. bellmax.evaluate(policy, environment) plays a policy"
    if kind in ("Solution", "HorizonSolution", "Average", "PolicyGap"):
        return ", which is an answer. Give the model that it is about"
    if hasattr(given, "unwrapped") or hasattr(given, "action_space"):
        return ". Give bellmax.FiniteMDP.from_gymnasium(env), which reads its transition table"
    if kind == "World":
        return ", a compiled environment without a transition table"
    if isinstance(given, dict):
        return ". Give bellmax.FiniteMDP.from_successors(table)"
    if isinstance(given, list | tuple | np.ndarray) or hasattr(given, "tocsr"):
        return ". Give bellmax.FiniteMDP.from_arrays(P, R), or from_successors(table)"
    return ". See bellmax.FiniteMDP.from_arrays, from_successors, from_function and from_gymnasium"


def _brief(given: object) -> str:
    """A string, a number or a function as it is; of other things, which may be long, no more than that."""
    if isinstance(given, str | int | float) or given is None:
        return describe(given)
    return f"`{given.__name__}`" if hasattr(given, "__name__") else "`mdp`"


def check_policy(policy: object) -> npt.NDArray[Any]:
    """`policy` as an array; whole numbers that are floats are actions.

    Raises:
        ConfigError: it is an answer or an agent's policy, and not its actions.
    """
    wanted, kind = "`policy` must be actions [S] or probabilities [S, A]", type(policy).__name__
    if kind in ("Solution", "Average", "HorizonSolution"):
        raise ConfigError(f"{wanted}; got a {kind}: give its .policy")
    if hasattr(policy, "table"):
        raise ConfigError(f"{wanted}; got a {kind}: give .table().argmax(axis=1)")
    try:
        array = np.asarray(policy)
    except ValueError as error:
        raise ConfigError(f"{wanted}: {brief(error)}") from error
    if array.ndim == 1 and array.dtype.kind == "f" and np.all(array == np.round(array)):
        array = array.astype(np.int64)
    return array


def check_values(name: str, values: object, *shapes: tuple[int, ...], allowed: BoolArray | None = None) -> FloatArray:
    """`values` as float64 of one of the shapes, without NaN; 0 for actions that are not `allowed [S, A]`.

    Raises:
        ConfigError: it is something else.
    """
    wanted = f"`{name}` must be an array of shape {' or '.join(str(shape) for shape in shapes)}"
    if type(values).__name__ == "Solution":
        raise ConfigError(f"{wanted}; got a Solution: give its .v or .q")
    try:
        array = np.asarray(values, np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise ConfigError(f"{wanted}: {brief(error)}") from error
    if array.shape not in shapes:
        raise ConfigError(f"{name} has shape {array.shape}, expected {' or '.join(str(shape) for shape in shapes)}")
    if allowed is not None and array.shape == allowed.shape:
        array = np.where(allowed, array, 0.0)
    undefined = np.isnan(array).reshape(len(array), -1).any(axis=1)
    if undefined.any():
        raise ConfigError(f"{name} is nan in states {np.flatnonzero(undefined)[:10]}")
    return array
