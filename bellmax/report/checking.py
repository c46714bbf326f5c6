"""NumPy. Is an environment sound? It is played at random, compared with itself, and judged, whatever it does."""

from __future__ import annotations

import copy
import re
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import SimpleNamespace
from typing import Any, NamedTuple, TypeAlias

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

from bellmax.envs import check as judge
from bellmax.envs.check import End, Findings, Flaw, Level, Report
from bellmax.envs.diary import MIGRATION
from bellmax.envs.making import Env, make
from bellmax.envs.reading import Spaces, one_line, read_spaces
from bellmax.spaces import to_native
from bellmax.types import ConfigError, EnvContractError, EnvCrashed

Source: TypeAlias = "str | Env | Callable[..., Env]"

SPACES = "observation_space", "action_space"
COMPARED = 1_000  # steps of which two plays are compared
SLOWER, NOTICED = 3.0, 5e-5  # steps that take so many times as long as at first, and so many seconds longer
USABLE: gym.Space[Any] = gym.spaces.Discrete(1)
LEAK = 50.0  # MB that a short check should not cost
COPY = "return a copy; others would remember one array many times, and SAME_STEP vectors lose the final observation"
CRASH = "any action of the space, if its mask allows it, must be possible until the episode ends"
RESET = "declare `def reset(self, *, seed=None, options=None)`, and begin it with `super().reset(seed=seed)`"
SEED = "draw all chance from self.np_random after super().reset(seed=seed), and let reset set every part of the state"


class Event(NamedTuple):
    """One reset or step: where, and copies of what it returned, by name."""

    place: str
    values: dict[str, Any]


class Player:
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

    def twin(self, env: Env | None = None) -> Player:
        """Plays the same actions, in the same environment or another, and keeps its findings to itself."""
        return Player(env or self.env, self._spaces, Findings(), self._seed)

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
        except Exception as error:
            old = isinstance(error, ValueError) and "unpack (expected 5, got 4)" in str(error)  # by a wrapper
            fix = MIGRATION if old else CRASH if move == "step" else "repair reset: every episode begins there"
            self._note("crashes", "error", f"{move} raised {judge.said(error)}", fix)
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
            self._note("interface", "error", f"reset raised {judge.said(error)}", RESET)
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
        if abs(values["reward"]) <= judge.LARGEST:
            self.rewards.append(values["reward"])
        if values["terminated"] or values["truncated"]:
            self.ends.append(End(self._time, values["terminated"], values["truncated"]))
        return self._look(obs, info, values)

    def _action(self) -> Any:
        """A random one, as bellmax would give it where it can use the space."""
        if self._spaces is None:
            return self._actions.sample()
        allowed = np.arange(self._spaces.n_actions) if self._mask is None else np.flatnonzero(self._mask)
        return to_native(self._rng.choice(allowed, 1), self._spaces.coding)[0]

    def _look(self, obs: Any, info: Any, values: dict[str, Any]) -> Event:
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

    def _aliasing(self, obs: Any) -> None:
        last, copied = self._last
        if differs := judge.difference(copied, last, "observation"):
            self._note("aliasing", "warning", f"the observation before was overwritten: {differs}", COPY)
        elif judge.shared_memory(last, obs):
            self._note("aliasing", "hint", "the observation has the memory of the one before, unchanged so far", COPY)

    def _masks(self, given: Any, over: bool) -> None:
        self._mask = None
        self.gives_masks = given is not None if self.gives_masks is None else self.gives_masks
        if self.gives_masks != (given is not None):
            which = "is missing, though the first reset gave one" if given is None else "comes, though not at first"
            self._note("masks", "error", f"info['action_mask'] {which}", judge.MASKS)
        if given is not None and self._spaces is not None:
            flaws = list(judge.mask_flaws(given, self._spaces.n_actions, over))
            self._note_all(flaws)
            if all(flaw.level != "error" for flaw in flaws) and np.any(given):
                self._mask = np.array(given, np.bool_)

    def _note_all(self, flaws: Iterable[Flaw]) -> None:
        for flaw in flaws:
            self._note(*flaw)

    def _note(self, check: str, level: Level, what: str, fix: str, size: float = 0.0) -> None:
        self.findings.add(check, level, f"{self._place}: {what}", fix, size)


