"""NumPy. After values have become NaN in a compiled run: find the reward or observation that was not finite, if any."""

from __future__ import annotations

from typing import Any

import numpy as np

from bellmax.contracts import BoolArray, IntArray, Space, Transition
from bellmax.deep.config import ReplayConfig
from bellmax.files import checkpoint
from bellmax.loops.experience import from_memory
from bellmax.loops.network_rounds import RunState, StepRecord


def is_bad(tree: object, axes: int) -> BoolArray:
    """Return where a tree of arrays has a NaN or an infinity; its first `axes` axes are kept."""
    found: Any = np.bool_(False)
    for _, leaf in checkpoint.leaves(tree):
        array = np.asarray(leaf)
        if array.dtype.kind == "f":
            found = found | ~np.isfinite(array).all(axis=tuple(range(axes, array.ndim)))
    return np.asarray(found)


def place_in_words(i: int, episode: int | None, step: int | None, clock: int, reward: float) -> str:
    """Return where environment i gave what is not finite: the reward, or an observation if `reward` is finite.

    `step` is 0 for the observation of a reset; `clock` is that of the run; None: not known.
    """
    where = [f"environment {i}"] + ([] if episode is None else [f"episode {episode:,}"])
    if step is not None:
        where.append(f"step {step:,}" if step else "reset")
    what = "an observation is not finite" if np.isfinite(reward) else f"reward is {reward}"
    return f"{', '.join(where)} (step {clock:,} of the run): {what}"


def find_in_buffer(config: ReplayConfig, space: Space, state: RunState, t: int) -> str:
    """Return where a compiled environment first gave what is not finite, of what the replay buffer still has, or "".

    `state` is that of one seed, at environment step `t` of the run.
    """
    n = config.num_envs
    data = from_memory(config, space, state.memory)
    shape = (n, data.steps // n)
    rewards = data.reward.reshape(shape)
    begin, end = (np.broadcast_to(is_bad(part, 1), data.steps).reshape(shape) for part in (data.obs, data.next_obs))
    bad = ~np.isfinite(rewards) | begin | end
    if not bad.any():
        return ""
    row = int(np.flatnonzero(bad.any(axis=0))[0])
    i = int(np.flatnonzero(bad[:, row])[0])
    ends = np.flatnonzero((data.terminated | data.truncated).reshape(shape)[i, :row])
    forgotten = t // n - shape[1]  # steps of each environment that the buffer does not have
    begun = int(ends[-1]) + 1 if ends.size else 0  # the row at which the episode began, if the buffer has it
    step = 0 if begin[i, row] and row == begun else row - begun + 1
    known = forgotten == 0
    return place_in_words(
        i, ends.size + 1 if known else None, step if begun or known else None, (forgotten + row + 1) * n,
        float(rewards[i, row]),
    )  # fmt: skip


def find_in_round(steps: Transition, record: StepRecord, episodes: IntArray, t: int) -> str:
    """Return the same of the steps [T, N] of one round, which begins at step `t` after so many `episodes` [N]."""
    rewards, lengths = np.asarray(steps.reward), np.asarray(record.episode_length).reshape(-1, episodes.size)
    begin = np.broadcast_to(is_bad(steps.obs, 2), rewards.shape)
    bad = np.argwhere(~np.isfinite(rewards) | begin | is_bad(steps.next_obs, 2))
    if not bad.size:
        return ""
    row, i = map(int, bad[0])
    ended = np.asarray(record.ended).reshape(lengths.shape)[:row, i].sum()
    step = 0 if begin[row, i] and lengths[row, i] == 1 else int(lengths[row, i])
    clock = t + (row + 1) * episodes.size
    return place_in_words(i, int(episodes[i] + ended) + 1, step, clock, float(rewards[row, i]))
