"""Plain Python. Lines for people on standard error, which may be closed, missing, or not a stream at all.

A program without a console (`pythonw`, a service, a notebook's kernel, a closed pipe) still trains to its end: what
cannot be shown is dropped, and nothing here raises.
"""

from __future__ import annotations

import contextlib
import importlib
import os
import sys
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from bellmax.arguments import check_callable
from bellmax.contracts import RunWarning
from bellmax.printing import plain

if TYPE_CHECKING:
    from bellmax.rich_parts import Console


def is_terminal() -> bool:
    """Whether standard error is a terminal; False where it is closed, missing, or cannot say."""
    try:
        return bool(sys.stderr.isatty())
    except Exception:  # whatever an object in the place of a stream raises
        return False


def is_notebook() -> bool:
    """Whether this process runs the cells of a notebook: IPython is there, and has the kernel of one."""
    try:
        shell = sys.modules["IPython"].get_ipython()
        return getattr(shell, "kernel", None) is not None
    except Exception:  # without IPython, or whatever another module of this name raises
        return False


class NotebookLine:
    """One line below the cell that runs, which each call replaces; what cannot be shown is dropped."""

    def __init__(self) -> None:
        self._handle: Any = None

    def __call__(self, text: str) -> None:
        """Show the text in place of the one before."""
        bundle = {"text/plain": plain(text)}
        with contextlib.suppress(Exception):
            if self._handle is None:
                display = importlib.import_module("IPython.display").display
                self._handle = display(bundle, raw=True, display_id=True)
            else:
                self._handle.update(bundle, raw=True)


def say(text: str) -> None:
    """Write one line for people, harmless for a terminal; standard output is kept for results."""
    stream, text = sys.stderr, plain(text)
    if stream is None:  # `print` would write to standard output instead
        return
    with contextlib.suppress(Exception):
        try:
            stream.write(f"{text}\n")
        except UnicodeEncodeError:
            stream.write(text.encode("ascii", "backslashreplace").decode() + "\n")
        stream.flush()


def warn(message: str, category: type[Warning], stacklevel: int = 1) -> None:
    """`warnings.warn`, which raises where the filters of the host program say so, but not where standard error fails.

    `stacklevel` counts from the caller, as in `warnings.warn`.
    """
    try:
        warnings.warn(plain(message), category, stacklevel=stacklevel + 1)
    except Warning:
        raise
    except Exception:  # noqa: S110 - nobody can be told
        pass


def voices(given: Callable[[str], None] | None) -> tuple[Callable[[str], None], Callable[[str], None]]:
    """(say, remark) of a public function: lines on its course, and lines that nobody may miss.

    Both are `given`; where the caller gave none, lines on the course are dropped, and remarks are a `RunWarning`.

    Raises:
        ConfigError: `given` cannot be called.
    """
    check_callable("say", given, "say(line)")
    if given is not None:
        return given, given
    return (lambda text: None), (lambda text: warn(text, RunWarning, stacklevel=3))


class Unfailing:
    """Standard error for Rich, which writes from a thread of its own; what fails is dropped."""

    encoding = "utf-8"

    def __init__(self) -> None:
        self._stream = sys.stderr
        self.encoding = getattr(sys.stderr, "encoding", None) or "utf-8"

    def write(self, text: str) -> int:
        """Write it, or drop it."""
        with contextlib.suppress(Exception):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush, where there is something to flush."""
        with contextlib.suppress(Exception):
            self._stream.flush()

    def isatty(self) -> bool:
        """Whether it is a terminal."""
        return is_terminal()

    def fileno(self) -> int:
        """The descriptor of standard error."""
        return self._stream.fileno()


def console() -> Console:
    """A Rich console on standard error."""
    from bellmax.rich_parts import Console

    return Console(file=Unfailing())  # type: ignore[arg-type]


def open_missing_streams() -> None:
    """Put the null device where standard input, output or error is closed (`2>&-`), before a file gets its number.

    For the command line only: libraries written in C write to descriptor 2, whatever file that is by then.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # gets the lowest free number, which is this one


def give_up_broken_stream() -> None:
    """At the end of a command: unsent text of a broken standard error would turn the exit code into 120."""
    try:
        if sys.stderr is not None:
            sys.stderr.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
