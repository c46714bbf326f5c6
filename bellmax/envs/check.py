"""NumPy. Find what is wrong with a value that an environment returned, with the remedy.

`bellmax.report.checking` plays the environment, calls these functions and collects what they find (`findings.py`).
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import gymnasium as gym
import numpy as np
import numpy.typing as npt
from gymnasium import spaces

from bellmax.contracts import counted
from bellmax.envs.findings import Findings, Level
from bellmax.envs.native_spaces import one_line
from bellmax.envs.step_contract import LARGE
from bellmax.observations import LARGEST

Numbers: TypeAlias = "spaces.Box | spaces.Discrete[Any] | spaces.MultiDiscrete | spaces.MultiBinary"

AGREE = "make the observation and its space agree"
CAST = "return arrays with the dtype of the space; bellmax casts them, other libraries fail or round"
FINITE = "repair the environment, or bound the {} in a wrapper"
BOUNDS = "widen the space to what the environment can reach, or clip; scaling by the bounds is wrong otherwise"
MASKS = "return info['action_mask'] at every reset and step: one flag for each action, at least one of them true"
ENDS = "return truncated=True at a time limit; a truncated episode has a future value, a terminated one does not"
RARE = "if rewards are rare, random steps may miss them; otherwise there is nothing to learn"
MASK_TYPE = "return bool, or int8 with 0 and 1, as Gymnasium's own sample(mask) requires"


class Flaw(NamedTuple):
    """A fault of one value; of several with the same fix the first is reported, or the one with the largest `size`."""

    check: str
    level: Level
    what: str
    fix: str
    size: float = 0.0


class End(NamedTuple):
    """How an episode ended, and after how many steps."""

    length: int
    terminated: bool
    truncated: bool


def flaws(space: gym.Space[Any], value: object, path: str) -> Iterator[Flaw]:
    """Why `value` does not lie in `space`, however deep; `path` names it."""
    fits = f"but its space is {one_line(space)}"
    if isinstance(space, spaces.Dict):
        if not isinstance(value, Mapping) or value.keys() != space.spaces.keys():
            keys = f"a dict of {sorted(map(str, value))}" if isinstance(value, Mapping) else kind(value)
            yield _flaw(f"{path} is {keys}, {fits}")
        given = value if isinstance(value, Mapping) else {}
        for key in (key for key in space.spaces if key in given):
            yield from flaws(space.spaces[key], given[key], f"{path}[{key!r}]")
    elif isinstance(space, spaces.Tuple):
        if not isinstance(value, tuple | list) or len(value) != len(space.spaces):
            yield _flaw(f"{path} is {kind(value)}, {fits}")
        else:
            for i, (part, its_space) in enumerate(zip(value, space.spaces, strict=True)):
                yield from flaws(its_space, part, f"{path}[{i}]")
    elif isinstance(space, spaces.Box | spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
        yield from _array_flaws(space, value, path, fits)
    elif not space.contains(value):
        yield _flaw(f"{path} is {one_line(value)} ({kind(value)}), {fits}")


def _flaw(what: str, fix: str = AGREE, level: Level = "error", size: float = 0.0) -> Flaw:
    return Flaw("observations", level, what, fix, size)


def _array_flaws(space: Numbers, value: object, path: str, fits: str) -> Iterator[Flaw]:
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        array = np.array(None)
    box, got, wanted = isinstance(space, spaces.Box), array.dtype, np.dtype(space.dtype)
    kinds = "biuf" if box else "biu" if isinstance(space, spaces.MultiBinary) else "iu"
    integers = got.kind in "iu" and wanted.kind in "iu"
    held = bool((array.astype(wanted) == array).all()) if integers else np.can_cast(got, wanted, "same_kind")
    if array.shape != space.shape or got.kind not in kinds or (box and not held):
        yield _flaw(f"{path} is {kind(value)}, {fits}")
        return
    bad = np.argwhere(~(np.abs(array) <= LARGEST)).tolist() if got.kind == "f" else []
    if bad:
        yield _flaw(f"{_at(array, path, bad[0])}, not a finite float32", FINITE.format("observation"))
        return
    if box and (not isinstance(value, np.ndarray | np.generic) or not np.can_cast(got, wanted)):
        yield _flaw(f"{path} is {kind(value)}, {fits}", CAST, "warning")
    array = array.astype(wanted) if got.kind == wanted.kind == "f" else array  # the bounds are rounded, too
    low, high = _bounds(space)
    excess = np.maximum(np.subtract(low, array, dtype=np.float64), np.subtract(array, high, dtype=np.float64))
    if excess.size and excess.max() > 0:
        where = np.unravel_index(int(excess.argmax()), excess.shape)
        edges = " to ".join(str(np.broadcast_to(edge, array.shape)[where]) for edge in (low, high))
        what = f"{_at(array, path, where)}, outside {edges}"
        yield _flaw(what, BOUNDS, "warning", float(excess.max())) if box else _flaw(what)


def _bounds(space: Numbers) -> tuple[Any, Any]:
    """The lowest and the highest value of a space of numbers."""
    if isinstance(space, spaces.Box):
        return space.low, space.high
    if isinstance(space, spaces.MultiBinary):
        return 0, 1
    if isinstance(space, spaces.Discrete):
        return int(space.start), int(space.start) + int(space.n) - 1
    return space.start, np.add(space.start, space.nvec) - 1


def number(value: object) -> float:
    """A reward as a number; NaN where there is none."""
    try:
        return float(np.asarray(value, np.float64).reshape(-1)[0])
    except (TypeError, ValueError, IndexError, OverflowError):
        return float("nan")


def answer_flaws(reward: object, terminated: object, truncated: object) -> Iterator[Flaw]:
    """What is wrong with the numbers that a step returned."""
    if not _is_scalar(reward, (float, int, np.floating, np.integer, np.bool_), "biuf"):
        yield Flaw("interface", "error", f"reward is {one_line(reward)} ({kind(reward)})", "return float(reward)")
    elif not abs(number(reward)) <= LARGEST:
        yield Flaw("rewards", "error", f"reward is {str(reward)[:40]}, not a finite float32", FINITE.format("reward"))
    for name, value in (("terminated", terminated), ("truncated", truncated)):
        if not _is_scalar(value, (bool, np.bool_), "b"):
            yield Flaw("interface", "error", f"{name} is {one_line(value)} ({kind(value)})", "return True or False")


def _is_scalar(value: object, types: tuple[type, ...], kinds: str) -> bool:
    array = isinstance(value, np.ndarray) and value.shape == () and value.dtype.kind in kinds
    return array or isinstance(value, types)


def mask_flaws(given: object, n_actions: int, over: bool) -> Iterator[Flaw]:
    """What is wrong with an info["action_mask"]; where the episode is `over` it may allow nothing."""
    mask = np.asarray(given)
    if mask.shape != (n_actions,) or mask.dtype.kind not in "biuf":
        yield Flaw("masks", "error", f"info['action_mask'] is {kind(given)}, not {n_actions} flags", MASKS)
    elif not mask.any() and not over:
        yield Flaw("masks", "error", "info['action_mask'] allows no action", MASKS)
    elif mask.dtype not in (np.bool_, np.int8) or not np.array_equal(mask, mask.astype(np.bool_)):
        yield Flaw("masks", "warning", f"info['action_mask'] is {one_line(given)} ({kind(given)})", MASK_TYPE)


def play_rewards(given: list[float], lengths: set[int], findings: Findings) -> None:
    """The rewards of a whole play."""
    low, high = min(given, default=0.0), max(given, default=0.0)
    findings.well("rewards", f"{low:g} to {high:g}")
    if max(-low, high) > LARGE:
        findings.add("rewards", "warning", f"{low:g} to {high:g}", "scale them down; large numbers are hard to learn")
    if low == high and (low == 0 or len(lengths) < 2):  # else the length of an episode tells
        findings.add("rewards", "hint", f"all {len(given):,} rewards are {low:g}", RARE)


def play_ends(given: list[End], longest: int, limit: int | None, findings: Findings) -> None:
    """The ends of the episodes of a whole play, and the time limit if there is one."""
    n, lengths = len(given), [end.length for end in given]
    terminated, truncated = sum(end.terminated for end in given), sum(end.truncated for end in given)
    told = f"{n:,} of {min(lengths, default=0):,} to {counted(max(lengths, default=0), 'step')}"
    findings.well("episodes", f"{told}, {terminated:,} terminated, {truncated:,} truncated; limit {limit or 'none'}")
    add = functools.partial(findings.add, "episodes")
    if limit and any(end.length == limit and not end.truncated for end in given):
        add("error", f"an episode terminated at the time limit of {counted(limit, 'step')} without truncated", ENDS)
    if limit and longest > limit:
        fix = "create it with gymnasium.make, or wrap it in gymnasium.wrappers.TimeLimit"
        add("error", f"an episode had {counted(longest, 'step')}, and the time limit is {limit:,}", fix)
    if n > 2 and len(set(lengths)) == 1 < lengths[0] and not truncated:
        add("warning", f"all {n:,} episodes terminated after exactly {lengths[0]:,} steps, as at a limit", ENDS)
    if n > 1 and 2 * lengths.count(1) > n:
        add("warning", f"{lengths.count(1):,} of {n:,} episodes had one step", "check what ends them")
    if any(end.terminated and end.truncated and end.length != limit for end in given):
        add("hint", "an episode was both terminated and truncated", "bellmax uses terminated; return only one")
    if not n and not limit:
        what = f"no episode ended in {counted(longest, 'step')}, and the environment has no time limit"
        add("hint", what, "add a TimeLimit if it should end")


def pairs(a: object, b: object, path: str) -> Iterator[tuple[str, Any, Any]]:
    """The parts of two observations side by side, each with its path; the wholes where they differ in structure."""
    if isinstance(a, Mapping) and isinstance(b, Mapping) and a.keys() == b.keys():
        for key in a:
            yield from pairs(a[key], b[key], f"{path}[{key!r}]")
    elif isinstance(a, tuple | list) and isinstance(b, tuple | list) and len(a) == len(b):
        for i, (one, two) in enumerate(zip(a, b, strict=True)):
            yield from pairs(one, two, f"{path}[{i}]")
    else:
        yield path, a, b


def difference(a: object, b: object, path: str) -> str | None:
    """The first entry in which two values differ, such as "observation[2] is 0.1 and 0.3"; NaN equals NaN."""
    for name, one, two in pairs(a, b, path):
        left, right = np.asarray(one), np.asarray(two)
        if left.shape != right.shape:
            return f"{name} is {one_line(one)} and {one_line(two)}"
        unequal = np.argwhere((left != right) & ((left == left) | (right == right))).tolist()
        if unequal:
            return f"{_at(left, name, unequal[0])} and {right[tuple(unequal[0])]!s}"
    return None


def shared_memory(a: object, b: object) -> bool:
    """Whether arrays of both observations are in the same memory, which could change."""
    return any(
        isinstance(one, np.ndarray) and bool(one.flags.writeable) and np.may_share_memory(one, two)
        for _, one, two in pairs(a, b, "")
        if isinstance(two, np.ndarray)
    )


def _at(array: npt.NDArray[Any], path: str, where: Sequence[Any]) -> str:
    return f"{path}{''.join(f'[{int(i)}]' for i in where)} is {array[tuple(where)]!s}"


def kind(value: object) -> str:
    """Its type, with the shape and dtype of an array and the length of a tuple."""
    if isinstance(value, np.ndarray):
        return f"ndarray of shape {value.shape} and dtype {value.dtype}"
    return f"{type(value).__name__} of {len(value)}" if isinstance(value, tuple | list) else type(value).__name__
