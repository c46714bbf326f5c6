"""Numba. Learners that wait: n-step SARSA, tree backup, Q(σ), Monte Carlo; each a window over the running episode."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from bellmax.agent_config import setting
from bellmax.contracts import FloatArray, IntArray
from bellmax.tabular.action_values import change, greedy, largest, value
from bellmax.tabular.agent import Behavior, LearningConfig, Now, Shape, Step, TabularAgent, counts, step_size_after
from bellmax.tabular.behavior import find_behavior
from bellmax.tabular.kernel import Index, kernel
from bellmax.tabular.representation import Representation, feature, table_of
from bellmax.tabular.soundness import MOST, Range, Sizes


class StepWindow(NamedTuple):
    """The last transitions of the episode, a ring: each [n].

    Attributes:
        obs, action, reward, discount, step_size: of each transition.
        probability: of the behavior choosing its action, not known for the first of an episode, nor asked for.
        next_probability: likewise of the action already chosen for the next step [1].
        cursor: where the oldest stands, how many there are [2].
    """

    obs: IntArray
    action: IntArray
    reward: FloatArray
    discount: FloatArray
    step_size: FloatArray
    probability: FloatArray
    next_probability: FloatArray
    cursor: IntArray

    def ranges(self, sizes: Sizes) -> dict[str, Range]:
        """What the integers may be, see `soundness.py`; a full window is emptied at once."""
        return {
            "obs": (0, sizes.obs - 1), "action": (0, sizes.actions - 1), "cursor": (0, max(self.obs.size - 1, 0)),
        }  # fmt: skip


FIRST, HELD = 0, 1


def new_window(n: int) -> StepWindow:
    """An empty window of n transitions."""
    reward, discount, step_size, probability = (np.zeros(n) for _ in range(4))
    return StepWindow(counts(n), counts(n), reward, discount, step_size, probability, np.zeros(1), counts(2))


def forget_window(window: StepWindow) -> None:
    """Drop the running episode."""
    window.cursor[:] = 0


@kernel
def push(window: StepWindow, step: Step) -> Index:
    """Store a transition; returns where."""
    i: Index = (window.cursor[FIRST] + window.cursor[HELD]) % window.obs.shape[0]
    window.obs[i], window.action[i] = step.obs, step.action
    window.reward[i], window.discount[i], window.step_size[i] = step.reward, step.discount, step.step_size
    window.cursor[HELD] += 1
    return i


@kernel
def pop(window: StepWindow) -> None:
    """Forget the oldest."""
    window.cursor[FIRST] = (window.cursor[FIRST] + 1) % window.obs.shape[0]
    window.cursor[HELD] -= 1


@dataclass(frozen=True, kw_only=True)
class NStepSarsa(LearningConfig):
    """n-step SARSA: Sutton and Barto (2018), section 7.2, equations 7.4 and 7.5.

    Differs from SARSA in its target: n rewards, and the value of the pair that comes after them.
    """

    name: ClassVar[str] = "n-step-sarsa"

    n_steps: int = setting(4, "rewards before the bootstrap", low=1, high=10_000)

    def make(self, shape: Shape) -> TabularAgent:
        """The learner for a world of this shape."""
        return TabularAgent(
            n_step_sarsa, find_behavior(self), lambda q: new_window(self.n_steps), look_ahead=True,
            window=self.n_steps, episodic=True,
            forget=forget_window,
        )  # fmt: skip


@kernel
def n_step_sarsa(
    q: Representation, memory: StepWindow, options: tuple[()], step: Step, behavior: Behavior, now: Now
) -> float:
    """Q(s, a) += α [G - Q(s, a)] for the pair of n steps ago, and at the end of an episode for all that are left."""
    push(memory, step)
    n, error = memory.obs.shape[0], 0.0
    while memory.cursor[HELD] == n or (step.over and memory.cursor[HELD] > 0):
        target = value(q, step.next_obs, step.next_action)
        for k in range(memory.cursor[HELD] - 1, -1, -1):
            i = (memory.cursor[FIRST] + k) % n
            target = memory.reward[i] + memory.discount[i] * target
        i = memory.cursor[FIRST]
        error = target - value(q, memory.obs[i], memory.action[i])
        change(q, memory.obs[i], memory.action[i], memory.step_size[i] * error)
        pop(memory)
    return error


class Sigma(NamedTuple):
    """σ, and whether the target policy is the greedy one, else the behavior."""

    sigma: float
    greedy: bool


@dataclass(frozen=True, kw_only=True)
class QSigma(LearningConfig):
    """n-step Q(σ): De Asis et al. (2018). Sutton and Barto (2018), section 7.6, equation 7.17.

    Between n-step tree backup (σ = 0), which takes the mean over actions at every step, and n-step SARSA with
    importance sampling (σ = 1), which takes the action that was chosen.
    """

    name: ClassVar[str] = "q-sigma"

    n_steps: int = setting(4, "rewards before the bootstrap", low=1, high=10_000)
    sigma: float = setting(0.5, "degree of sampling σ: 0 is tree backup, 1 importance sampling", low=0.0, high=1.0)
    target_policy: Literal["greedy", "behavior"] = setting("greedy", "the policy whose values are learned")

    def make(self, shape: Shape) -> TabularAgent:
        """The learner for a world of this shape."""
        return TabularAgent(
            q_sigma, find_behavior(self), lambda q: new_window(self.n_steps),
            Sigma(self.sigma, self.target_policy == "greedy"), look_ahead=True, window=self.n_steps, episodic=True,
            forget=forget_window,
        )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TreeBackup(LearningConfig):
    """n-step tree backup: Precup, Sutton and Singh (2000). Sutton and Barto (2018), section 7.5, equation 7.16.

    Q(σ) with σ = 0: off-policy without importance sampling.
    """

    name: ClassVar[str] = "tree-backup"

    n_steps: int = setting(4, "rewards before the bootstrap", low=1, high=10_000)
    target_policy: Literal["greedy", "behavior"] = setting("greedy", "the policy whose values are learned")

    def make(self, shape: Shape) -> TabularAgent:
        """The learner for a world of this shape."""
        return TabularAgent(
            q_sigma, find_behavior(self), lambda q: new_window(self.n_steps),
            Sigma(0.0, self.target_policy == "greedy"), look_ahead=True, window=self.n_steps, episodic=True,
            forget=forget_window,
        )  # fmt: skip


@kernel
def _expected(q: Representation, obs: Index, options: Sigma, behavior: Behavior, now: Now) -> float:
    """The mean value of `obs` under the target policy."""
    return largest(q, obs) if options.greedy else behavior.expected(q, obs, now)


@kernel
def _target_probability(
    q: Representation, obs: Index, action: Index, options: Sigma, behavior: Behavior, now: Now
) -> float:
    """π(a | s) of the target policy."""
    if options.greedy:
        return 1.0 * (action == greedy(q, obs))
    return behavior.probability(q, obs, action, now)


@kernel
def q_sigma(q: Representation, memory: StepWindow, options: Sigma, step: Step, behavior: Behavior, now: Now) -> float:
    """Q(s, a) += α [G - Q(s, a)] for the pair of n steps ago; the returns go backwards through the window:

    G_t = r + γ [V(s') + (σ ρ' + (1 - σ) π(a' | s')) (G_t+1 - Q(s', a'))], V(s') = Σ_b π(b | s') Q(s', b).

    π is the target policy of now, ρ' its probability of a' over that with which a' was chosen.
    """  # noqa: D400, D415
    i = push(memory, step)
    memory.probability[i] = memory.next_probability[0]  # when the action was chosen: the table has changed since
    memory.next_probability[0] = behavior.probability(q, step.next_obs, step.next_action, now)
    n, error = memory.obs.shape[0], 0.0
    while memory.cursor[HELD] == n or (step.over and memory.cursor[HELD] > 0):
        last = (memory.cursor[FIRST] + memory.cursor[HELD] - 1) % n
        target = memory.reward[last] + memory.discount[last] * _expected(q, step.next_obs, options, behavior, now)
        for k in range(memory.cursor[HELD] - 2, -1, -1):
            i, j = (memory.cursor[FIRST] + k) % n, (memory.cursor[FIRST] + k + 1) % n
            target_probability = _target_probability(q, memory.obs[j], memory.action[j], options, behavior, now)
            ratio = target_probability / memory.probability[j]
            weight = options.sigma * ratio + (1.0 - options.sigma) * target_probability
            correction = weight * (target - value(q, memory.obs[j], memory.action[j]))
            expected = _expected(q, memory.obs[j], options, behavior, now)
            target = memory.reward[i] + memory.discount[i] * (expected + correction)
        i = memory.cursor[FIRST]
        error = target - value(q, memory.obs[i], memory.action[i])
        change(q, memory.obs[i], memory.action[i], memory.step_size[i] * error)
        pop(memory)
    return error


class Episode(NamedTuple):
    """The window of the running episode, and of each pair its first step in it (-1) and its past returns [F, A]."""

    window: StepWindow
    first: IntArray
    returns: IntArray

    def ranges(self, sizes: Sizes) -> dict[str, Range]:
        """What the integers may be, see `soundness.py`."""
        return {"first": (-1, self.window.obs.size - 1), "returns": (0, MOST)}


def forget_episode(episode: Episode) -> None:
    """Drop the running episode."""
    forget_window(episode.window)
    episode.first[:] = -1


@dataclass(frozen=True, kw_only=True)
class MonteCarlo(LearningConfig):
    """First-visit Monte Carlo control: Sutton and Barto (2018), section 5.4, with a step size that they leave open.

    Differs from SARSA in its target: the whole return that followed. An episode cut off by a time limit is completed
    by the value of the state where it was cut; so is one longer than `longest_episode`, in pieces. The visits that
    count in a step size are the first ones of an episode.
    """

    name: ClassVar[str] = "monte-carlo"

    learning_rate: float = setting(
        1.0, "step size α at a pair's first visit", low=1e-12, high=1.0, zero="nothing would be learned",
        group="step size",
    )  # fmt: skip
    learning_rate_decay: float = setting(
        1.0, "α = learning_rate / (1 + decay * visits of the pair) ^ power; 0 keeps it constant", low=0.0,
        group="step size",
    )  # fmt: skip
    longest_episode: int = setting(10_000, "steps of an episode that are learned from in one piece", low=1)

    def make(self, shape: Shape) -> TabularAgent:
        """The learner for a world of this shape."""
        return TabularAgent(
            monte_carlo,
            find_behavior(self),
            lambda q: Episode(
                new_window(self.longest_episode),
                np.full(table_of(q).shape, -1),
                np.zeros(table_of(q).shape, np.int64),
            ),
            look_ahead=True,
            window=self.longest_episode,
            episodic=True,
            forget=forget_episode,
        )


@kernel
def monte_carlo(
    q: Representation, memory: Episode, options: tuple[()], step: Step, behavior: Behavior, now: Now
) -> float:
    """At the end: Q(s, a) += α [G - Q(s, a)] for the first visit of each pair; returns the last error."""
    window, row = memory.window, feature(q, step.obs, 0)
    i = push(window, step)
    if memory.first[row, step.action] < 0:
        memory.first[row, step.action] = i
    error = 0.0
    if step.over or window.cursor[HELD] == window.obs.shape[0]:
        target = value(q, step.next_obs, step.next_action)
        for k in range(window.cursor[HELD] - 1, -1, -1):
            obs, action = window.obs[k], window.action[k]
            target = window.reward[k] + window.discount[k] * target
            row = feature(q, obs, 0)
            if memory.first[row, action] == k:
                alpha = step_size_after(memory.returns[row, action], now.rates)
                memory.returns[row, action] += 1
                memory.first[row, action] = -1
                error = target - value(q, obs, action)
                change(q, obs, action, alpha * error)
        window.cursor[HELD] = 0
    return error
