"""Numba. The one loop that runs every tabular learner: over a compiled world, or one transition at a time."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from bellmax.contracts import FloatArray, IntArray
from bellmax.tabular.agent import Now, Shape, Step, TabularAgent, level_at, step_size_after
from bellmax.tabular.kernel import kernel, new_generator, uniform
from bellmax.tabular.representation import MaskedTable, MaskedTiles, Ragged, Tiles, feature, n_features, set_allowed
from bellmax.tabular.soundness import MOST

FAR = 1e9  # nothing of a classic world comes near; angles are wrapped in steps of 2π


class TabularState(NamedTuple):
    """Everything of one seed's run that evolves.

    Attributes:
        q: the table [S, A], or another representation of Q.
        memory: what else the learner remembers.
        visits: how often each pair was updated [S, A].
        place: where a world of real numbers is [k]; a finite MDP has nothing but the present observation.
        clock: environment steps so far, present observation, steps (and in `episode_return` rewards) of the running
            episode, the action chosen for the next step, episodes that ended [5].
        episode_return: undiscounted [1].
        error: sum of absolute TD errors since the last record, and the environment steps of it [2].
        generator: state of the random numbers [1].
    """

    q: Any
    memory: Any
    visits: IntArray
    place: FloatArray
    clock: IntArray
    episode_return: FloatArray
    error: FloatArray
    generator: np.ndarray[Any, np.dtype[np.uint64]]

    def ranges(self, sizes: Any) -> dict[str, Any]:
        """What the integers may be, see `soundness.py`; where a world of real numbers is, is near the origin."""
        return {
            "visits": (0, MOST),
            "place": (-FAR, FAR),
            "clock": ([0, -1, 0, -1, 0], [MOST, sizes.obs - 1, MOST, sizes.actions - 1, MOST]),
            "generator": (0, 2**64 - 1),
        }

    def faults(self) -> Iterator[str]:
        """What does not belong together."""
        obs, action = self.clock[OBS], self.clock[ACTION]
        if (obs < 0) != (action < 0):
            yield f"observation {obs} with action {action}"
        elif obs >= 0 and isinstance(self.q, Ragged) and action >= self.q.n_allowed[obs]:
            yield f"action {action} in observation {obs}, which has {self.q.n_allowed[obs]}"


TIME, OBS, LENGTH, ACTION, ENDED = 0, 1, 2, 3, 4


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
    """A fresh run of one seed; `clock[OBS]` is -1 until the first reset.

    `tilings` > 1 makes a linear Q over tiles; `place` numbers hold the world; `worlds` share one table in the host
    loop; `n_allowed [S]` says how many actions each state has, if not all. If `masked`, observations come with masks.
    """
    first = initial_q if agent.initial_q is None else agent.initial_q
    table = np.zeros((shape.n_states, shape.n_actions))  # costs nothing until it is written to
    if first:
        table[:] = float(first) / tilings
    q: Any = table
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
        clock=np.array([0, -1, 0, -1, 0]),
        episode_return=np.zeros(1),
        error=np.zeros(2),
        generator=new_generator(seed),
    )


@kernel
def count(q: Any, visits: Any, obs: Any, action: Any, rates: Any) -> Any:
    """α for this update of the pair, which is counted."""
    seen = visits[feature(q, obs, 0), action]
    for i in range(n_features(q)):
        visits[feature(q, obs, i), action] += 1
    return step_size_after(seen, rates)


@kernel
def run(
    update: Any, behavior: Any, look_ahead: Any, options: Any, world: Any, rates: Any, state: Any, steps: int,
    returns: Any, lengths: Any,
) -> Any:  # fmt: skip
    """Act, step and learn for `steps` environment steps, or until the episode `rates.last` has ended, in place.

    Finished episodes go to `returns` and `lengths` [as many as can end]. Returns their number and the mean absolute TD
    error; the sum since the last record is in `state.error`, so that it does not depend on where calls end. Arrays are
    taken out of their tuples before the loop: inside it each look-up would cost.
    """
    q, memory, visits, place, generator = state.q, state.memory, state.visits, state.place, state.generator
    t, obs, length, total = state.clock[TIME], state.clock[OBS], state.clock[LENGTH], state.episode_return[0]
    action, ended, begin = np.intp(state.clock[ACTION]), state.clock[ENDED], t
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
    state.clock[ENDED] = ended + episodes
    state.clock[TIME], state.clock[OBS], state.clock[LENGTH], state.clock[ACTION] = t, obs, length, action
    state.episode_return[0], state.error[0] = total, error
    state.error[1] += t - begin
    return episodes, (error - before) / max(t - begin, 1)


@kernel
def observe(
    update: Any, behavior: Any, look_ahead: Any, options: Any, rates: Any, state: Any, obs: Any, action: Any,
    reward: Any, continues: Any, over: Any, next_obs: Any, valid: Any, acting_obs: Any, masks: Any, chosen: Any,
) -> Any:  # fmt: skip
    """The host loop's step: learn from one transition of every world [N], then choose `chosen` [N], in place.

    Rows that are not `valid` are not experience; before the first step there are none. `acting_obs` differs from
    `next_obs` where a world has reset. `masks [3, N, A]` are the actions that were allowed in `obs`, `next_obs` and
    `acting_obs`, if masks are used. Returns the sum of absolute TD errors.
    """
    q, error = state.q, 0.0
    state.clock[TIME] += obs.shape[0]
    clock = ENDED if rates.by_episode else TIME
    now = Now(level_at(state.clock[clock], rates), state.visits, rates, state.generator)
    for i in range(acting_obs.shape[0]):
        chosen[i] = -1
        if i < obs.shape[0] and valid[i]:
            alpha = count(q, state.visits, obs[i], action[i], rates)
            set_allowed(q, obs[i], masks, 0, i)
            set_allowed(q, next_obs[i], masks, 1, i)  # the newer one counts where both are one state
            if look_ahead:
                chosen[i] = behavior.act(q, next_obs[i], now)
            discount = rates.gamma * continues[i]
            transition = Step(
                obs[i], action[i], np.float64(reward[i]), discount, next_obs[i], chosen[i], over[i], alpha
            )
            error += abs(update(q, state.memory, options, transition, behavior, now))
            if over[i]:
                chosen[i] = -1
                state.clock[ENDED] += 1
                if rates.by_episode:
                    now = Now(level_at(state.clock[ENDED], rates), state.visits, rates, state.generator)
        set_allowed(q, acting_obs[i], masks, 2, i)
        if not look_ahead or chosen[i] < 0:
            chosen[i] = behavior.act(q, acting_obs[i], now)
    return error


@kernel
def replay(
    update: Any, behavior: Any, options: Any, rates: Any, state: Any, obs: Any, action: Any, reward: Any,
    continues: Any, over: Any, next_obs: Any, masks: Any, steps: int,
) -> Any:  # fmt: skip
    """Learn `steps` times from a transition of the data [n], each drawn uniformly, in place.

    `masks [2, n, A]` are the actions that were allowed in `obs` and `next_obs`, if masks are used.
    """
    q, error = state.q, state.error[0]
    now = Now(0.0, state.visits, rates, state.generator)
    for _ in range(steps):
        i = np.int64(uniform(state.generator) * obs.shape[0])
        alpha = count(q, state.visits, obs[i], action[i], rates)
        set_allowed(q, obs[i], masks, 0, i)
        set_allowed(q, next_obs[i], masks, 1, i)
        transition = Step(
            obs[i], action[i], reward[i], rates.gamma * continues[i], next_obs[i], np.int64(-1), over[i], alpha
        )
        error += abs(update(q, state.memory, options, transition, behavior, now))
    state.clock[TIME] += steps
    state.error[0] = error
    state.error[1] += steps
    return 0
