"""NumPy and JAX. Is a compiled world sound? It is traced, played at random and compared with itself."""

from __future__ import annotations

import time
from typing import Any, NamedTuple, Never

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from bellmax import spaces
from bellmax.arguments import STEPS_MEANT, check_call, describe, integer
from bellmax.contracts import Array, BoolArray, Box, ConfigError, Leaf, Masked
from bellmax.dispatch import in_32_bits
from bellmax.envs import check as judge
from bellmax.envs.findings import Findings, Report
from bellmax.envs.functional import World
from bellmax.envs.step_contract import LARGE
from bellmax.envs.world_contract import find_faults
from bellmax.keys import make_key
from bellmax.report.world_starts import find_starts, judge_ends

PURE = "let it depend on nothing but its arguments: no counter, no NumPy random number, no time"
FINITE = "bound it with jnp.clip, or keep the division from 0"
BOUNDS = "widen the space to what the world can reach, or clip: what is scaled by the bounds goes wrong otherwise"


class Play(NamedTuple):
    """Steps of one world, in order; arrays of NumPy with a leading axis [T].

    Attributes:
        obs, next_obs, reward, terminated, truncated: of each step.
        length: which step of its episode it is, from 1.
        before, after: whether an episode could begin as the world is then.
    """

    obs: Any
    next_obs: Any
    reward: Any
    terminated: Any
    truncated: Any
    length: Any
    before: Any
    after: Any

    def place(self, t: int) -> str:
        """Return where the step at index t is, in words."""
        over: BoolArray = (self.terminated | self.truncated)[:t]
        return f"episode {int(over.sum()) + 1}, step {self.length[t]}"


def check_world(
    world: World[Any], *misplaced: Never, steps: int = 1_000, seed: int = 0, **unknown_names: Never
) -> Report:
    """Check a compiled world: its shapes and dtypes, then so many random steps; report each fault and its remedy.

    Raises:
        ConfigError: `world` is not a compiled World.
    """
    check_call(check_world, "steps", misplaced, unknown_names, STEPS_MEANT, "one argument without a name, world")
    if not isinstance(world, World):
        raise ConfigError(f"`world` must be a compiled bellmax.World; got {describe(world)}; check_env checks others")
    steps, seed = integer("steps", steps), integer("seed", seed, 0)
    findings, facts = Findings(), dict[str, Any]()
    findings.well("spaces", f"observation {spaces.in_words(world.observation_space)}, {world.n_actions} actions")
    findings.well("interface", "reset and step compile, and return what the contract asks for")
    faults = find_faults(world)
    for fault in faults:
        findings.add(fault.check, "error", fault.what, fault.fix)
    if not faults:
        facts = _play(world, steps, seed, findings)
    return Report(str(world.name), findings.all(), facts)


@in_32_bits
def _play(world: World[Any], steps: int, seed: int, findings: Findings) -> dict[str, Any]:
    """Judge a play of random actions; its facts."""
    starts = find_starts(world, seed, findings)

    def turn(carry: tuple[Any, ...], now: Array) -> tuple[tuple[Any, ...], Play]:
        state, obs, length, before = carry
        k_act, k_step, k_reset = jax.random.split(now, 3)
        allowed = obs.mask if isinstance(obs, Masked) else jnp.ones(world.n_actions, bool)
        action = jax.random.categorical(k_act, jnp.where(allowed, 0.0, -jnp.inf)).astype(jnp.int32)
        after, next_obs, reward, terminated, truncated = world.step(state, action, k_step)
        over = terminated | truncated
        start = world.reset(k_reset)
        going = jax.tree.map(lambda new, old: jnp.where(over, new, old), start, (after, next_obs))
        begun = starts.have(after, next_obs)
        play = Play(obs, next_obs, jnp.float32(reward), terminated, truncated, length + 1, before, begun)
        return (*going, jnp.where(over, 0, length + 1), over | begun), play

    @jax.jit
    def walk(key: Array) -> Play:
        first, rest = jax.random.split(key)
        begin = (*world.reset(first), jnp.int32(0), jnp.bool_(True))
        return jax.lax.scan(turn, begin, jax.random.split(rest, steps))[1]

    seconds, plays = [], []
    for _ in range(2):
        began = time.perf_counter()
        plays.append(jax.device_get(walk(make_key(seed))))
        seconds.append(time.perf_counter() - began)
    play: Play = plays[0]
    _observations(world, play, findings)
    ends = [
        judge.End(int(n), bool(done), bool(cut))
        for n, done, cut in zip(play.length, play.terminated, play.truncated, strict=True)
        if done or cut
    ]
    if not np.isfinite(play.reward).all():
        t = int(np.argmin(np.isfinite(play.reward)))
        findings.add("rewards", "error", f"{play.place(t)}: reward is {play.reward[t]}", FINITE)
    else:
        judge.play_rewards(play.reward.tolist(), {end.length for end in ends}, findings)
    _ends(ends, int(play.length.max()), world.max_episode_steps, findings)
    judge_ends(play.terminated, play.truncated, play.before, play.after, findings)
    _determinism(world, plays, seed, findings)
    per_step = seconds[1] / steps
    findings.well("time", f"a step takes {1e6 * per_step:.3g} µs, compiling took {seconds[0] - seconds[1]:.2g} s")
    largest = float(np.abs(play.reward[np.isfinite(play.reward)]).max(initial=0.0))
    if largest > LARGE:
        findings.add("rewards", "hint", f"rewards up to {largest:g}", "give the agent a reward_scale that makes them 1")
    return {
        "steps": steps, "episodes": len(ends), "step_us": round(1e6 * per_step, 3), "largest_reward": largest,
        "steps_per_second": round(1 / per_step), "compile_seconds": round(seconds[0] - seconds[1], 2),
    }  # fmt: skip


