"""Plain Python. The frame of a small picture in SVG: scales, round numbers at the axes, labels."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from bellmax.pictures.map_svg import escaped

INK = 'fill="currentColor" fill-opacity="0.85"'  # text and axes have the color of the page's text, light or dark
LETTER = 6.2  # width of a letter of the axes in pixels
_HUGE = 1e300


class Frame(NamedTuple):
    """Where numbers are in a picture: edges in pixels, and the range of each axis."""

    left: float
    top: float
    right: float
    bottom: float
    x_range: tuple[float, float]
    y_range: tuple[float, float]

    def x(self, value: float) -> float:
        """Return the place of a number in pixels from the left; what is outside is at the edge."""
        low, high = self.x_range
        value = min(max(value, low), high)
        return self.left + (value / 2 - low / 2) / (high / 2 - low / 2) * (self.right - self.left)

    def y(self, value: float) -> float:
        """Return the place of a number in pixels from the top; what is outside is at the edge."""
        low, high = self.y_range
        value = min(max(value, low), high)
        return self.bottom - (value / 2 - low / 2) / (high / 2 - low / 2) * (self.bottom - self.top)


def range_of(values: Iterable[float], margin: float = 0.0) -> tuple[float, float]:
    """Return the range of the finite values, wider by a share `margin` at each end, and never empty."""
    known = [min(max(value, -_HUGE), _HUGE) for value in values if math.isfinite(value)] or [0.0]
    low, high = min(known), max(known)
    if high / 2 - low / 2 <= 1e-12 * max(abs(low), abs(high)):
        half = 0.05 * abs(low) or 0.5
        return low - half, high + half
    extra = margin * (high / 2 - low / 2) * 2
    return low - extra, high + extra


def ticks(low: float, high: float, most: int = 5) -> tuple[list[float], float]:
    """Return at most about `most` round numbers from `low` to `high`, and the step between them."""
    rough = (high / most - low / most) or 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1.0, 2.0, 5.0, 10.0) if factor * power >= rough * (1 - 1e-9))
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [i * step for i in range(first, last + 1)], step


def tick_text(value: float, step: float) -> str:
    """Return a number with as many digits as its step needs: 0.25, 1,500, 2.5M, 1.0000002."""
    unit, letter = (1e6, "M") if abs(value) >= 1e6 and step >= 1e3 else (1.0, "")
    decimals = max(0, -math.floor(math.log10(step / unit) + 1e-9))
    if decimals > 6 or abs(value) >= 1e12:
        digits = 2 + math.floor(math.log10(max(abs(value) / step, 1.0)))  # those that tell it from the next one
        return f"{value:.{min(digits, 17)}g}"
    text = f"{value / unit:,.{decimals}f}"
    return f"{text.rstrip('0').rstrip('.') if letter and '.' in text else text}{letter}"


def frame_with_room(
    x_range: tuple[float, float], y_range: tuple[float, float], width: int, height: int, top: float
) -> Frame:
    """Return a frame with room on the left for the numbers of the y axis, and below for the x axis."""
    marks, step = ticks(*y_range)
    longest = max((len(tick_text(mark, step)) for mark in marks), default=1)
    below, step = ticks(*x_range)
    half = 0.5 * LETTER * max((len(tick_text(mark, step)) for mark in below[-1:]), default=1)  # it may be at the edge
    return Frame(26 + LETTER * longest, top, width - 6.0 - half, height - 40.0, x_range, y_range)


def axes_svg(frame: Frame, x_label: str, y_label: str) -> str:
    """Return both axes: lines, numbers and labels."""
    parts = []
    marks, step = ticks(*frame.y_range)
    for mark in marks:
        y = frame.y(mark)
        parts.append(
            f'<path d="M{frame.left:.1f} {y:.1f}H{frame.right:.1f}" stroke="currentColor" stroke-opacity="0.15"/>'
            f'<text x="{frame.left - 6:.1f}" y="{y + 4:.1f}" text-anchor="end" {INK}>{tick_text(mark, step)}</text>'
        )
    marks, step = ticks(*frame.x_range)
    for mark in marks:
        x = frame.x(mark)
        parts.append(
            f'<path d="M{x:.1f} {frame.bottom:.1f}v4" stroke="currentColor" stroke-opacity="0.6"/>'
            f'<text x="{x:.1f}" y="{frame.bottom + 16:.1f}" text-anchor="middle" {INK}>{tick_text(mark, step)}</text>'
        )
    middle, half = (frame.left + frame.right) / 2, (frame.top + frame.bottom) / 2
    parts.append(
        f'<path d="M{frame.left:.1f} {frame.bottom:.1f}H{frame.right:.1f}" stroke="currentColor" stroke-opacity="0.6"/>'
        f'<text x="{middle:.1f}" y="{frame.bottom + 33:.1f}" text-anchor="middle" {INK}>{escaped(x_label)}</text>'
        f'<text transform="translate(12 {half:.1f}) rotate(-90)" text-anchor="middle" {INK}>{escaped(y_label)}</text>'
    )
    return "".join(parts)


def picture(inside: str, title: str, width: int, height: int) -> str:
    """Return a whole SVG picture, which a screen reader calls by its title."""
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'role="img" aria-label="{escaped(title)}" font-family="system-ui, sans-serif" font-size="11" fill="none">'
        f"{inside}</svg>"
    )
