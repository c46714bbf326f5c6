"""Plain Python. Quantities that change with the clock. The same lines run in Python, NumPy, Numba and JAX.

Comparisons are used as numbers (True is 1), because JAX cannot trace a branch.
"""

from __future__ import annotations

from typing import TypeVar

from bellmax.contracts import Array, FloatArray

Number = TypeVar("Number", float, FloatArray, Array)


def linear(t: Number, initial: float, final: float, duration: float) -> Number:
    """Return a value that moves in a straight line from `initial` at step 0 to `final` at step `duration`."""
    elapsed = t / duration
    return final + (initial - final) * (1.0 - elapsed) * (elapsed < 1.0)


def exponential(t: Number, initial: float, final: float, half_life: float) -> Number:
    """Return a value that starts at `initial` and halves its distance from `final` every `half_life` steps."""
    share: Number = 0.5 ** (t / half_life)
    return final + (initial - final) * share


def inverse(visits: Number, initial: float, decay: float) -> Number:
    """Return `initial` / (1 + `decay` n) after n visits; with decay = 0 it is constant.

    Any decay > 0 satisfies the conditions of Robbins and Monro (1951): the sum diverges, the sum of squares does not.
    """
    return initial / (1.0 + decay * visits)
