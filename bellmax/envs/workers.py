"""NumPy. Plain Gymnasium environments in worker processes, which may raise, die or hang; the caller survives.

The parent asks all workers, then waits for answers, deaths and the time limit at once. The end of the pipe is the
request to stop, so that a worker also ends when its parent was killed.
"""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import os
import pickle
import signal
import sys
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import ModuleType
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias, final

import cloudpickle  # type: ignore[import-untyped, unused-ignore]
import numpy.typing as npt

from bellmax.contracts import ConfigError
from bellmax.envs.episode_log import SECONDS, Performed, Script, State
from bellmax.envs.raising import error_in_words
from bellmax.envs.worker_process import GRACE, serve

if TYPE_CHECKING:
    import gymnasium as gym

CONTEXT: Any = mp.get_context("forkserver" if "forkserver" in mp.get_all_start_methods() else "spawn")
START = 60.0  # seconds; a worker imports what its worlds need, so that its start may take longer than any step
PULSE = 1.0  # seconds between two looks for an interrupt, which another thread may have received
JUMP = 1_000_003  # from the seed of a world to that of its replacement, as the same might lead to the same failure


@dataclass(eq=False)
class WorldFailed(Exception):
    """World `i` raised `error` in its "constructor", "reset", "step" or "close" (`doing`).

    A note has the worker's traceback.
    """

    i: int
    doing: str
    error: BaseException

    def __str__(self) -> str:
        return f"environment {self.i}: {self.doing} raised {error_in_words(self.error)}"


@dataclass(eq=False)
class WorkerFailed(Exception):
    """Number `worker`, which held `worlds`, is gone; `how` says why, in "constructor", "reset" or "step" (`doing`)."""

    name: str
    worker: int
    worlds: range
    doing: str
    how: str  # "was killed by SIGKILL"
    i: int | None  # the world it was at, if known

    def __str__(self) -> str:
        first, last = self.worlds[0], self.worlds[-1]
        held = f"environment {first}" if first == last else f"environments {first} to {last}"
        at = "" if self.i is None else f" of environment {self.i}"
        return f"{self.name}: worker {self.worker} ({held}) {self.how} in {self.doing}{at}"


class WorkerDied(WorkerFailed):
    """A worker process was killed, crashed or ended itself."""


class WorkerHung(WorkerFailed):
    """A worker process did not answer in time, and was killed."""


Failure: TypeAlias = WorldFailed | WorkerFailed


class Restarted(NamedTuple):
    """The result of an environment that was recreated: its episode was cut, and one of `seed` began."""

    obs: Any
    info: Any
    why: str
    seed: int | None


class _Worker(NamedTuple):
    worlds: range
    process: Any
    pipe: Connection[bytes, bytes]
    at: Any  # shared with the process: the world it is at, or -1


