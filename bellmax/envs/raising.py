"""Plain Python. What the code of an environment raises: also what is meant to end a process, such as SystemExit."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from typing import Protocol, TypeVar

from bellmax.contracts import BellmaxError, EnvCrashed, ResourceError


class Closable(Protocol):
    """Anything with a `close`."""

    def close(self) -> None:
        """Free what it holds."""


C = TypeVar("C", bound=Closable)


def theirs(error: BaseException) -> BaseException:
    """Return an error that an environment raised; raise it again if it comes from a signal to this process.

    Python handles signals in the main thread only, and training steps its environments in others. In the main thread,
    a KeyboardInterrupt counts as Ctrl-C.
    """
    if isinstance(error, Exception) or threading.current_thread() is not threading.main_thread():
        return error
    if isinstance(error, KeyboardInterrupt) or _from_handler(error):
        raise error
    return error


def _from_handler(error: BaseException) -> bool:
    """Whether a signal handler of the host program is on the way that `error` took."""
    handlers = [signal.getsignal(number) for number in signal.valid_signals()]
    codes = {getattr(getattr(handler, "__func__", handler), "__code__", None) for handler in handlers} - {None}
    trace = error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code in codes:
            return True
        trace = trace.tb_next
    return False


def close_anyway(world: Closable) -> None:
    """Close an environment that is not used again, also if its `close` raises."""
    try:
        world.close()
    except BaseException as error:
        theirs(error)


def error_in_words(error: BaseException) -> str:
    """Its type and what it says, such as "SystemExit: 3"."""
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__


def failure(text: str, error: BaseException) -> BellmaxError:
    """Return what to raise from the `error` of an environment: a ResourceError where memory is missing."""
    return (ResourceError if isinstance(error, MemoryError) else EnvCrashed)(text)


@contextlib.contextmanager
def closed_at_the_end(worlds: C) -> Iterator[C]:
    """Close `worlds` at the end; after a failure, one of `close` is left out."""
    try:
        yield worlds
    except BaseException:
        with contextlib.suppress(BellmaxError):
            worlds.close()
        raise
    worlds.close()
