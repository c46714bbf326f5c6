"""Numba. The model that a planning learner makes of its world, from what followed each pair.

It counts the different (next state, end) and their mean reward. In a stochastic world that is the maximum likelihood
model. A new outcome takes the place of the rarest where all places are taken: with one place, as where the world is
known to be deterministic, it is the book's table of last outcomes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from bellmax.contracts import FloatArray, IntArray
from bellmax.tabular.action_values import largest
from bellmax.tabular.agent import Shape, Step
from bellmax.tabular.kernel import Index, kernel
from bellmax.tabular.representation import Representation, n_columns
from bellmax.tabular.soundness import MOST, Range, Sizes


class LearnedModel(NamedTuple):
    """What was seen; slot k of pair p = s * A + a stands at p * K + k.

    Attributes:
        successor: the next state, or -1 in a free slot [S*A*K].
        ended: 1 where the episode terminated [S*A*K].
        seen: how often [S*A*K].
        reward: its mean [S*A*K].
        total: visits of the pair that the model holds [S*A].
        known: the pairs that it can speak of, in the order they came [S*A]; `size` of them [1].
        last: the step of each pair's last visit [S*A]; 0 for one known but never tried, -1 for one not known.
        clock: steps so far [1].
    """

    successor: IntArray
    ended: IntArray
    seen: IntArray
    reward: FloatArray
    total: IntArray
    known: IntArray
    size: IntArray
    last: IntArray
    clock: IntArray

    def ranges(self, sizes: Sizes) -> dict[str, Range]:
        """What the integers may be, see `soundness.py`."""
        pairs = self.total.size
        return {
            "successor": (-1, sizes.obs - 1), "ended": (0, 1), "seen": (0, MOST), "total": (0, MOST),
            "known": (0, pairs - 1), "size": (0, pairs), "last": (-1, MOST), "clock": (0, MOST),
        }  # fmt: skip

    def faults(self) -> Iterator[str]:
        """What does not belong together: kernels draw an outcome by its share of `total`, and append to `known`."""
        if ((self.seen > 0) != (self.successor >= 0)).any():
            yield "an outcome is counted that has no successor, or the other way round"
        if (self.seen.reshape(self.total.size, -1).sum(axis=1) != self.total).any():
            yield "`total` is not the sum of `seen`"
        if not np.array_equal(np.sort(self.known[: self.size[0]]), np.flatnonzero(self.last >= 0)):
            yield "`known` does not list the pairs that have a last visit"


def new_model(shape: Shape, outcomes: int) -> LearnedModel:
    """A model that knows nothing."""
    pairs = shape.n_states * shape.n_actions
    slots = pairs * (shape.n_outcomes or min(outcomes, 2 * shape.n_states))
    integers = [np.zeros(n, np.int64) for n in (slots, slots, pairs, pairs, 1, pairs, 1)]
    ended, seen, total, known, size, last, clock = integers
    last[:] = -1
    return LearnedModel(np.full(slots, -1), ended, seen, np.zeros(slots), total, known, size, last, clock)


@kernel
def outcomes_of(model: LearnedModel) -> int:
    """K, the slots of a pair."""
    slots: int = model.successor.shape[0] // model.total.shape[0]
    return slots


@kernel
def remember(q: Representation, model: LearnedModel, step: Step) -> tuple[Index, Index]:
    """Count a transition; returns its slot, and the successor that stood there, -1 if none did."""
    pair, width = step.obs * n_columns(q) + step.action, outcomes_of(model)
    ended, slot = 1 * (step.discount == 0.0), pair * width
    for k in range(pair * width, (pair + 1) * width):
        if model.successor[k] < 0 or (model.successor[k] == step.next_obs and model.ended[k] == ended):
            slot = k
            break
        if model.seen[k] < model.seen[slot]:
            slot = k
    know(model, pair)
    model.clock[0] += 1
    model.last[pair] = model.clock[0]
    before = model.successor[slot]
    if before != step.next_obs or model.ended[slot] != ended:
        model.total[pair] -= model.seen[slot]
        model.successor[slot], model.ended[slot], model.seen[slot] = step.next_obs, ended, 0
    model.seen[slot] += 1
    model.total[pair] += 1
    model.reward[slot] += (step.reward - model.reward[slot]) / model.seen[slot]
    return slot, before


@kernel
def know(model: LearnedModel, pair: int) -> None:
    """Put a pair on the list of those that can be planned with."""
    if model.last[pair] < 0:
        model.known[model.size[0]] = pair
        model.size[0] += 1
        model.last[pair] = 0


@kernel
def expected_target(q: Representation, model: LearnedModel, pair: int, gamma: float) -> float:
    """The expected target of a pair: Σ_k n_k / n [r_k + γ max Q(s_k, ·)]."""
    width, total = outcomes_of(model), 0.0
    for k in range(pair * width, (pair + 1) * width):
        if model.successor[k] < 0:
            break
        following = 0.0 if model.ended[k] else gamma * largest(q, model.successor[k])
        total += model.seen[k] * (model.reward[k] + following)
    return float(total / model.total[pair])
