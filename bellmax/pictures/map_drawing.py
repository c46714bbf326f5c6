"""NumPy. A map as polygons and words with their places, which `map_svg` and `map_png` put on paper."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import NamedTuple

from bellmax.pictures.map_colors import BLANK, WALL, ink_on
from bellmax.pictures.map_shapes import Point, arrow_shape, sectors, square
from bellmax.pictures.map_view import (
    MapView,
    arrows_of,
    mark_of,
    marks_in_words,
    scale_in_words,
    shortened,
    shrink,
)

SIZE, LEAST = 64.0, 8.0  # of a cell
WITH_NUMBERS = 40.0  # cells of this size have room for numbers
WIDEST = 1_200.0
MOST_CELLS = 2_500  # of one panel
GAP, LINE = 20.0, 18.0  # between panels; of a line of words
LETTERS, LETTER, WIDE_LETTER = 13.0, 0.62, 0.7  # the size of words around a map; the width of a letter, and in bold
INK, OUTLINE = "ink", "outline"  # colors that follow the page


class Patch(NamedTuple):
    """A polygon, filled with `#rrggbb`, or with INK; with `stroke`, its outline only, in this color."""

    points: tuple[Point, ...]
    fill: str
    level: int = -1
    stroke: float = 0.0


class Label(NamedTuple):
    """Words around a point; `anchor` is "middle" or "start"; `fill` is a color or INK."""

    at: Point
    text: str
    size: float
    fill: str = INK
    bold: bool = False
    anchor: str = "middle"


class Group(NamedTuple):
    """A cell, or what is around the cells; `title` says in words what the cell shows."""

    title: str
    patches: tuple[Patch, ...]
    labels: tuple[Label, ...]


class Drawing(NamedTuple):
    """A picture of a width and a height, from groups."""

    width: int
    height: int
    title: str
    groups: list[Group]


class Plan(NamedTuple):
    """Where the parts of a map are.

    Attributes:
        view: the map, in blocks where it has too many cells.
        size: of a cell.
        corners: the upper left corner of each panel with its name.
        head: the room for the name of a panel.
        width, bottom: of the picture, and where the panels end.
    """

    view: MapView
    size: float
    corners: dict[int, Point]
    head: float
    width: int
    bottom: float


def plan_map(view: MapView, *, everything: bool = False) -> Plan:
    """Where the parts of a map are; of one with more than 2,500 cells, each stands for a block of cells.

    With `everything`, each cell is drawn, however many there are.
    """
    view = view if everything else shrink(view, _block_size(view.layout.rows, view.layout.columns))
    panels, layout = view.shown_panels, view.layout
    size = min(SIZE * (1.3 if view.what == "q" else 1.0), max(LEAST, (WIDEST - 2 * GAP) / layout.columns))
    wide, high = layout.columns * size, layout.rows * size
    beside = max(1, min(len(panels), int((WIDEST - GAP) // (wide + GAP))))
    head = LINE if any(layout.panels) else 0.0
    top = GAP + (LINE if view.title else 0.0)
    corners = {
        panel: (GAP + (i % beside) * (wide + GAP), top + (i // beside) * (high + GAP + head))
        for i, panel in enumerate(panels)
    }
    bottom = top + math.ceil(len(panels) / beside) * (high + GAP + head)
    around = (*_title(view), *_legend(view, (GAP, bottom)).labels)
    width = GAP + max(beside * (wide + GAP), *map(_right_end, around))
    return Plan(view, size, corners, head, math.ceil(width), bottom)


def draw_map(view: MapView, *, everything: bool = False) -> Drawing:
    """The polygons and words of a map; `everything` as in `plan_map`."""
    view, size, corners, head, width, bottom = plan_map(view, everything=everything)
    wide = view.layout.columns * size
    groups = [Group("", (), tuple(_title(view)))]
    for panel, (x, y) in corners.items():
        name = shortened(view.layout.panels[panel], max(8, int(wide / 7)))
        groups.append(Group("", (), tuple(_words(name, (x, y + 12)))))
        groups += _cells(view, panel, (x, y + head), size)
        groups.append(Group("", tuple(_fences(view, (x, y + head), size)), ()))
    groups.append(_legend(view, (GAP, bottom)))
    return Drawing(width, math.ceil(bottom + LINE * 3), f"{view.title}: {scale_in_words(view)}", groups)


def _block_size(rows: int, columns: int) -> int:
    """Of how many cells [size, size] a block must be, so that there are not too many."""
    size = math.ceil(math.sqrt(rows * columns / MOST_CELLS))
    while math.ceil(rows / size) * math.ceil(columns / size) > MOST_CELLS:
        size += 1
    return size


def _words(text: str, at: Point, bold: bool = False) -> Iterator[Label]:
    if text:
        yield Label(at, text, LETTERS, bold=bold, anchor="start")


def _title(view: MapView) -> Iterator[Label]:
    most = int((WIDEST - 2 * GAP) / (LETTERS * WIDE_LETTER))
    return _words(shortened(view.title, most), (GAP, GAP), bold=True)


def _right_end(label: Label) -> float:
    """Where a line of words ends at most, in any usual font."""
    return label.at[0] + len(label.text) * label.size * (WIDE_LETTER if label.bold else LETTER)


def _legend(view: MapView, at: Point) -> Group:
    """The scale of colors with its ends in words, and the letters of the map."""
    x, y = at
    step = 8.0
    patches = [
        Patch(square((x + i * step, y), step, 10.0), color, level=i) for i, color in enumerate(view.scale.colors)
    ]
    labels = [*_words(scale_in_words(view), (x + len(patches) * step + 8, y + 10))]
    aimless = [name for name, arrow in zip(view.action_names, view.directions, strict=False) if arrow is None]
    if view.what != "q" or len(aimless) < 2 or len(aimless) == len(view.directions):
        aimless = []
    letters = [f"{name[:1]} {shortened(name, 20)}" for name in aimless[:3]]
    labels += _words(", ".join([*filter(None, [marks_in_words(view)]), *letters]), (x, y + 10 + LINE))
    return Group("", tuple(patches), tuple(labels))


def _cells(view: MapView, panel: int, corner: Point, size: float) -> Iterator[Group]:
    states, level = view.states_of(panel), view.scale.levels(view.values)
    for row in range(view.layout.rows):
        for column in range(view.layout.columns):
            state, kind = int(states[row, column]), str(view.layout.kinds[row, column])
            at = (corner[0] + column * size, corner[1] + row * size)
            inside = size - max(0.5, size * 0.02)  # a line between cells
            is_known = state >= 0 and bool(view.known[state])
            words = describe_cell(view, panel, (row, column), state if is_known else -1, kind)
            if not is_known:
                color = WALL if kind == "wall" else BLANK
                mark = Label(_middle(at, size), mark_of(kind), size * 0.3, ink_on(color))
                yield Group(words, (Patch(square(at, inside, inside), color),), (mark,) if mark.text else ())
                continue
            patches, labels = _state(view, state, kind, at, inside, int(level[state]))
            if state == view.here:
                patches = [*patches, Patch(square((at[0] + 2, at[1] + 2), size - 4, size - 4), INK, stroke=3.0)]
            yield Group(words, tuple(patches), tuple(labels))


def describe_cell(view: MapView, panel: int, place: tuple[int, int], state: int, kind: str) -> str:
    """What a cell shows, in words: its place, its state, its number, those of its actions, and the greedy ones."""
    name = view.layout.panels[panel]
    words = [f"row {place[0]}, column {place[1]}", *([shortened(name)] if name else [])]
    if kind != "free":
        words.append(kind)
    if state < 0:
        return ", ".join(words)
    if view.block == 1:
        name = f" {shortened(view.state_names[state])}" if view.state_names else ""
        words.append(f"state {state}{name}")
    text = f"{', '.join(words)}: {view.what if view.what != 'policy' else 'value'} {float(view.values[state]):.6g}"
    if view.of_actions is not None:
        numbers = zip(view.action_names, view.of_actions[state].tolist(), strict=True)
        text += "".join(f"; {shortened(name)} {number:.6g}" for name, number in numbers if math.isfinite(number))
    if view.greedy is not None:
        names = [shortened(name) for name, best in zip(view.action_names, view.greedy[state], strict=True) if best]
        text += f"; greedy: {', '.join(names)}"
    return text


def _state(view: MapView, state: int, kind: str, at: Point, size: float, level: int) -> tuple[list[Patch], list[Label]]:
    """A cell with a number: its color or one for each action, numbers, arrows, and its letter."""
    color = view.scale.colors[level]
    ink = ink_on(color)
    if view.what == "q" and view.of_actions is not None and any(view.directions):
        return _sectors(view, state, kind, at, size)
    mark = Label((at[0] + size * 0.13, at[1] + size * 0.14), mark_of(kind), size * 0.18, ink)
    labels = [mark] if mark.text else []
    patches = [Patch(square(at, size, size), color, level)]
    directions, names = arrows_of(view, state) if view.what in ("value", "policy", "q") else ([], [])
    numbers = size >= WITH_NUMBERS and view.what != "policy"
    x, y = at[0] + size / 2, at[1] + size * (0.7 if numbers else 0.5)
    if numbers:
        where = (x, at[1] + size * (0.38 if directions or names else 0.5))
        labels.append(Label(where, view.write(float(view.values[state])), size * 0.22, ink))
    reach = size * (0.2 if numbers else 0.34)
    for row, column in directions:  # a single arrow has its middle there, several begin there
        back = (0.5 if len(directions) == 1 else 0.0) * reach / math.hypot(row, column)
        patches.append(Patch(arrow_shape((x - back * column, y - back * row), (row, column), reach), ink))
    if names and size >= WITH_NUMBERS:
        more = "…" * (len(names) > 1)
        labels.append(Label((x, y), shortened(names[0], 10) + more, size * 0.17, ink))
    return patches, labels


def _sectors(view: MapView, state: int, kind: str, at: Point, size: float) -> tuple[list[Patch], list[Label]]:
    """A sector for each action that has a direction, in the color of its value; others in the middle."""
    assert view.of_actions is not None  # noqa: S101 - only called so
    values = view.of_actions[state]
    level = view.scale.levels(values)
    aimed = {direction: a for a, direction in enumerate(view.directions) if direction and math.isfinite(values[a])}
    rest = [a for a in range(values.size) if a not in aimed.values() and math.isfinite(values[a])][:3]
    patches, labels = [Patch(square(at, size, size), BLANK)], []

    def write(action: int, x: float, y: float, text: str, large: float) -> None:
        best = view.greedy is not None and bool(view.greedy[state, action])
        if size >= WITH_NUMBERS:
            ink = ink_on(view.scale.colors[int(level[action])])
            labels.append(Label((at[0] + x * size, at[1] + y * size), text, size * large, ink, best))

    for direction, points in sectors(list(aimed)).items():
        action, (row, column) = aimed[direction], direction
        color = view.scale.colors[int(level[action])]
        patches.append(Patch(tuple((at[0] + x * size, at[1] + y * size) for x, y in points), color, int(level[action])))
        if view.greedy is not None and view.greedy[state, action]:  # between the number and the middle, or below it
            x, y = (0.5 + 0.12 * column, 0.5 + 0.12 * row) if row else (0.5 + 0.22 * column, 0.62)
            arrow = arrow_shape((at[0] + x * size, at[1] + y * size), direction, size * 0.1)
            patches.append(Patch(arrow, ink_on(color)))
        write(action, 0.5 + 0.28 * column, 0.5 + 0.31 * row, view.write(float(values[action])), 0.13)
    for i, action in enumerate(rest):
        y = 0.5 + 0.14 * (i - (len(rest) - 1) / 2)
        bar = square((at[0] + size * 0.33, at[1] + size * (y - 0.07)), size * 0.34, size * 0.14)
        patches.append(Patch(bar, view.scale.colors[int(level[action])], int(level[action])))
        letter = f"{view.action_names[action][:1]} " if len(rest) > 1 else ""
        write(action, 0.5, y, letter + view.write(float(values[action])), 0.11)
    if mark_of(kind) and not rest:
        patches.append(Patch(square((at[0] + size * 0.43, at[1] + size * 0.43), size * 0.14, size * 0.14), BLANK))
        labels.append(Label(_middle(at, size), mark_of(kind), size * 0.12, ink_on(BLANK)))
    return patches, labels


def _fences(view: MapView, corner: Point, size: float) -> Iterator[Patch]:
    """Walls between cells."""
    for pair in view.layout.fences.tolist():
        low, high = sorted(pair)
        row, column = divmod(high, view.layout.columns)
        x, y = corner[0] + column * size, corner[1] + row * size
        if high - low == 1 and column:
            yield Patch(square((x - 2, y), 4.0, size), INK)
        elif high - low == view.layout.columns:
            yield Patch(square((x, y - 2), size, 4.0), INK)


def _middle(at: Point, size: float) -> Point:
    return at[0] + size / 2, at[1] + size / 2
