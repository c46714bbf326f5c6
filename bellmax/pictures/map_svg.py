"""Plain Python. A map as SVG: every cell says in words what it shows, and its colors can follow the page."""

from __future__ import annotations

import html
import re

from bellmax.pictures.map_drawing import INK, Drawing, Group, Label, Patch, draw_map
from bellmax.pictures.map_shapes import Point
from bellmax.pictures.map_view import MapView
from bellmax.printing import plain

NOT_XML = re.compile("[\ufffe\uffff]")
# the colors of words outside the cells follow the theme of the system, if the picture is a file of its own
STYLE = (
    ".bellmax-map{color:#1b1b1b;background:#ffffff}"
    "@media (prefers-color-scheme:dark){.bellmax-map{color:#e6e6e6;background:#1b1b1b}}"
)


def map_svg(view: MapView, *, style: bool = True, everything: bool = False) -> str:
    """A map as an SVG element; see `draw_map`.

    Each cell is a group `<g class="cell">` with a `<title>` that says its place, its state and its numbers. The color
    of a number has the class `l0` to `l15`, so that a page can give it another of like lightness. Words outside cells
    are in `currentColor`, as the page writes. All text is escaped.

    Args:
        view: from `make_map`.
        style: with a `<style>` of its own, for a file; a page that allows no such element has its own rules.
        everything: draw each cell, however many there are.
    """
    return drawing_svg(draw_map(view, everything=everything), style)


def drawing_svg(drawing: Drawing, style: bool) -> str:
    """A drawing as an SVG element; `style` as for `map_svg`."""
    width, height = drawing.width, drawing.height
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" class="bellmax-map" viewBox="0 0 {width} {height}" width="{width}" '
        f'height="{height}" role="img" aria-label="{escaped(drawing.title)}" '
        'font-family="system-ui, sans-serif" fill="currentColor">',
        f"<style>{STYLE}</style>" if style else "",
        *map(_group, drawing.groups),
        "</svg>",
    ]
    return "\n".join(part for part in parts if part) + "\n"


def _group(group: Group) -> str:
    inside = "".join([*map(_patch, group.patches), *map(_label, group.labels)])
    if not inside:
        return ""
    if not group.title:
        return f"<g>{inside}</g>"
    return f'<g class="cell"><title>{escaped(group.title)}</title>{inside}</g>'


def _patch(patch: Patch) -> str:
    points = " ".join(map(_point, patch.points))
    if patch.stroke:
        color = "currentColor" if patch.fill == INK else patch.fill
        return f'<polygon points="{points}" fill="none" stroke="{color}" stroke-width="{_number(patch.stroke)}"/>'
    fill = "" if patch.fill == INK else f' fill="{patch.fill}"'
    level = f' class="l{patch.level}"' if patch.level >= 0 else ""
    return f'<polygon{level} points="{points}"{fill}/>'


def _label(label: Label) -> str:
    x, y = label.at
    inside = label.anchor == "middle"  # of a cell: around the point, not above it
    baseline = y + (label.size * 0.35 if inside else 0)
    fill = "" if label.fill == INK else f' fill="{label.fill}"'
    weight = ' font-weight="700"' if label.bold else ""
    anchor = ' text-anchor="middle"' if inside else ""
    place = f'x="{_number(x)}" y="{_number(baseline)}" font-size="{_number(label.size)}"'
    return f"<text {place}{anchor}{fill}{weight}>{escaped(label.text)}</text>"


def _point(point: Point) -> str:
    return f"{_number(point[0])},{_number(point[1])}"


def _number(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def escaped(text: object) -> str:
    """A text for HTML and XML: markup and quotes escaped, control characters written out."""
    return html.escape(NOT_XML.sub("?", plain(text)))
