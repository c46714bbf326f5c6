"""Plain Python. Curves and histograms as small SVG pictures that follow the colors of a light or a dark page.

They have no script, no style sheet and no address of anything else: text and axes have the page's own color, and lines
have colors of medium lightness. A style sheet can reach the lines by their classes `c0`, `c1`, ...
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from bellmax.contracts import FloatArray, counted
from bellmax.pictures.curve_axes import INK, LETTER, Frame, axes_svg, frame_with_room, picture, range_of
from bellmax.pictures.curve_data import Curve, curve_of, thinned
from bellmax.pictures.map_svg import escaped

PALETTE = ("#3b7dd8", "#c2651a", "#2b8a53", "#a15cc2", "#c9504c", "#1f8798")  # 3:1 on white and on black
DASHES = ("", "7 3", "2 3", "9 3 2 3")
MOST_POINTS, MOST_SEEDS = 150, 20
SORTED_FROM = 120  # states, whose values are then in order of size


def curve_svg(
    steps: npt.ArrayLike,
    values: npt.ArrayLike,
    title: str = "",
    *,
    x_label: str = "environment steps",
    y_label: str = "",
    reference: float | None = None,
    width: int = 480,
    height: int = 240,
) -> str:
    """Draw `values` [seeds, T] at `steps` [T]: single seeds, their IQM, and its 95 % interval from five seeds on.

    `reference` is a horizontal line, such as the best possible value. Raises ValueError if the shapes do not fit.
    """
    curves = [curve_of("", steps, values)]
    return curves_svg(curves, title, x_label=x_label, y_label=y_label, reference=reference, width=width, height=height)


def curves_svg(
    curves: Sequence[Curve],
    title: str = "",
    *,
    x_label: str = "environment steps",
    y_label: str = "",
    reference: float | None = None,
    width: int = 480,
    height: int = 240,
) -> str:
    """Draw several curves, each in a color and a dash of its own, with a legend if they have labels."""
    y = [reference] if reference is not None else []
    for curve in curves:
        y += [float(v) for part in (curve.seeds[:MOST_SEEDS], curve.middle, curve.low, curve.high) for v in part.flat]
    legend, top = _legend(curves, title, width)
    x = [float(step) for curve in curves for step in curve.steps]
    frame = frame_with_room(range_of(x), range_of(y, 0.04), width, height, top)
    lines = [axes_svg(frame, x_label, y_label), legend]
    if reference is not None:
        at = frame.y(reference)
        lines.append(
            f'<path class="reference" d="M{frame.left:.1f} {at:.1f}H{frame.right:.1f}" stroke="currentColor" '
            f'stroke-opacity="0.7" stroke-dasharray="4 4"/>'
        )
    lines += [_lines(curve, i, frame) for i, curve in enumerate(curves)]
    described = ", ".join(curve.label for curve in curves if curve.label)
    return picture("".join(lines), " ".join(filter(None, (title or y_label or "curve", described))), width, height)


def histogram_svg(
    values: npt.ArrayLike, title: str = "", *, x_label: str = "", width: int = 480, height: int = 200
) -> str:
    """Draw how often finite `values` [E] occur: about the square root of their number of bars, at most 30."""
    known = np.asarray(values, np.float64).ravel()
    known = np.clip(known[np.isfinite(known)], -1e300, 1e300)
    low, high = range_of(known.tolist())
    bars = min(30, max(1, round(known.size**0.5))) if known.size and np.ptp(known) > 0 else 1
    edges = np.linspace(low / 2, high / 2, bars + 1) * 2
    counts = np.bincount(np.clip(np.searchsorted(edges, known, "right") - 1, 0, bars - 1), minlength=bars)
    frame = frame_with_room((low, high), (0.0, float(max(counts.max(), 1))), width, height, 26.0)
    drawn = [axes_svg(frame, x_label, "episodes"), _title(title)]
    for count, left, right in zip(counts.tolist(), edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        x, y = frame.x(left), frame.y(count)
        drawn.append(
            f'<rect class="c0" x="{x + 0.5:.1f}" y="{y:.1f}" width="{max(frame.x(right) - x - 1, 0.5):.1f}" '
            f'height="{frame.bottom - y:.1f}" fill="{PALETTE[0]}">'
            f"<title>{left:.6g} to {right:.6g}: {count}</title></rect>"
        )
    return picture("".join(drawn), title or "histogram", width, height)


def state_values_svg(values: npt.ArrayLike, title: str = "value of each state") -> str:
    """Draw one value for each state [S], by the number of the state; those of many states in order of size."""
    v = np.asarray(values, np.float64).ravel()
    label = "state"
    if v.size > SORTED_FROM:
        v, label = np.sort(v), "states in order of their value"
    return curve_svg(np.arange(v.size), v[None], title, x_label=label, height=200)


def _title(title: str) -> str:
    return f'<text x="8" y="16" font-size="12" font-weight="bold" {INK}>{escaped(title)}</text>' if title else ""


def _legend(curves: Sequence[Curve], title: str, width: int) -> tuple[str, float]:
    """The title and what the lines are, in rows of the picture's width, and where the frame begins."""
    parts, x, y = [_title(title)], 8.0, 32.0 if title else 16.0
    seeds = max((curve.n for curve in curves), default=1)
    entries = [(curve.label, i) for i, curve in enumerate(curves) if curve.label]
    words = "interquartile mean" if seeds > 1 else ""
    if banded := [curve for curve in curves if curve.band_steps.size]:
        words += f", {100 * banded[0].confidence:g} % interval"
    if len(curves) == 1 and words:
        words += f", {counted(seeds, 'seed')}"
    for text, i in [*entries, *([(words, -1)] if words else [])]:
        needed = LETTER * len(text) + 34
        if x > 8.0 and x + needed > width:
            x, y = 8.0, y + 15.0
        if i >= 0:
            parts.append(f'<path class="c{i} key" d="M{x:.1f} {y - 4:.1f}h18" {_stroke(i, 2.2)}/>')
        start = x + 22 if i >= 0 else x
        parts.append(f'<text x="{start:.1f}" y="{y:.1f}" {INK}>{escaped(text)}</text>')
        x += needed
    return "".join(parts), y + 10.0 if x > 8.0 else (26.0 if title else 12.0)


