"""NumPy. Check an environment: play it at random, repeat the episodes, and report what is wrong with any of it."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from types import SimpleNamespace
from typing import Any, Never, TypeAlias

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

from bellmax.arguments import STEPS_MEANT, check_call, integer, keywords
from bellmax.contracts import ConfigError, EnvCrashed, ResourceError
from bellmax.envs import check as judge
from bellmax.envs.findings import Findings, Level, Report, said
from bellmax.envs.functional import World
from bellmax.envs.making import Env, Ready, make
from bellmax.envs.native_spaces import Spaces, one_line, read_spaces
from bellmax.envs.playing import CheckingPlayer, Event
from bellmax.envs.raising import theirs
from bellmax.envs.stateful import refuse_carrying, refuse_learning
from bellmax.machine import resident_mb, return_free_memory
from bellmax.registry import WORLDS
from bellmax.report.checking_worlds import check_world

Source: TypeAlias = "str | Env | World[Any] | Callable[..., Env | World[Any]]"

SPACES = "observation_space", "action_space"
COMPARED = 1_000  # steps of which two plays are compared
SLOWER, NOTICED = 3.0, 5e-5  # steps that take so many times as long as at first, and so many seconds longer
USABLE: gym.Space[Any] = gym.spaces.Discrete(1)
LEAK = 50.0  # MB that a short check should not cost
SEED = "draw all random numbers from self.np_random after super().reset(seed=seed), and set the whole state in reset"


def check_env(
    env: Source,
    *misplaced: Never,
    steps: int = 1_000,
    seed: int = 0,
    env_kwargs: Mapping[str, Any] | None = None,
    **unknown_names: Never,
) -> Report:
    """Play `steps` random steps in an environment; return a report of what is wrong with it and how to fix it.

    `env` is an id, a class, another callable, or an environment, which is reset but not closed. What is a
    compiled World, or creates one, is checked by `check_world`.

    Raises:
        ConfigError: an argument is unknown, or there is no such environment, or it cannot be created.
    """
    check_call(check_env, "steps", misplaced, unknown_names, STEPS_MEANT, "one argument without a name, env")
    steps, seed = integer("steps", steps), integer("seed", seed, 0)
    if isinstance(env, World):
        return check_world(env, steps=steps, seed=seed)
    findings = Findings()
    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("default")
        try:
            env = WORLDS[env] if isinstance(env, str) and env in WORLDS else env
            name, facts = _check(env, steps, seed, keywords("env_kwargs", env_kwargs), findings)
        except Ready as ready:
            if isinstance(ready.made, World):
                return check_world(ready.made, steps=steps, seed=seed)
            raise
    for warning in warned:
        if not issubclass(warning.category, DeprecationWarning):
            what = f"{warning.category.__name__}: {' '.join(str(warning.message).split())}"
            findings.add("warnings", "hint", re.sub(r"\x1b\[\d*m", "", what), "read the warning")
    return Report(name, findings.all(), facts)


def _check(
    env: str | Env | Callable[..., Env | World[Any]], steps: int, seed: int, kwargs: dict[str, Any], findings: Findings
) -> tuple[str, dict[str, Any]]:
    """The environment's name, and the facts."""
    name, limit, worlds, owned = "", None, list[Env](), not isinstance(env, gym.Env)
    findings.well("constructor", "called twice" if owned else "not called: the environment exists already")
    for times in ("", "the second time: ") if owned else ("",):
        try:
            name, made, limit, *_ = make(env, 1, kwargs)
        except (EnvCrashed, ResourceError) as error:
            name = name or str(error).partition(":")[0]
            findings.add("constructor", "error", f"{times}{error}", "repair it; every run and evaluation calls it")
            break
        if isinstance(made, VectorEnv):
            raise ConfigError(f"{name}: a vector environment; pass one of its plain environments")
        worlds += made
    if missing := [which for which in SPACES if worlds and not isinstance(getattr(worlds[0], which, None), gym.Space)]:
        findings.add("spaces", "error", f"no {' and no '.join(missing)}", "set it in the class or its constructor")
    if missing or not worlds:
        return name, {}
    again = (lambda: make(env, 1, kwargs).world) if owned else None
    findings.guard("wrappers", "state", _state, name, worlds[0], again, findings)
    player = CheckingPlayer(worlds[0], _spaces(name, worlds[0], findings), findings, seed)
    facts = _play(player, steps, seed)
    if player.step_seconds:
        findings.well("interface", "reset and step return what Gymnasium requires")
        findings.well("observations", "all in their space and finite")
        judge.play_rewards(player.rewards, {end.length for end in player.ends}, findings)
        judge.play_ends(player.ends, player.longest, limit, findings)
        findings.well("masks", "one at every reset and step" if player.gives_masks else "none")
        findings.well("aliasing", "no later step changes an observation")
        looks = (("determinism", _determinism), ("seeds", _seeds), ("episodes", _after_end))
        for check, look in looks if player.takes_seed else ():
            findings.guard(check, "played again", look, player, worlds, min(steps, COMPARED), seed)
        _costs(player, facts, findings)
    for i, world in enumerate([worlds[0], *worlds] if owned else []):
        findings.well("close", "safe to call twice")
        try:
            world.close()
        except BaseException as error:
            what = f"close raised {said(theirs(error))}{' when called again' if i == 1 else ''}"
            findings.add("close", "hint" if i == 1 else "error", what, "release only what exists")
    return name, facts


