"""Plain Python. One worker process: creates its environments, steps them as asked, and sends back what they return.

Failures are sent back as values. The process ends with its pipe or its parent, whatever happened to either.
"""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import os
import pickle
import signal
import threading
import time
import traceback
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized
from typing import Any

import cloudpickle  # type: ignore[import-untyped, unused-ignore]

from bellmax.envs.episode_log import Performed, generator_state, perform

GRACE = 2.0  # seconds for a worker to close its worlds before it is made to end


def serve(pipe: Connection[bytes, bytes], at: Synchronized[int], make: bytes, environ: dict[str, str]) -> None:
    """The worker process: answer until the pipe ends."""
    for number in {signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGINT)}:  # of the terminal, to all processes in it
        signal.signal(number, signal.SIG_IGN)  # the parent decides
    os.environ.update(environ)  # a fork server gives those of the day when it was started
    threading.Thread(target=_watch, daemon=True).start()
    envs: dict[int, Any] = {}
    with contextlib.suppress(EOFError, OSError):
        while True:
            doing, tasks = pickle.loads(pipe.recv_bytes())  # noqa: S301 - our own parent's
            answers = []
            for i, given in tasks:
                at.value = i
                try:
                    if doing == "constructor":
                        with contextlib.suppress(BaseException):
                            envs.pop(i).close()
                        envs[i] = pickle.loads(make)()  # noqa: S301
                        answer = None
                    elif doing == "perform":
                        envs[i].close()
                        envs[i] = pickle.loads(make)()  # noqa: S301
                        answer = perform(envs[i], given)
                    elif doing == "reset":
                        state = generator_state(envs[i]) if given is None else None
                        answer = Performed(envs[i].reset() if given is None else envs[i].reset(seed=given), state)
                    else:
                        answer = envs[i].step(given)
                    answers.append((False, _pack(answer)))
                except BaseException as error:  # SystemExit too: no world ends the run
                    answers.append((True, _pack(_portable(error))))
            at.value = -1
            pipe.send_bytes(pickle.dumps(answers, 5))
    for env in envs.values():
        with contextlib.suppress(BaseException):
            env.close()


def _watch() -> None:
    """End this process soon after its parent, also when a step hangs."""
    if parent := mp.parent_process():
        parent.join()
        time.sleep(GRACE / 4)
        os._exit(1)


def _pack(answer: object) -> bytes:
    try:
        return pickle.dumps(answer, 5)
    except Exception:  # of a class that is known by value only
        return bytes(cloudpickle.dumps(answer))


def _portable(error: BaseException) -> BaseException:
    """The error; a RuntimeError in its words where it does not survive the pipe."""
    sent: BaseException = RuntimeError("".join(traceback.format_exception_only(error)).strip())
    trace = "".join(traceback.format_exception(error))
    with contextlib.suppress(Exception):
        copy = pickle.loads(_pack(error))  # noqa: S301 - our own
        if type(copy) is type(error) and str(copy) == str(error):
            sent = error
    sent.add_note(f"in a worker process:\n{trace}")
    return sent
