"""Numba. Learners with a model of their own: Dyna-Q, Dyna-Q+, prioritized sweeping."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from bellmax.agent_config import setting
from bellmax.contracts import ConfigError, FloatArray, IntArray
from bellmax.tabular.action_values import change, largest, value
from bellmax.tabular.agent import Behavior, LearningConfig, Now, Shape, Step, TabularAgent, step_size_after
from bellmax.tabular.behavior import find_behavior
from bellmax.tabular.kernel import Index, kernel, uniform
from bellmax.tabular.learned import LearnedModel, expected_target, know, new_model, outcomes_of, remember
from bellmax.tabular.representation import Representation, is_allowed, n_actions, n_columns
from bellmax.tabular.soundness import Range, Sizes


@dataclass(frozen=True, kw_only=True)
class ModelConfig(LearningConfig):
    """What planning learners have besides."""

    planning_steps: int = setting(10, "planned updates after each real one", low=0, high=1_000_000)
    outcomes: int = setting(
        16,
        "different outcomes of a pair that the model keeps, where the world does not say how many there are",
        low=1,
        high=1_000_000,
    )

    def check(self, shape: Shape) -> None:
        """Refuse worlds without states to count."""
        if not shape.is_table:
            raise ConfigError(f"{self.name} keeps a model of states; give tilings=1, or use q-learning")


class Planning(NamedTuple):
    """Planned updates per step, and κ of the bonus for what was long not tried."""

    n: int
    kappa: float


@dataclass(frozen=True, kw_only=True)
class DynaQ(ModelConfig):
    """Dyna-Q: Sutton (1990). Sutton and Barto (2018), section 8.2, box "Tabular Dyna-Q".

    Differs from Q-learning in going on to learn from transitions of its own model between two real ones. They are
    drawn evenly from the pairs seen, where the box draws a state, then an action tried in it.
    """

    name: ClassVar[str] = "dyna-q"

    def make(self, shape: Shape) -> TabularAgent:
        """The learner for a world of this shape."""
        self.check(shape)
        plan = Planning(self.planning_steps, 0.0)
        return TabularAgent(dyna_q, find_behavior(self), lambda q: new_model(shape, self.outcomes), plan)


@dataclass(frozen=True, kw_only=True)
class DynaQPlus(ModelConfig):
    """Dyna-Q+: Sutton (1990). Sutton and Barto (2018), section 8.3.

    Differs from Dyna-Q in paying, in planning only, a bonus κ√τ for a pair last tried τ steps ago; actions never tried
    in a visited state are planned too, as leading back to it for no reward.
    """

    name: ClassVar[str] = "dyna-q-plus"

    kappa: float = setting(1e-3, "κ of the exploration bonus κ√τ", low=0.0)

    def make(self, shape: Shape) -> TabularAgent:
        """The learner for a world of this shape."""
        self.check(shape)
        plan = Planning(self.planning_steps, self.kappa)
        return TabularAgent(dyna_q, find_behavior(self), lambda q: new_model(shape, self.outcomes), plan)


@kernel
def dyna_q(
    q: Representation, memory: LearnedModel, options: Planning, step: Step, behavior: Behavior, now: Now
) -> float:
    """Q-learning's update with the real transition, then with n drawn from the model; returns the real TD error."""
    td_error = step.reward + step.discount * largest(q, step.next_obs) - value(q, step.obs, step.action)
    change(q, step.obs, step.action, step.step_size * td_error)
    remember(q, memory, step)
    if options.kappa > 0.0:
        for action in range(n_actions(q, step.obs)):  # the others too: they were last tried before the first step
            if is_allowed(q, step.obs, action):
                know(memory, step.obs * n_columns(q) + action)
    for _ in range(options.n):
        pair = memory.known[np.int64(uniform(now.generator) * memory.size[0])]
        obs, action = pair // n_columns(q), pair % n_columns(q)
        target = _imagine(q, memory, pair, obs, now)
        if options.kappa > 0.0:
            target += options.kappa * np.sqrt(np.float64(memory.clock[0] - memory.last[pair]))
        alpha = step_size_after(max(now.visits[obs, action] - 1, 0), now.rates)
        change(q, obs, action, alpha * (target - value(q, obs, action)))
    return td_error


@kernel
def _imagine(q: Representation, model: LearnedModel, pair: int, obs: Index, now: Now) -> float:
    """The target r + γ max Q(s', ·) of one outcome, drawn as often as it was seen; s' = s if the pair never was."""
    if model.total[pair] == 0:
        return now.rates.gamma * largest(q, obs)
    slot = pair * outcomes_of(model)
    left = np.int64(uniform(now.generator) * model.total[pair]) - model.seen[slot]
    while left >= 0:
        slot += 1
        left -= model.seen[slot]
    following = 0.0 if model.ended[slot] else now.rates.gamma * largest(q, model.successor[slot])
    return float(model.reward[slot] + following)


