"""Numba. Eligibility traces: SARSA(λ), true online SARSA(λ), Watkins' and Peng's Q(λ).

A trace is kept on weights, one for each active feature; on a table a feature is a state. Only the weights whose trace
is above `CUTOFF` are listed, so that a step costs what the trace is long and not what the table is large.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from bellmax.agent_config import setting
from bellmax.contracts import FloatArray, IntArray
from bellmax.tabular.action_values import largest, value
from bellmax.tabular.agent import Behavior, LearningConfig, Now, Shape, Step, TabularAgent, step_size_after
from bellmax.tabular.behavior import find_behavior
from bellmax.tabular.kernel import Index, kernel
from bellmax.tabular.representation import Representation, add, feature, n_actions, n_active, table_of
from bellmax.tabular.soundness import Range, Sizes

CUTOFF = 1e-6  # a trace at or below this is forgotten


class Trace(NamedTuple):
    """The listed weights.

    Attributes:
        row, action, level: of each listed weight [C].
        place: where in the list a weight stands, or -1 [F, A].
        length: of the list [1].
        old_value: Q(s', a') before the last update, for true online learners [1].
    """

    row: IntArray
    action: IntArray
    level: FloatArray
    place: IntArray
    length: IntArray
    old_value: FloatArray

    def ranges(self, sizes: Sizes) -> dict[str, Range]:
        """What the integers may be, see `soundness.py`."""
        size = self.row.size
        return {
            "row": (0, sizes.rows - 1), "action": (0, sizes.actions - 1), "place": (-1, size - 1), "length": (0, size),
        }  # fmt: skip

    def faults(self) -> Iterator[str]:
        """What does not belong together: the list would grow beyond its end."""
        n = self.length[0]
        if (self.place >= 0).sum() != n or (self.place[self.row[:n], self.action[:n]] != np.arange(n)).any():
            yield "`place` and the list of `row` and `action` disagree"


def new_trace(q: Representation) -> Trace:
    """An empty trace over the weights of `q`."""
    shape = table_of(q).shape
    size = shape[0] * shape[1]
    row, action = np.zeros(size, np.int64), np.zeros(size, np.int64)
    return Trace(row, action, np.zeros(size), np.full(shape, -1), np.zeros(1, np.int64), np.zeros(1))


def forget_trace(trace: Trace) -> None:
    """Drop the running episode."""
    trace.place[:] = -1
    trace.length[:] = 0
    trace.old_value[:] = 0.0


@kernel
def mark(trace: Trace, row: Index, action: Index) -> Index:
    """Where the weight stands in the list; with level 0 if it is new there."""
    i: Index = trace.place[row, action]
    if i < 0:
        i = trace.length[0]
        trace.place[row, action], trace.row[i], trace.action[i], trace.level[i] = i, row, action, 0.0
        trace.length[0] = i + 1
    return i


@kernel
def learn(q: Representation, trace: Trace, error: float, now: Now) -> None:
    """Move every listed weight by its own step size, level and share of the error."""
    share = error / n_active(q)
    for i in range(trace.length[0]):
        row, action = trace.row[i], trace.action[i]
        alpha = step_size_after(now.visits[row, action] - 1, now.rates)
        add(q, row, action, alpha * share * trace.level[i])


@kernel
def fade(trace: Trace, factor: float, cutoff: float) -> None:
    """Multiply every level, and drop what falls to the cutoff; the last of the list takes its place."""
    i = 0
    while i < trace.length[0]:
        trace.level[i] *= factor
        if abs(trace.level[i]) <= cutoff:
            last = trace.length[0] - 1
            trace.place[trace.row[i], trace.action[i]] = -1
            if i < last:
                trace.row[i], trace.action[i], trace.level[i] = trace.row[last], trace.action[last], trace.level[last]
                trace.place[trace.row[i], trace.action[i]] = i
            trace.length[0] = last
        else:
            i += 1


class Lambda(NamedTuple):
    """λ, and how a visited weight's trace rises: to 1 (replacing) or by 1; with all others of its state cut or not."""

    decay: float
    replacing: bool


@kernel
def visit(q: Representation, trace: Trace, obs: Index, action: Index, options: Lambda) -> None:
    """Raise the traces of the active features of a pair."""
    for k in range(n_active(q)):
        row = feature(q, obs, k)
        if options.replacing:  # the trace of the actions not taken here ends: Singh and Sutton (1996)
            for other in range(n_actions(q, obs)):
                if other != action and trace.place[row, other] >= 0:
                    trace.level[trace.place[row, other]] = 0.0
        i = mark(trace, row, action)
        trace.level[i] = 1.0 if options.replacing else trace.level[i] + 1.0


@dataclass(frozen=True, kw_only=True)
class LambdaConfig(LearningConfig):
    """What learners with traces have besides."""

    trace_decay: float = setting(0.9, "λ: 0 looks one step back, 1 to the beginning of the episode", low=0.0, high=1.0)


@dataclass(frozen=True, kw_only=True)
class SarsaLambda(LambdaConfig):
    """SARSA(λ): Rummery and Niranjan (1994). Sutton and Barto (2018), section 12.7, equation 12.11.

    Differs from SARSA in that every error moves all pairs of the episode, as far as their traces remember them.
    """

    name: ClassVar[str] = "sarsa-lambda"

    trace: Literal["replacing", "accumulating"] = setting("replacing", "what a visit does to a trace")

    def make(self, shape: Shape) -> TabularAgent:
        """The learner for a world of this shape."""
        options = Lambda(self.trace_decay, self.trace == "replacing")
        return TabularAgent(
            sarsa_lambda, find_behavior(self), new_trace, options, look_ahead=True, episodic=True, forget=forget_trace
        )


