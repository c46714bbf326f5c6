"""NumPy. Plain environments side by side, in this process or in workers: each is reset as soon as its episode ends."""

from __future__ import annotations

from typing import Any, NoReturn

import numpy as np

from bellmax.contracts import EnvCrashed, EnvTimeout, NonFiniteError
from bellmax.envs.host_steps import Book, HostStep
from bellmax.envs.in_process import InProcess
from bellmax.envs.observing import each
from bellmax.envs.workers import Restarted, WorkerFailed, WorkerHung, Workers, WorldFailed


class SideBySide:
    """N environments that are stepped one by one; recreated, left out or cut short as the book's handling says."""

    def __init__(self, book: Book, crew: InProcess | Workers) -> None:
        self.book, self.crew = book, crew
        self._obs: Any = None  # the last observations given away
        self._told = False  # of masks that come too late
        self._unseen: list[int] = []  # worlds that have gone on since theirs, in a step that was left out

    def reset(self, seed: int) -> Any:
        """World i is seeded with seed + i."""
        obs = self.book.see.empty(self.book.n)
        self._reset_into(obs, list(range(self.book.n)), [seed + i for i in range(self.book.n)])
        self._obs, self._unseen = obs, []
        return self.book.masked(obs)

    def step(self, actions: Any) -> HostStep:
        """`actions [N, ...]` as the environments count them."""
        book, contract, see = self.book, self.book.contract, self.book.see
        try:
            answers = self.crew.step(actions)
        except (WorldFailed, WorkerFailed) as error:
            self._fail(error)
        next_obs = see.empty(book.n)
        rewards = np.zeros(book.n, np.float32)
        ended: list[tuple[int, bool, bool]] = []
        lost: list[int] = []  # no experience
        fresh: dict[int, Any] = {}  # first observations of worlds that were made anew
        blind, self._unseen, usual = self._unseen, [], contract.usual
        for i, answer in enumerate(answers):
            if type(answer) is Restarted:
                self._note_restart(i, answer)
                fresh[i] = answer
                lost.append(i)
                continue
            if type(answer) is not tuple or len(answer) != 5 or type(answer[4]) is not dict:
                answer = contract.five(answer, i)
            obs, reward, terminated, truncated, info = answer
            book.diary.info = info
            seen = False
            try:
                see.write(obs, next_obs, i)
                seen = True
                if type(reward) is not float or not -usual <= reward <= usual:
                    reward = contract.reward(reward, i)
            except NonFiniteError:
                if book.handling.on_nonfinite == "raise":
                    raise
                lost.append(i)
                reward = 0.0
                if not seen:
                    self._unseen.append(i)
            if blind and i in blind and i not in lost:  # the action was chosen for another observation
                lost.append(i)
                reward = 0.0
            rewards[i] = reward
            over = False
            if terminated is not False or truncated is not False:
                flags = contract.flag("terminated", terminated, i), contract.flag("truncated", truncated, i)
                if over := True in flags:
                    ended.append((i, *flags))
            if book.masks is not None:
                book.note_mask(info, i, over)
            elif info and not (self._told or book.gives_masks) and "action_mask" in info:
                self._told = True
                book.diary.remark("info['action_mask'] comes with steps but not with reset, so it is not used")
        if not ended and not lost:
            self._obs = next_obs
            last = book.masked(next_obs)
            return HostStep(last, last, rewards, book.none, book.none, book.all, book.none, book.none)
        return self._with_ends(next_obs, rewards, ended, lost, fresh)

    def close(self) -> None:
        """Free what the environments hold."""
        self.crew.close()

    def _with_ends(
        self, next_obs: Any, rewards: Any, ended: list[tuple[int, bool, bool]], lost: list[int], fresh: dict[int, Any]
    ) -> HostStep:
        """The step of environments, some of which ended or returned nothing usable."""
        book = self.book
        last = book.masked(next_obs)
        obs, terminated, truncated, valid = book.copy(next_obs), book.none.copy(), book.none.copy(), book.all.copy()
        valid[lost] = False
        again = [i for i, _, _ in ended]
        for i, *flags in ended:
            terminated[i], truncated[i] = flags if valid[i] else (False, False)
        for i in lost:
            book.dropped += 1
            if i in fresh:
                book.diary.info = fresh[i].info
                book.see.write(fresh[i].obs, obs, i)
                book.note_mask(fresh[i].info, i, False)
            elif i not in again and book.handling.on_nonfinite != "skip":
                again.append(i)
            elif i not in again and i in self._unseen:
                each(lambda new, old, i=i: new.__setitem__(i, old[i]), obs, self._obs)
        self._unseen = [i for i in self._unseen if i not in again]
        starting = sorted({*again, *fresh})
        if starting:
            book.diary.begin(np.array(starting))
        if again:
            self._reset_into(obs, again, [None] * len(again))
        self._obs, begins = obs, book.none.copy()
        begins[starting] = True
        return HostStep(book.masked(obs), last, rewards, terminated, truncated, valid, terminated | truncated, begins)

    def _reset_into(self, obs: Any, which: list[int], seeds: list[int | None]) -> None:
        book = self.book
        try:
            answers = self.crew.reset(seeds, which)
        except (WorldFailed, WorkerFailed) as error:
            self._fail(error)
        for i, answer in zip(which, answers, strict=True):
            if type(answer) is Restarted:
                self._note_restart(i, answer)
                answer = (answer.obs, answer.info)
            first = book.contract.two(answer, i)
            book.diary.info = answer[1]
            book.see.write(first, obs, i)
            book.begin_masks(answer[1])
            book.note_mask(answer[1], i, False)

    def _note_restart(self, i: int, answer: Restarted) -> None:
        self.book.diary.remark(f"environment {i} was recreated: {answer.why}")

    def _fail(self, error: WorldFailed | WorkerFailed) -> NoReturn:
        diary = self.book.diary
        if isinstance(error, WorldFailed):
            diary.crash(error.doing, error.error, error.i)
        kind = EnvTimeout if isinstance(error, WorkerHung) else EnvCrashed
        raise kind(f"{diary.place(None)}: {error}; env_restarts=N recreates it and continues") from error
