"""Numba. The one loop that runs every tabular learner: over a model's arrays, or one transition at a time."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from bellmax import schedules
from bellmax.config import AgentConfig, setting
from bellmax.mdp.model import FiniteMDP, successor_table
from bellmax.tabular.kernel import kernel, new_generator, uniform
from bellmax.types import FloatArray, IntArray

_linear = kernel(schedules.linear)
_exponential = kernel(schedules.exponential)
_inverse = kernel(schedules.inverse)


@dataclass(frozen=True, kw_only=True)
class TabularConfig(AgentConfig):
    """What every tabular learner has besides: step sizes and the table's first values."""

    learning_rate: float = setting(0.1, "step size α at a pair's first visit", low=0.0, high=1.0)
    learning_rate_decay: float = setting(
        0.0, "α = learning_rate / (1 + decay * visits of the pair); 0 keeps it constant", low=0.0
    )
    initial_q: float = setting(0.0, "value of every pair before its first visit")
    exploration_fraction: float = setting(0.5, "share of the run's steps over which ε falls", low=0.0, high=1.0)

    def make(self, n_states: int, n_actions: int) -> TabularAgent:
        """The learner for tables of [n_states, n_actions]."""
        raise NotImplementedError


class TabularAgent(NamedTuple):
    """A tabular learner: what it remembers and two kernels.

    Attributes:
        extra: `extra() -> arrays`, a NamedTuple of what the learner remembers besides its table, or ().
        act: `act(q, obs, epsilon, generator) -> action`.
        update: `update(q, extra, obs, action, reward, discount, next_obs, step_size, epsilon, generator)
            -> td_error`, in place. `discount` is γ, or 0 where the world terminated.
    """

    extra: Callable[[], Any]
    act: Any
    update: Any


ENTRY = np.dtype([("reward", np.float64), ("successor", np.uint32), ("continues", np.float32)])


class Model(NamedTuple):
    """A finite MDP as the loop reads it; entry k of pair i stands at i * width + k.

    Unsigned numbers spare the loop Python's rule for negative indices.

    Attributes:
        entries: what may happen, in records of type ENTRY [S * A * width].
        threshold: entry k happens if it is the first with `draw < threshold` [S * A * width].
        starts: the states in which an episode may begin [N].
        start_threshold: likewise [N].
        width: outcomes per pair.
        time_limit: steps after which an episode is cut off.
    """

    entries: np.ndarray[Any, Any]
    threshold: FloatArray
    starts: np.ndarray[Any, np.dtype[np.uint32]]
    start_threshold: FloatArray
    width: int
    time_limit: int


class Rates(NamedTuple):
    """The schedules of a run, as plain numbers; from the step `settled` on, ε is constant."""

    gamma: float
    exponential: bool
    initial_eps: float
    final_eps: float
    duration: float
    settled: int
    learning_rate: float
    learning_rate_decay: float


class TabularState(NamedTuple):
    """Everything of one seed's run that evolves.

    Attributes:
        q: the table [S, A].
        extra: what else the learner remembers.
        visits: how often each pair was updated [S, A].
        clock: environment steps so far, present observation, steps and (in `episode_return`) rewards of the
            running episode [3].
        episode_return: undiscounted [1].
        generator: state of the random numbers [1].
    """

    q: FloatArray
    extra: Any
    visits: IntArray
    clock: IntArray
    episode_return: FloatArray
    generator: np.ndarray[Any, np.dtype[np.uint64]]


TIME, OBS, LENGTH = 0, 1, 2
NO_LIMIT = np.iinfo(np.int64).max


def build_model(mdp: FiniteMDP, time_limit: int | None) -> Model:
    """Lay the successor lists out in rows of equal width, so that the loop needs no offsets."""
    table = successor_table(mdp)
    entries = np.zeros(table.reward.size, ENTRY)
    for field in ENTRY.names or ():
        entries[field] = getattr(table, field).ravel()
    starts = np.flatnonzero(mdp.start)
    start_threshold = np.cumsum(mdp.start[starts])
    start_threshold[-1] = 2.0  # a draw just below 1 must not run over
    return Model(
        entries=entries,
        threshold=table.cumulative.ravel(),
        starts=starts.astype(np.uint32),
        start_threshold=start_threshold,
        width=table.reward.shape[1],
        time_limit=time_limit or NO_LIMIT,
    )


def build_rates(config: TabularConfig, steps: int) -> Rates:
    """The schedules of `config` over a run of `steps` environment steps."""
    exponential = config.exploration_schedule == "exponential"
    duration = float(config.exploration_duration(steps))
    constant = config.exploration_initial_eps == config.exploration_final_eps
    return Rates(
        gamma=float(config.gamma),
        exponential=exponential,
        initial_eps=float(config.exploration_initial_eps),
        final_eps=float(config.exploration_final_eps),
        duration=duration,
        settled=0 if constant else NO_LIMIT if exponential else math.ceil(duration),
        learning_rate=float(config.learning_rate),
        learning_rate_decay=float(config.learning_rate_decay),
    )


