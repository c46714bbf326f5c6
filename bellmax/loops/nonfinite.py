"""NumPy. After values have become NaN in a compiled run: find the reward or observation that was not finite, if any."""

from __future__ import annotations

from typing import Any

import numpy as np

from bellmax.contracts import BoolArray, Space
from bellmax.deep.config import DeepConfig, ReplayConfig
from bellmax.files import checkpoint
from bellmax.loops.experience import from_memory
from bellmax.loops.network_rounds import RunState


def is_bad(tree: object, axes: int) -> BoolArray:
    """Return where a tree of arrays has a NaN or an infinity; its first `axes` axes are kept."""
    found: Any = np.bool_(False)
    for _, leaf in checkpoint.leaves(tree):
        array = np.asarray(leaf)
        if array.dtype.kind == "f":
            found = found | ~np.isfinite(array).all(axis=tuple(range(axes, array.ndim)))
    return np.asarray(found)


def find_nonfinite(config: DeepConfig, space: Space, state: RunState, t: int) -> str:
    """Return where a compiled environment first gave what is not finite, in words; "" if it is not known.

    `state` is that of one seed, at environment step `t` of the run. A replay buffer shows the first such step that it
    still has; without one, only the present observations and returns are left.
    """
    if not isinstance(config, ReplayConfig):
        return find_present(state)
    n = config.num_envs
    data = from_memory(config, space, state.memory)
    shape = (n, data.steps // n)
    reward, begin, end = (
        np.broadcast_to(is_bad(part, 1), data.steps).reshape(shape) for part in (data.reward, data.obs, data.next_obs)
    )
    bad = reward | begin | end
    if not bad.any():
        return ""
    row = int(np.flatnonzero(bad.any(axis=0))[0])
    i = int(np.flatnonzero(bad[:, row])[0])
    ends = np.flatnonzero((data.terminated | data.truncated).reshape(shape)[i, :row])
    forgotten = t // n - shape[1]  # steps of each environment that the buffer does not have
    begun = int(ends[-1]) + 1 if ends.size else 0  # the row at which the episode began, if the buffer has it
    where = [f"environment {i}"] + [f"episode {ends.size + 1}"] * (forgotten == 0)
    if begun or forgotten == 0:
        where.append("reset" if begin[i, row] and row == begun else f"step {row - begun + 1}")
    what = f"reward is {data.reward.reshape(shape)[i, row]}" if reward[i, row] else "an observation is not finite"
    return f"{', '.join(where)} (step {(forgotten + row + 1) * n:,} of the run): {what}"


def find_present(state: RunState) -> str:
    """Return which environment's present observation or return is not finite, in words; "" if none is."""
    for what, tree in (("observation", state.obs), ("reward", state.episode_return)):
        bad = np.flatnonzero(is_bad(tree, 1))
        if bad.size:
            i = int(bad[0])
            length = int(np.asarray(state.episode_length)[i])
            return f"environment {i}, by step {length} of its episode: {what} is not finite"
    return ""
