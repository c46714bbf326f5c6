"""Q-learning on a table by hand: act, step, target, update. Plain calls in order.

    python examples/one_q_step.py

The compiled loop does the same, a million steps a second or more; `tests/test_one_step.py` compares the two bit by bit.
"""

from typing import Any, NamedTuple

import numpy as np

import bellmax as bx
from bellmax.loops.table_setup import set_up
from bellmax.mdp.successors import in_front
from bellmax.sources import find_world
from bellmax.tabular.agent import Now, build_rates, level_at
from bellmax.tabular.model_kernels import build_model
from bellmax.tabular.stepping import count

STEPS = 2_000
CONFIG = bx.QLearning(gamma=0.9, learning_rate=0.2)


class State(NamedTuple):
    """The table, its counts and random numbers, and where the agent is: the place, its next action, its steps."""

    table: Any
    obs: int
    action: int
    length: int


def begin(source, config, seed):
    """The world, the learner, the schedule, and the first state."""
    mdp, _ = in_front(source.mdp)
    world, rates = build_model(mdp, source.mdp.max_episode_steps), build_rates(config, STEPS)
    setup = set_up(config, source, world.width)
    table = setup.init(config, seed)
    obs = world.begin(world, table.place, table.q, table.generator)
    action = act(setup.agent, rates, table, obs, 0)
    return world, setup.agent, rates, State(table, obs, action, 0)


def act(agent, rates, table, obs, t):
    """ε-greedy, with the ε of step t."""
    now = Now(level_at(t, rates), table.visits, rates, table.generator)
    return int(agent.behavior.act(table.q, obs, now))


def one_step(world, agent, rates, state, t):
    """One environment step and one update; `t` counts environment steps."""
    table, obs, action, length = state
    q = table.q
    # step
    next_obs, reward, continues = world.step(world, table.place, q, obs, action, table.generator)
    over = continues == 0.0 or length + 1 >= world.time_limit
    # target: 0 for what comes after an episode that terminated, not after one that was cut off
    target = reward + rates.gamma * continues * np.max(q[next_obs])
    # update
    alpha = count(q, table.visits, obs, action, rates)
    q[obs, action] += alpha * (target - q[obs, action])
    # act
    if over:
        next_obs, length = world.begin(world, table.place, q, table.generator), -1
    return State(table, int(next_obs), act(agent, rates, table, next_obs, t + 1), length + 1)


if __name__ == "__main__":
    world, agent, rates, state = begin(find_world("cliff"), CONFIG, seed=0)
    for t in range(STEPS):
        state = one_step(world, agent, rates, state, t)
    print(f"the first state's values after {STEPS:,} steps: {state.table.q[state.obs].round(3)}")
