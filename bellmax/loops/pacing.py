"""NumPy. The length of a chunk, whether its arrays are sound, and its progress in words."""

from __future__ import annotations

import math
from collections.abc import Mapping

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
