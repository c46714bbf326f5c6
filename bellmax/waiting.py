"""Plain Python. Say that programs are being compiled, once, if that takes longer than a moment."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import ParamSpec, TypeVar

SECONDS = 2.0  # of compiling in all, before a word is said

Given = ParamSpec("Given")
Result = TypeVar("Result")


class Listener:
    """Reports once that programs are being compiled."""

    def __init__(self, report: Callable[[], None]) -> None:
        self._report, self._lock, self._reported = report, threading.Lock(), False
        self.spent = 0.0  # seconds of compiling so far

    def sound(self) -> None:
        """Report it, unless that has been done."""
        with self._lock:
            before, self._reported = self._reported, True
        if not before:
            self._report()


_listeners: list[Listener] = []  # the last one reports


@contextmanager
def listening(report: Callable[[], None]) -> Iterator[None]:
    """Call `report()` from another thread, once, when programs have been compiling for `SECONDS` inside of this."""
    listener = Listener(report)
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


@contextmanager
def compiling() -> Iterator[None]:
    """Report to the listener if this, which compiles, takes long."""
    listeners, begin = _listeners[-1:], time.monotonic()
    if not listeners:
        yield
        return
    (listener,) = listeners
    timer = threading.Timer(max(0.0, SECONDS - listener.spent), listener.sound)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        listener.spent += time.monotonic() - begin


def compiling_first(function: Callable[Given, Result]) -> Callable[Given, Result]:
    """Return the same function; its first call, which compiles it, is inside `compiling`."""
    waiting = True

    @functools.wraps(function)
    def call(*args: Given.args, **kwargs: Given.kwargs) -> Result:
        nonlocal waiting
        if not waiting:
            return function(*args, **kwargs)
        with compiling():
            result = function(*args, **kwargs)
        waiting = False
        return result

    return call