@kernel
def sarsa_lambda(q: Representation, memory: Trace, options: Lambda, step: Step, behavior: Behavior, now: Now) -> float:
    """e(s, a) += 1 or = 1; Q += α δ e for all pairs, δ that of SARSA; e *= γλ."""
    td_error = step.reward + step.discount * value(q, step.next_obs, step.next_action) - value(q, step.obs, step.action)
    visit(q, memory, step.obs, step.action, options)
    learn(q, memory, td_error, now)
    fade(memory, 0.0 if step.over else now.rates.gamma * options.decay, CUTOFF)
    return td_error


@dataclass(frozen=True, kw_only=True)
class TrueOnlineSarsa(LambdaConfig):
    """True online SARSA(λ): van Seijen et al. (2016). Sutton and Barto (2018), section 12.7, box on page 307.

    Differs from SARSA(λ) in its dutch trace and in two corrections, which make it exactly the online λ-return method.
    """

    name: ClassVar[str] = "true-online-sarsa"

    def make(self, shape: Shape) -> TabularAgent:
        """The learner for a world of this shape."""
        options = Lambda(self.trace_decay, False)
        return TabularAgent(
            true_online, find_behavior(self), new_trace, options, look_ahead=True, episodic=True, forget=forget_trace
        )


@kernel
def true_online(q: Representation, memory: Trace, options: Lambda, step: Step, behavior: Behavior, now: Now) -> float:
    """Trace e = γλ e + α (1 - γλ eᵀx) x; w += (δ + Q - Q_old) e - α (Q - Q_old) x; x the active features.

    The decay by γλ was done at the end of the step before. The step size is part of the trace, as in van Seijen and
    Sutton (2014), so that each pair keeps its own.
    """
    n, alpha = n_active(q), step.step_size / n_active(q)
    present, following = value(q, step.obs, step.action), value(q, step.next_obs, step.next_action)
    td_error = step.reward + step.discount * following - present
    overlap = 0.0
    for k in range(n):
        place = memory.place[feature(q, step.obs, k), step.action]
        overlap += memory.level[place] if place >= 0 else 0.0
    for k in range(n):
        memory.level[mark(memory, feature(q, step.obs, k), step.action)] += alpha * (1.0 - overlap)
    drift = present - memory.old_value[0]
    for i in range(memory.length[0]):
        add(q, memory.row[i], memory.action[i], (td_error + drift) * memory.level[i])
    for k in range(n):
        add(q, feature(q, step.obs, k), step.action, -alpha * drift)
    memory.old_value[0] = 0.0 if step.over else following
    fade(memory, 0.0 if step.over else now.rates.gamma * options.decay, CUTOFF * alpha)
    return td_error


@dataclass(frozen=True, kw_only=True)
class WatkinsQ(LambdaConfig):
    """Watkins' Q(λ): Watkins (1989). Sutton and Barto (2018), section 12.10.

    Differs from SARSA(λ) in its error, that of Q-learning, and in that an exploring action ends all traces.
    """

    name: ClassVar[str] = "watkins-q"

    trace: Literal["replacing", "accumulating"] = setting("replacing", "what a visit does to a trace")

    def make(self, shape: Shape) -> TabularAgent:
        """The learner for a world of this shape."""
        options = Lambda(self.trace_decay, self.trace == "replacing")
        return TabularAgent(
            watkins_q, find_behavior(self), new_trace, options, look_ahead=True, episodic=True, forget=forget_trace
        )


@kernel
def watkins_q(q: Representation, memory: Trace, options: Lambda, step: Step, behavior: Behavior, now: Now) -> float:
    """Q += α δ e for all pairs, δ that of Q-learning; e *= γλ if the next action is a best one, else e = 0."""
    best = largest(q, step.next_obs)
    td_error = step.reward + step.discount * best - value(q, step.obs, step.action)
    follows = value(q, step.next_obs, step.next_action) == best
    visit(q, memory, step.obs, step.action, options)
    learn(q, memory, td_error, now)
    fade(memory, now.rates.gamma * options.decay if follows and not step.over else 0.0, CUTOFF)
    return td_error


@dataclass(frozen=True, kw_only=True)
class PengQ(LambdaConfig):
    """Peng's Q(λ): Peng and Williams (1996), figure 1.

    Differs from Watkins' in that exploring actions end no trace: older pairs are moved by the change of the best value
    along the way. Faster, but biased as long as it explores.
    """

    name: ClassVar[str] = "peng-q"

    def make(self, shape: Shape) -> TabularAgent:
        """The learner for a world of this shape."""
        options = Lambda(self.trace_decay, False)
        return TabularAgent(peng_q, find_behavior(self), new_trace, options, episodic=True, forget=forget_trace)


@kernel
def peng_q(q: Representation, memory: Trace, options: Lambda, step: Step, behavior: Behavior, now: Now) -> float:
    """Q += α e [r + γ max Q(s', ·) - max Q(s, ·)] for the pairs before; the present one by Q-learning; e(s, a) += 1."""
    target = step.reward + step.discount * largest(q, step.next_obs)
    own, along = target - value(q, step.obs, step.action), target - largest(q, step.obs)
    learn(q, memory, along, now)
    alpha = step.step_size / n_active(q)
    for k in range(n_active(q)):
        row = feature(q, step.obs, k)
        add(q, row, step.action, alpha * own)
        memory.level[mark(memory, row, step.action)] += 1.0
    fade(memory, 0.0 if step.over else now.rates.gamma * options.decay, CUTOFF)
    return own
