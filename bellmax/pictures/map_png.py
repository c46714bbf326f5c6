"""Matplotlib (extra `plot`). A map as PNG, the same drawing as its SVG."""

from __future__ import annotations

import warnings
from pathlib import Path

from bellmax.arguments import path_of
from bellmax.contracts import ConfigError
from bellmax.pictures.map_drawing import INK, draw_map
from bellmax.pictures.map_view import MapView
from bellmax.printing import plain

DOTS = 144.0  # per inch; a cell of 64 units is 128 dots wide
UNIT = 72.0  # units per inch


def map_png(view: MapView, path: str | Path, *, everything: bool = False) -> Path:
    """Draw a map into a PNG file, and return its path; see `draw_map`.

    Raises:
        ConfigError: Matplotlib is not installed, or the file cannot be written.
    """
    try:
        from matplotlib.figure import Figure
        from matplotlib.patches import Polygon
    except ImportError as error:
        raise ConfigError(
            "drawing a PNG needs Matplotlib: pip install 'bellmax[plot]'; an SVG needs nothing"
        ) from error
    target, drawing = path_of("path", path), draw_map(view, everything=everything)
    figure = Figure(figsize=(drawing.width / UNIT, drawing.height / UNIT), dpi=DOTS)
    axes = figure.add_axes((0.0, 0.0, 1.0, 1.0))
    axes.set_xlim(0, drawing.width)
    axes.set_ylim(drawing.height, 0)
    axes.axis("off")
    for group in drawing.groups:
        for patch in group.patches:
            color = "#1b1b1b" if patch.fill == INK else patch.fill
            outline = {"fill": False, "edgecolor": color, "linewidth": patch.stroke} if patch.stroke else {}
            axes.add_patch(Polygon(patch.points, closed=True, **(outline or {"facecolor": color, "edgecolor": "none"})))
        for label in group.labels:
            inside = label.anchor == "middle"
            axes.text(
                *label.at, plain(label.text), parse_math=False, fontsize=label.size,
                color="#1b1b1b" if label.fill == INK else label.fill, weight="bold" if label.bold else "normal",
                ha="center" if inside else "left", va="center_baseline" if inside else "baseline",
            )  # fmt: skip
    try:
        with warnings.catch_warnings(action="ignore"):  # a name may have letters that its font does not have
            figure.savefig(target, format="png", dpi=DOTS)
    except OSError as error:
        raise ConfigError(f"cannot write {target}: {error}; give another path") from error
    return target
