"""NumPy. The colors of numbers on a map: sixteen levels between the lowest and the highest, readable in any theme.

Lightness rises or falls with the number, so that the levels can be told apart without seeing colors; values of both
signs have two hues, orange below 0 and blue above.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from bellmax.contracts import FloatArray, IntArray
from bellmax.pictures.state_numbers import What

LEVELS = 16
RISING = ("#2b2d5b", "#2f6690", "#3a9d8f", "#8cc56d", "#f4e285")
SIGNED = ("#a13a24", "#e09a72", "#f3efe6", "#84b3d6", "#235b8c")
VISITED = ("#eaf1f4", "#9cc5d8", "#4a88ad", "#1c3f5e")
WRONG = ("#f3efe6", "#efb780", "#d1603d", "#7a1f2b")
BLACK, WHITE = "#000000", "#ffffff"
WALL, BLANK = "#8c8c8c", "#dcdcdc"


class Scale(NamedTuple):
    """From numbers to colors.

    Attributes:
        low, high: the numbers of the first and of the last color.
        colors: [LEVELS] as #rrggbb.
        logarithmic: levels are of log(1 + number).
    """

    low: float
    high: float
    colors: tuple[str, ...]
    logarithmic: bool = False

    def levels(self, values: FloatArray) -> IntArray:
        """The level of each number, of any shape; -1 for those that are not finite."""
        low, high = _moved(np.array([self.low, self.high]), self.logarithmic)
        wide = high - low if high > low else 1.0
        share = (_moved(np.where(np.isfinite(values), values, self.low), self.logarithmic) - low) / wide
        level = np.clip(np.rint(share * (LEVELS - 1)), 0, LEVELS - 1).astype(np.int64)
        return np.where(np.isfinite(values), level, -1)


def _moved(values: FloatArray, logarithmic: bool) -> FloatArray:
    return np.log1p(np.maximum(values, 0.0)) if logarithmic else values


def make_scale(values: FloatArray, what: What, limits: tuple[float, float] | None = None) -> Scale:
    """The scale for numbers of one kind, of any shape; `limits` (low, high) instead of their lowest and highest."""
    finite = values[np.isfinite(values)]
    low, high = (
        limits if limits is not None else (float(finite.min(initial=np.inf)), float(finite.max(initial=-np.inf)))
    )
    if not low <= high:  # no number at all
        low, high = 0.0, 1.0
    if what == "visits":
        return Scale(0.0, high, blend(VISITED), logarithmic=True)
    if what == "error":
        far = max(abs(low), abs(high))
        return Scale(-far, far, blend(SIGNED)) if low < 0 else Scale(0.0, far, blend(WRONG))
    if low < 0 < high:
        far = max(-low, high)
        return Scale(-far, far, blend(SIGNED))
    return Scale(low, high, blend(RISING))


def blend(anchors: tuple[str, ...], n: int = LEVELS) -> tuple[str, ...]:
    """`n` colors between the anchors, which are evenly spaced."""
    points = np.array([[int(color[i : i + 2], 16) for i in (1, 3, 5)] for color in anchors], np.float64)
    at = np.linspace(0, len(anchors) - 1, n)
    mixed = np.stack([np.interp(at, np.arange(len(anchors)), points[:, i]) for i in range(3)], axis=1)
    return tuple("#" + "".join(f"{round(part):02x}" for part in row) for row in mixed)


def ink_on(color: str) -> str:
    """Black or white, by the larger contrast (WCAG 2.2, relative luminance); it is at least 4.5 on every color."""
    light = luminance(color)
    return BLACK if (light + 0.05) / 0.05 >= 1.05 / (light + 0.05) else WHITE


def luminance(color: str) -> float:
    """The relative luminance of #rrggbb, from 0 to 1 (WCAG 2.2)."""
    parts = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def number_format(values: FloatArray) -> Callable[[float], str]:
    """A function that writes a number in a few characters: all with as many decimals as the largest needs.

    A number that would round to 0 is written with an exponent; one that is not finite is "".
    """
    finite = np.abs(values[np.isfinite(values)])
    largest = float(finite.max(initial=0.0))
    whole = largest < 1e6 and bool((finite == np.rint(finite)).all())
    decimals = 0 if whole else min(max(2 - math.floor(math.log10(largest)), 0), 3) if 1e-3 <= largest < 1e5 else None

    def write(number: float) -> str:
        if not math.isfinite(number):
            return ""
        if decimals is None:
            return f"{number:.3g}"
        text = f"{number + 0.0:.{decimals}f}"
        return f"{number:.1g}" if number and not float(text) else text

    return write
