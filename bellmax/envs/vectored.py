"""NumPy. One vector environment of Gymnasium: the one file that knows its three ways to reset itself."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from gymnasium.vector import AutoresetMode

from bellmax.coding import to_native
from bellmax.contracts import BoolArray, ConfigError, EnvContractError, HostObs, IntArray, Masked
from bellmax.envs.action_masks import asked_of_vector
from bellmax.envs.atari import GOES_ON, find_games
from bellmax.envs.episode_log import LONGEST, SECONDS, EpisodeLog
from bellmax.envs.host_steps import Checks, HostStep
from bellmax.envs.making import Vector
from bellmax.envs.observing import Values, each
from bellmax.envs.raising import theirs
from bellmax.spaces import leaf_arrays

Rows: TypeAlias = "Mapping[str, Rows] | Sequence[object] | Values | None"  # what infos have of N environments


class Vectored:
    """N environments of one vector environment."""

    def __init__(self, checks: Checks, env: Vector) -> None:
        self.checks, self.env = checks, env
        self.mode = autoreset_mode(checks.name, env)
        if checks.handling.on_nonfinite != "raise":
            raise ConfigError(
                f"{checks.name}: on_nonfinite={checks.handling.on_nonfinite!r} needs plain environments, each of which "
                "can be reset; a vector environment resets itself: give its id or class instead"
            )
        if checks.handling.env_restarts:
            raise ConfigError(f"{checks.name}: env_restarts needs plain environments, not a vector")
        self._waiting: BoolArray = np.zeros(checks.n, np.bool_)  # NEXT_STEP: environments that will reset themselves
        self._masks, self._games = asked_of_vector(env), find_games(env)

    def reset(self, seed: int) -> HostObs:
        """Restart all environments, seeded as the vector environment does."""
        self._waiting = np.zeros(self.checks.n, np.bool_)
        raw = self._reset(seed=seed)
        self._log_resets(self.checks.all, raw, seed)
        return self.checks.masked(self.checks.see.read(raw, self.checks.n))

    def step(self, actions: IntArray) -> HostStep:
        """`actions [N, ...]` as the environments count them."""
        checks, contract, n, waiting = self.checks, self.checks.contract, self.checks.n, self._waiting
        if self.mode is AutoresetMode.NEXT_STEP and waiting.any():
            checks.positions.begin(waiting)  # this step is their reset
        try:
            answer: Any = self.env.step(actions)
        except BaseException as error:
            checks.positions.crash("step", theirs(error), None)
        raw, reward, terminated, truncated, info = contract.five(answer, None)
        if self._games is None:  # images of games are compared once, at the end
            checks.log.returned(0, raw, reward, terminated, truncated)
        checks.positions.info = info
        reward = contract.rewards(reward, n)
        terminated = contract.flags("terminated", terminated, n)
        truncated = contract.flags("truncated", truncated, n)
        over = terminated | truncated
        info = self._ask_masks(info, over, truncated & ~terminated)
        valid = checks.all
        if self.mode is AutoresetMode.NEXT_STEP:
            self._note_masks(info, checks.all, over)
            obs = next_obs = checks.masked(checks.see.read(raw, n))
            self._waiting = over
            if waiting.any():
                valid = ~waiting
                reward[waiting], terminated[waiting], truncated[waiting] = 0, False, False
        elif not over.any():
            self._note_masks(info, checks.all, over)
            obs = next_obs = checks.masked(checks.see.read(raw, n))
        elif self.mode is AutoresetMode.SAME_STEP:
            finals = self._finals(info, over)
            checks.positions.begin(over)
            read = checks.see.read(raw, n)
            self._note_masks(info.get("final_info", {}), over, over)
            self._note_masks(info, ~over, over)
            next_obs = checks.masked(each(functools.partial(_where, over), finals, read))
            self._note_masks(info, over, checks.none)
            obs = checks.masked(read)
        else:
            read = checks.see.read(raw, n)
            self._note_masks(info, checks.all, over)
            next_obs = checks.masked(checks.copy(read))
            checks.positions.begin(over)
            fresh = checks.see.read(self._reset(options={"reset_mask": over.copy()}), n)
            for now, new in zip(leaf_arrays(read), leaf_arrays(fresh), strict=True):
                now[over] = new[over]
            obs = checks.masked(read)
        ended = terminated | truncated
        if self._games is not None and ended.any():
            self._log_resets(self._games.new, None)
        if GOES_ON in info:
            ended &= ~info[GOES_ON]
        begins = ~valid if self.mode is AutoresetMode.NEXT_STEP else ended
        return HostStep(obs, next_obs, reward, terminated, truncated, valid, ended, begins)

    def put_back(self, log: EpisodeLog, seed: int, saved: HostObs) -> tuple[HostObs, dict[int, str]]:
        """See `HostWorld.put_back`; `saved` are its last observations, without masks."""
        obs, why = self._repeat(log)
        if obs is not None:
            seen = obs.obs if isinstance(obs, Masked) else obs
            pairs = zip(leaf_arrays(seen), leaf_arrays(saved), strict=True)
            same = self._games is not None or self.checks.log.checksums[0] == log.checksums[0]
            if same and all(one.tobytes() == other.tobytes() for one, other in pairs):
                return obs, {}
            why = "with the same random numbers and actions it does not return the same"
        return self.reset(seed), dict.fromkeys(range(self.checks.n), why)

    def _repeat(self, log: EpisodeLog) -> tuple[HostObs | None, str]:
        """Repeat everything since the resets with seeds; return the observations, or None and why that failed."""
        seeded = np.array(log.seeded if self._games is not None else log.seeded[:1])
        begun, end = int(seeded.min()), time.monotonic() + SECONDS
        if begun < max(log.first, log.now - LONGEST):
            return None, f"it has taken more than {LONGEST:,} steps since its reset"
        obs = self.reset(log.seeds[0] if self._games is None else log.seed)
        if self._games is not None:
            self._games.t = begun
        for t in range(begun, log.now + 1):
            if self._games is not None and (rows := seeded == t).any():
                seeds = np.array(log.seeds)[rows]
                obs = self.checks.see.read(self._reset(seed=seeds, options={"reset_mask": rows}), self.checks.n)
            if t < log.now:
                obs = self.step(to_native(log.actions[t - log.first], self.checks.spaces.coding)).obs
            if time.monotonic() > end:
                return None, f"its {log.now - begun:,} steps take more than {SECONDS:g} s"
        return obs, ""

    def _log_resets(self, rows: BoolArray, raw: object, seed: int | None = None) -> None:
        """Note who was reset: of games each with its own seed."""
        if self._games is None:
            self.checks.log.reset(0, seed, raw)
            return
        self.checks.log.seed = self._games.seed
        for i in np.flatnonzero(rows).tolist():
            self.checks.log.reset(i, int(self._games.seeds[i]), 0)

    def close(self) -> None:
        """Free what the environments hold."""
        try:
            self.env.close()
        except BaseException as error:
            self.checks.positions.crash("close", theirs(error), None)

    def _reset(self, **kwargs: Any) -> object:
        checks = self.checks
        rows = kwargs["options"]["reset_mask"].copy() if "options" in kwargs else checks.all  # Gymnasium takes it out
        try:
            answer: Any = self.env.reset(**kwargs)
        except BaseException as error:
            checks.positions.crash("reset", theirs(error), None)
        obs = checks.contract.two(answer, None)
        checks.positions.info = answer[1]
        info = self._ask_masks(answer[1], checks.none, checks.none)
        checks.begin_masks(info)
        self._note_masks(info, rows, checks.none)
        return obs

    def _ask_masks(self, info: Mapping[str, Any], over: BoolArray, cut: BoolArray) -> Mapping[str, Any]:
        """`info`, with the masks that a method returns; of those that were `over` and have reset they are of the next.

        Raises:
            EnvContractError: an episode was `cut`, and its last observation has no action mask.
        """
        if self._masks is None or "action_mask" in info:
            return info
        try:
            info = {**info, "action_mask": np.array(self._masks())}
        except BaseException as error:
            self.checks.positions.crash("action_masks", theirs(error), None)
        if self.mode is AutoresetMode.SAME_STEP and over.any():
            if self.checks.masks is not None and cut.any():
                raise EnvContractError(
                    f"{self.checks.positions.place(int(np.flatnonzero(cut)[0]))}: the episode was truncated, and in "
                    "SAME_STEP mode action_masks() is that of the next one: use AutoresetMode.NEXT_STEP, or give "
                    "info['action_mask']"
                )
            everything = np.ones_like(info["action_mask"], np.bool_)
            info["final_info"] = {**info.get("final_info", {}), "action_mask": everything}  # nothing follows there
        return info

    def _note_masks(self, info: Mapping[str, Any], rows: BoolArray, over: BoolArray) -> None:
        """Take the masks [N, A] of a vector environment's info for some of its environments."""
        if self.checks.masks is not None:
            given = info.get("action_mask")
            for i in np.flatnonzero(rows).tolist():
                self.checks.note_mask({} if given is None else {"action_mask": given[i]}, i, bool(over[i]))

    def _finals(self, info: Mapping[str, Any], over: BoolArray) -> HostObs:
        """`[N, ...]`, the final observations in SAME_STEP mode; zeros where no episode ended."""
        checks = self.checks
        finals = checks.see.empty(checks.n)
        given, present = info.get("final_obs"), getattr(self.env.unwrapped, "_env_obs", None)
        for i in np.flatnonzero(over).tolist():
            final_obs = row_of(given, i)
            if final_obs is None:
                raise EnvContractError(
                    f"{checks.positions.place(i)}: the episode ended, but info['final_obs'] has no observation; "
                    "SAME_STEP mode must give the final one there: use AutoresetMode.NEXT_STEP or DISABLED"
                )
            reset_obs = row_of(present, i)
            if reset_obs is not None and checks.see.share_memory(final_obs, reset_obs):
                raise EnvContractError(
                    f"{checks.positions.place(i)}: the environment reuses its observation array, so in SAME_STEP mode "
                    "its reset overwrote the final observation: return copies, or use AutoresetMode.NEXT_STEP"
                )
            checks.see.write(final_obs, finals, i)
        return finals


def _where(rows: BoolArray, one: Values, other: Values) -> Values:
    """The `rows` [N] of one array [N, ...], and the others of the other."""
    return np.where(rows.reshape(-1, *[1] * (one.ndim - 1)), one, other)


def row_of(given: Rows, i: int) -> object:
    """Entry i of every array in nested dictionaries of them, which is how infos come; None where there is none."""
    if isinstance(given, Mapping):
        return {key: row_of(value, i) for key, value in given.items() if not str(key).startswith("_")}
    return None if given is None else given[i]


def autoreset_mode(name: str, env: Vector) -> AutoresetMode:
    """How it resets itself."""
    given = env.metadata.get("autoreset_mode")
    try:
        return AutoresetMode(given)
    except ValueError:
        raise EnvContractError(
            f"{name}: metadata['autoreset_mode'] is {given!r}; with a wrong one, ends of episodes would "
            f"be learned wrongly: set it to one of {', '.join(map(str, AutoresetMode))}"
        ) from None
