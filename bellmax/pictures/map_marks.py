"""Plain Python. Marks of a policy, to be laid over a map that shows another one."""

from __future__ import annotations

import math
from collections.abc import Iterator

from bellmax.pictures.map_drawing import LINE, Drawing, Group, Patch, plan_map
from bellmax.pictures.map_shapes import Point, edge_mark, square
from bellmax.pictures.map_view import MapView, arrows_of

LIGHT, DARK = "#ffffff", "#000000"  # inside and outline, so that they are seen on every color of a cell


def draw_marks(view: MapView) -> Drawing | None:
    """Draw only the greedy actions of a map, in the size of the map; None if its cells are blocks of states.

    A triangle is at each side to which an action leads; a square in a corner is for actions without a direction.
    """
    view, size, corners, head, width, bottom = plan_map(view)
    if view.greedy is None:
        return None  # each cell is a block of cells
    patches: list[Patch] = []
    for panel, (x, y) in corners.items():
        for place, state in enumerate(view.states_of(panel).ravel().tolist()):
            if state >= 0 and view.known[state]:
                row, column = divmod(place, view.layout.columns)
                patches += _marks(view, state, (x + column * size, y + head + row * size), size)
    return Drawing(width, math.ceil(bottom + LINE * 3), view.title, [Group("", tuple(patches), ())])


def _marks(view: MapView, state: int, at: Point, size: float) -> Iterator[Patch]:
    directions, names = arrows_of(view, state)
    shapes = [edge_mark(at, size, direction) for direction in directions]
    if names:
        shapes.append(square((at[0] + 0.84 * size, at[1] + 0.84 * size), 0.13 * size, 0.13 * size))
    for shape in shapes:
        yield Patch(shape, LIGHT)
        yield Patch(shape, DARK, stroke=max(0.4, 0.02 * size))
