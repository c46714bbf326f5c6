"""Plain arithmetic: quantities that change with the clock. The same lines run under Python, NumPy, Numba and JAX.

Comparisons are used as numbers (true is 1), because a branch would not trace under JAX.
"""

from __future__ import annotations

from typing import Any


def linear(t: Any, initial: Any, final: Any, duration: Any) -> Any:
    """From `initial` at t = 0 in a straight line to `final` at t = `duration` (environment steps), then flat."""
    elapsed = t / duration
    return final + (initial - final) * (1.0 - elapsed) * (elapsed < 1.0)


def exponential(t: Any, initial: Any, final: Any, half_life: Any) -> Any:
    """From `initial` towards `final`, the distance halving every `half_life` environment steps."""
    return final + (initial - final) * 0.5 ** (t / half_life)


def inverse(visits: Any, initial: Any, decay: Any) -> Any:
    """`initial` / (1 + `decay` n) after n visits; decay = 0 is constant.

    Any decay > 0 satisfies Robbins and Monro's conditions (1951): the sum diverges, the sum of squares does not.
    """
    return initial / (1.0 + decay * visits)