@final
class Workers:
    """N environments in worker processes, each of which holds a contiguous share.

    Whatever `reset` and `step` raise, a KeyboardInterrupt too, closes all: no stale answer can be read.

    Attributes:
        n: how many environments.
        restarted: how many times a worker or an environment was replaced so far.
        restarts_left: how many replacements are still allowed.
    """

    def __init__(
        self, name: str, make: Callable[[], gym.Env[Any, Any]], n: int, *, processes: int, timeout: float, restarts: int
    ) -> None:
        """Make `n` environments by `make()`, in at most so many processes; `name` is for messages.

        The main script is not run in the workers. `make` may be a lambda or a local class, but an id that only the
        script registers has to come as its `EnvSpec`. A worker has `timeout` seconds to answer. `restarts` is how
        often in all a dead or hung worker or a raising environment may be replaced, after the start.

        Raises:
            ConfigError: `make` cannot be sent to another process.
            WorldFailed: `make` raised; the original is the cause.
            WorkerDied: a worker died at its start.
            WorkerHung: a worker was not ready in a minute, or in `timeout` seconds if that is longer.
        """
        try:
            self._make: bytes = cloudpickle.dumps(make)
        except Exception as error:
            raise ConfigError(
                f"{name}: cannot be sent to a worker process: {type(error).__name__}: {error}; let it open files, "
                "locks and the like when it is called"
            ) from error
        self.name, self.n, self.restarted, self.restarts_left = name, n, 0, 0
        self._timeout = timeout
        self._seeds: dict[int, int] = {}
        self._generators: list[State | None] = [None] * n
        self._untold: dict[int, Restarted] = {}  # recreated when they had not been asked
        self._workers: list[_Worker] = []
        weakref.finalize(self, _end, self._workers, os.getpid())
        count = min(processes, n)
        for k in range(count):
            self._workers.append(self._start(range(k * n // count, (k + 1) * n // count)))
        self._ask("constructor", dict.fromkeys(range(n)))
        self.restarts_left = restarts

    def reset(self, seeds: Sequence[int | None], which: Sequence[int] | None = None) -> list[Any]:
        """What `env.reset(seed=seed)` of the environments `which` (None: all) returned, in that order, or `Restarted`.

        Raises:
            WorldFailed: an environment raised, and no restart is left; the original is the cause.
            WorkerDied: a worker died, and no restart is left.
            WorkerHung: a worker did not answer for all its environments in time, and no restart is left.
        """
        given = dict(zip(range(self.n) if which is None else which, seeds, strict=True))
        self._seeds |= {i: seed for i, seed in given.items() if seed is not None}
        answers = self._ask("reset", given)
        self._untold = {i: answer for i, answer in (self._untold | answers).items() if i not in given}
        return [answers[i] for i in given]

    def step(self, actions: npt.NDArray[Any] | Sequence[object]) -> list[Any]:
        """What `env.step(action)` of every environment returned, or `Restarted`; raises what `reset` does."""
        given = dict(zip(range(self.n), actions, strict=True))
        told, self._untold = self._untold, {}
        answers = told | self._ask("step", {i: given[i] for i in given if i not in told} if told else given)
        return [answers[i] for i in given]

    def generators(self) -> list[State | None]:
        """The state of each environment's random generator before its last reset; None after one with a seed."""
        return self._generators

    def restore(self, seeds: Mapping[int, int], restarted: int) -> None:
        """Go on after so many environments were recreated, the first of which had these seeds."""
        self._seeds = dict(seeds)
        self.restarts_left = max(0, self.restarts_left - restarted)
        self.restarted = restarted

    def perform(self, scripts: Mapping[int, Script]) -> dict[int, Performed | BaseException]:
        """Return how these scripts ended, each in a new environment, or the exception in it."""
        answers, failures = self._exchange("perform", scripts)
        for failure in failures:
            if not isinstance(failure, WorldFailed):
                self.close()
                raise failure
            answers[failure.i] = failure.error
        return answers

    def close(self) -> None:
        """Close all environments and end all processes, by force if necessary; safe to call twice."""
        _end(self._workers, os.getpid())

    def kill(self) -> None:
        """End all processes at once, also in the middle of a step; from any thread."""
        _ = [worker.process.kill() for worker in [*self._workers]]

    def _start(self, worlds: range) -> _Worker:
        ours, theirs = CONTEXT.Pipe()
        at = CONTEXT.RawValue("i", -1)
        process = CONTEXT.Process(target=serve, args=(theirs, at, self._make, dict(os.environ)), daemon=True)
        # The main script is hidden, since multiprocessing would run it in each worker, and train there without a guard.
        main, sys.modules["__main__"] = sys.modules["__main__"], ModuleType("__main__")
        try:
            process.start()
        finally:
            sys.modules["__main__"] = main
        theirs.close()
        return _Worker(worlds, process, ours, at)

    def _ask(self, doing: str, given: Mapping[int, Any]) -> dict[int, Any]:
        """The results of these environments, and `Restarted` for all that had to be recreated, asked or not."""
        if not self._workers:
            raise RuntimeError(f"{self.name}: the workers are closed; create new ones")
        try:
            answers, failures = self._exchange(doing, given)
            while failures:
                failure = failures.pop(0)
                if self.restarts_left <= 0:
                    raise failure from getattr(failure, "error", None)
                self.restarted, self.restarts_left = self.restarted + 1, self.restarts_left - 1
                worlds: Sequence[int] = [failure.i] if isinstance(failure, WorldFailed) else failure.worlds
                if isinstance(failure, WorkerFailed):
                    self._workers[failure.worker] = self._start(failure.worlds)
                    failures = [f for f in failures if isinstance(f, WorkerFailed) or f.i not in worlds]
                made, unmade = self._exchange("constructor", dict.fromkeys(worlds))
                seeds = {i: self._seeds[i] + JUMP * self.restarted if i in self._seeds else None for i in made}
                first, unbegun = self._exchange("reset", seeds)
                for i, (obs, info) in first.items():
                    answers[i] = Restarted(obs, info, " ".join(str(failure).split()), seeds[i])
                failures += unmade + unbegun
        except BaseException:
            self.close()
            raise
        return answers

    def _exchange(self, doing: str, given: Mapping[int, Any]) -> tuple[dict[int, Any], list[Failure]]:
        """Ask these environments, all workers at once; return results and failures, one if no restart is left."""
        asked: dict[int, list[int]] = {}
        for k, worker in enumerate(self._workers):
            if tasks := [(i, given[i]) for i in worker.worlds if i in given]:
                asked[k] = [i for i, _ in tasks]
                with contextlib.suppress(OSError):  # it is dead, as will be seen
                    worker.pipe.send_bytes(pickle.dumps((doing, tasks), 5))
        limit = self._timeout
        if doing in ("constructor", "perform"):
            most = max((len(worker.worlds) for worker in self._workers), default=1)
            limit = max(START if doing == "constructor" else (SECONDS + START) * most, limit)
        deadline = time.monotonic() + limit
        answers: dict[int, Any] = {}
        failures: dict[int, Failure] = {}
        while asked and (self.restarts_left > 0 or not failures):
            things = {thing: k for k in asked for thing in (self._workers[k].pipe, self._workers[k].process.sentinel)}
            ready = wait(things, max(0.0, min(deadline - time.monotonic(), PULSE)))
            late = not ready and time.monotonic() >= deadline
            for k in [*asked] if late else {things[thing] for thing in ready}:
                worlds, pipe, message = asked.pop(k), self._workers[k].pipe, None
                with contextlib.suppress(EOFError, OSError):  # it died, though maybe after its answer
                    message = pipe.recv_bytes() if pipe in ready or pipe.poll() else None
                if message is None:
                    failures[worlds[0]] = self._bury(k, doing, f"did not answer within {limit:g} s" if late else None)
                    continue
                for i, (raised, packed) in zip(worlds, pickle.loads(message), strict=True):  # noqa: S301 - our own
                    answer = pickle.loads(packed)  # noqa: S301
                    if raised:
                        failures[i] = WorldFailed(i, doing, answer)
                    elif doing in ("reset", "perform"):
                        answers[i] = answer if doing == "perform" else answer.answer
                        self._generators[i] = answer.generator
                    else:
                        answers[i] = answer
        return answers, [failures[i] for i in sorted(failures)]  # in order, for the seeds depend on it

    def _bury(self, k: int, doing: str, late: str | None) -> WorkerFailed:
        """Worker k is dead or late: leave nothing of it."""
        worlds, process, pipe, at = self._workers[k]
        process.join(0 if late else 1)
        how = late or _ending(process.exitcode)
        process.kill()
        process.join(GRACE)
        pipe.close()
        i = None if at.value < 0 else int(at.value)
        return (WorkerHung if late else WorkerDied)(self.name, k, worlds, doing, how, i)


def _ending(code: int | None) -> str:
    if code is None or code >= 0:
        return "closed its pipe" if code is None else f"exited with code {code}"
    return f"was killed by {next((known.name for known in signal.Signals if known == -code), f'signal {-code}')}"


def _end(workers: list[_Worker], owner: int) -> None:
    """Ask the workers to stop, then make them."""
    if os.getpid() != owner:  # a fork of the owner has a copy of the object, but not the workers
        return
    for worker in workers:
        worker.pipe.close()
    for stop, patience in ("", GRACE), ("terminate", 1.0), ("kill", GRACE):
        deadline = time.monotonic() + patience
        alive = [worker.process for worker in workers if worker.process.is_alive()]
        for process in alive if stop else []:
            getattr(process, stop)()
        for process in alive:
            process.join(max(0.0, deadline - time.monotonic()))
    workers.clear()
