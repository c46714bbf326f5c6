"""Plain Python. The shapes on a map: rectangles, arrows, and a square cut into a sector for each direction."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bellmax.mdp.layout import Direction

Point = tuple[float, float]


def sectors(directions: Sequence[Direction]) -> dict[Direction, tuple[Point, ...]]:
    """The unit square, cut into what is nearest in angle to each direction (row, column); points (x, y) of each.

    Four directions give four triangles, left and right two halves, and one direction the whole square.
    """
    angle = {direction: math.atan2(direction[0], direction[1]) for direction in directions}  # clockwise, y is down
    order = sorted(angle, key=angle.__getitem__)
    if len(order) <= 1:
        return dict.fromkeys(order, ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0)))
    found = {}
    corners = [(math.atan2(y - 0.5, x - 0.5), (x, y)) for x, y in ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))]
    for i, direction in enumerate(order):
        here = angle[direction]
        before = (here - angle[order[i - 1]]) % math.tau / 2
        after = (angle[order[(i + 1) % len(order)]] - here) % math.tau / 2
        between = sorted(((a - here + before) % math.tau, corner) for a, corner in corners)
        inside = [corner for turn, corner in between if 1e-9 < turn < before + after - 1e-9]
        found[direction] = ((0.5, 0.5), _edge(here - before), *inside, _edge(here + after))
    return found


def _edge(angle: float) -> Point:
    """Where the ray from the middle of the unit square at this angle leaves it."""
    x, y = math.cos(angle), math.sin(angle)
    far = 0.5 / max(abs(x), abs(y))
    return round(0.5 + far * x, 9), round(0.5 + far * y, 9)


def arrow_shape(tail: Point, direction: Direction, reach: float) -> tuple[Point, ...]:
    """An arrow of a length, from a point in a direction (row, column)."""
    length = math.hypot(*direction)
    y, x = direction[0] / length, direction[1] / length
    outline = ((0.0, 0.09), (0.62, 0.09), (0.62, 0.26), (1.0, 0.0), (0.62, -0.26), (0.62, -0.09), (0.0, -0.09))
    return tuple((tail[0] + reach * (a * x - b * y), tail[1] + reach * (a * y + b * x)) for a, b in outline)


def edge_mark(at: Point, size: float, direction: Direction) -> tuple[Point, ...]:
    """A triangle in a cell with its upper left corner at a point: its tip is at the side in a direction."""
    length, far = math.hypot(*direction), max(map(abs, direction))
    y, x = direction[0] / length, direction[1] / length
    tip = at[0] + size * (0.5 + 0.48 * direction[1] / far), at[1] + size * (0.5 + 0.48 * direction[0] / far)
    back = tip[0] - 0.13 * size * x, tip[1] - 0.13 * size * y
    side = 0.11 * size
    return tip, (back[0] - side * y, back[1] + side * x), (back[0] + side * y, back[1] - side * x)


def square(at: Point, width: float, height: float) -> tuple[Point, ...]:
    """A rectangle with its upper left corner at a point."""
    x, y = at
    return (x, y), (x + width, y), (x + width, y + height), (x, y + height)
