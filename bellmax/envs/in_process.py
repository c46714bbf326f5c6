"""NumPy. N plain environments in this process, one after another; a watchdog speaks when one does not answer."""

from __future__ import annotations

import sys
import threading
import time
import traceback
import weakref
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from bellmax.envs.episode_log import Performed, Script, State, generator_state, perform
from bellmax.envs.making import Env
from bellmax.envs.positions import is_old_step
from bellmax.envs.raising import close_anyway, error_in_words, theirs
from bellmax.envs.workers import JUMP, Restarted, WorldFailed
from bellmax.stderr import say

SILENCE = 60.0  # seconds without an answer after which the stack is shown, and again after as many


class InProcess:
    """Environments that are at hand; the same interface as `Workers`.

    `make` makes one more, or is None where the environments were given as objects.
    """

    def __init__(self, name: str, worlds: list[Env], make: Callable[[], Env] | None, restarts: int) -> None:
        """`restarts`: how many environments in all may be recreated after they raised."""
        self.n, self._name, self.worlds, self._make = len(worlds), name, worlds, make
        self.restarts_left, self.restarted = restarts if make is not None else 0, 0
        self._seeds: dict[int, int] = {}
        self._generators: list[State | None] = [None] * self.n
        self._since: float | None = None  # since when a world has been busy
        self._watchdog: threading.Thread | None = None
        self._closed = threading.Event()

    def reset(self, seeds: Sequence[int | None], which: Sequence[int] | None = None) -> list[Any]:
        """Return what `reset` of these environments (by default all) returned; `Restarted` where one was recreated.

        Raises:
            WorldFailed: one raised, and no restart is left.
        """
        self._watch()
        answers: list[Any] = []
        for seed, i in zip(seeds, range(self.n) if which is None else which, strict=True):
            self._note_reset(i, seed)
            try:
                answers.append(self.worlds[i].reset(seed=seed) if seed is not None else self.worlds[i].reset())
            except BaseException as error:
                answers.append(self._recreate(i, "reset", theirs(error)))
        self._since = None
        return answers

    def step(self, actions: npt.NDArray[np.int64]) -> list[Any]:
        """Return what `step` of every environment returned; `Restarted` where one raised and was recreated.

        Raises:
            WorldFailed: one raised, and no restart is left.
        """
        self._since = time.monotonic()
        answers: list[Any] = []
        for i, world in enumerate(self.worlds):
            try:
                answers.append(world.step(actions[i]))
            except BaseException as error:
                answers.append(self._recreate(i, "step", theirs(error)))
        self._since = None
        return answers

    def generators(self) -> list[State | None]:
        """The state of each environment's random generator before its last reset; None after one with a seed."""
        return self._generators

    def perform(self, scripts: Mapping[int, Script]) -> dict[int, Performed | BaseException]:
        """Return how these scripts ended, each in a new environment if one can be made, or the exception in it."""
        answers: dict[int, Performed | BaseException] = {}
        for i, script in scripts.items():
            try:
                if self._make is not None:
                    close_anyway(self.worlds[i])
                    self.worlds[i] = self._make()
                done = perform(self.worlds[i], script)
                answers[i], self._generators[i] = done, done.generator
            except BaseException as error:
                answers[i] = theirs(error)
        return answers

    def restore(self, seeds: Mapping[int, int], restarted: int) -> None:
        """Go on after so many environments were recreated, the first of which had these seeds."""
        self._seeds = dict(seeds)
        self.restarts_left = max(0, self.restarts_left - restarted)
        self.restarted = restarted

    def close(self) -> None:
        """Free what the environments hold.

        Raises:
            WorldFailed: one raised; the others are closed.
        """
        self._closed.set()
        failed: list[WorldFailed] = []
        for i, world in enumerate(self.worlds):
            try:
                world.close()
            except BaseException as error:
                failed.append(WorldFailed(i, "close", theirs(error)))
        if failed:
            raise failed[0] from failed[0].error

    def rest(self) -> None:
        """Stop watching; the environments stay open."""
        self._closed.set()

    def _recreate(self, i: int, doing: str, error: BaseException) -> Restarted:
        if not self.restarts_left or self._make is None or is_old_step(error):
            self._since = None
            raise WorldFailed(i, doing, error) from error
        self.restarts_left -= 1
        self.restarted += 1
        close_anyway(self.worlds[i])
        try:
            self.worlds[i] = self._make()
            seed = self._seeds.get(i, 0) + JUMP * self.restarted
            self._generators[i] = None
            obs, info = self.worlds[i].reset(seed=seed)
        except BaseException as again:
            self._since = None
            raise WorldFailed(i, "restart", theirs(again)) from again
        return Restarted(obs, info, " ".join(f"{doing} raised {error_in_words(error)}".split()), seed)

    def _note_reset(self, i: int, seed: int | None) -> None:
        if seed is not None:
            self._seeds[i] = seed
        self._generators[i] = generator_state(self.worlds[i]) if seed is None else None

    def _watch(self) -> None:
        """Start the watchdog, which ends with this object or with `close`."""
        self._since = time.monotonic()
        if self._watchdog is None:
            about = weakref.ref(self), self._name, self._closed, threading.get_ident()
            self._watchdog = threading.Thread(target=_guard, args=about, daemon=True)
            self._watchdog.start()


def _guard(worlds: weakref.ref[InProcess], name: str, closed: threading.Event, thread: int) -> None:
    """Say where `thread` is while the environments are silent; a strong reference would keep them alive."""
    said = 0.0
    while not closed.wait(min(SILENCE / 4, 5.0)) and (watched := worlds()) is not None:
        since = watched._since
        del watched
        if since is None or time.monotonic() - max(since, said) < SILENCE:
            continue
        said = time.monotonic()
        frame = sys._current_frames().get(thread)
        stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
        say(f"{name}: no answer for {said - since:.0f} s; workers=1 would stop it. The environment is at:\n{stack}")
