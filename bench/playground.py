"""The playground in a real browser: frames drawn and environment steps learned per second.

    python bench/playground.py                          measures, and writes bench/playground.json and PLAYGROUND.md
    python bench/playground.py --picture docs/play.png  takes the picture of docs/play.md

Each row opens the page in Chromium (headless, 1280 x 900), chooses a grid and agents, plays as fast as it can, waits
for `WARM` seconds, and counts for `SECONDS`. Server, engine and browser share the machine. Steps are of each agent.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from speed import machine

BENCH = Path(__file__).parent
WARM, SECONDS = 3.0, 5.0
FRAMES, STEPS = 20.0, 1e5  # per second, the targets
LARGE = {"cells": ["S" + "." * 18 + "G", *["." * 20] * 19], "rewards": [[0, 19, 1.0]], "slip": 0.2, "name": "20 x 20"}
ROWS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    # name, grid, agents
    ("gridworld, 3 x 4", "gridworld", ("q-learning",)),
    ("cliff, 4 x 12", "cliff", ("q-learning", "sarsa")),
    ("four rooms, 13 x 13", "four-rooms", ("watkins-q", "expected-sarsa")),
    ("Dyna maze, 6 x 9", "dyna-maze", ("dyna-q", "prioritized-sweeping")),
    ("20 x 20, slippery", "", ("q-learning", "double-q")),
    ("20 x 20, slippery", "", ("dyna-q", "prioritized-sweeping")),
)


@contextlib.contextmanager
def page_of(*words: str, width: int = 1280, height: int = 900) -> Iterator[Any]:
    """The page of a playground of its own, in a browser."""
    from playwright.sync_api import sync_playwright

    command = [sys.executable, "-m", "bellmax", "play", *words, "--no-browser"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    assert server.stdout is not None  # noqa: S101
    address = server.stdout.readline().split()[-1]
    try:
        with sync_playwright() as playwright:
            path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
            browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
            page = browser.new_page(viewport={"width": width, "height": height})
            page.goto(address)
            page.wait_for_selector("[role=gridcell]", timeout=120_000)
            yield page
            browser.close()
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(20)


def wait(page: Any, expression: str, argument: object) -> None:
    """Wait until a function of the page returns true; Playwright's own waiting needs eval, which the page forbids."""
    while not page.evaluate(expression, argument):
        page.wait_for_timeout(30)


def choose(page: Any, agents: tuple[str, ...]) -> None:
    """Show these agents, and wait until they are compiled."""
    page.select_option(".board:nth-child(1) select", agents[0])
    if len(agents) > 1:
        page.select_option(".board:nth-child(2) select", agents[1])
    wait(
        page,
        "async (names) => { const { page } = await import('./main.js');"
        " return page.frame && page.frame.tables.map((each) => each.agent).join() === names; }",
        ",".join(agents),
    )


def set_speed(page: Any, place: int) -> None:
    page.eval_on_selector(
        "#speed", "(each, place) => { each.value = place; each.dispatchEvent(new Event('input')); }", place
    )


def measure(grid: str, agents: tuple[str, ...]) -> dict[str, float]:
    """Frames and steps per second of one row."""
    count = "async () => { const { page } = await import('./main.js'); return [page.count, page.frame.step]; }"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "grid.json"
        file.write_text(json.dumps(LARGE))
        with page_of(grid or str(file)) as page:
            choose(page, agents)
            set_speed(page, 100)
            page.click("#play")
            page.wait_for_timeout(1000 * WARM)
            frames, steps = page.evaluate(count)
            begin = page.evaluate("performance.now()")
            page.wait_for_timeout(1000 * SECONDS)
            more_frames, more_steps = page.evaluate(count)
            seconds = (page.evaluate("performance.now()") - begin) / 1000
    return {"frames": (more_frames - frames) / seconds, "steps": (more_steps - steps) / seconds}


def take_picture(path: str) -> None:
    """Two agents on the cliff after 30,000 steps."""
    with page_of("cliff", width=1400, height=1250) as page:
        choose(page, ("q-learning", "sarsa"))
        for done in range(1, 31):
            page.click("#many")
            wait(page, "async (step) => (await import('./main.js')).page.frame.step === step", 1000 * done)
        page.click('[data-state="25"]')
        page.wait_for_timeout(500)
        page.screenshot(path=path, full_page=True)


def markdown(results: dict[str, Any]) -> str:
    """The results for people."""
    lines = ["# Playground", "", f"Made by `{results['command']}` on {results['date']}.", ""]
    lines += ["| grid | agents | frames/s | steps/s of each agent |", "|---|---|---:|---:|"]
    for row in results["rows"]:
        lines.append(f"| {row['grid']} | {', '.join(row['agents'])} | {row['frames']:.1f} | {row['steps']:,.0f} |")
    met = "met" if results["met"] else "NOT met"
    lines += ["", f"At least {FRAMES:.0f} frames/s with {STEPS:,.0f} steps/s behind them: {met}."]
    lines += ["", "; ".join(f"{key} {value}" for key, value in results["machine"].items()) + "."]
    return "\n".join([*lines, "", *(__doc__ or "").splitlines()[5:], ""])


def main() -> None:
    parser = argparse.ArgumentParser(description="The playground in a real browser.")
    parser.add_argument("--picture", metavar="FILE", help="only take a picture of the page")
    options = parser.parse_args()
    if options.picture:
        take_picture(options.picture)
        return
    facts = machine()
    rows = [{"grid": name, "agents": agents, **measure(grid, agents)} for name, grid, agents in ROWS]
    facts["load_after"] = machine()["load_before"] if "load_before" in facts else ""
    results = {
        "command": "python bench/playground.py", "date": datetime.date.today().isoformat(), "machine": facts,
        "rows": rows, "met": all(row["frames"] >= FRAMES and row["steps"] >= STEPS for row in rows),
    }  # fmt: skip
    (BENCH / "playground.json").write_text(json.dumps(results, indent=1) + "\n")
    (BENCH / "PLAYGROUND.md").write_text(markdown(results))
    print(markdown(results))


if __name__ == "__main__":
    main()
