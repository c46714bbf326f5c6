"""Numba. One-step temporal-difference learners: for each its hyper-parameters and its kernel."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from bellmax.contracts import BoolArray, ConfigError, FloatArray, IntArray
from bellmax.tabular.action_values import change, largest, value
from bellmax.tabular.agent import Behavior, LearningConfig, Now, Shape, Step, TabularAgent, TabularConfig, counts
from bellmax.tabular.behavior import find_behavior
from bellmax.tabular.kernel import kernel, random_bits
from bellmax.tabular.representation import Representation, table_of, with_table
from bellmax.tabular.soundness import MOST, Range, Sizes


@dataclass(frozen=True, kw_only=True)
class QLearning(LearningConfig):
    """Q-learning: Watkins (1989). Sutton and Barto (2018), section 6.5, equation 6.8."""

    name: ClassVar[str] = "q-learning"

    def make(self, shape: Shape) -> TabularAgent:
        """The learner for a world of this shape."""
        return TabularAgent(q_learning, find_behavior(self))


@kernel
def q_learning(
    q: Representation, memory: tuple[()], options: tuple[()], step: Step, behavior: Behavior, now: Now
) -> float:
    """Q(s, a) += α [r + γ max_b Q(s', b) - Q(s, a)], equation 6.8; returns the TD error."""
    td_error = step.reward + step.discount * largest(q, step.next_obs) - value(q, step.obs, step.action)
    change(q, step.obs, step.action, step.step_size * td_error)
    return td_error


@dataclass(frozen=True, kw_only=True)
class Sarsa(LearningConfig):
    """SARSA: Rummery and Niranjan (1994). Sutton and Barto (2018), section 6.4, equation 6.7.

    Differs from Q-learning in its target: the action that is taken next, not the best one.
    """

    name: ClassVar[str] = "sarsa"

    def make(self, shape: Shape) -> TabularAgent:
        """The learner for a world of this shape."""
        return TabularAgent(sarsa, find_behavior(self), look_ahead=True)


@kernel
def sarsa(q: Representation, memory: tuple[()], options: tuple[()], step: Step, behavior: Behavior, now: Now) -> float:
    """Q(s, a) += α [r + γ Q(s', a') - Q(s, a)], equation 6.7; returns the TD error."""
    td_error = step.reward + step.discount * value(q, step.next_obs, step.next_action) - value(q, step.obs, step.action)
    change(q, step.obs, step.action, step.step_size * td_error)
    return td_error


@dataclass(frozen=True, kw_only=True)
class ExpectedSarsa(LearningConfig):
    """Expected SARSA: van Seijen et al. (2009). Sutton and Barto (2018), section 6.6, equation 6.9.

    Differs from Q-learning in its target: the mean over the actions that the behavior may take next.
    """

    name: ClassVar[str] = "expected-sarsa"

    def make(self, shape: Shape) -> TabularAgent:
        """The learner for a world of this shape."""
        return TabularAgent(expected_sarsa, find_behavior(self))


@kernel
def expected_sarsa(
    q: Representation, memory: tuple[()], options: tuple[()], step: Step, behavior: Behavior, now: Now
) -> float:
    """Q(s, a) += α [r + γ Σ_b π(b | s') Q(s', b) - Q(s, a)], equation 6.9; returns the TD error."""
    expected = behavior.expected(q, step.next_obs, now)
    td_error = step.reward + step.discount * expected - value(q, step.obs, step.action)
    change(q, step.obs, step.action, step.step_size * td_error)
    return td_error


@dataclass(frozen=True, kw_only=True)
class DoubleQ(LearningConfig):
    """Double Q-learning: van Hasselt (2010). Sutton and Barto (2018), section 6.7, equation 6.10.

    Differs from Q-learning in keeping two tables: each is moved to the other's value of its own best action, which
    takes the bias out of the maximum. It acts on their mean, which is the Q that is reported.
    """

    name: ClassVar[str] = "double-q"

    def make(self, shape: Shape) -> TabularAgent:
        """The learner for a world of this shape."""
        return TabularAgent(
            double_q,
            find_behavior(self),
            lambda q: Tables(np.stack([table_of(q)] * 2)),
        )


class Tables(NamedTuple):
    """Two tables [2, F, A]."""

    both: FloatArray


@kernel
def double_q(q: Representation, memory: Tables, options: tuple[()], step: Step, behavior: Behavior, now: Now) -> float:
    """Q₁(s, a) += α [r + γ Q₂(s', argmax_b Q₁(s', b)) - Q₁(s, a)], or with 1 and 2 changed, on the flip of a coin."""
    coin = np.intp(random_bits(now.generator) >> np.uint64(63))  # an index, not a branch: no one could foresee it
    mine, other = with_table(q, memory.both[coin]), with_table(q, memory.both[1 - coin])
    best = behavior.best(mine, step.next_obs, now)
    td_error = step.reward + step.discount * value(other, step.next_obs, best) - value(mine, step.obs, step.action)
    change(mine, step.obs, step.action, step.step_size * td_error)
    change(q, step.obs, step.action, 0.5 * step.step_size * td_error)
    return td_error


@dataclass(frozen=True, kw_only=True)
class SpeedyQ(TabularConfig):
    """Speedy Q-learning, asynchronous: Azar, Munos, Ghavamzadeh and Kappen (2011).

    Differs from Q-learning in its step: the old table's target by α = 1/(k+1), but the change of the target between
    the last two tables by 1 - α. Round k ends when every pair that was ever met has been visited in it. Only the first
    visit of a round counts: how many more there are depends on what followed them, so that their mean is biased.
    """

    name: ClassVar[str] = "speedy-q"

    def make(self, shape: Shape) -> TabularAgent:
        """The learner for a world of this shape."""
        if not shape.is_table:
            raise ConfigError(f"{self.name} keeps whole tables of each round; give tilings=1, or use q-learning")
        size = (shape.n_states, shape.n_actions)
        return TabularAgent(
            speedy_q,
            find_behavior(self),
            lambda q: Rounds(table_of(q).copy(), table_of(q).copy(), np.zeros(size, np.bool_), counts(3)),
        )


class Rounds(NamedTuple):
    """The tables before this round k and before the last one, the pairs visited in this one [S, A], counters [3]."""

    present: FloatArray
    before: FloatArray
    visited: BoolArray
    tally: IntArray

    def ranges(self, sizes: Sizes) -> dict[str, Range]:
        """What the integers may be, see `soundness.py`."""
        return {"tally": (0, [MOST, self.visited.size, self.visited.size])}

    def faults(self) -> Iterator[str]:
        """What does not belong together."""
        if self.tally[VISITED] != self.visited.sum():
            yield "`tally` does not count the pairs that were visited in this round"


ROUND, MET, VISITED = 0, 1, 2


@kernel
def speedy_q(q: Representation, memory: Rounds, options: tuple[()], step: Step, behavior: Behavior, now: Now) -> float:
    """Q_k+1(s, a) = Q_k + α (T Q_k-1 - Q_k) + (1 - α) (T Q_k - T Q_k-1), α = 1 / (k + 1); returns the last bracket."""
    s, a = step.obs, step.action
    new = step.reward + step.discount * largest(with_table(q, memory.present), step.next_obs)
    old = step.reward + step.discount * largest(with_table(q, memory.before), step.next_obs)
    if not memory.visited[s, a]:
        memory.visited[s, a] = True
        memory.tally[VISITED] += 1
        memory.tally[MET] += now.visits[s, a] == 1  # the loop has counted this visit
        alpha, present = 1.0 / (memory.tally[ROUND] + 1), memory.present[s, a]
        change(q, s, a, present + alpha * (old - present) + (1.0 - alpha) * (new - old) - value(q, s, a))
        if memory.tally[VISITED] == memory.tally[MET]:
            _next_round(q, memory)
    return new - old


@kernel
def _next_round(q: Representation, memory: Rounds) -> None:
    memory.tally[ROUND] += 1
    memory.tally[VISITED] = 0
    for s in range(memory.visited.shape[0]):
        for a in range(memory.visited.shape[1]):
            if memory.visited[s, a]:
                memory.before[s, a], memory.present[s, a] = memory.present[s, a], value(q, s, a)
                memory.visited[s, a] = False
