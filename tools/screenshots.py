"""The screenshots of the documents, from real runs, by `python tools/screenshots.py`.

Trains for about a minute, writes the report and its explainer, and photographs them with Chromium (make test installs
it). Each picture is written only if its name is given, or all of them without a name.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import bellmax as bx
from bellmax.contracts import listed
from bellmax.page.explainer import write_explainer

DOCS = Path(__file__).parents[1] / "docs"
NAMES = ("chromium", "chromium-browser", "google-chrome")


def photograph(page: Path, picture: Path, *, height: int = 1_050, hash_: str = "", dark: bool = False) -> None:
    """The visible part of a page as PNG, at the width of a laptop."""
    from playwright.sync_api import sync_playwright

    browser_path = next((found for name in NAMES if (found := shutil.which(name))), None)
    if browser_path is None:
        raise SystemExit("screenshots need Chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox"])
        size = {"width": 1_180, "height": height}
        tab = browser.new_page(viewport=size, color_scheme="dark" if dark else "light")  # type: ignore[arg-type]
        tab.goto(page.as_uri() + hash_)
        tab.screenshot(path=picture)
        browser.close()
    print(f"{picture}: {picture.stat().st_size:,} bytes")


def report(folder: Path) -> None:
    """DQN on CartPole, ten seeds."""
    run = bx.train("CartPole-v1", "dqn", steps=30_000, seeds=10, out=folder / "cartpole")
    photograph(bx.write_report(run, explain=()), DOCS / "report.png", height=1_200)


def explainer(folder: Path) -> None:
    """Q-learning on the cliff, at the update of a step."""
    run = bx.train("cliff", "q-learning", steps=2_000)
    page = folder / "explainer.html"
    write_explainer([bx.explain(run, at=500, steps=3).to_json()], page)
    photograph(page, DOCS / "explainer.png", height=760, hash_="#step-502-update")


PICTURES: dict[str, Callable[[Path], None]] = {"report": report, "explainer": explainer}


def main() -> None:
    """Take the pictures that are named."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help=f"{listed(PICTURES)}; all by default")
    names = parser.parse_args(sys.argv[1:]).names or list(PICTURES)
    with tempfile.TemporaryDirectory() as folder:
        for name in names:
            PICTURES[name](Path(folder))


if __name__ == "__main__":
    main()
