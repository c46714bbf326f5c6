"""Plain Python. One self-contained HTML page: text is escaped, and a security policy allows only its own code."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeAlias

from bellmax.contracts import Json
from bellmax.files.storage import finite
from bellmax.printing import plain

ASSETS = Path(__file__).with_name("assets")
EMPTY = frozenset({"input", "meta", "link", "br", "col"})  # elements without an end


class Html(str):
    """Text that is HTML already. Every other string is text, and `tag` escapes it."""

    __slots__ = ()


Child: TypeAlias = "Html | str | int | float | Sequence[Child] | None"


class Section(NamedTuple):
    """A part of the page with a heading and an anchor; one without a `body` is left out.

    Attributes:
        anchor: its id, for links within the page.
        title: its heading.
        body: what is under it.
    """

    anchor: str
    title: str
    body: Html


def tag(element: str, /, *children: Child, **attributes: str | int | float | bool | None) -> Html:
    """Return an element; `class_` stands for class, and an underscore for a hyphen.

    Children that are strings are escaped, with control characters written out. An attribute that is None or False is
    left out, and one that is True has no value.
    """
    words = [element]
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is None or value is False:
            continue
        words.append(key if value is True else f'{key}="{html.escape(plain(value), quote=True)}"')
    begin = f"<{' '.join(words)}>"
    return Html(begin if element in EMPTY else f"{begin}{inner(children)}</{element}>")


def inner(children: Child) -> Html:
    """Return children as HTML, one after another."""
    if children is None:
        return Html()
    if isinstance(children, Html):
        return children
    if isinstance(children, str | int | float):
        return Html(html.escape(number_text(children) if isinstance(children, float) else plain(children)))
    return Html("".join(inner(child) for child in children))


def number_text(value: float, digits: int = 6) -> str:
    """Return a number as people read it: with `digits` significant digits or all before the point, – for a NaN."""
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == int(value) and abs(value) < 1e15:
        return f"{int(value):,}"
    return f"{value:,.0f}" if 10**digits <= abs(value) < 1e15 else f"{value:.{digits}g}"


def table(head: Sequence[Child], rows: Iterable[Sequence[Child]], caption: str, *, class_: str | None = None) -> Html:
    """Return a table that scrolls sideways where it is too wide; the first cell of a row is its heading."""
    body = [
        tag("tr", tag("th", row[0], scope="row"), [tag("td", cell) for cell in row[1:]]) for row in rows
    ]  # fmt: skip
    top = tag("thead", tag("tr", [tag("th", cell, scope="col") if cell else tag("td") for cell in head]))
    whole = tag("table", tag("caption", caption), top, tag("tbody", body), class_=class_)
    return tag("div", whole, class_="scroll", role="group", aria_label=caption, tabindex=0)


def data_block(identifier: str, value: Json) -> Html:
    """Return JSON for the scripts of the page, which nothing in it can leave; NaN and infinity become null."""
    text = json.dumps(finite(value), ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    for letter in "<>&\u2028\u2029":
        text = text.replace(letter, f"\\u{ord(letter):04x}")
    return Html(f'<script type="application/json" id="{html.escape(identifier)}">{text}</script>')


def asset(name: str) -> str:
    """Return the text of a file in assets/."""
    return (ASSETS / name).read_text(encoding="utf-8")


def hashed(text: str) -> str:
    """Return the source of an inline style or script for the content security policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def assemble(title: str, head: Child, sections: Sequence[Section], scripts: Sequence[str], data: Child = None) -> str:
    """Return the whole page.

    Args:
        title: of the page, also its first heading.
        head: what is under it.
        sections: in order; those without a body are left out.
        scripts: names of the ES modules in assets/ that the page runs; they do not import each other.
        data: blocks of JSON that they read.
    """
    style, modules = asset("page.css"), [asset(name) for name in scripts]
    policy = "; ".join((
        "default-src 'none'", f"script-src {' '.join(map(hashed, modules))}", f"style-src {hashed(style)}",
        "img-src data:", "base-uri 'none'", "form-action 'none'",
    ))  # fmt: skip
    used = [section for section in sections if section.body]
    links = [tag("li", tag("a", section.title, href=f"#{section.anchor}")) for section in used]
    parts = [
        tag(
            "section", tag("h2", section.title, id=f"{section.anchor}-title"), section.body, id=section.anchor,
            aria_labelledby=f"{section.anchor}-title",
        )
        for section in used
    ]  # fmt: skip
    top = tag(
        "header", tag("a", "Skip to the content", href="#content", class_="skip"), tag("h1", title), head,
        tag("button", "Dark or light", id="theme", type="button"),
    )  # fmt: skip
    body = [
        top,
        tag("nav", tag("ul", links), aria_label="Sections", class_="contents"),
        tag("main", parts, id="content", tabindex=-1),
        tag("footer", tag("p", "Written by bellmax. This file needs no network.")),
        data,
        [Html(f'<script type="module">{module}</script>') for module in modules],
    ]
    about = [
        tag("meta", charset="utf-8"),
        Html(f'<meta http-equiv="Content-Security-Policy" content="{html.escape(policy, quote=True)}">'),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("title", title),
        tag("link", rel="icon", href="data:,"),
        Html(f"<style>{style}</style>"),
    ]
    return f'<!doctype html>\n<html lang="en"><head>{inner(about)}</head><body>{inner(body)}</body></html>\n'