def init_state(agent: TabularAgent, n_states: int, n_actions: int, initial_q: float, seed: int) -> TabularState:
    """A fresh run; `clock[OBS]` is -1 until the first reset."""
    return TabularState(
        q=np.full((n_states, n_actions), float(initial_q)),
        extra=agent.extra(),
        visits=np.zeros((n_states, n_actions), np.int64),
        clock=np.array([0, -1, 0]),
        episode_return=np.zeros(1),
        generator=new_generator(seed),
    )


@kernel
def epsilon_at(t: Any, rates: Any) -> Any:
    """ε at environment step t."""
    if rates.exponential:
        return _exponential(t, rates.initial_eps, rates.final_eps, rates.duration)
    return _linear(t, rates.initial_eps, rates.final_eps, rates.duration)


@kernel
def step_size(visits: Any, obs: Any, action: Any, rates: Any) -> Any:
    """α for this update of the pair, which it counts."""
    seen = visits[obs, action]
    visits[obs, action] = seen + 1
    if rates.learning_rate_decay > 0.0:
        return _inverse(seen, rates.learning_rate, rates.learning_rate_decay)
    return rates.learning_rate


@kernel
def reset(starts: Any, threshold: Any, generator: Any) -> Any:
    """Draw a start state by inverting the cumulative distribution [N] over `starts` [N]; one alone is no draw."""
    low, high = 0, starts.shape[0] - 1
    if high > 0:
        draw = uniform(generator)
        while low < high:
            middle = (low + high) // 2
            if draw < threshold[middle]:
                high = middle
            else:
                low = middle + 1
    return np.intp(starts[low])


@kernel
def outcome(threshold: Any, first: Any, width: Any, generator: Any) -> Any:
    """Draw which of the `width` outcomes that begin at `first` happens."""
    draw = uniform(generator)
    k = np.uintp(0)
    for i in range(width - np.uintp(1)):
        k += np.uintp(draw >= threshold[first + i])
    return k


@kernel
def run(
    act: Any, update: Any, model: Any, rates: Any, state: Any, steps: int, returns: Any, lengths: Any
) -> Any:  # fmt: skip
    """Act, step and learn for `steps` environment steps, in place.

    Finished episodes go to `returns` and `lengths` [>= steps]. Returns their number and the mean absolute TD
    error. Arrays are taken out of their tuples before the loop: inside it each look-up would cost.
    """
    q, extra, visits, generator = state.q, state.extra, state.visits, state.generator
    entries, threshold, starts, start_threshold = model.entries, model.threshold, model.starts, model.start_threshold
    width, n_actions = np.uintp(model.width), np.uintp(q.shape[1])
    t, obs, length, total = state.clock[TIME], state.clock[OBS], state.clock[LENGTH], state.episode_return[0]
    obs = reset(starts, start_threshold, generator) if obs < 0 else np.intp(np.uint32(obs))
    epsilon = epsilon_at(t, rates)
    episodes, error = 0, 0.0
    for _ in range(steps):
        if t <= rates.settled:
            epsilon = epsilon_at(t, rates)
        action = act(q, obs, epsilon, generator)
        index = np.uintp(obs) * n_actions + np.uintp(action)
        if width > 1:
            index *= width
            index += outcome(threshold, index, width, generator)
        entry = entries[index]
        next_obs, reward, continues = np.intp(entry.successor), entry.reward, np.float64(entry.continues)
        alpha = step_size(visits, obs, action, rates)
        discount = rates.gamma * continues
        error += abs(update(q, extra, obs, action, reward, discount, next_obs, alpha, epsilon, generator))
        t += 1
        length += 1
        total += reward
        obs = next_obs
        if continues == 0.0 or length >= model.time_limit:
            returns[episodes], lengths[episodes] = total, length
            episodes += 1
            total, length = 0.0, 0
            obs = reset(starts, start_threshold, generator)
    state.clock[TIME], state.clock[OBS], state.clock[LENGTH], state.episode_return[0] = t, obs, length, total
    return episodes, error / steps


@kernel
def observe(
    act: Any, update: Any, rates: Any, state: Any, obs: Any, action: Any, reward: Any, continues: Any,
    next_obs: Any, valid: Any, acting_obs: Any, chosen: Any,
) -> Any:  # fmt: skip
    """The host loop's step: learn from one transition of every world [N], then choose `chosen` [N], in place.

    Rows that are not `valid` are no experience; before the first step there are none. `acting_obs` differs from
    `next_obs` where a world has reset. Returns the sum of absolute TD errors.
    """
    error = 0.0
    epsilon = epsilon_at(state.clock[0], rates)
    for i in range(obs.shape[0]):
        if valid[i]:
            alpha = step_size(state.visits, obs[i], action[i], rates)
            error += abs(
                update(
                    state.q, state.extra, obs[i], action[i], np.float64(reward[i]), rates.gamma * continues[i],
                    next_obs[i], alpha, epsilon, state.generator,
                )
            )  # fmt: skip
    state.clock[0] += obs.shape[0]
    epsilon = epsilon_at(state.clock[0], rates)
    for i in range(acting_obs.shape[0]):
        chosen[i] = act(state.q, acting_obs[i], epsilon, state.generator)
    return error
