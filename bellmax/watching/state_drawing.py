"""NumPy, and Pillow (extra `watch`). The state of a model as a picture: on its map, or by its name."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from bellmax.mdp.layout import Layout, find_layout
from bellmax.mdp.model import FiniteMDP
from bellmax.mdp.outcomes import reachable
from bellmax.watching.drawing import CHOSEN, FAINT, GLOW, INK, LINE, PAPER, SMALLEST, font_of, write_line

if TYPE_CHECKING:
    from PIL.Image import Image

Color = tuple[int, int, int]
WALL, LOW, HIGH = (92, 102, 118), (250, 247, 240), (122, 176, 132)  # of cells: a wall, the lowest and the highest value
EDGE, CAPTION = 10, 22  # pixels around a map, and below it for a name
LARGEST_CELL, MAP = 72, 520  # pixels of a cell and of a map


def state_drawer(mdp: FiniteMDP, values: npt.ArrayLike | None = None) -> Callable[[int], np.ndarray]:
    """Return a function that draws a state of a model [H, W, 3]: a dot on its map, or its name if there is none.

    Args:
        mdp: the model.
        values: of the states [S], by which the cells of the map are colored, if an action is chosen there; None: they
            are not.
    """
    layout = find_layout(mdp)
    if layout is None:
        return functools.partial(name_image, mdp)
    v = None if values is None else np.where(reachable(mdp), np.asarray(values, np.float64), np.nan)
    base = functools.lru_cache(maxsize=64)(functools.partial(map_image, layout, v))
    side = cell_side(layout)

    def draw(state: int) -> np.ndarray:
        from PIL import ImageDraw

        image = base(int(layout.panel[state])).copy()
        pen, cell = ImageDraw.Draw(image), int(layout.cell[state])
        if cell < 0:
            name = str(mdp.state_names[state]) if mdp.state_names else f"state {state}"
            write_line(pen, (EDGE, image.height - CAPTION + 2), name, 14, INK, image.width - 2 * EDGE)
        else:
            y, x = (EDGE + side * place for place in divmod(cell, layout.columns))
            inset = max(1, side // 5)
            pen.ellipse([(x + inset, y + inset), (x + side - inset - 1, y + side - inset - 1)], CHOSEN, PAPER)
        return np.asarray(image)

    return draw


def cell_side(layout: Layout) -> int:
    """Return the side of a cell in pixels."""
    return max(3, min(LARGEST_CELL, MAP // max(layout.rows, layout.columns)))


def map_image(layout: Layout, values: np.ndarray | None, panel: int) -> Image:
    """Draw one panel of a map: the cells by their values [S], their letters, walls and fences."""
    from PIL import Image, ImageDraw

    side = cell_side(layout)
    width, height = side * layout.columns + 2 * EDGE, side * layout.rows + 2 * EDGE + CAPTION
    image = Image.new("RGB", (width, height), PAPER)
    pen = ImageDraw.Draw(image)
    colors = _colors(layout, values, panel)
    for cell in range(layout.rows * layout.columns):
        y, x = (EDGE + side * place for place in divmod(cell, layout.columns))
        kind = str(layout.kinds.flat[cell])
        pen.rectangle([(x, y), (x + side, y + side)], WALL if kind == "wall" else colors.get(cell, PAPER), LINE)
        if kind not in ("wall", "free", "") and side >= 20:
            pen.text((x + 4, y + 2), kind[0].upper(), FAINT, font_of(max(10, side // 4)))
    for one, other in np.sort(layout.fences, axis=1).tolist():
        y, x = (EDGE + side * place for place in divmod(other, layout.columns))
        along = (x, y + side) if other == one + 1 else (x + side, y)  # beside each other, or one above the other
        pen.line([(x, y), along], INK, max(2, side // 16))
    if layout.panels[panel]:
        write_line(pen, (EDGE, height - CAPTION), layout.panels[panel], 14, FAINT, width - 2 * EDGE)
    return image


def _colors(layout: Layout, values: np.ndarray | None, panel: int) -> dict[int, Color]:
    """The color of each cell of a panel in which there is a state, by its value; none where that is NaN."""
    states = np.flatnonzero((layout.panel == panel) & (layout.cell >= 0))
    if values is None:
        return {int(layout.cell[state]): LOW for state in states}
    states = states[~np.isnan(values[states])]
    known = values[np.isfinite(values)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    share = np.clip(np.nan_to_num((values[states] - low) / (high - low)), 0, 1) if high > low else np.zeros(states.size)
    shades = np.rint(np.array(LOW) + share[:, None] * (np.array(HIGH) - np.array(LOW))).astype(int).tolist()
    cells = layout.cell[states].tolist()
    return {cell: (red, green, blue) for cell, (red, green, blue) in zip(cells, shades, strict=True)}


def name_image(mdp: FiniteMDP, state: int) -> np.ndarray:
    """Draw the name of a state [H, W, 3]."""
    from PIL import Image, ImageDraw

    name = mdp.state_names[state] if mdp.state_names else state
    image = Image.new("RGB", SMALLEST, PAPER)
    pen = ImageDraw.Draw(image)
    pen.rectangle([(20, 90), (SMALLEST[0] - 21, 210)], GLOW, CHOSEN)
    write_line(pen, (34, 104), f"state {state}", 16, FAINT, SMALLEST[0] - 68)
    write_line(pen, (34, 136), str(name), 32, INK, SMALLEST[0] - 68)
    return np.asarray(image)
