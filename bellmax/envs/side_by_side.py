"""NumPy. Plain environments side by side, in this process or in workers: each is reset as soon as its episode ends."""

from __future__ import annotations

from typing import NoReturn

import numpy as np
import numpy.typing as npt

from bellmax.coding import to_native
from bellmax.contracts import EnvCrashed, EnvTimeout, HostObs, IntArray, NonFiniteError
from bellmax.envs.episode_log import LONGEST, EpisodeLog
from bellmax.envs.host_steps import Checks, HostStep
from bellmax.envs.in_process import InProcess
from bellmax.envs.raising import error_in_words
from bellmax.envs.workers import Restarted, WorkerFailed, WorkerHung, Workers, WorldFailed
from bellmax.spaces import leaf_arrays


class SideBySide:
    """N environments that are stepped one by one; recreated, left out or cut short as `Handling` says."""

    def __init__(self, checks: Checks, stepper: InProcess | Workers) -> None:
        self.checks, self.stepper = checks, stepper
        self._obs: HostObs = ()  # the last observations given away
        self._told = False  # of masks that come too late
        self.unseen: list[int] = []  # environments whose last observation was left out

    def reset(self, seed: int) -> HostObs:
        """World i is seeded with seed + i."""
        obs = self.checks.see.empty(self.checks.n)
        self._reset_into(obs, list(range(self.checks.n)), [seed + i for i in range(self.checks.n)])
        self._obs, self.unseen, self.checks.log.seed = obs, [], seed
        return self.checks.masked(obs)

    def step(self, actions: IntArray) -> HostStep:
        """`actions [N, ...]` as the environments count them."""
        checks, contract, see = self.checks, self.checks.contract, self.checks.see
        try:
            answers = self.stepper.step(actions)
        except (WorldFailed, WorkerFailed) as error:
            self._fail(error)
        next_obs = see.empty(checks.n)
        rewards = np.zeros(checks.n, np.float32)
        ended: list[tuple[int, bool, bool]] = []
        lost: list[int] = []  # no experience
        fresh: dict[int, Restarted] = {}  # first observations of recreated environments
        blind, self.unseen, usual = self.unseen, [], contract.usual
        for i, answer in enumerate(answers):
            if type(answer) is Restarted:
                self._note_restart(i, answer)
                fresh[i] = answer
                lost.append(i)
                continue
            if type(answer) is not tuple or len(answer) != 5 or type(answer[4]) is not dict:
                answer = contract.five(answer, i)
            obs, reward, terminated, truncated, info = answer
            checks.log.returned(i, obs, reward, terminated, truncated)
            checks.positions.info = info
            seen = False
            try:
                see.write(obs, next_obs, i)
                seen = True
                if type(reward) is not float or not -usual <= reward <= usual:
                    reward = contract.reward(reward, i)
            except NonFiniteError:
                if checks.handling.on_nonfinite == "raise":
                    raise
                lost.append(i)
                reward = 0.0
                if not seen:
                    self.unseen.append(i)
            if blind and i in blind and i not in lost:  # the action was chosen for another observation
                lost.append(i)
                reward = 0.0
            rewards[i] = reward
            over = False
            if terminated is not False or truncated is not False:
                flags = contract.flag("terminated", terminated, i), contract.flag("truncated", truncated, i)
                if over := True in flags:
                    ended.append((i, *flags))
            if checks.masks is not None:
                checks.note_mask(info, i, over)
            elif info and not (self._told or checks.gives_masks) and "action_mask" in info:
                self._told = True
                checks.positions.remark("info['action_mask'] comes with steps but not with reset, so it is not used")
        if not ended and not lost:
            self._obs = next_obs
            last = checks.masked(next_obs)
            return HostStep(last, last, rewards, checks.none, checks.none, checks.all, checks.none, checks.none)
        return self._with_ends(next_obs, rewards, ended, lost, fresh)

    def close(self) -> None:
        """Free what the environments hold."""
        try:
            self.stepper.close()
        except WorldFailed as error:
            self._fail(error)

    def _with_ends(
        self,
        next_obs: HostObs,
        rewards: npt.NDArray[np.float32],
        ended: list[tuple[int, bool, bool]],
        lost: list[int],
        fresh: dict[int, Restarted],
    ) -> HostStep:
        """The step of environments, some of which ended or returned nothing usable."""
        checks = self.checks
        last = checks.masked(next_obs)
        obs, terminated, truncated, valid = (
            checks.copy(next_obs),
            checks.none.copy(),
            checks.none.copy(),
            checks.all.copy(),
        )
        valid[lost] = False
        again = [i for i, _, _ in ended]
        for i, *flags in ended:
            terminated[i], truncated[i] = flags if valid[i] else (False, False)
        for i in lost:
            checks.dropped += 1
            if i in fresh:
                checks.positions.info = fresh[i].info
                checks.see.write(fresh[i].obs, obs, i)
                checks.note_mask(fresh[i].info, i, False)
            elif i not in again and checks.handling.on_nonfinite != "skip":
                again.append(i)
            elif i not in again and i in self.unseen:
                for new, old in zip(leaf_arrays(obs), leaf_arrays(self._obs), strict=True):
                    new[i] = old[i]
        self.unseen = [i for i in self.unseen if i not in again]
        starting = sorted({*again, *fresh})
        if starting:
            checks.positions.begin(np.array(starting))
        if again:
            self._reset_into(obs, again, [None] * len(again))
        self._obs, begins = obs, checks.none.copy()
        begins[starting] = True
        return HostStep(checks.masked(obs), last, rewards, terminated, truncated, valid, terminated | truncated, begins)

    def _reset_into(self, obs: HostObs, which: list[int], seeds: list[int | None]) -> None:
        checks = self.checks
        try:
            answers = self.stepper.reset(seeds, which)
        except (WorldFailed, WorkerFailed) as error:
            self._fail(error)
        for i, seed, answer in zip(which, seeds, answers, strict=True):
            if type(answer) is Restarted:
                self._note_restart(i, answer)
                answer = (answer.obs, answer.info)
            else:
                checks.log.reset(i, seed, answer[0])
            first = checks.contract.two(answer, i)
            checks.positions.info = answer[1]
            checks.see.write(first, obs, i)
            checks.begin_masks(answer[1])
            checks.note_mask(answer[1], i, False)

    def put_back(self, log: EpisodeLog, seed: int, saved: HostObs) -> tuple[HostObs, dict[int, str]]:
        """See `HostWorld.put_back`; `saved` are its last observations, without masks."""
        checks, why, obs = self.checks, dict[int, str](), self.checks.copy(saved)
        ways = {i: log.scripts(i, self._native) for i in range(checks.n)}
        while tried := {i: script for i, way in ways.items() if (script := next(way, None)) is not None}:
            for i, done in self.stepper.perform(tried).items():
                if isinstance(done, BaseException):
                    why[i] = f"it raised {error_in_words(done)}"
                elif done.checksum == (log.checksums[i], log.before[i]):
                    if i not in log.unseen:
                        checks.see.write(done.answer[0], obs, i)
                    checks.positions.info = done.answer[1]
                    checks.begin_masks(done.answer[1])
                    checks.note_mask(done.answer[1], i, False)
                    del ways[i]
                else:
                    why[i] = "with the same random numbers and actions it does not return the same"
        lost = list(ways)
        if lost:
            self._reset_into(obs, lost, [seed + i for i in lost])
        self._obs, self.unseen = obs, [i for i in log.unseen if i not in lost]
        too_long = f"its episode is longer than {LONGEST:,} steps"
        return checks.masked(obs), {i: why.get(i, too_long) for i in lost}

    def _native(self, chosen: IntArray) -> npt.NDArray[np.generic]:
        return np.asarray(to_native(chosen, self.checks.spaces.coding))

    def _note_restart(self, i: int, answer: Restarted) -> None:
        self.checks.log.reset(i, answer.seed, answer.obs)
        self.checks.positions.remark(f"environment {i} was recreated: {answer.why}")

    def _fail(self, error: WorldFailed | WorkerFailed) -> NoReturn:
        positions = self.checks.positions
        if isinstance(error, WorldFailed):
            positions.crash(error.doing, error.error, error.i)
        kind = EnvTimeout if isinstance(error, WorkerHung) else EnvCrashed
        raise kind(f"{positions.place(None)}: {error}; env_restarts=N recreates it and continues") from error
