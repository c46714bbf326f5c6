"""JAX. DQN that learns in a grid, stepped in pieces: the grid, ε, γ and the step size are inputs of its program.

The loop of a run (`loops/network_rounds.py`) compiles these in, so that an edit would take seconds. Here the same
agent, with its network, replay buffer and target network, is stepped by a program of its own that is compiled once for
each number of cells.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bellmax.contracts import Array, Discrete, Experience, Transition
from bellmax.deep.dqn import DQN
from bellmax.deep.state import NOTHING, DeepAgent, LearnerState
from bellmax.dispatch import in_32_bits
from bellmax.keys import make_key
from bellmax.loops.network_learning import compiler_options
from bellmax.mdp.model import FiniteMDP
from bellmax.mdp.successors import successor_table
from bellmax.trees import tree_map

ACTIONS = 4
WIDTH = 16  # outcomes of a pair, padded, so that an edit changes no shape
BASE = 1e-3  # learning rate of the optimizer; its steps are scaled, as Adam's are proportional to it
CONFIG = DQN(
    net_arch=(64,), normalization="none", learning_rate=BASE, learning_rate_schedule="constant", weight_averaging=False,
    buffer_size=10_000, batch_size=32, learning_starts=100, target_update_interval=100,
)  # fmt: skip


class GridArrays(NamedTuple):
    """A grid as the program steps it; outcomes [S * A, WIDTH], the start distribution [S], and the time limit."""

    successor: Array
    cumulative: Array
    reward: Array
    ends: Array
    start_threshold: Array
    limit: Array


class NetworkNumbers(NamedTuple):
    """ε, γ and the learning rate."""

    epsilon: Array
    gamma: Array
    rate: Array


class NetworkState(NamedTuple):
    """Everything that evolves; scalars but for the learner, its memory, the key, and visits [S, A]."""

    learner: LearnerState
    memory: Any
    obs: Array
    length: Array
    episode_return: Array
    time: Array
    ended: Array
    visits: Array
    key: Array


class StepSeen(NamedTuple):
    """What one step of the environment gave."""

    obs: Array
    action: Array
    reward: Array
    next_obs: Array
    ends: Array
    over: Array
    reset_key: Array
    learn_key: Array


class Program(NamedTuple):
    """The compiled functions for one number of cells.

    Attributes:
        begin: `begin(grid, key) -> state`.
        run: `run(grid, numbers, state, n) -> (state, sum of returns, number of episodes)`.
        look: `look(grid, numbers, state) -> StepSeen`, the next step without taking it.
        values: `values(learner) -> (Q, Q of the target network)`, each [S, A].
        begin_episode: `begin_episode(grid, state) -> state`, the running episode is dropped.
    """

    begin: Callable[[GridArrays, Array], NetworkState]
    run: Callable[[GridArrays, NetworkNumbers, NetworkState, int], tuple[NetworkState, Array, Array]]
    look: Callable[[GridArrays, NetworkNumbers, NetworkState], StepSeen]
    values: Callable[[LearnerState], tuple[Array, Array]]
    begin_episode: Callable[[GridArrays, NetworkState], NetworkState]


def draw_start(grid: GridArrays, key: Array) -> Array:
    """The first state of an episode."""
    return jnp.sum(jax.random.uniform(key) >= grid.start_threshold, dtype=jnp.int32)


def take_step(agent: DeepAgent, grid: GridArrays, numbers: NetworkNumbers, state: NetworkState) -> StepSeen:
    """Choose an action ε-greedily, and draw what follows it."""
    key = jax.random.fold_in(state.key, state.time)
    coin, choice, outcome, reset_key, learn_key = jax.random.split(key, 5)
    q, _ = agent.q_values(state.learner, NOTHING, state.obs)
    explored = jax.random.randint(choice, (), 0, ACTIONS, jnp.int32)
    action = jnp.where(jax.random.uniform(coin) < numbers.epsilon, explored, jnp.argmax(q).astype(jnp.int32))
    pair = state.obs * ACTIONS + action
    k = jnp.sum(jax.random.uniform(outcome) >= grid.cumulative[pair], dtype=jnp.int32)
    ends = grid.ends[pair, k]
    over = ends | (state.length + 1 >= grid.limit)
    return StepSeen(state.obs, action, grid.reward[pair, k], grid.successor[pair, k], ends, over, reset_key, learn_key)


def gradient_step(
    agent: DeepAgent, numbers: NetworkNumbers, learner: LearnerState, memory: Any, key: Array
) -> LearnerState:
    """One gradient step on a batch, with γ and the step size of now."""
    sample_key, learn_key = jax.random.split(key)
    batch, weight, _ = agent.memory.sample(memory, sample_key, learner.updates)
    assert isinstance(batch, Transition)  # noqa: S101 - as one-step replay gives them
    batch = batch._replace(discount=batch.discount * numbers.gamma)  # stored as 1, or 0 where the episode ended
    new, _ = agent.learn(learner, (batch, weight), learn_key)
    share = numbers.rate / BASE
    params = tree_map(lambda old, moved: old + share * (moved - old), learner.params, new.params)
    synced = new.updates % CONFIG.target_period == 0
    target = tree_map(lambda mine, old: jnp.where(synced, mine, old), params, learner.target_params)
    return new._replace(params=params).with_target(target)


@functools.cache
def make_program(n_states: int) -> Program:
    """The program for grids of so many cells; compiled at the first calls."""
    space = Discrete(n_states)
    agent = CONFIG.make(space, ACTIONS, 1)
    options = compiler_options(space)

    def begin(grid: GridArrays, key: Array) -> NetworkState:
        init_key, start_key, run_key = jax.random.split(key, 3)
        zero, nothing = jnp.int32(0), jnp.float32(0)
        visits = jnp.zeros((n_states, ACTIONS), jnp.int32)
        start = draw_start(grid, start_key)
        return NetworkState(
            agent.init(init_key), agent.memory.init(), start, zero, nothing, zero, zero, visits, run_key
        )

    def step(grid: GridArrays, numbers: NetworkNumbers, state: NetworkState) -> tuple[NetworkState, Array, Array]:
        seen = take_step(agent, grid, numbers, state)
        discount = jnp.where(seen.ends, 0.0, 1.0)
        transition = Transition(seen.obs, seen.action, seen.reward, discount, seen.next_obs)
        one = tree_map(lambda x: x[None], Experience(transition, seen.over.astype(jnp.int32)))
        memory, time = agent.memory.add(state.memory, one), state.time + 1
        learner = jax.lax.cond(
            time > CONFIG.learning_starts,
            lambda each: gradient_step(agent, numbers, each, memory, seen.learn_key),
            lambda each: each,
            state.learner,
        )
        total = state.episode_return + seen.reward
        following = NetworkState(
            learner, memory, jnp.where(seen.over, draw_start(grid, seen.reset_key), seen.next_obs),
            jnp.where(seen.over, 0, state.length + 1), jnp.where(seen.over, 0.0, total), time,
            state.ended + seen.over, state.visits.at[seen.obs, seen.action].add(1), state.key,
        )  # fmt: skip
        return following, jnp.where(seen.over, total, 0.0), seen.over.astype(jnp.int32)

    def run(
        grid: GridArrays, numbers: NetworkNumbers, state: NetworkState, n: Array
    ) -> tuple[NetworkState, Array, Array]:
        def body(_: Array, now: tuple[NetworkState, Array, Array]) -> tuple[NetworkState, Array, Array]:
            following, total, over = step(grid, numbers, now[0])
            return following, now[1] + total, now[2] + over

        done: tuple[NetworkState, Array, Array] = jax.lax.fori_loop(0, n, body, (state, jnp.float32(0), jnp.int32(0)))
        return done

    def values(learner: LearnerState) -> tuple[Array, Array]:
        cells = jnp.arange(n_states)

        def look_up(who: LearnerState) -> Array:
            return jax.vmap(lambda cell: agent.q_values(who, NOTHING, cell)[0])(cells)

        return look_up(learner), look_up(learner._replace(params=learner.target_params))

    def begin_episode(grid: GridArrays, state: NetworkState) -> NetworkState:
        start = draw_start(grid, jax.random.fold_in(state.key, -1 - state.time))
        return state._replace(obs=start, length=jnp.int32(0), episode_return=jnp.float32(0))

    look = functools.partial(take_step, agent)
    jitted: Any = (
        jax.jit(begin), jax.jit(run, compiler_options=options), jax.jit(look), jax.jit(values), jax.jit(begin_episode)
    )  # fmt: skip
    return Program(*map(in_32_bits, jitted))


@dataclass
class LiveNetwork:
    """DQN in a grid: its program, the grid, the settings of now, and everything that evolves."""

    name: str
    program: Program
    grid: GridArrays
    numbers: NetworkNumbers
    state: NetworkState


@in_32_bits
def grid_arrays(mdp: FiniteMDP) -> GridArrays:
    """The arrays of a grid's model, padded."""
    table = successor_table(mdp)
    more = ((0, 0), (0, WIDTH - table.successor.shape[1]))
    start = np.cumsum(mdp.start)
    start[np.flatnonzero(mdp.start)[-1] :] = 2.0  # a draw just below 1 must not run over
    return GridArrays(
        jnp.asarray(np.pad(table.successor, more), jnp.int32),
        jnp.asarray(np.pad(table.cumulative, more, constant_values=2.0), jnp.float32),
        jnp.asarray(np.pad(table.reward, more), jnp.float32),
        jnp.asarray(np.pad(table.continues, more) == 0.0),
        jnp.asarray(start, jnp.float32),
        jnp.int32(mdp.max_episode_steps or 2**31 - 1),
    )


@in_32_bits
def network_numbers(epsilon: float, gamma: float, rate: float) -> NetworkNumbers:
    """The settings as inputs of the program."""
    return NetworkNumbers(jnp.float32(epsilon), jnp.float32(gamma), jnp.float32(rate))


@in_32_bits
def start_network(mdp: FiniteMDP, numbers: NetworkNumbers, seed: int) -> LiveNetwork:
    """DQN before its first step."""
    program, grid = make_program(mdp.n_states), grid_arrays(mdp)
    return LiveNetwork("dqn", program, grid, numbers, program.begin(grid, make_key(seed)))