def _lines(curve: Curve, i: int, frame: Frame) -> str:
    """The interval, single seeds and IQM of a curve; of one seed only its line."""
    parts, color = [], PALETTE[i % len(PALETTE)]
    if curve.band_steps.size:
        known = np.isfinite(curve.low) & np.isfinite(curve.high)
        at = thinned(np.flatnonzero(known), MOST_POINTS)
        ring = [*_points(curve.band_steps[at], curve.high[at], frame)]
        ring += reversed(_points(curve.band_steps[at], curve.low[at], frame))
        if ring:
            parts.append(f'<path class="c{i} band" d="M{"L".join(ring)}Z" fill="{color}" fill-opacity="0.2"/>')
    if curve.n > 1:
        for seed in curve.seeds[:MOST_SEEDS]:
            parts.append(_path(seed, curve, frame, f'class="c{i} seed" stroke="{color}" stroke-opacity="0.35"'))
    line = curve.middle if curve.n > 1 else curve.seeds[0]
    parts.append(_path(line, curve, frame, f'class="c{i}" {_stroke(i, 2.2)} stroke-linejoin="round"'))
    return "".join(parts)


def _path(values: FloatArray, curve: Curve, frame: Frame, style: str) -> str:
    """A line through the known values; a single one is a dot."""
    at = thinned(np.flatnonzero(np.isfinite(values)), MOST_POINTS)
    points = _points(curve.steps[at], values[at], frame)
    if not points:
        return ""
    dot = "h0.1" if len(points) == 1 else ""
    return f'<path d="M{"L".join(points)}{dot}" stroke-linecap="round" {style}/>'


def _points(x: FloatArray, y: FloatArray, frame: Frame) -> list[str]:
    return [f"{frame.x(float(a)):.1f} {frame.y(float(b)):.1f}" for a, b in zip(x, y, strict=True)]


def _stroke(i: int, width: float) -> str:
    """The color of the i-th line, and its dash; the first dash is none."""
    dash = next(itertools.islice(itertools.cycle(DASHES), i, None))
    dashed = f' stroke-dasharray="{dash}"' if dash else ""
    return f'stroke="{PALETTE[i % len(PALETTE)]}" stroke-width="{width}"{dashed}'
