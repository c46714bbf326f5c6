"""NumPy, and Pillow (extra `watch`). Drawings of a moment: its picture, and beside it the values of the actions."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bellmax.contracts import ConfigError, counted
from bellmax.printing import plain

if TYPE_CHECKING:
    from PIL import ImageDraw, ImageFont
    from PIL.Image import Image

    from bellmax.training.policy_distribution import ReturnDistribution

PAPER, INK, FAINT, LINE = (252, 252, 253), (28, 36, 48), (104, 114, 130), (214, 220, 228)
BAR, CHOSEN, GLOW = (160, 182, 208), (22, 92, 164), (230, 240, 251)  # of an action, of the chosen one, and behind it
WIDTH, MARGIN = 300, 14  # pixels of the panel
TOP, BOTTOM = 84, 34  # pixels above the actions, and below
ROW, TALL_ROW, LOW_ROW = 46, 78, 20  # pixels of an action: usual, with a distribution, and in one line
SMALLEST, LARGEST = (320, 300), (960, 720)  # width and height of the picture
ESCAPE = re.compile(r"\x1b\[([0-9;]*)m")  # colors of a terminal


class ValueAxis(NamedTuple):
    """The range of the values that are drawn."""

    low: float
    high: float


class ActionRow(NamedTuple):
    """Where an action is drawn: its number, its top and its height in pixels; `count` more follow that have no room."""

    action: int
    top: int
    height: int


def need_pillow() -> None:
    """Check that pictures can be drawn.

    Raises:
        ConfigError: Pillow is not installed.
    """
    try:
        import PIL.ImageFont  # noqa: F401
    except ImportError as error:
        raise ConfigError("watching needs Pillow: pip install 'bellmax[watch]'") from error


@functools.lru_cache(maxsize=16)
def font_of(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """Return Pillow's own font."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def widened(axis: ValueAxis | None, q: np.ndarray | None, spread: ReturnDistribution | None) -> ValueAxis | None:
    """Return the axis that also holds these values [A] and distributions."""
    values = [] if q is None else [q[np.isfinite(q)]]
    if spread is not None:
        values.append(np.ravel(spread.values))
    seen = np.concatenate([*values, np.array([] if axis is None else axis)])
    return ValueAxis(float(seen.min()), float(seen.max())) if seen.size else axis


def bar_length(value: float, axis: ValueAxis, width: int) -> int:
    """Return the length in pixels of a bar, at most `width`; the lowest value still has one pixel."""
    value, low, high = (
        each / 2 for each in (min(max(value, axis.low), axis.high), *axis)
    )  # so that no gap is infinite
    return 1 + round((value - low) / (high - low) * (width - 1)) if high > low else width


