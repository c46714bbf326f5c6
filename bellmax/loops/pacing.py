"""NumPy. The steps at which a run makes its records, whether arrays are sound, and the progress of a run in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from bellmax.contracts import FloatArray

MAX_CHUNK = 1_000_000  # environment steps; limits the memory of a chunk's records


def chunk_steps(total: int, stride: int, records: int) -> int:
    """Return the steps per chunk: about total / records, and a divisor of the total if there is one nearby.

    For a shorter last chunk, a compiled loop would compile again.
    """
    rounds = total // stride
    wanted = max(1, min(math.ceil(rounds / records), MAX_CHUNK // stride))
    for size in range(wanted, max(1, wanted // 2) - 1, -1):
        if rounds % size == 0:
            return size * stride
    return wanted * stride


def record_steps(total: int, stride: int, records: int | Sequence[int], spacing: str = "even") -> Sequence[int]:
    """Return the steps at which a run of `total` steps logs and evaluates, in whole rounds of `stride`.

    The last one is `total`, and no two are more than `MAX_CHUNK` steps apart.

    Args:
        total: steps of the run, a multiple of `stride`; or episodes.
        stride: environment steps of a round.
        records: how many, or at which steps, which are rounded up to whole rounds.
        spacing: "even", "log" (each is a constant factor later than the one before) or "episodes" (after each one).
    """
    if spacing == "episodes":
        return range(1, total + 1)
    if not isinstance(records, int):
        marks = sorted({min(-(-step // stride) * stride, total) for step in records} | {total})
    elif spacing == "log":
        marks = [stride * rounds for rounds in _growing(total // stride, records)]
    else:
        chunk = chunk_steps(total, stride, records)
        return range(chunk, total + 1, chunk) if total % chunk == 0 else [*range(chunk, total, chunk), total]
    return list(_with_others(marks, stride))


def _growing(rounds: int, n: int) -> Iterator[int]:
    """Yield n increasing numbers up to `rounds`, or all if there are fewer; each a constant factor above the last."""
    n, at = min(n, rounds), 0
    for left in range(n - 1, -1, -1):  # so many follow
        wanted = rounds if not left else round(at * (rounds / at) ** (1.0 / (left + 1))) if at else 1
        at = min(max(wanted, at + 1), rounds - left)
        yield at


def _with_others(marks: Sequence[int], stride: int) -> Iterator[int]:
    """Yield the marks, and others between those that are more than `MAX_CHUNK` steps apart."""
    before = 0
    for mark in marks:
        rounds = (mark - before) // stride
        parts = min(-(-(mark - before) // MAX_CHUNK), rounds)
        yield from (before + rounds * part // parts * stride for part in range(1, parts + 1))
        before = mark


def is_sound(array: np.ndarray) -> bool:
    """Return whether an array can be values or parameters; -inf is the value of an action that a state lacks."""
    with np.errstate(invalid="ignore"):
        return not array.size or float(array.max()) < math.inf  # the largest is NaN where there is one


def progress_words(columns: Mapping[str, FloatArray | float]) -> str:
    """Return the mean over seeds of the most informative column."""
    for name in ("exact/q_error", "eval/mean_reward", "rollout/ep_rew_mean"):
        if name in columns:
            return f"{name.split('/')[1]} {np.nanmean(columns[name]):.4g}"
    return ""
