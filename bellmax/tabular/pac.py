"""Numba. Learners with a proof on their sample complexity: optimistic until they know. R-max and delayed Q-learning."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from bellmax.agent_config import setting
from bellmax.contracts import BoolArray, ConfigError, FloatArray, IntArray
from bellmax.tabular.action_values import change, largest, value
from bellmax.tabular.agent import Behavior, Now, Shape, Step, TabularAgent, TabularConfig
from bellmax.tabular.behavior import find_behavior
from bellmax.tabular.kernel import kernel
from bellmax.tabular.learned import LearnedModel, expected_target, new_model, remember
from bellmax.tabular.representation import Representation, n_columns
from bellmax.tabular.soundness import MOST, Range, Sizes


@dataclass(frozen=True, kw_only=True)
class OptimisticConfig(TabularConfig):
    """What both have: they begin at the highest possible value and act greedily; optimism does the exploring."""

    exploration_initial_eps: float = setting(0.0, "ε at the first step", low=0.0, high=1.0, group="exploration")
    exploration_final_eps: float = setting(0.0, "ε at the end of the schedule", low=0.0, high=1.0, group="exploration")
    r_max: float = setting(
        1.0, "upper bound of a reward; unknown pairs are worth r_max / (1 - γ), instead of initial_q"
    )

    def conflicts(self) -> list[str]:
        """A bound needs a discount."""
        problems = super().conflicts()
        if self.gamma >= 1.0:
            problems.append(f"gamma={self.gamma}: {self.name} starts at r_max / (1 - gamma); give less than 1")
        return problems

    @property
    def v_max(self) -> float:
        """The highest value that there can be."""
        return self.r_max / (1.0 - self.gamma)

    def check(self, shape: Shape) -> None:
        """Refuse worlds without states to count."""
        if not shape.is_table:
            raise ConfigError(f"{self.name} counts visits of states; give tilings=1, or use q-learning")


class Known(NamedTuple):
    """From how many visits a pair is known, and the precision of planning."""

    visits: int
    precision: float


@dataclass(frozen=True, kw_only=True)
class RMax(OptimisticConfig):
    """R-max: Brafman and Tennenholtz (2002); as in Strehl, Li and Littman (2009), section 4.

    Learns a model; a pair tried fewer than `known_after` times counts as paying r_max forever. Whenever a pair
    becomes known, and each time its visits have doubled since, the model is solved by value iteration.
    """

    name: ClassVar[str] = "r-max"

    known_after: int = setting(10, "visits m from which the model believes in a pair", low=1)
    precision: float = setting(1e-6, "largest change of a value in the last sweep of planning", low=0.0)
    outcomes: int = setting(
        16,
        "different outcomes of a pair that the model keeps, where the world does not say how many there are",
        low=1,
        high=1_000_000,
    )

    def make(self, shape: Shape) -> TabularAgent:
        """The learner for a world of this shape."""
        self.check(shape)
        return TabularAgent(
            r_max, find_behavior(self), lambda q: new_model(shape, self.outcomes),
            Known(self.known_after, self.precision), initial_q=self.v_max,
        )  # fmt: skip


@kernel
def r_max(q: Representation, memory: LearnedModel, options: Known, step: Step, behavior: Behavior, now: Now) -> float:
    """Count; solve the model of the known pairs when it has grown; returns what the TD error was."""
    td_error = step.reward + step.discount * largest(q, step.next_obs) - value(q, step.obs, step.action)
    remember(q, memory, step)
    visits = now.visits[step.obs, step.action]
    doublings = visits // options.visits
    if visits % options.visits == 0 and doublings & (doublings - 1) == 0:
        before, change_largest = np.inf, 1e300
        while options.precision < change_largest < before:  # it shrinks by γ a sweep, until it is rounding alone
            before, change_largest = change_largest, 0.0
            for i in range(memory.size[0]):
                pair = memory.known[i]
                obs, action = pair // n_columns(q), pair % n_columns(q)
                if now.visits[obs, action] >= options.visits:
                    gap = expected_target(q, memory, pair, now.rates.gamma) - value(q, obs, action)
                    change(q, obs, action, gap)
                    change_largest = max(change_largest, abs(gap))
    return td_error


class Attempts(NamedTuple):
    """Of each pair [S, A]: the sum of targets, how many, the last attempt, is it learning; t and t*."""

    total: FloatArray
    gathered: IntArray
    tried: IntArray
    learning: BoolArray
    clock: IntArray

    def ranges(self, sizes: Sizes) -> dict[str, Range]:
        """What the integers may be, see `soundness.py`."""
        return {"gathered": (0, MOST), "tried": (0, MOST), "clock": (0, MOST)}


class Delay(NamedTuple):
    """m targets per attempt, and the margin ε₁ of a change."""

    m: int
    margin: float


@dataclass(frozen=True, kw_only=True)
class DelayedQ(OptimisticConfig):
    """Delayed Q-learning: Strehl, Li, Wiewiora, Langford and Littman (2006), algorithm 1.

    Differs from Q-learning in waiting for m targets of a pair and then moving to their mean plus ε₁, if that lowers
    the value by ε₁ or more; values only fall.
    """

    name: ClassVar[str] = "delayed-q"

    samples: int = setting(10, "m, targets of a pair before its value may change", low=1)
    margin: float = setting(0.01, "ε₁, the smallest change", low=0.0)

    def make(self, shape: Shape) -> TabularAgent:
        """The learner for a world of this shape."""
        self.check(shape)
        size = (shape.n_states, shape.n_actions)

        def memory(q: Representation) -> Attempts:
            integers = (np.zeros(size, np.int64), np.zeros(size, np.int64), np.ones(size, np.bool_))
            return Attempts(np.zeros(size), *integers, np.zeros(2, np.int64))

        return TabularAgent(
            delayed_q, find_behavior(self), memory, Delay(self.samples, self.margin), initial_q=self.v_max
        )


TIME, CHANGED = 0, 1


@kernel
def delayed_q(q: Representation, memory: Attempts, options: Delay, step: Step, behavior: Behavior, now: Now) -> float:
    """Q(s, a) = mean of m targets + ε₁, if that is at least ε₁ lower; returns what the TD error was."""
    s, a = step.obs, step.action
    target = step.reward + step.discount * largest(q, step.next_obs)
    td_error = target - value(q, s, a)
    memory.clock[TIME] += 1
    if memory.learning[s, a]:
        memory.total[s, a] += target
        memory.gathered[s, a] += 1
        if memory.gathered[s, a] == options.m:
            mean = memory.total[s, a] / options.m
            if value(q, s, a) - mean >= 2.0 * options.margin:
                change(q, s, a, mean + options.margin - value(q, s, a))
                memory.clock[CHANGED] = memory.clock[TIME]
            elif memory.tried[s, a] >= memory.clock[CHANGED]:
                memory.learning[s, a] = False
            memory.tried[s, a] = memory.clock[TIME]
            memory.total[s, a], memory.gathered[s, a] = 0.0, 0
    elif memory.tried[s, a] < memory.clock[CHANGED]:
        memory.learning[s, a] = True
    return td_error
