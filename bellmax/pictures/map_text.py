"""Rich. A map in characters: a number and arrows in each cell, in color where the terminal has colors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from bellmax.contracts import IntArray
from bellmax.mdp.layout import Direction
from bellmax.pictures.map_colors import ink_on
from bellmax.pictures.map_view import (
    ARROWS,
    MapView,
    arrows_of,
    mark_of,
    marks_in_words,
    scale_in_words,
    shortened,
    shrink,
)
from bellmax.printing import plain

if TYPE_CHECKING:
    from bellmax.rich_parts import Text

WALL = "░"
HERE = "@"
LONGEST = 9  # letters of an action in a cell
SIDES = ((-1, 0), (0, 1), (1, 0), (0, -1))


class Cells(NamedTuple):
    """What stands in the cells: `lines` of each state, all of one width and height; "" for an unknown state.

    `apart` says whether there is room between cells.
    """

    lines: dict[int, list[str]]
    width: int
    height: int
    apart: bool = True

    def columns_of(self, n: int) -> int:
        """How many characters n cells are wide."""
        return n * (self.width + self.apart) + self.apart


def map_text(view: MapView, width: int | None = 120, *, color: bool = False) -> Text:
    """A map of at most so many characters in a row, as Rich's text; None for any width.

    If its numbers do not fit, cells have only an arrow, "+" for several, or the digit of their level from 0 to 9; if
    these do not fit either, each cell stands for a block of cells. The last lines say so, and what letters and colors
    mean.

    Args:
        view: from `make_map`.
        width: characters in a row.
        color: paint cells by their number; without it the text is plain.
    """
    from bellmax.rich_parts import Text

    wide, most = view.layout.columns, math.inf if width is None else max(width, 20)
    note, cells, remedy = "", None, "pass --all (everything=True), or draw the map with --svg"
    if wide * 2 <= most:
        cells = _full(view)
        if cells.columns_of(wide) > most:
            note = f"numbers need {cells.columns_of(wide):,} columns: {remedy}"
            cells = None
    else:
        note = f"numbers do not fit: {remedy}"
    if cells is None:
        view = shrink(view, math.ceil(wide / most))
        cells = _small(view)
    panels = [_panel(view, panel, cells, color) for panel in view.shown_panels]
    title = [Text(plain(view.title))] if view.title else []
    text = Text("\n").join([*title, *_side_by_side(panels, cells.columns_of(view.layout.columns), most)])
    for line in (_legend(view, color), marks_in_words(view), note):
        if line:
            text.append("\n").append(plain(line) if isinstance(line, str) else line)
    return text


def _full(view: MapView) -> Cells:
    """Cells with numbers."""
    make = {"q": _of_actions, "policy": _arrows_only}.get(view.what, _with_number)
    lines = {int(state): make(view, int(state)) for state in np.flatnonzero(view.known & (view.layout.cell >= 0))}
    height = max((len(each) for each in lines.values()), default=1)
    width = max((len(line) for each in lines.values() for line in each), default=1)
    return Cells({s: each + [""] * (height - len(each)) for s, each in lines.items()}, max(width, 3), height)


def _mark(view: MapView, state: int) -> str:
    if state == view.here:
        return HERE
    return plain(mark_of(view.layout.kinds.ravel()[view.layout.cell[state]]))


def _arrows(view: MapView, state: int) -> str:
    directions, names = arrows_of(view, state)
    words = ["".join(ARROWS[direction] for direction in directions)]
    words += [plain(shortened(name, LONGEST)) + "…" * (len(names) > 1) for name in names[:1]]
    return " ".join(word for word in words if word)


def _arrows_only(view: MapView, state: int) -> list[str]:
    return [" ".join(part for part in (_mark(view, state), _arrows(view, state)) if part)]


def _with_number(view: MapView, state: int) -> list[str]:
    below = _arrows_only(view, state) if view.what == "value" else [_mark(view, state)]
    return [view.write(float(view.values[state])), *below]


def _of_actions(view: MapView, state: int) -> list[str]:
    """The value of each action at its side of the cell, with an arrow if it is greedy; of others below."""
    if view.of_actions is None or view.greedy is None:
        return _with_number(view, state)
    at: dict[Direction, str] = {}
    others = []
    for action, direction in enumerate(view.directions):
        number, greedy = view.write(float(view.of_actions[state, action])), bool(view.greedy[state, action])
        if direction is not None and direction not in at:
            at[direction] = f"{ARROWS[direction]}{number}" if greedy else number
        elif number:
            others.append(f"{'*' if greedy else ''}{plain(shortened(view.action_names[action], LONGEST))} {number}")
    width = max((len(text) for text in at.values()), default=0)
    straight = set(at) <= set(SIDES)
    lines = [_row([at.get((row, column), "") for column in (-1, 0, 1)], width, straight) for row in (-1, 0, 1)]
    rows = {row for row, _ in at}
    lines = [line for row, line in zip((-1, 0, 1), lines, strict=True) if row in rows]
    mark = _mark(view, state)
    if mark and lines and lines[0].startswith(" "):  # beside the number at the top
        return [mark + lines[0][len(mark) :], *lines[1:], *others]
    return [*lines, *others, *([mark] if mark else [])]


def _row(parts: Sequence[str], width: int, straight: bool) -> str:
    """A row of numbers at the left, in the middle and at the right; if nothing is in the corners, these may overlap."""
    if not straight:
        return " ".join(part.center(width) for part in parts)
    left, middle, right = parts
    return middle.center(2 * width + 1) if middle else f"{left:<{width}} {right:>{width}}"


def _small(view: MapView) -> Cells:
    """Cells of one character: the arrow if there is one, "+" for several, or the level from 0 to 9."""
    level = view.scale.levels(view.values)
    lines = {}
    for state in map(int, np.flatnonzero(view.known & (view.layout.cell >= 0))):
        directions, names = arrows_of(view, state) if view.what in ("value", "policy", "q") else ([], [])
        some = [ARROWS[direction] for direction in directions] + [plain(name)[:1] for name in names]
        digit = str(int(level[state]) * 10 // len(view.scale.colors))
        mark = _mark(view, state)
        lines[state] = [mark or (some[0] if len(some) == 1 else "+" if some else digit)]
    return Cells(lines, 1, 1, apart=False)


def _panel(view: MapView, panel: int, cells: Cells, color: bool) -> list[Text]:
    """One map, line by line."""
    from bellmax.rich_parts import Text

    layout = view.layout
    states, level = view.states_of(panel), view.scale.levels(view.values)
    beside, above = _fences(layout.fences, layout.columns)
    name = plain(layout.panels[panel])
    lines = [Text(shortened(name, max(cells.columns_of(layout.columns), 8)))] if any(layout.panels) else []
    for row in range(layout.rows):
        if row and cells.apart and (row in above or (not color and cells.height > 1)):
            cut = above.get(row, set())
            lines.append(Text("".join(" " + ("─" if c in cut else " ") * cells.width for c in range(layout.columns))))
        for i in range(cells.height):
            line = Text()
            for column in range(layout.columns):
                if cells.apart:
                    line.append("│" if (row, column) in beside else " ")
                state, kind = int(states[row, column]), str(layout.kinds[row, column])
                line.append(*_inside(view, cells, state, kind, i, int(level[state]) if color else -1))
            line.append(" " * cells.apart)
            lines.append(line)
    return lines


def _inside(view: MapView, cells: Cells, state: int, kind: str, i: int, level: int) -> tuple[str, str]:
    """Line i of a cell, and its style."""
    if state in cells.lines:
        text = cells.lines[state][i].center(cells.width)
        background = view.scale.colors[level]
        return text, f"{ink_on(background)} on {background}" if level >= 0 else ""
    if kind == "wall":
        return WALL * cells.width, "dim"
    mark = plain(mark_of(kind)) if i == cells.height // 2 else ""
    return mark.center(cells.width), ""


def _fences(fences: IntArray, columns: int) -> tuple[set[tuple[int, int]], dict[int, set[int]]]:
    """The cells (row, column) with a wall on their left, and by row the columns with a wall above them."""
    beside: set[tuple[int, int]] = set()
    above: dict[int, set[int]] = {}
    for pair in fences.tolist():
        low, high = sorted(pair)
        row, column = divmod(high, columns)
        if high - low == 1 and column:
            beside.add((row, column))
        elif high - low == columns:
            above.setdefault(row, set()).add(column)
    return beside, above


def _side_by_side(panels: Sequence[list[Text]], width: int, most: float) -> list[Text]:
    """Maps in rows of as many as fit, with an empty line between the rows."""
    from bellmax.rich_parts import Text

    beside = int(max(1, min((most + 3) // (width + 3), len(panels))))
    lines: list[Text] = []
    for first in range(0, len(panels), beside):
        if first:
            lines.append(Text())
        for parts in zip(*panels[first : first + beside], strict=True):
            line = Text()
            for part in parts[:-1]:
                line.append(part).append(" " * (width + 3 - len(part)))
            lines.append(line.append(parts[-1]))
    return lines


def _legend(view: MapView, color: bool) -> Text:
    """The scale of colors, and what the arrows are."""
    from bellmax.rich_parts import Text

    text = Text()
    if color:
        for background in view.scale.colors:
            text.append("  ", f"on {background}")
        text.append("  ")
    arrows = view.greedy is not None and view.what in ("value", "policy", "q")
    return text.append(scale_in_words(view) + ("; arrows are greedy actions" if arrows else ""))
