"""Numba. A finite MDP as a compiled environment: its arrays, and the kernels `begin` and `step` of `CompiledWorld`.

`place` is empty: nothing but `obs` evolves. `classic_kernels.py` has the same for environments of real numbers.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from bellmax.contracts import FloatArray
from bellmax.mdp.model import FiniteMDP
from bellmax.mdp.successors import successor_table
from bellmax.tabular.agent import NO_LIMIT
from bellmax.tabular.kernel import Generator, Index, gaussian, kernel, uniform
from bellmax.tabular.representation import Representation

ENTRY = np.dtype([("reward", np.float64), ("successor", np.uint32), ("continues", np.float32)])


class Model(NamedTuple):
    """A finite MDP; entry k of pair i stands at i * width + k.

    Unsigned numbers spare the loop Python's rule for negative indices.

    Attributes:
        begin, step: the two kernels.
        entries: what may happen, in records of type ENTRY [S * A * width].
        threshold: entry k happens if it is the first with `draw < threshold` [S * A * width].
        noise: standard deviation of each entry's reward [S * A * width], or [0] if no reward is noisy.
        starts: the states in which an episode may begin [N].
        start_threshold: likewise [N].
        n_actions: A.
        width: outcomes per pair.
        time_limit: steps after which an episode is cut off.
    """

    begin: Callable[[Model, FloatArray, Representation, Generator], Index]
    step: Callable[[Model, FloatArray, Representation, Index, Index, Generator], tuple[Index, float, float]]
    entries: np.ndarray[Any, Any]
    threshold: FloatArray
    noise: FloatArray
    starts: np.ndarray[Any, np.dtype[np.uint32]]
    start_threshold: FloatArray
    n_actions: int
    width: int
    time_limit: int


@kernel
def begin(world: Model, place: FloatArray, q: Representation, generator: Generator) -> Index:
    """Draw a start state by inverting the cumulative distribution; if there is only one, no number is drawn."""
    low, high = 0, world.starts.shape[0] - 1
    if high > 0:
        draw = uniform(generator)
        while low < high:
            middle = (low + high) // 2
            if draw < world.start_threshold[middle]:
                high = middle
            else:
                low = middle + 1
    return np.intp(world.starts[low])


@kernel
def outcome(threshold: FloatArray, first: Index, width: np.uintp, generator: Generator) -> np.uintp:
    """Draw which of the `width` outcomes that begin at `first` happens."""
    draw = uniform(generator)
    k = np.uintp(0)
    for i in range(width - np.uintp(1)):
        k += np.uintp(draw >= threshold[first + i])
    return k


@kernel
def step(
    world: Model, place: FloatArray, q: Representation, obs: Index, action: Index, generator: Generator
) -> tuple[Index, float, float]:
    """Draw what follows a pair."""
    width = np.uintp(world.width)
    index = np.uintp(obs) * np.uintp(world.n_actions) + np.uintp(action)
    if width > 1:
        index *= width
        index += outcome(world.threshold, index, width, generator)
    entry = world.entries[index]
    reward = entry.reward
    if world.noise.shape[0] > 0 and world.noise[index] > 0.0:
        reward += world.noise[index] * gaussian(generator)
    return np.intp(entry.successor), reward, np.float64(entry.continues)


def build_model(mdp: FiniteMDP, time_limit: int | None) -> Model:
    """Lay the successor lists out in rows of equal width, so that the loop needs no offsets."""
    table = successor_table(mdp)
    entries = np.zeros(table.reward.size, ENTRY)
    for field in ENTRY.names or ():
        entries[field] = getattr(table, field).ravel()
    starts = np.flatnonzero(mdp.start)
    start_threshold = np.cumsum(mdp.start[starts])
    start_threshold[-1] = math.inf  # a draw just below 1 must not run over
    return Model(
        begin=begin,
        step=step,
        entries=entries,
        threshold=table.cumulative.ravel(),
        noise=table.reward_std.ravel() if table.reward_std.any() else np.zeros(0),
        starts=starts.astype(np.uint32),
        start_threshold=start_threshold,
        n_actions=mdp.n_actions,
        width=table.reward.shape[1],
        time_limit=time_limit or NO_LIMIT,
    )