def _spaces(name: str, env: Env, findings: Findings) -> Spaces | None:
    """Its actions as bellmax sees them, None where it cannot use them; each of its two spaces is judged separately."""
    findings.well("spaces", f"observation {one_line(env.observation_space)}, action {one_line(env.action_space)}")
    for both in ((env.observation_space, USABLE), (USABLE, env.action_space)):
        try:
            read: Spaces | None = read_spaces(name, [SimpleNamespace(**dict(zip(SPACES, both, strict=True)))], False)
        except ConfigError as error:
            what, _, fix = str(error).removeprefix(f"{name}: ").partition("; ")
            findings.add("spaces", "error", what, fix or "wrap the environment")
            read = None
    return read


def _state(name: str, world: Env, again: Callable[[], Any] | None, findings: Findings) -> None:
    """What training would refuse: layers that learn, whose state is not part of the policy."""
    try:
        refuse_learning(name, world)
        refuse_carrying(name, world, again)
    except ConfigError as error:
        what, _, fix = str(error).removeprefix(f"{name}: ").partition(". Leave it out: ")
        findings.add("wrappers", "error", what, f"leave it out: {fix}")


def _play(player: CheckingPlayer, steps: int, seed: int) -> dict[str, Any]:
    """The first play, whose findings count; its facts."""
    return_free_memory()
    before = resident_mb()
    for _ in player.walk(steps, seed):
        if len(player.step_seconds) <= steps // 10:
            before = resident_mb()  # what the first steps load is no leak
    facts: dict[str, Any] = {"steps": len(player.step_seconds), "episodes": len(player.ends)}
    for name, seconds in (("step", player.step_seconds), ("reset", player.reset_seconds)):
        middle, high = np.quantile(seconds or [0.0], (0.5, 0.99)).tolist()
        facts |= {f"{name}_ms_median": round(1e3 * middle, 5), f"{name}_ms_99_percent": round(1e3 * high, 5)}
    facts["steps_per_second"] = round(facts["steps"] / (sum(player.step_seconds + player.reset_seconds) or 1))
    facts["largest_reward"] = max(map(abs, player.rewards), default=0.0)
    return facts | {"memory_growth_mb": round(resident_mb() - before, 1)}


def _determinism(player: CheckingPlayer, worlds: list[Env], steps: int, seed: int) -> None:
    """The same seed and the same actions, twice: in one environment, and in two."""
    player.findings.well("determinism", f"seed {seed} and the same actions give the same {steps:,} steps")
    once = list(player.twin().walk(steps, seed))
    for where, world in zip(("in one environment", "in two environments"), worlds, strict=False):
        if found := _differs(once, player.twin(world).walk(steps, seed)):
            level: Level = "hint" if player.env.spec is not None and player.env.spec.nondeterministic else "error"
            player.findings.add("determinism", level, f"seed {seed}, the same actions, {where}: {found}", SEED)
            return


def _seeds(player: CheckingPlayer, worlds: list[Env], steps: int, seed: int) -> None:
    """Other seeds should differ, and later resets should go on."""
    player.findings.well("seeds", "different seeds give different episodes")
    first, *others = (list(player.twin().walk(min(steps, 50), seed + i)) for i in range(3))
    if not any(_differs(first, other) for other in others):
        fix = "fine if deterministic; otherwise call super().reset(seed=seed) and draw from self.np_random"
        player.findings.add("seeds", "hint", f"{seed}, {seed + 1} and {seed + 2} give the same steps", fix)
    elif any(_differs(first[:1], other) for other in others):
        again = player.twin()
        starts = [again.go("reset", one) for one in (seed, None, None, None)]
        if all(start and not _differs(first[:1], [start]) for start in starts):
            fix = "create the generator only if a seed is given, as super().reset(seed=seed) does"
            player.findings.add("seeds", "hint", "reset() without a seed starts each episode like the first", fix)


def _differs(events: Iterable[Event], others: Iterable[Event]) -> str | None:
    """The first field in which two plays differ, with its place."""
    for one, other in zip(events, others, strict=False):
        for name, value in one.values.items():
            if found := judge.difference(value, other.values.get(name), name):
                return f"{one.place}: {found}"
    return None


def _after_end(player: CheckingPlayer, worlds: list[Env], steps: int, seed: int) -> None:
    """Whether a step too many is noticed."""
    late = player.twin()
    if any(event.values.get("terminated") for event in late.walk(steps, seed)):  # stops there
        with warnings.catch_warnings(action="ignore"):
            event = late.go("step")
        if event is not None and not event.values["terminated"] and not event.values["truncated"]:
            fix = "raise an exception there, for callers that forget to reset; bellmax always does"
            player.findings.add("episodes", "hint", "a step after the end, without reset, continues as before", fix)


def _costs(player: CheckingPlayer, facts: dict[str, Any], findings: Findings) -> None:
    """Time and memory."""
    middle, high = facts["step_ms_median"], facts["step_ms_99_percent"]
    findings.well("time", f"a step takes {middle:.3g} ms (99 % below {high:.3g}), reset {facts['reset_ms_median']:.3g}")
    few = max(len(player.step_seconds) // 10, 1)
    first, last = np.median(player.step_seconds[:few]), np.median(player.step_seconds[-few:])
    if few > 4 and last > SLOWER * first and last - first > NOTICED:
        what = f"steps get slower: {1e3 * first:.3g} ms at the beginning, {1e3 * last:.3g} ms at the end"
        findings.add("time", "warning", what, "check whether a list grows and every step reads all of it")
    findings.well("memory", f"grew by {facts['memory_growth_mb']:.1f} MB")
    if facts["memory_growth_mb"] > LEAK:
        findings.add(
            "memory", "warning", f"grew by {facts['memory_growth_mb']:.0f} MB", "check whether it accumulates state"
        )
