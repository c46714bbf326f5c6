"""NumPy. How long a chunk of a run is, and small judgments on what comes out of one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

MAX_CHUNK = 1_000_000  # environment steps; bounds the memory of a chunk's records


def chunk_steps(total: int, stride: int, records: int) -> int:
    """Steps per chunk: about total / records, and a divisor of the whole where one is near.

    A compiled loop would compile once more for a shorter last chunk.
    """
    rounds = total // stride
    wanted = max(1, min(math.ceil(rounds / records), MAX_CHUNK // stride))
    for size in range(wanted, max(1, wanted // 2) - 1, -1):
        if rounds % size == 0:
            return size * stride
    return wanted * stride


def is_sound(array: Any) -> bool:
    """Whether it can be values or parameters: numbers, and -inf where a state lacks the action."""
    return not bool((np.isnan(array) | (array == np.inf)).any())


def progress_words(columns: Mapping[str, Any]) -> str:
    """The mean over seeds of the most telling column."""
    for name in ("exact/q_error", "eval/mean_reward", "rollout/ep_rew_mean"):
        if name in columns:
            return f"{name.split('/')[1]} {np.nanmean(columns[name]):.4g}"
    return ""
