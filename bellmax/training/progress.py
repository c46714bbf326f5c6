"""Plain Python. Show the progress of a run: a bar in a terminal, a line in a notebook, lines elsewhere, or nothing."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Protocol

from bellmax.printing import plain
from bellmax.stderr import NotebookLine, console, is_notebook, is_terminal, say
from bellmax.waiting import listening

QUIET_SECONDS = 2.0  # anything shorter needs no progress
LINE_SECONDS = 10.0  # between plain lines
UPDATE_SECONDS = 0.5  # between updates of the one line in a notebook


class ProgressReport(Protocol):
    """A function that shows how far a run is."""

    def __call__(self, done: int, words: str = "", *, compiling: bool = False) -> None:
        """Show the environment steps `done` over all seeds, and a few `words`.

        A report while programs are `compiling` does not count for the speed.
        """


class Speed:
    """Steps (or another unit) per second, measured from the first report without compiling."""

    def __init__(self, total: int, unit: str = "steps") -> None:
        self.total, self.unit = total, unit
        self._begin: tuple[float, int] | None = None

    def words(self, done: int, *, compiling: bool) -> tuple[str, str]:
        """Return (speed, time left) in words, as far as they are known."""
        now = time.monotonic()
        if compiling or self._begin is None:
            self._begin = now, done
        begin, before = self._begin
        if done <= before or now <= begin:
            return "warming up", ""
        speed = (done - before) / (now - begin)
        return f"{speed:,.0f} {self.unit}/s", f"{(self.total - done) / speed:,.0f} s left"


@contextmanager
def progress(total: int, title: str, wanted: bool | None, unit: str = "steps") -> Iterator[ProgressReport]:
    """Show the progress of `total` environment steps (or another `unit`); None: in a terminal or notebook."""
    if not is_wanted(wanted):
        yield lambda done, words="", *, compiling=False: None
    elif is_terminal():
        with _bar(total, title, unit) as report:
            yield report
    elif is_notebook():
        with line_of_progress(total, title, unit, NotebookLine()) as report:
            yield report
    else:
        yield _lines(total, title, unit)


def is_wanted(wanted: bool | None) -> bool:
    """Return whether to show progress; None: if standard error is a terminal, or in a notebook."""
    return (is_terminal() or is_notebook()) if wanted is None else wanted


@contextmanager
def compiling_shown(wanted: bool | None) -> Iterator[None]:
    """Write a line, once, if compiling inside of this takes long; None: in a terminal or notebook."""
    with listening(lambda: say("compiling ...")) if is_wanted(wanted) else nullcontext():
        yield


@contextmanager
def _bar(total: int, title: str, unit: str) -> Iterator[ProgressReport]:
    from bellmax.rich_parts import BarColumn, Progress, TaskProgressColumn, TextColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[speed]:>12} {task.fields[left]}"),
        TextColumn("{task.fields[words]}", markup=False),
    )
    speed = Speed(total, unit)
    with Progress(*columns, console=console(), transient=True) as bar:
        task = bar.add_task(plain(title), total=total, speed="compiling", left="", words="")

        def report(done: int, words: str = "", *, compiling: bool = False) -> None:
            fast, left = speed.words(done, compiling=compiling)
            bar.update(task, completed=done, words=words, speed=fast, left=left)

        with listening(lambda: bar.update(task, speed="compiling", left="")):
            yield report


@contextmanager
def line_of_progress(total: int, title: str, unit: str, show: Callable[[str], None]) -> Iterator[ProgressReport]:
    """Call `show` with a line after two seconds, then twice a second and at the end; each replaces the one before.

    A run that ends within two seconds shows nothing.
    """
    begin = time.monotonic()
    last, reached, shown = begin + QUIET_SECONDS - UPDATE_SECONDS, 0, False
    speed = Speed(total, unit)

    def update(text: str) -> None:
        nonlocal shown
        shown = True
        show(text)

    def report(done: int, words: str = "", *, compiling: bool = False) -> None:
        nonlocal last, reached
        reached, now = done, time.monotonic()
        fast, left = speed.words(done, compiling=compiling)
        if now - last >= UPDATE_SECONDS:
            last = now
            update(", ".join(filter(None, (f"{title}: {done / total:4.0%}", fast, left, words))))

    with listening(lambda: update(f"{title}: compiling ...")):
        yield report
    if shown:
        update(f"{title}: {reached:,} {unit} in {time.monotonic() - begin:,.0f} s")


def _lines(total: int, title: str, unit: str) -> ProgressReport:
    begin = time.monotonic()
    last = begin + QUIET_SECONDS - LINE_SECONDS
    speed = Speed(total, unit)

    def report(done: int, words: str = "", *, compiling: bool = False) -> None:
        nonlocal last
        now, (fast, left) = time.monotonic(), speed.words(done, compiling=compiling)
        known = bool(left) or now - begin >= LINE_SECONDS  # compiling is reported only if it takes long
        if known and now - last >= LINE_SECONDS and done < total:
            last = now
            say(", ".join(filter(None, (f"{title}: {done / total:4.0%}", fast, left, words))))

    return report
