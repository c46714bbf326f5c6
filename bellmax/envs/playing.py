"""NumPy. Play one environment at random, also a broken one; record what it returned and what is wrong with that."""

from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np

from bellmax.coding import to_native
from bellmax.contracts import EnvContractError
from bellmax.envs import check as judge
from bellmax.envs.check import End, Flaw
from bellmax.envs.findings import Findings, Level, said
from bellmax.envs.making import Env
from bellmax.envs.native_spaces import Spaces
from bellmax.envs.positions import MIGRATION, is_old_step
from bellmax.envs.raising import theirs
from bellmax.observations import LARGEST

COPY = "return a copy; other libraries store one array many times, and SAME_STEP vectors lose the final observation"
CRASH = "accept every action of the space that the mask allows, until the episode ends"
RESET = "define `def reset(self, *, seed=None, options=None)`, and begin it with `super().reset(seed=seed)`"


class Event(NamedTuple):
    """One reset or step: where, and copies of what it returned, by name."""

    place: str
    values: dict[str, Any]


class CheckingPlayer:
    """Plays one environment with random actions that its masks allow, and notes what it sees."""

    def __init__(self, env: Env, spaces: Spaces | None, findings: Findings, seed: int) -> None:
        """`spaces` as bellmax sees them, or None if it cannot use them; `seed` is that of the actions."""
        self.env, self.findings, self.ends, self.rewards = env, findings, list[End](), list[float]()
        self.step_seconds, self.reset_seconds = list[float](), list[float]()
        self.longest, self.takes_seed, self._spaces, self._seed = 0, True, spaces, seed
        self._rng, self._actions = np.random.default_rng(seed), copy.deepcopy(env.action_space)
        self._actions.seed(seed)
        self._episode, self._time, self._crashes, self._place = 0, 0, 0, ""
        self.gives_masks: bool | None = None
        self._mask: Any = None
        self._last: tuple[Any, Any] = None, None  # the last observation, and a copy of what it was

    def twin(self, env: Env | None = None) -> CheckingPlayer:
        """Plays the same actions, in the same environment or another, and keeps its findings to itself."""
        return CheckingPlayer(env or self.env, self._spaces, Findings(), self._seed)

    def walk(self, steps: int, seed: int) -> Iterator[Event]:
        """Reset with the seed, then so many steps; later resets have no seed."""
        over = True
        for t in range(steps):
            for move in ("reset", "step") if over else ("step",):
                event = self.go(move, None if t else seed)
                over = event is None or any(event.values.get(name) for name in ("terminated", "truncated"))
                if event is None:
                    break
                yield event
            if self._crashes == 3:  # it is left alone
                return

    def go(self, move: str, seed: int | None = None) -> Event | None:
        """Reset or step; None if that raised, or returned what cannot be read."""
        try:
            return self._reset(seed) if move == "reset" else self._step()
        except EnvContractError as error:
            self._note("interface", "error", str(error), MIGRATION)
        except BaseException as error:
            theirs(error)
            fix = CRASH if move == "step" else "repair reset; every episode starts there"
            fix = MIGRATION if is_old_step(error) else fix
            self._note("crashes", "error", f"{move} raised {said(error)}", fix)
        self._crashes += 1
        return None

    def _reset(self, seed: int | None) -> Event:
        self._episode, self._time = self._episode + 1, 0
        self._place = f"episode {self._episode}, reset"
        seeded: dict[str, Any] = {} if seed is None or not self.takes_seed else {"seed": seed}
        begin = time.perf_counter()
        try:
            answer: Any = self.env.reset(**seeded)
        except TypeError as error:
            if not seeded or "'seed'" not in str(error):
                raise
            self._note("interface", "error", f"reset raised {said(error)}", RESET)
            self._episode, self.takes_seed = self._episode - 1, False
            return self._reset(None)
        self.reset_seconds.append(time.perf_counter() - begin)
        if not isinstance(answer, tuple) or len(answer) != 2:
            self._note("interface", "error", f"reset returned {judge.kind(answer)}, not (obs, info)", MIGRATION)
            answer = answer, {}
        return self._look(answer[0], answer[1], {})

    def _step(self) -> Event:
        self._time += 1
        self.longest = max(self.longest, self._time)
        action = self._action()
        self._place = f"episode {self._episode}, step {self._time}, action {action}"
        begin = time.perf_counter()
        answer: Any = self.env.step(action)
        self.step_seconds.append(time.perf_counter() - begin)
        if isinstance(answer, tuple) and len(answer) == 4:
            self._note("interface", "error", "step returned 4 values, not 5", MIGRATION)
            answer = (*answer[:3], False, answer[3])
        if not isinstance(answer, tuple) or len(answer) != 5:
            raise EnvContractError(f"step returned {judge.kind(answer)}, not a tuple of 5 values")
        obs, reward, terminated, truncated, info = answer
        self._note_all(judge.answer_flaws(reward, terminated, truncated))
        values: dict[str, Any] = {"reward": judge.number(reward)}
        values |= {"terminated": bool(np.any(terminated)), "truncated": bool(np.any(truncated))}
        if abs(values["reward"]) <= LARGEST:
            self.rewards.append(values["reward"])
        if values["terminated"] or values["truncated"]:
            self.ends.append(End(self._time, values["terminated"], values["truncated"]))
        return self._look(obs, info, values)

    def _action(self) -> object:
        """A random one, as bellmax would give it where it can use the space."""
        if self._spaces is None:
            return self._actions.sample()
        allowed = np.arange(self._spaces.n_actions) if self._mask is None else np.flatnonzero(self._mask)
        return to_native(self._rng.choice(allowed, 1), self._spaces.coding)[0]

    def _look(self, obs: object, info: object, values: dict[str, Any]) -> Event:
        """Check what reset and step have in common."""
        if not isinstance(info, dict):
            self._note("interface", "error", f"info is {judge.kind(info)}, not a dict", "return {} if it is empty")
            info = {}
        over = bool(values.get("terminated") or values.get("truncated"))
        flaws = judge.flaws(self.env.observation_space, obs, "observation")
        self.findings.guard("observations", self._place, self._note_all, flaws)
        self.findings.guard("aliasing", self._place, self._aliasing, obs)
        self.findings.guard("masks", self._place, self._masks, info.get("action_mask"), over)
        self._last = obs, copy.deepcopy(obs)
        return Event(self._place, {"observation": self._last[1], **values, "action_mask": copy.copy(self._mask)})

    def _aliasing(self, obs: object) -> None:
        last, copied = self._last
        if differs := judge.difference(copied, last, "observation"):
            self._note("aliasing", "warning", f"the previous observation was overwritten: {differs}", COPY)
        elif judge.shared_memory(last, obs):
            self._note("aliasing", "hint", "it shares memory with the previous observation, unchanged so far", COPY)

    def _masks(self, given: object, over: bool) -> None:
        self._mask = None
        self.gives_masks = given is not None if self.gives_masks is None else self.gives_masks
        if self.gives_masks != (given is not None):
            which = "is missing, but the first reset had one" if given is None else "appears after the first reset only"
            self._note("masks", "error", f"info['action_mask'] {which}", judge.MASKS)
        if given is not None and self._spaces is not None:
            flaws = list(judge.mask_flaws(given, self._spaces.n_actions, over))
            self._note_all(flaws)
            if all(flaw.level != "error" for flaw in flaws) and np.asarray(given).any():
                self._mask = np.array(given, np.bool_)

    def _note_all(self, flaws: Iterable[Flaw]) -> None:
        for flaw in flaws:
            self._note(*flaw)

    def _note(self, check: str, level: Level, what: str, fix: str, size: float = 0.0) -> None:
        self.findings.add(check, level, f"{self._place}: {what}", fix, size)
