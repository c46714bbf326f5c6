"""Plain Python. What a run says while it works: a bar in a terminal, plain lines elsewhere, nothing if unwanted."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from bellmax.stderr import console, is_terminal, say

QUIET_SECONDS = 2.0  # anything shorter needs no progress
LINE_SECONDS = 10.0  # between plain lines


class Report(Protocol):
    """`report(done, words)`: environment steps done over all seeds, and a few words on how it goes."""

    def __call__(self, done: int, words: str = "") -> None:
        """Say it."""


@contextmanager
def progress(total: int, title: str, wanted: bool | None, unit: str = "steps") -> Iterator[Report]:
    """Report `total` environment steps, or another `unit`; `wanted` None: only if standard error is a terminal."""
    terminal = is_terminal()
    if wanted is False or (wanted is None and not terminal):
        yield lambda done, words="": None
    elif terminal:
        with _bar(total, title, unit) as report:
            yield report
    else:
        yield _lines(total, title, unit)


@contextmanager
def _bar(total: int, title: str, unit: str) -> Iterator[Report]:
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn(f"{{task.fields[speed]:>12}} {unit}/s"),
        TimeRemainingColumn(compact=True),
        TextColumn("{task.fields[words]}"),
    )
    begin = time.monotonic()
    with Progress(*columns, console=console(), transient=True) as bar:
        task = bar.add_task(title, total=total, speed="compiling", words="")

        def report(done: int, words: str = "") -> None:
            bar.update(task, completed=done, words=words, speed=f"{done / (time.monotonic() - begin):,.0f}")

        yield report


def _lines(total: int, title: str, unit: str) -> Report:
    begin = time.monotonic()
    last = begin + QUIET_SECONDS - LINE_SECONDS

    def report(done: int, words: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= LINE_SECONDS and done < total:
            last = now
            speed = done / (now - begin)
            left = f"{(total - done) / speed:,.0f} s left" if done else "compiling"
            say(f"{title}: {done / total:4.0%}, {speed:,.0f} {unit}/s, {left} {words}".rstrip())

    return report
