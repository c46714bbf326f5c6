"""Rich. `Picture`: what `show` returns, which prints itself in a terminal and displays itself in a notebook."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bellmax.arguments import check_flag, integer, path_of
from bellmax.contracts import ConfigError
from bellmax.pictures.map_view import MapView, map_of
from bellmax.pictures.state_numbers import StateNumbers, What, ask
from bellmax.printing import plain

if TYPE_CHECKING:
    from bellmax.rich_parts import Console

PLAIN_WIDTH = 120  # characters of a line that is not for a terminal
TABLE_WIDTH = 1_000  # files and pipes have room for a table: no number is cut off
ENDINGS = (".svg", ".png", ".csv", ".txt")


class Picture:
    """Numbers of the states of a model: as a map, if the states are on one, and otherwise as a table.

    `print(picture)` draws it in the terminal, a notebook shows it as SVG, and `save` writes a file.

    Attributes:
        numbers: all there is to show, see `StateNumbers`.
        what: the kind of numbers that is drawn.
        everything: whether all states are shown, also where they do not fit.
    """

    def __init__(self, numbers: StateNumbers, what: What, *, everything: bool = False) -> None:
        """Raises ConfigError if there are no such numbers."""
        check_flag("everything", everything)
        ask(numbers, what)
        self.numbers, self.what, self.everything = numbers, what, bool(everything)

    @property
    def map(self) -> MapView | None:
        """The map; None where a table is shown."""
        layout = self.numbers.layout
        if layout is None or (self.what == "q" and not any(layout.arrows)):  # no side of a cell is for an action
            return None
        return map_of(self.numbers, layout, self.what)

    def text(self, width: int = PLAIN_WIDTH, *, color: bool = False) -> str:
        """Return the picture in characters, `width` in a line; with `color` as escape sequences for a terminal."""
        from bellmax.rich_parts import Console

        system: Literal["truecolor"] | None = "truecolor" if color else None
        console = Console(width=TABLE_WIDTH, force_terminal=color, color_system=system, force_jupyter=False)
        return self._render(console, integer("width", width, 20))

    def __str__(self) -> str:
        from bellmax.rich_parts import Console

        console = Console(force_jupyter=False)
        return self._render(console, console.width) if console.is_terminal else self.text()

    __repr__ = __str__

    def _render(self, console: Console, width: int) -> str:
        from bellmax.pictures.map_text import map_text
        from bellmax.pictures.state_table import state_table

        view = self.map
        with console.capture() as capture:
            if view is not None:
                color = console.color_system is not None
                text = map_text(view, None if self.everything else width, color=color)
                console.print(text, highlight=False, soft_wrap=True)
            else:
                table, left = state_table(self.numbers, self.what, everything=self.everything)
                for line in (plain(self.numbers.title), table, left):
                    if line:
                        console.print(line, highlight=False, markup=False, emoji=False, soft_wrap=isinstance(line, str))
        return "\n".join(line.rstrip() for line in capture.get().rstrip("\n").split("\n"))

    def svg(self, *, style: bool = True) -> str:
        """Return the map as SVG; `style` as for `map_svg`.

        Raises:
            ConfigError: the states are not on a map.
        """
        from bellmax.pictures.map_svg import map_svg

        return map_svg(self._need_map("an SVG"), style=style, everything=self.everything)

    def csv(self) -> str:
        """Return all numbers of all states as CSV."""
        from bellmax.pictures.state_table import states_csv

        return states_csv(self.numbers)

    def save(self, path: str | Path) -> Path:
        """Write a file: .svg or .png of the map (PNG needs Matplotlib), .csv of all numbers, .txt; return its path.

        Raises:
            ConfigError: another ending, states that are not on a map, or a path that cannot be written.
        """
        target = path_of("path", path)
        if target.suffix.lower() == ".png":
            from bellmax.pictures.map_png import map_png

            return map_png(self._need_map("a PNG"), target, everything=self.everything)
        make = {".svg": self.svg, ".csv": self.csv, ".txt": self.text}.get(target.suffix.lower())
        if make is None:
            raise ConfigError(f"`path` must end in {', '.join(ENDINGS)}; got {str(target)!r}")
        content = make()
        try:
            target.write_text(content, encoding="utf-8")
        except OSError as error:
            raise ConfigError(f"cannot write {target}: {error}; give another path") from error
        return target

    def _need_map(self, what: str) -> MapView:
        view = self.map
        if view is None:
            why = "its states are on no map" if self.numbers.layout is None else "its actions have no directions"
            other = "" if self.numbers.layout is None else "what='value' can, and "
            raise ConfigError(f"{self.numbers.title} cannot be drawn as {what}: {why}; {other}.csv writes all numbers")
        return view

    def _repr_html_(self) -> str:
        if self.map is not None:
            return f'<div style="overflow-x:auto">{self.svg(style=False)}</div>'
        from bellmax.pictures.map_svg import escaped

        return f"<pre>{escaped(self.text())}</pre>"
