"""A real browser for the tests: Debian's Chromium, by Playwright. What a page asks for, logs and breaks is recorded."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
REMEDY = "the tests of pages need Chromium; `make test` as root installs it, or: apt-get install chromium"


@dataclass
class Seen:
    """A page, and what it did: errors and warnings in its console, and requests to other places."""

    page: Any
    errors: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def violations(self) -> list[str]:
        """What axe finds wrong for people who use a keyboard or a screen reader."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page).response["violations"]
        return [f"{each['id']}: {node['html']}" for each in found for node in each["nodes"]]


def chromium() -> str:
    """Where Chromium is; the test fails without it, it is not skipped."""
    path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if path is None:
        pytest.fail(REMEDY)
    return path


@contextmanager
def opened(url: str, *, own: str = "", dark: bool = False, width: int = 1280, height: int = 900) -> Iterator[Seen]:
    """A page at `url` (file: or http:), whose requests may go to that file, data:, blob:, or begin with `own`."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium(), args=["--no-sandbox"])
        try:
            page = browser.new_page(
                viewport={"width": width, "height": height}, color_scheme="dark" if dark else "light"
            )
            seen = Seen(page)
            page.on("console", lambda m: seen.errors.append(m.text) if m.type in ("error", "warning") else None)
            page.on("pageerror", lambda error: seen.errors.append(str(error)))

            def note(request: Any) -> None:
                local = request.url == url or request.url.startswith(("data:", "blob:"))
                if not (local or (own and request.url.startswith(own))):
                    seen.requests.append(request.url)

            page.on("request", note)
            page.goto(url)
            yield seen
        finally:
            browser.close()