def _ends(ends: list[judge.End], longest: int, limit: int | None, findings: Findings) -> None:
    """Episodes end, and at the time limit by truncation."""
    if limit is not None and longest > limit:
        what = f"an episode had {longest:,} steps, and max_episode_steps is {limit:,}"
        findings.add("episodes", "error", what, "count steps in the state, and return truncated = state.time >= limit")
    elif limit is None and not ends:
        what = f"no episode ended in {longest:,} steps, and there is no time limit"
        findings.add("episodes", "warning", what, "if not meant, give max_episode_steps and return truncated there")
    else:
        judge.play_ends(ends, longest, limit, findings)


def _observations(world: World[Any], play: Play, findings: Findings) -> None:
    """Finite, and in their space; a mask allows something."""
    findings.well("observations", "all in their space, and finite")
    space = world.observation_space
    first = play.length == 1
    begins = jax.tree.map(lambda leaf: leaf[first], play.obs)
    seen = jax.tree.map(lambda one, other: np.concatenate([one, other]), begins, play.next_obs)
    resets = int(first.sum())
    if isinstance(space, Masked):
        findings.well("masks", "each allows an action")
        if not seen.mask.any(-1).all():
            fix = "let one action be allowed, also in the last observation of an episode"
            findings.add("masks", "error", "a mask allows no action", fix)
        space, seen = space.obs, seen.obs

    def look(leaf: Leaf, values: npt.NDArray[Any]) -> None:
        if np.dtype(values.dtype).kind == "f" and not np.isfinite(values).all():
            flat = values.reshape(len(values), -1)
            i = int(np.argmin(np.isfinite(flat).all(axis=1)))
            where = play.place(i - resets) if i >= resets else f"episode {i + 1}, reset"
            bad = flat[i][~np.isfinite(flat[i])][0]
            findings.add("observations", "error", f"{where}: an observation contains {bad}", FINITE)
            return
        if isinstance(leaf, Box):
            flat = values.reshape(len(values), -1)
            low, high = (None if end is None else np.broadcast_to(end, flat.shape[1:]) for end in (leaf.low, leaf.high))
            outside = bool((low is not None and (flat < low).any()) or (high is not None and (flat > high).any()))
            span = f"{flat.min():g} to {flat.max():g}" if leaf.dtype != "bool" else ""
        else:
            outside = bool((values < 0).any() or (values >= spaces.limits_of(leaf)).any())
            span = f"{values.min()} to {values.max()}"
        if outside:
            findings.add("observations", "error", f"observations from {span} are outside {leaf}", BOUNDS)

    spaces.map_space(look, space, seen)


def _determinism(world: World[Any], plays: list[Play], seed: int, findings: Findings) -> None:
    """The same key, twice in the same program; and traced again."""
    findings.well("determinism", "the same keys and actions give the same steps")
    key = make_key(seed)

    def first() -> list[Array]:
        state, obs = world.reset(key)
        return jax.tree.leaves((obs, world.step(state, jnp.int32(0), key)[1:]))

    again = [jax.tree.map(np.asarray, jax.jit(lambda: first())()) for _ in range(2)]
    same = all(np.array_equal(a, b, equal_nan=True) for a, b in zip(*again, strict=True))
    walks = zip(*map(jax.tree.leaves, plays), strict=True)
    if not same or not all(np.array_equal(a, b, equal_nan=np.dtype(a.dtype).kind == "f") for a, b in walks):
        findings.add("determinism", "error", f"key {seed} and the same action give other steps again", PURE)
