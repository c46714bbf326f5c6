"""Plain Python. What a notebook shows of an object: a title, facts by name, and a picture, every text escaped."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from bellmax.pictures.map_svg import escaped

LONGEST_CELL = 600  # letters; a name in a file may have thousands


def html_card(
    title: object, rows: Iterable[tuple[str, object]], picture: str = "", notes: Iterable[object] = ()
) -> str:
    """Return a title, a table of facts by name, a picture (HTML or SVG, as it is), and a line for each note."""
    facts = "".join(
        f'<tr><th scope="row" style="text-align:left">{escaped(name)}</th>'
        f'<td style="text-align:left">{escaped(_short(value))}</td></tr>'
        for name, value in rows
    )
    said = "".join(f"<p>{escaped(_short(note))}</p>" for note in notes)
    return f"<div><p><strong>{escaped(_short(title))}</strong></p><table>{facts}</table>{picture}{said}</div>"


def html_table(header: Sequence[object], rows: Iterable[Sequence[object]], caption: object = "") -> str:
    """Return a table with a header; every cell is text."""
    head = "".join(f'<th scope="col">{escaped(name)}</th>' for name in header)
    body = "".join("<tr>" + "".join(f"<td>{escaped(_short(cell))}</td>" for cell in row) + "</tr>" for row in rows)
    above = f"<caption>{escaped(caption)}</caption>" if caption else ""
    return f"<table>{above}<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= LONGEST_CELL else f"{text[: LONGEST_CELL - 3]}..."
