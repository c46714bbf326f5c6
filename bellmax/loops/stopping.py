"""Plain Python. Stop a run: after the first signal when the present step is finished, after the second at once.

All long work runs in threads of a `Pool`, so that the main thread only waits and Python can deliver a signal to it at
once. The threads are daemons: neither the caller nor the end of the process waits for a step that does not return.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from types import FrameType
from typing import Any, TypeVar

from bellmax.stderr import say

T = TypeVar("T")
SLICE = 5.0  # seconds of a chunk before it may be saved in its middle; most chunks are shorter
PATIENCE = 1.0  # seconds after the second signal
PREFIX = "bellmax-"
DEFAULTS: dict[int, Any] = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL}
HANGUP: int | None = getattr(signal, "SIGHUP", None)  # the terminal was closed; Windows does not have it


def never() -> bool:
    """Return False: a pause that never stops a loop."""
    return False


class Pool(Executor):
    """Threads for the work of a run, which never keep the process alive."""

    def __init__(self, threads: int) -> None:
        self._tasks: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._work, daemon=True, name=f"{PREFIX}{i}") for i in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[..., T], /, *args: object, **kwargs: object) -> Future[T]:
        """Call a function in one of the threads and return its future."""
        future: Future[T] = Future()
        self._tasks.put((future, function, args, kwargs))
        return future

    def call(self, function: Callable[..., T], *args: object) -> T:
        """Call a function in one of the threads and return its result; a signal interrupts the wait."""
        return self.submit(function, *args).result()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """End the threads after all submitted calls, or, with `cancel_futures`, after those that have begun."""
        while cancel_futures:
            try:
                self._tasks.get_nowait()[0].cancel()
            except queue.Empty:
                break
        for _ in self._threads:
            self._tasks.put(None)
        for thread in self._threads if wait else ():
            thread.join()

    def _work(self) -> None:
        while (task := self._tasks.get()) is not None:
            future, function, args, kwargs = task
            if future.set_running_or_notify_cancel():
                try:
                    future.set_result(function(*args, **kwargs))
                except BaseException as error:
                    future.set_exception(_catchable(error))
            del task, future, function, args, kwargs  # keep nothing alive while waiting


class Pause:
    """Says between two steps whether to stop: because of a signal in `asked`, or to save in the middle of a chunk.

    `due` is the time to save (seconds, `time.monotonic`), but at least SLICE seconds after the first call, so that
    compiling does not count. `over` is set when another group has failed.
    """

    def __init__(self, asked: list[int], due: float) -> None:
        self._asked, self._due, self._until, self.over = asked, due, 0.0, False

    def __call__(self) -> bool:
        """Return whether to stop now."""
        if self._asked or self.over:
            return True
        now = time.monotonic()
        if not self._until:
            self._until = max(self._due, now + SLICE)
        return now > self._until


def at_once(error: BaseException) -> bool:
    """Whether an error is the second signal, or a first one that the caller handles: nothing is waited for or saved."""
    return isinstance(error, KeyboardInterrupt) and not error.args


def _catchable(error: BaseException) -> BaseException:
    """What a thread raised; an error in its words if that would end the process, unless a signal was noted."""
    if isinstance(error, Exception) or (isinstance(error, KeyboardInterrupt) and error.args):
        return error
    wrapped = RuntimeError(f"{type(error).__name__} was raised: {error}")
    wrapped.__cause__ = error
    return wrapped


def check_asked(asked: list[int]) -> None:
    """Raise if a signal asks to stop.

    Raises:
        KeyboardInterrupt: with the signal's number.
    """
    if asked:
        raise KeyboardInterrupt(asked[0])


@contextlib.contextmanager
def stop_at_a_good_moment(saved: bool = True) -> Iterator[list[int]]:
    """Turn the first SIGINT, SIGTERM or SIGHUP into an entry of a list, checked between steps; a second acts at once.

    A second one does so also if the process ignored signals at its start, like a command in the background of a script.
    SIGHUP is a first signal, never a second one, since a terminal that closes sends several. A process that ignores it
    (`nohup`) or handles it itself keeps doing so.
    Only the main thread can handle signals; in others, nothing changes. `saved`: whether the run has a folder.
    """
    asked: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        asked.append(number)
        for each, handler in before.items():
            if each == HANGUP:
                signal.signal(each, signal.SIG_IGN)
            else:
                signal.signal(each, DEFAULTS[each] if handler in (signal.SIG_IGN, None) else handler)
        how = ", with everything saved" if saved else ""
        say(f"stopping after the present step{how}; press Ctrl-C again to stop now")

    numbers = list(DEFAULTS)
    if HANGUP is not None and signal.getsignal(HANGUP) == signal.SIG_DFL:
        numbers.append(HANGUP)
    before: dict[int, Any] = {number: signal.signal(number, note) for number in numbers}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def end_on_second_signal() -> Iterator[None]:
    """Let a second signal end the process, of which bellmax is the main program, even if Python cannot handle it.

    Python cannot while the main thread is in a call of another language, which may compile for a minute. The numbers of
    signals reach a thread through a pipe; it waits PATIENCE seconds for an orderly end.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    over = threading.Event()

    def watch() -> None:
        count = 0
        while number := os.read(reader, 1):
            count += number[0] in DEFAULTS or (number[0] == HANGUP and not count)
            if count > 1 and not over.wait(PATIENCE):
                os._exit(128 + number[0])
        os.close(reader)

    before = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=watch, daemon=True).start()
    try:
        yield
    finally:
        over.set()
        signal.set_wakeup_fd(before)
        os.close(writer)


def busy_threads() -> bool:
    """Return whether a thread of a `Pool` is alive: after a second signal, in a step that does not return."""
    return any(thread.name.startswith(PREFIX) for thread in threading.enumerate())