class Sweep(NamedTuple):
    """A model, whose predecessors are linked, and the queue of pairs by priority, a binary heap.

    Attributes:
        model: what was seen.
        head: the newest slot that leads to a state, or -1 [S]; `following`: the next such slot [S*A*K].
        heap: pairs, the most urgent first [S*A]; `size` of them [1].
        place: where in the heap a pair stands, or -1 [S*A].
        priority: of each pair in the heap [S*A].
    """

    model: LearnedModel
    head: IntArray
    following: IntArray
    heap: IntArray
    size: IntArray
    place: IntArray
    priority: FloatArray

    def ranges(self, sizes: Sizes) -> dict[str, Range]:
        """What the integers may be, see `soundness.py`."""
        slots, pairs = self.following.size, self.place.size
        return {
            "head": (-1, slots - 1), "following": (-1, slots - 1), "heap": (0, pairs - 1), "size": (0, pairs),
            "place": (-1, pairs - 1),
        }  # fmt: skip

    def faults(self) -> Iterator[str]:
        """What does not belong together: the queue, and the lists of what leads to each state."""
        queued = self.heap[: self.size[0]]
        if (
            not np.array_equal(np.flatnonzero(self.place >= 0), np.sort(queued))
            or (self.place[queued] != np.arange(queued.size)).any()
        ):
            yield "`heap` and `place` disagree"
        met = np.zeros(self.following.size, np.int64)
        slots, state = self.head[self.head >= 0], np.flatnonzero(self.head >= 0)
        while slots.size and met.max() < 2:  # one step along all lists at a time; a circle comes back
            np.add.at(met, slots, 1)
            if (self.model.successor[slots] != state).any():
                yield "a list of predecessors has one of another state"
                return
            slots = self.following[slots]
            slots, state = slots[slots >= 0], state[slots >= 0]
        if not np.array_equal(met, self.model.successor >= 0):
            yield "the lists of predecessors do not hold each outcome once"


class Threshold(NamedTuple):
    """Planned updates per step, and the smallest change of a value that is passed on."""

    n: int
    least: float


@dataclass(frozen=True, kw_only=True)
class PrioritizedSweeping(ModelConfig):
    """Prioritized sweeping: Moore and Atkeson (1993). Sutton and Barto (2018), section 8.4.

    Differs from Dyna-Q in what it plans: the pairs whose values would change most, each by its expected target, then
    the pairs that lead there.
    """

    name: ClassVar[str] = "prioritized-sweeping"

    threshold: float = setting(1e-5, "smallest change of a value that is worth a planned update", low=0.0)

    def make(self, shape: Shape) -> TabularAgent:
        """The learner for a world of this shape."""
        self.check(shape)

        def memory(q: Representation) -> Sweep:
            model, pairs = new_model(shape, self.outcomes), shape.n_states * shape.n_actions
            empty = np.full(shape.n_states, -1), np.zeros(model.successor.size, np.int64), np.zeros(pairs, np.int64)
            return Sweep(model, *empty, np.zeros(1, np.int64), np.full(pairs, -1), np.zeros(pairs))

        return TabularAgent(sweep, find_behavior(self), memory, Threshold(self.planning_steps, self.threshold))


@kernel
def sweep(q: Representation, memory: Sweep, options: Threshold, step: Step, behavior: Behavior, now: Now) -> float:
    """Remember; then the n most urgent: Q(s, a) = Σ p [r + γ max Q(s', ·)], and queue what leads to s."""
    td_error = step.reward + step.discount * largest(q, step.next_obs) - value(q, step.obs, step.action)
    model, gamma, n = memory.model, now.rates.gamma, n_columns(q)
    slot, before = remember(q, model, step)
    if before != step.next_obs:
        _link(memory, slot, before, step.next_obs)
    pair = step.obs * n + step.action
    _queue(memory, pair, abs(expected_target(q, model, pair, gamma) - value(q, step.obs, step.action)), options.least)
    for _ in range(options.n):
        if memory.size[0] == 0:
            break
        pair = _take(memory)
        obs, action = pair // n, pair % n
        highest = largest(q, obs)
        change(q, obs, action, expected_target(q, model, pair, gamma) - value(q, obs, action))
        moved = gamma * abs(largest(q, obs) - highest)
        if moved > 0.0:
            slot, width = memory.head[obs], outcomes_of(model)
            while slot >= 0:
                leads = slot // width
                if not model.ended[slot]:
                    _queue(memory, leads, moved * model.seen[slot] / model.total[leads], options.least)
                slot = memory.following[slot]
    return td_error


@kernel
def _link(memory: Sweep, slot: Index, before: Index, after: Index) -> None:
    """Put a slot on the list of those that lead to `after`, off that of `before`, if it was on one."""
    if before >= 0 and memory.head[before] == slot:
        memory.head[before] = memory.following[slot]
    elif before >= 0:
        k = memory.head[before]
        while memory.following[k] != slot:
            k = memory.following[k]
        memory.following[k] = memory.following[slot]
    memory.following[slot], memory.head[after] = memory.head[after], slot


@kernel
def _queue(memory: Sweep, pair: int, priority: float, least: float) -> None:
    """Put a pair in the heap, or move it up there; what is not above `least` does not matter."""
    if priority <= least:
        return
    i = memory.place[pair]
    if i < 0:
        i = memory.size[0]
        memory.size[0] = i + 1
    elif priority <= memory.priority[pair]:
        return
    memory.priority[pair] = priority
    while i > 0 and memory.priority[memory.heap[(i - 1) // 2]] < priority:
        memory.heap[i] = memory.heap[(i - 1) // 2]
        memory.place[memory.heap[i]] = i
        i = (i - 1) // 2
    memory.heap[i], memory.place[pair] = pair, i


@kernel
def _take(memory: Sweep) -> int:
    """The most urgent pair, out of the heap."""
    top: int = memory.heap[0]
    size = memory.size[0] - 1
    pair, i, child = memory.heap[size], 0, 1
    memory.size[0] = size
    while child < size:
        if child + 1 < size and memory.priority[memory.heap[child + 1]] > memory.priority[memory.heap[child]]:
            child += 1
        if memory.priority[memory.heap[child]] <= memory.priority[pair]:
            break
        memory.heap[i] = memory.heap[child]
        memory.place[memory.heap[i]] = i
        i, child = child, 2 * child + 1
    memory.heap[i], memory.place[pair] = pair, i
    memory.place[top] = -1
    return top
