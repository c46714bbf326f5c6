"""NumPy. Grade the policies of a record: exactly if there is a table, otherwise by greedy episodes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Executor

import numpy as np

from bellmax.contracts import FloatArray, Masked
from bellmax.sources import Source
from bellmax.training.exact import Truth, measure
from bellmax.training.play import SEED_OFFSET, Evaluation, play, play_compiled
from bellmax.training.policy import Policy

GRADES = ("exact/policy_return", "eval/mean_reward")  # columns that grade a policy, the most exact first
BLOCK = 1 << 22  # numbers of all tables compared at a time: 32 MB of float64


def grade_exactly(truth: Truth, policies: Sequence[Policy]) -> dict[str, FloatArray]:
    """Return the columns [seeds] of `measure` for one policy per seed."""
    size = max(1, BLOCK // (truth.mdp.n_states * truth.mdp.n_actions))
    parts = []
    for first in range(0, len(policies), size):
        arrays = [policy.arrays for policy in policies[first : first + size]]
        if all("q" in a for a in arrays):
            q = np.array([a["q"] for a in arrays])
        else:
            q = np.array([policy.table() for policy in policies[first : first + size]], np.float64)
            if isinstance(policies[first].space, Masked):
                q = np.where(truth.mdp.allowed, q, -np.inf)
        visits = np.array([a["visits"] for a in arrays]) if all("visits" in a for a in arrays) else None
        parts.append(measure(truth, q, visits))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def grade_by_episodes(
    kind: str,
    source: Source,
    policies: Sequence[Policy],
    seeds: Sequence[int],
    episodes: int,
    pool: Executor,
    stop: Callable[[], None],
) -> dict[str, FloatArray]:
    """Return columns [seeds] with the mean return and length of `episodes` greedy episodes of each policy.

    A compiled run is evaluated in its compiled environment, unless its policy has tiles. `stop()`, which may raise, is
    called between steps.
    """
    compiled = kind == "compiled" and source.compiled is not None and "low" not in policies[0].arrays

    def play_one(policy: Policy, seed: int) -> Evaluation:
        if compiled:
            return play_compiled(policy, source, episodes, SEED_OFFSET + seed)
        return play(policy, source, episodes, SEED_OFFSET + seed, stop)

    played = list(pool.map(play_one, policies, seeds))
    return {
        "eval/mean_reward": np.array([each.mean_return for each in played]),
        "eval/mean_ep_length": np.array([each.mean_length for each in played]),
    }


def play_finally(
    source: Source, policies: Sequence[Policy], seeds: Sequence[int], episodes: int, stop: Callable[[], None]
) -> list[Evaluation]:
    """Play the final episodes of each policy, in the environment itself if it can be opened; `stop()` may raise."""
    return [
        play(policy, source, episodes, seed + 2 * SEED_OFFSET, stop)
        for policy, seed in zip(policies, seeds, strict=True)
    ]