def check_env(env: Source, *, steps: int = 1_000, seed: int = 0, env_kwargs: Mapping[str, Any] | None = None) -> Report:
    """Play an environment for so many random steps; tell what is wrong with it, and what to do about it.

    `env` is an id, a class, another callable, or an environment, which is then reset, but not closed.

    Raises:
        ConfigError: there is no such environment, or it cannot be made so.
    """
    if steps < 1:
        raise ConfigError(f"steps is {steps}; give at least one")
    findings = Findings()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("default")
        name, facts = _check(env, steps, seed, dict(env_kwargs or {}), findings)
    for warning in warned:
        if not issubclass(warning.category, DeprecationWarning):
            what = f"{warning.category.__name__}: {' '.join(str(warning.message).split())}"
            findings.add("warnings", "hint", re.sub(r"\x1b\[\d*m", "", what), "see what the environment warns of")
    return Report(name, findings.all(), facts)


def _check(env: Source, steps: int, seed: int, kwargs: Any, findings: Findings) -> tuple[str, dict[str, Any]]:
    """The environment's name, and the facts."""
    name, limit, worlds, owned = "", None, list[Env](), not isinstance(env, gym.Env)
    findings.well("constructor", "called twice" if owned else "not called: the environment was made before")
    for times in ("", "the second time: ") if owned else ("",):
        try:
            name, made, limit, *_ = make(env, 1, kwargs)
        except EnvCrashed as error:
            name = name or str(error).partition(":")[0]
            findings.add("constructor", "error", f"{times}{error}", "repair it: every world and evaluation makes one")
            break
        if isinstance(made, VectorEnv):
            raise ConfigError(f"{name}: a vector environment; give one of the plain environments that it is made of")
        worlds += made
    if missing := [which for which in SPACES if worlds and not isinstance(getattr(worlds[0], which, None), gym.Space)]:
        findings.add("spaces", "error", f"no {' and no '.join(missing)}", "set it in the constructor or the class")
    if missing or not worlds:
        return name, {}
    player = Player(worlds[0], _spaces(name, worlds[0], findings), findings, seed)
    facts = _play(player, steps, seed)
    if player.step_seconds:
        findings.well("interface", "reset and step return what Gymnasium asks for")
        findings.well("observations", "all in their space, and finite")
        judge.rewards(player.rewards, {end.length for end in player.ends}, findings)
        judge.ends(player.ends, player.longest, limit, findings)
        findings.well("masks", "one at every reset and step" if player.gives_masks else "none")
        findings.well("aliasing", "no observation is changed by a later step")
        looks = (("determinism", _determinism), ("seeds", _seeds), ("episodes", _after_end))
        for check, look in looks if player.takes_seed else ():
            findings.guard(check, "played again", look, player, worlds, min(steps, COMPARED), seed)
        _costs(player, facts, findings)
    for i, world in enumerate([worlds[0], *worlds] if owned else []):
        findings.well("close", "does no harm when called twice")
        try:
            world.close()
        except Exception as error:
            what = f"close raised {judge.said(error)}{' when called again' if i == 1 else ''}"
            findings.add("close", "hint" if i == 1 else "error", what, "let it free what there is, if any")
    return name, facts


def _spaces(name: str, env: Env, findings: Findings) -> Spaces | None:
    """Its actions as bellmax sees them, None where it cannot use them; each of its two spaces is judged alone."""
    findings.well("spaces", f"observation {one_line(env.observation_space)}, action {one_line(env.action_space)}")
    for both in ((env.observation_space, USABLE), (USABLE, env.action_space)):
        try:
            read: Spaces | None = read_spaces(name, [SimpleNamespace(**dict(zip(SPACES, both, strict=True)))], False)
        except ConfigError as error:
            what, _, fix = str(error).removeprefix(f"{name}: ").partition("; ")
            findings.add("spaces", "error", what, fix or "wrap the environment")
            read = None
    return read


