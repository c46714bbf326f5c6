"""Numba. The one loop that runs every tabular learner: over a compiled world, or one transition at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np

from bellmax.contracts import BoolArray, FloatArray, IntArray
from bellmax.tabular.agent import Learner, Now, Rates, Shape, Step, TabularAgent, counts, level_at, step_size_after
from bellmax.tabular.kernel import Generator, Index, kernel, new_generator, uniform
from bellmax.tabular.representation import (
    MaskedTable,
    MaskedTiles,
    Ragged,
    Representation,
    Tiles,
    feature,
    n_active,
    set_allowed,
)
from bellmax.tabular.soundness import MOST, Range, Sizes

FAR = 1e9  # nothing of a classic world comes near; angles are wrapped in steps of 2π


class CompiledWorld(Protocol):
    """An environment that the compiled loop steps: a NamedTuple with two kernels, of which it is the first argument.

    `place` is what else of it evolves. It sees `q` because tiles note there which of them are active.
    """

    @property
    def begin(self) -> Callable[..., Index]:
        """Starts an episode: `begin(world, place, q, generator) -> obs`."""

    @property
    def step(self) -> Callable[..., tuple[Index, float, float]]:
        """Takes one step: `step(world, place, q, obs, action, generator) -> (next_obs, reward, continues)`.

        `continues` is 0 where the episode terminated, else 1.
        """

    @property
    def time_limit(self) -> int:
        """Steps after which an episode is cut off."""


class Clock(NamedTuple):
    """Where a run stands; each one number [1].

    Attributes:
        time: environment steps so far.
        ended: episodes that ended.
        length: steps of the running episode.
        obs: the present observation; -1 before the first reset, and where the loop holds it.
        action: the action chosen for the next step; -1 with `obs`.
    """

    time: IntArray
    ended: IntArray
    length: IntArray
    obs: IntArray
    action: IntArray

    def ranges(self, sizes: Sizes) -> dict[str, Range]:
        """What the integers may be, see `soundness.py`."""
        return {
            "time": (0, MOST), "ended": (0, MOST), "length": (0, MOST),
            "obs": (-1, sizes.obs - 1), "action": (-1, sizes.actions - 1),
        }  # fmt: skip


class TabularState(NamedTuple):
    """Everything of one seed's run that evolves.

    Attributes:
        q: the table [S, A], or another representation of Q.
        memory: what else the learner remembers.
        visits: how often each pair was updated [S, A].
        place: where a world of real numbers is [k]; a finite MDP has nothing but the present observation.
        clock: counters, and the present observation and action.
        episode_return: the undiscounted sum of the running episode's rewards [1].
        error: sum of absolute TD errors since the last record, and the environment steps of it [2].
        generator: state of the random numbers [1].
    """

    q: Representation
    memory: tuple[Any, ...]
    visits: IntArray
    place: FloatArray
    clock: Clock
    episode_return: FloatArray
    error: FloatArray
    generator: Generator

    def ranges(self, sizes: Sizes) -> dict[str, Range]:
        """What the integers may be, see `soundness.py`; where a world of real numbers is, is near the origin."""
        return {
            "visits": (0, MOST),
            "place": (-FAR, FAR),
            "generator": (0, 2**64 - 1),
        }

    def faults(self) -> Iterator[str]:
        """What does not belong together."""
        obs, action = self.clock.obs[0], self.clock.action[0]
        if (obs < 0) != (action < 0):
            yield f"observation {obs} with action {action}"
        elif obs >= 0 and isinstance(self.q, Ragged) and action >= self.q.n_allowed[obs]:
            yield f"action {action} in observation {obs}, which has {self.q.n_allowed[obs]}"


class Batch(NamedTuple):
    """What `n` steps brought, and the actions that were allowed.

    Attributes:
        obs, action, reward, next_obs: [n]; `next_obs` is the true one where an episode ended.
        continues: 0 where the episode terminated, else 1 [n].
        over: the episode ended, by termination or by its time limit [n].
        masks: the actions allowed in `obs`, in `next_obs`, and in what the loop acts on [2 or 3, n, A]; A is 0 without
            masks.
    """

    obs: IntArray
    action: IntArray
    reward: np.ndarray[Any, np.dtype[np.floating[Any]]]
    continues: np.ndarray[Any, np.dtype[np.floating[Any]]]
    over: BoolArray
    next_obs: IntArray
    masks: BoolArray


def init_state(
    agent: TabularAgent,
    shape: Shape,
    initial_q: float,
    seed: int,
    *,
    tilings: int = 1,
    place: int = 0,
    worlds: int = 1,
    n_allowed: IntArray | None = None,
    masked: bool = False,
) -> TabularState:
    """A fresh run of one seed; `clock.obs` is -1 until the first reset.

    `tilings` > 1 makes a linear Q over tiles; `place` numbers hold the world; `worlds` share one table in the host
    loop; `n_allowed [S]` says how many actions each state has, if not all. If `masked`, observations come with masks.
    """
    first = initial_q if agent.initial_q is None else agent.initial_q
    table = np.zeros((shape.n_states, shape.n_actions))  # costs nothing until it is written to
    if first:
        table[:] = float(first) / tilings
    q: Representation = table
    if tilings > 1:
        q = Tiles(table, np.zeros((worlds * (agent.window + 3), tilings), np.int64))
        if masked:
            q = MaskedTiles(q.weights, q.active, np.ones((len(q.active), shape.n_actions), np.bool_))
    elif masked:
        q = MaskedTable(table, np.ones(table.shape, np.bool_))
    elif n_allowed is not None and n_allowed.min() < shape.n_actions:
        table[np.arange(shape.n_actions) >= n_allowed[:, None]] = -np.inf
        q = Ragged(table, np.array(n_allowed))
    return TabularState(
        q=q,
        memory=agent.memory(q),
        visits=np.zeros(table.shape, np.int64),
        place=np.zeros(place),
        clock=Clock(counts(), counts(), counts(), obs=np.full(1, -1), action=np.full(1, -1)),
        episode_return=np.zeros(1),
        error=np.zeros(2),
        generator=new_generator(seed),
    )


@kernel
def count(q: Representation, visits: IntArray, obs: Index, action: Index, rates: Rates) -> float:
    """α for this update of the pair, which is counted."""
    seen = visits[feature(q, obs, 0), action]
    for i in range(n_active(q)):
        visits[feature(q, obs, i), action] += 1
    return step_size_after(seen, rates)


@kernel
def run_steps(
    learner: Learner, world: CompiledWorld, state: TabularState, steps: int, returns: FloatArray, lengths: IntArray
) -> tuple[int, float]:
    """Act, step and learn for `steps` environment steps, or until the episode `rates.last` has ended, in place.

    Finished episodes go to `returns` and `lengths` [as many as can end]. Returns their number and the mean absolute TD
    error; the sum since the last record is in `state.error`, so that it does not depend on where calls end. Arrays are
    taken out of their tuples before the loop: inside it each look-up would cost.
    """
    update, behavior, look_ahead, options, rates = learner
    q, memory, visits, place, generator = state.q, state.memory, state.visits, state.place, state.generator
    clock, total = state.clock, state.episode_return[0]
    t, ended, length = clock.time[0], clock.ended[0], clock.length[0]
    obs, action, begin = clock.obs[0], np.intp(clock.action[0]), t
    now = Now(level_at(ended if rates.by_episode else t, rates), visits, rates, generator)
    if obs < 0:
        obs = world.begin(world, place, q, generator)
        action = np.intp(behavior.act(q, obs, now))
    obs = np.intp(np.uint32(obs))  # known not to be negative
    episodes, error = 0, state.error[0]
    before = error
    for _ in range(steps):
        next_obs, reward, continues = world.step(world, place, q, obs, action, generator)
        alpha = count(q, visits, obs, action, rates)
        t += 1
        length += 1
        total += reward
        if t <= rates.settled:
            now = Now(level_at(t, rates), visits, rates, generator)
        over = continues == 0.0 or length >= world.time_limit
        next_action = np.intp(-1)
        if look_ahead:
            next_action = np.intp(behavior.act(q, next_obs, now))
        transition = Step(obs, action, reward, rates.gamma * continues, next_obs, next_action, over, alpha)
        error += abs(update(q, memory, options, transition, behavior, now))
        obs = next_obs
        if over:
            returns[episodes], lengths[episodes] = total, length
            episodes += 1
            total, length = 0.0, 0
            obs = world.begin(world, place, q, generator)
            if rates.by_episode:
                now = Now(level_at(ended + episodes, rates), visits, rates, generator)
                if ended + episodes >= rates.last:
                    action = np.intp(behavior.act(q, obs, now))
                    break
        if over or not look_ahead:
            next_action = np.intp(behavior.act(q, obs, now))
        action = next_action
    clock.time[0], clock.ended[0], clock.length[0] = t, ended + episodes, length
    clock.obs[0], clock.action[0] = obs, action
    state.episode_return[0], state.error[0] = total, error
    state.error[1] += t - begin
    return episodes, (error - before) / max(t - begin, 1)


@kernel
def observe(
    learner: Learner, state: TabularState, batch: Batch, valid: BoolArray, acting_obs: IntArray, chosen: IntArray
) -> float:
    """The host loop's step: learn from one transition of every world [N], then choose `chosen` [N], in place.

    Rows that are not `valid` are not experience; before the first step there are none. `acting_obs` differs from
    `batch.next_obs` where a world has reset. Returns the sum of absolute TD errors.
    """
    update, behavior, look_ahead, options, rates = learner
    q, clock, error = state.q, state.clock, 0.0
    clock.time[0] += batch.obs.shape[0]
    t = clock.ended[0] if rates.by_episode else clock.time[0]
    now = Now(level_at(t, rates), state.visits, rates, state.generator)
    for i in range(acting_obs.shape[0]):
        chosen[i] = -1
        if i < batch.obs.shape[0] and valid[i]:
            obs, action, next_obs, over = batch.obs[i], batch.action[i], batch.next_obs[i], batch.over[i]
            alpha = count(q, state.visits, obs, action, rates)
            set_allowed(q, obs, batch.masks, 0, i)
            set_allowed(q, next_obs, batch.masks, 1, i)  # the newer one counts where both are one state
            if look_ahead:
                chosen[i] = behavior.act(q, next_obs, now)
            reward, discount = np.float64(batch.reward[i]), rates.gamma * batch.continues[i]
            transition = Step(obs, action, reward, discount, next_obs, chosen[i], over, alpha)
            error += abs(update(q, state.memory, options, transition, behavior, now))
            if over:
                chosen[i] = -1
                clock.ended[0] += 1
                if rates.by_episode:
                    now = Now(level_at(clock.ended[0], rates), state.visits, rates, state.generator)
        set_allowed(q, acting_obs[i], batch.masks, 2, i)
        if not look_ahead or chosen[i] < 0:
            chosen[i] = behavior.act(q, acting_obs[i], now)
    return error


@kernel
def learn_from_data(learner: Learner, state: TabularState, batch: Batch, steps: int) -> None:
    """Learn `steps` times from a transition of the data [n], each drawn uniformly, in place."""
    update, behavior, _, options, rates = learner
    q, error = state.q, state.error[0]
    now = Now(0.0, state.visits, rates, state.generator)
    for _ in range(steps):
        i = np.int64(uniform(state.generator) * batch.obs.shape[0])
        obs, action, next_obs = batch.obs[i], batch.action[i], batch.next_obs[i]
        alpha = count(q, state.visits, obs, action, rates)
        set_allowed(q, obs, batch.masks, 0, i)
        set_allowed(q, next_obs, batch.masks, 1, i)
        discount = rates.gamma * batch.continues[i]
        transition = Step(obs, action, batch.reward[i], discount, next_obs, np.int64(-1), batch.over[i], alpha)
        error += abs(update(q, state.memory, options, transition, behavior, now))
    state.clock.time[0] += steps
    state.error[0] = error
    state.error[1] += steps