def shown_rows(n_actions: int, chosen: int | None, height: int, usual: int) -> list[ActionRow]:
    """Return the rows of the actions on a panel of this height; of too many the first ones, and the chosen one."""
    room = height - TOP - BOTTOM
    each = min(usual, room // n_actions) if room // n_actions >= LOW_ROW else LOW_ROW
    fit = min(n_actions, max(1, room // each))
    shown = list(range(fit))
    if chosen is not None and chosen >= fit:
        shown[-1] = chosen
    return [ActionRow(action, TOP + i * each, each) for i, action in enumerate(shown)]


def draw_panel(
    height: int,
    lines: Sequence[str],
    names: Sequence[str],
    axis: ValueAxis | None,
    q: np.ndarray | None,
    spread: ReturnDistribution | None,
    action: int | None,
    end: str = "",
) -> Image:
    """Draw the values of the actions, the chosen one marked, on a panel of `WIDTH` x `height` pixels.

    Args:
        height: at least `SMALLEST[1]`.
        lines: up to three, at the top.
        names: of the actions [A].
        axis: the range of the values that bars and distributions are drawn on; None without values.
        q: values [A], -inf of an action that is not allowed; None where there are none.
        spread: distributions of the returns [A, N], or None.
        action: the chosen one; None after an episode.
        end: how the episode ended, in place of the actions.
    """
    from PIL import Image, ImageDraw

    panel = Image.new("RGB", (WIDTH, height), PAPER)
    draw = ImageDraw.Draw(panel)
    for i, line in enumerate(lines[:3]):
        write_line(
            draw, (MARGIN, 12 + 22 * i), line, 16 if i == 0 else 14, INK if i == 0 else FAINT, WIDTH - 2 * MARGIN
        )
    draw.line([(MARGIN, TOP - 6), (WIDTH - MARGIN, TOP - 6)], LINE)
    if action is None:
        write_line(draw, (MARGIN, TOP + 8), end, 18, INK, WIDTH - 2 * MARGIN)
        return panel
    rows = shown_rows(len(names), action, height, TALL_ROW if spread is not None else ROW)
    shapes = None if spread is None or axis is None else _shapes(spread, axis)
    for row in rows:
        _draw_row(draw, row, names[row.action], axis, q, shapes, chosen=row.action == action)
    below, font = rows[-1].top + rows[-1].height + 4, font_of(12)
    if axis is not None:
        left, right = plot_of(rows[0])
        draw.text((left, below), f"{axis.low:.4g}", FAINT, font, anchor="la")
        draw.text((right, below), f"{axis.high:.4g}", FAINT, font, anchor="ra")
    hidden = len(names) - len(rows)
    words = (
        counted(hidden, "more action") if hidden else "" if axis is None else "value" if spread is None else "return"
    )
    draw.text((WIDTH // 2, below), words, FAINT, font, anchor="ma")
    return panel


def plot_of(row: ActionRow) -> tuple[int, int]:
    """Return the first and the last pixel of the bars in a row: below the name, or beside it in a low row."""
    return (MARGIN, WIDTH - MARGIN - 1) if row.height >= 2 * LOW_ROW - 4 else (MARGIN + 90, WIDTH - MARGIN - 66)


def _draw_row(
    draw: ImageDraw.ImageDraw,
    row: ActionRow,
    name: str,
    axis: ValueAxis | None,
    q: np.ndarray | None,
    shapes: np.ndarray | None,
    *,
    chosen: bool,
) -> None:
    left, right = plot_of(row)
    tall, color = left == MARGIN, CHOSEN if chosen else BAR
    if chosen:
        draw.rectangle([(0, row.top), (WIDTH - 1, row.top + row.height - 3)], GLOW)
        middle = row.top + 9
        draw.polygon([(3, middle - 5), (3, middle + 5), (10, middle)], CHOSEN)
    value = None if q is None else float(q[row.action])
    allowed = value is None or np.isfinite(value)
    number = "" if value is None else f"{value:.5g}" if allowed else "not allowed"
    room = WIDTH - 2 * MARGIN - int(font_of(14).getlength(number)) - 8
    write_line(draw, (MARGIN, row.top + 1), name, 14, INK if allowed else FAINT, room if tall else 84)
    draw.text((WIDTH - MARGIN, row.top + 1), number, INK if chosen else FAINT, font_of(14), anchor="ra")
    if value is None or axis is None or not allowed:
        return
    top, bottom = (row.top + 20, row.top + row.height - 7) if tall else (row.top + 4, row.top + row.height - 6)
    end = left + bar_length(value, axis, right - left + 1) - 1
    if shapes is None:
        draw.rectangle([(left, top), (end, bottom)], color)
        return
    edges = np.linspace(left, right + 1, shapes.shape[1] + 1).astype(int)
    for x, next_x, share in zip(edges, edges[1:], shapes[row.action], strict=False):
        tip = bottom - round(float(share) * (bottom - top))
        if tip < bottom:
            draw.rectangle([(int(x), tip), (int(next_x) - 1, bottom)], color)
    draw.line([(left, bottom), (right, bottom)], LINE)
    draw.line([(end, top), (end, bottom)], INK)


def _shapes(spread: ReturnDistribution, axis: ValueAxis) -> np.ndarray:
    """Return the probabilities of bins along the axis [A, bins], the highest of all 1."""
    n = spread.values.shape[1]
    bins, ends = min(max(n, 10), (WIDTH - 2 * MARGIN) // 3), (axis.low, max(axis.high, axis.low + 1e-9))
    each = zip(spread.values, spread.probabilities, strict=True)
    heights = np.stack([np.histogram(values, bins, ends, weights=weights)[0] for values, weights in each])
    return heights / max(float(heights.max()), 1e-12)  # type: ignore[no-any-return,unused-ignore]


def write_line(
    draw: ImageDraw.ImageDraw, place: tuple[int, int], text: str, size: int, color: tuple[int, int, int], room: int
) -> None:
    """Write one line, shortened to so many pixels."""
    text, font = " ".join(plain(text).split()), font_of(size)
    if font.getlength(text) > room:
        while text and font.getlength(text + "...") > room:
            text = text[:-1]
        text += "..."
    draw.text(place, text, color, font)


def canvas_of(image: np.ndarray) -> tuple[int, int]:
    """Return the width and height in pixels at which pictures like this one are drawn: small ones by whole factors."""
    height, width = image.shape[:2]
    factor = max(1, min((LARGEST[0] * 2 // 3) // width, (LARGEST[1] * 2 // 3) // height))
    shrink = min(1.0, LARGEST[0] / width, LARGEST[1] / height)
    return max(1, int(width * factor * shrink)), max(1, int(height * factor * shrink))


def compose(image: np.ndarray, canvas: tuple[int, int], panel: Image | None) -> np.ndarray:
    """Return the picture [H, W, 3] in the middle of its canvas, with the panel at its right."""
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(image))
    scale = min(canvas[0] / picture.width, canvas[1] / picture.height)
    size = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    if size != picture.size:
        picture = picture.resize(size, Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX)
    width, height = max(canvas[0], SMALLEST[0]), max(canvas[1], SMALLEST[1])
    whole = Image.new("RGB", (width + (0 if panel is None else panel.width), height), PAPER)
    whole.paste(picture, ((width - size[0]) // 2, (height - size[1]) // 2))
    if panel is not None:
        whole.paste(panel, (width, 0))
    return np.asarray(whole)


def text_image(text: str) -> np.ndarray:
    """Draw text of a terminal in letters of one width, [H, W, 3]; what has a background color is inverted."""
    from PIL import Image, ImageDraw, ImageFont

    font: Any = ImageFont.load_default_imagefont()
    pieces = [list(_pieces(line)) for line in text.expandtabs().splitlines()] or [[("", False)]]
    columns = max(sum(len(piece) for piece, _ in line) for line in pieces)
    letter, line_height = 6, 12
    image = Image.new("RGB", (letter * max(columns, 1) + 12, line_height * len(pieces) + 12), PAPER)
    draw = ImageDraw.Draw(image)
    for i, line in enumerate(pieces):
        x, y = 6, 6 + line_height * i
        for piece, marked in line:
            said = plain(piece).encode("latin-1", "replace").decode("latin-1")
            if marked:
                draw.rectangle([(x, y), (x + letter * len(said) - 1, y + line_height - 1)], CHOSEN)
            draw.text((x, y), said, PAPER if marked else INK, font)
            x += letter * len(said)
    return np.asarray(image)


def _pieces(line: str) -> Iterator[tuple[str, bool]]:
    """Yield the pieces of a line with and without a background color."""
    parts, marked = ESCAPE.split(line), False
    for i, part in enumerate(parts):
        if i % 2 == 0:
            yield part, marked
        else:
            codes = [int(code) for code in part.split(";") if code] or [0]
            marked = any(code == 7 or 40 < code <= 47 or 100 < code <= 107 for code in codes) or (
                marked and 0 not in codes
            )
