"""NumPy. A map with a number in each cell, ready to be drawn: which numbers, in which colors, with which arrows."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np

from bellmax.contracts import BoolArray, FloatArray, IntArray, counted
from bellmax.mdp.layout import Direction, Layout
from bellmax.pictures.map_colors import Scale, make_scale, number_format
from bellmax.pictures.state_numbers import WORDS, StateNumbers, What, ask

ARROWS = {
    (-1, 0): "↑", (0, 1): "→", (1, 0): "↓", (0, -1): "←", (-1, -1): "↖", (-1, 1): "↗", (1, 1): "↘", (1, -1): "↙",
}  # fmt: skip
MARKS = {"pit": "O", "wall": "", "free": ""}  # of other kinds the first letter
LONGEST_NAME = 60  # letters of a state or an action
MOST_PANELS = 40


class MapView(NamedTuple):
    """A map of S states with A actions, and what is drawn of each.

    Attributes:
        layout: where they are.
        values: [S] the number of each state, and its color.
        of_actions: [S, A] the number of each action, or None.
        greedy: [S, A] the actions with an arrow, or None for no arrows.
        known: [S] the states with a number.
        scale: of the colors.
        what: the kind of numbers.
        title: over the map.
        action_names, state_names: in words; the latter may be empty.
        write: how numbers are written.
        block: how many cells [block, block] each cell stands for, with the mean of their numbers.
        here: a state that is marked, or None.
    """

    layout: Layout
    values: FloatArray
    of_actions: FloatArray | None
    greedy: BoolArray | None
    known: BoolArray
    scale: Scale
    what: What = "value"
    title: str = ""
    action_names: tuple[str, ...] = ()
    state_names: tuple[object, ...] = ()
    write: Callable[[float], str] = str
    block: int = 1
    here: int | None = None

    @property
    def directions(self) -> tuple[Direction | None, ...]:
        """[A] the direction of each action; None where it has none."""
        n_actions = 0 if self.greedy is None else self.greedy.shape[1]
        return self.layout.arrows or (None,) * n_actions

    @property
    def shown_panels(self) -> list[int]:
        """The panels in which a state is known, at most the first 40."""
        return self.known_panels[:MOST_PANELS].tolist() or [0]

    @property
    def known_panels(self) -> IntArray:
        """All panels in which a state is known."""
        return np.unique(self.layout.panel[self.known & (self.layout.cell >= 0)])

    def states_of(self, panel: int) -> IntArray:
        """[rows, columns]: the state in each cell of a panel; -1 for none."""
        found = np.full(self.layout.rows * self.layout.columns, -1)
        here = np.flatnonzero((self.layout.panel == panel) & (self.layout.cell >= 0))
        found[self.layout.cell[here]] = here
        return found.reshape(self.layout.rows, self.layout.columns)


def make_map(
    layout: Layout,
    values: FloatArray,
    *,
    of_actions: FloatArray | None = None,
    greedy: BoolArray | None = None,
    known: BoolArray | None = None,
    what: What = "value",
    title: str = "",
    action_names: Sequence[str] = (),
    state_names: Sequence[object] = (),
    limits: tuple[float, float] | None = None,
    here: int | None = None,
) -> MapView:
    """The map of numbers [S], to be drawn by `map_text`, `map_svg` or `map_png`; arrays only.

    Args:
        layout: from `find_layout`, which also has the directions of actions.
        values: [S] of the states.
        of_actions: [S, A] of their actions, drawn if `what` is "q".
        greedy: [S, A] the actions that get an arrow.
        known: [S] the states that have a number; by default those whose number is finite.
        what: the kind of numbers, which chooses colors and what is in a cell.
        title: over the map.
        action_names: in words.
        state_names: in words.
        limits: (low, high), the numbers of the first and last color, for several maps with one scale.
        here: a state that is marked, such as that of an agent.
    """
    seen = np.isfinite(values) if known is None else known & np.isfinite(values)
    colored = values[seen] if what != "q" or of_actions is None else of_actions[seen].ravel()
    n_actions = next((each.shape[1] for each in (greedy, of_actions) if each is not None), 0)
    names = tuple(action_names) or tuple(map(str, range(n_actions)))
    write = number_format(np.concatenate([values[seen], colored]))
    return MapView(
        layout, np.asarray(values, np.float64), of_actions, greedy, seen, make_scale(colored, what, limits), what,
        title, names, tuple(state_names), write, here=here,
    )  # fmt: skip


def map_of(numbers: StateNumbers, layout: Layout, what: What) -> MapView:
    """The map of the numbers that are asked for. Raises ConfigError as `ask`."""
    asked = ask(numbers, what)
    return make_map(
        layout, asked.of_states, of_actions=asked.of_actions, greedy=numbers.greedy, known=numbers.known, what=what,
        title=numbers.title, action_names=numbers.action_names, state_names=numbers.state_names,
    )  # fmt: skip


def shrink(view: MapView, size: int) -> MapView:
    """The same map with fewer cells; each stands for a block [size, size] of cells, with the mean of their numbers.

    A block is a wall if all of its cells are walls, and has the mark of one of its cells. Arrows are left out.
    """
    if size <= 1:
        return view
    layout = view.layout
    rows, columns = (math.ceil(n / size) for n in (layout.rows, layout.columns))
    n_blocks = rows * columns

    def block_of(cell: IntArray) -> IntArray:
        row, column = np.divmod(cell, layout.columns)
        place: IntArray = row // size * columns + column // size
        return place

    drawn = np.flatnonzero(view.known & (layout.cell >= 0))
    place = layout.panel[drawn] * n_blocks + block_of(layout.cell[drawn])
    n_places = n_blocks * len(layout.panels)
    count, total = np.bincount(place, minlength=n_places), np.bincount(place, view.values[drawn], n_places)
    values = np.divide(total, count, out=np.full(n_places, np.nan), where=count > 0)
    flat, kinds = layout.kinds.ravel(), np.full(n_blocks, "free", layout.kinds.dtype)
    blocks = block_of(np.arange(flat.size))
    solid = np.bincount(blocks, flat == "wall", n_blocks) == np.bincount(blocks, minlength=n_blocks)
    kinds[solid] = "wall"
    marked = np.flatnonzero((flat != "free") & (flat != "wall"))
    kinds[blocks[marked]] = flat[marked]
    places = np.arange(n_places)
    smaller = Layout(
        rows, columns, places % n_blocks, kinds.reshape(rows, columns), (), places // n_blocks, layout.panels
    )
    what: What = "value" if view.what in ("q", "policy") else view.what
    return view._replace(
        layout=smaller, values=values, of_actions=None, greedy=None, known=count > 0, what=what, state_names=(),
        block=size, here=None,
    )  # fmt: skip


def mark_of(kind: str) -> str:
    """The letter of a kind of cell, "" for a free one and a wall."""
    return MARKS.get(kind, str(kind)[:1].upper())


def marks_in_words(view: MapView) -> str:
    """What the letters on a map mean: "S start, G goal"; "" without letters."""
    kinds = [kind for kind in dict.fromkeys(view.layout.kinds.ravel().tolist()) if mark_of(kind)]
    return ", ".join(f"{mark_of(kind)} {kind}" if len(kind) > 1 else kind for kind in kinds[:20])


def arrows_of(view: MapView, state: int) -> tuple[list[Direction], list[str]]:
    """The directions of the greedy actions of a state, and the names of those that have none."""
    if view.greedy is None:
        return [], []
    chosen = np.flatnonzero(view.greedy[state]).tolist()
    directions = [view.directions[action] for action in chosen]
    names = [shortened(view.action_names[action]) for action in chosen if view.directions[action] is None]
    return [direction for direction in directions if direction is not None], names


def shortened(name: object, most: int = LONGEST_NAME) -> str:
    """A name of at most so many letters."""
    text = str(name)
    return text if len(text) <= most else f"{text[: most - 1]}…"


def scale_in_words(view: MapView) -> str:
    """Such as "value from -13 to -1"; of blocks also what a cell is."""
    known = view.values[view.known]
    if view.what == "q" and view.of_actions is not None:
        known = view.of_actions[view.known]
    known = known[np.isfinite(known)]
    if not known.size:
        return f"no {WORDS[view.what]} is known"
    low, high = view.write(float(known.min())), view.write(float(known.max()))
    words = f"{WORDS[view.what]} from {low} to {high}"
    if view.block > 1:
        cells = counted(view.block, "row")
        words += f"; each cell is the mean of a block of {cells} and {counted(view.block, 'column')}"
    if view.known_panels.size > MOST_PANELS:
        words += f"; the first {MOST_PANELS} of {view.known_panels.size:,} maps"
    return words