def _play(player: Player, steps: int, seed: int) -> dict[str, Any]:
    """The first play, whose findings count; its facts."""
    before = judge.resident()
    for _ in player.walk(steps, seed):
        if len(player.step_seconds) <= steps // 10:
            before = judge.resident()  # what the first steps load is no leak
    facts: dict[str, Any] = {"steps": len(player.step_seconds), "episodes": len(player.ends)}
    for name, seconds in (("step", player.step_seconds), ("reset", player.reset_seconds)):
        middle, high = np.quantile(seconds or [0.0], (0.5, 0.99)).tolist()
        facts |= {f"{name}_ms_median": round(1e3 * middle, 5), f"{name}_ms_99_percent": round(1e3 * high, 5)}
    facts["steps_per_second"] = round(facts["steps"] / (sum(player.step_seconds + player.reset_seconds) or 1))
    facts["largest_reward"] = max(map(abs, player.rewards), default=0.0)
    return facts | {"memory_growth_mb": round(judge.resident() - before, 1)}


def _determinism(player: Player, worlds: list[Env], steps: int, seed: int) -> None:
    """The same seed and the same actions, twice: in one environment, and in two."""
    player.findings.well("determinism", f"seed {seed} and the same actions give the same {steps:,} steps again")
    once = list(player.twin().walk(steps, seed))
    for where, world in zip(("in one environment", "in two environments"), worlds, strict=False):
        if found := _differs(once, player.twin(world).walk(steps, seed)):
            level: Level = "hint" if player.env.spec is not None and player.env.spec.nondeterministic else "error"
            player.findings.add("determinism", level, f"seed {seed}, the same actions, {where}: {found}", SEED)
            return


def _seeds(player: Player, worlds: list[Env], steps: int, seed: int) -> None:
    """Other seeds should differ, and later resets should go on."""
    player.findings.well("seeds", "others give other steps")
    first, *others = (list(player.twin().walk(min(steps, 50), seed + i)) for i in range(3))
    if not any(_differs(first, other) for other in others):
        fix = "right in a world without chance; else call super().reset(seed=seed) and draw from self.np_random"
        player.findings.add("seeds", "hint", f"{seed}, {seed + 1} and {seed + 2} give the same steps", fix)
    elif any(_differs(first[:1], other) for other in others):
        again = player.twin()
        starts = [again.go("reset", one) for one in (seed, None, None, None)]
        if all(start and not _differs(first[:1], [start]) for start in starts):
            fix = "create random numbers only where a seed is given, as super().reset(seed=seed) does"
            player.findings.add("seeds", "hint", "reset() without a seed begins each episode like the first", fix)


def _differs(events: Iterable[Event], others: Iterable[Event]) -> str | None:
    """The first field in which two plays differ, with its place."""
    for one, other in zip(events, others, strict=False):
        for name, value in one.values.items():
            if found := judge.difference(value, other.values.get(name), name):
                return f"{one.place}: {found}"
    return None


def _after_end(player: Player, worlds: list[Env], steps: int, seed: int) -> None:
    """Whether a step too many is noticed."""
    late = player.twin()
    if any(event.values.get("terminated") for event in late.walk(steps, seed)):  # stops there
        with warnings.catch_warnings(action="ignore"):
            event = late.go("step")
        if event is not None and not event.values["terminated"] and not event.values["truncated"]:
            fix = "bellmax always resets; where others forget to, an exception in step would tell them"
            player.findings.add("episodes", "hint", "a step after the end, without reset, goes on as before", fix)


def _costs(player: Player, facts: dict[str, Any], findings: Findings) -> None:
    """Time and memory."""
    middle, high = facts["step_ms_median"], facts["step_ms_99_percent"]
    findings.well("time", f"a step takes {middle:.3g} ms (99 % below {high:.3g}), reset {facts['reset_ms_median']:.3g}")
    few = max(len(player.step_seconds) // 10, 1)
    first, last = np.median(player.step_seconds[:few]), np.median(player.step_seconds[-few:])
    if few > 4 and last > SLOWER * first and last - first > NOTICED:
        what = f"steps get slower: {1e3 * first:.3g} ms at the beginning, {1e3 * last:.3g} ms at the end"
        findings.add("time", "warning", what, "look for a list that grows and is gone through at each step")
    findings.well("memory", f"grew by {facts['memory_growth_mb']:.1f} MB")
    if facts["memory_growth_mb"] > LEAK:
        findings.add(
            "memory", "warning", f"grew by {facts['memory_growth_mb']:.0f} MB", "look for what every step keeps"
        )
