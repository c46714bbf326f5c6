"""JAX. The program of the compiled loop: environments, acting, memory and learning in one `scan`."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp

from bellmax.contracts import Array, Experience, Obs, Transition
from bellmax.deep.config import DeepConfig
from bellmax.deep.state import Carry, DeepAgent, LearnerState
from bellmax.envs.functional import World
from bellmax.keys import APART
from bellmax.loops.network_learning import compiler_options, make_improver, ranks


class RunState(NamedTuple):
    """Everything of one seed's run that changes, except the clock, which all seeds share.

    `world`, `obs`, `carry`, `episode_return` and `episode_length` have a leading axis [N] of environments.
    """

    learner: LearnerState
    memory: Any
    world: Any
    obs: Obs
    carry: Carry
    episode_return: Array
    episode_length: Array
    key: Array


class StepRecord(NamedTuple):
    """For each step and environment [T, N]: whether an episode ended, and its return and length so far."""

    ended: Array
    episode_return: Array
    episode_length: Array


Records: TypeAlias = tuple[StepRecord, dict[str, Array]]  # of a round or a chunk: its steps, and its metrics


def start_run(world: World[Any], agent: DeepAgent, config: DeepConfig, key: Array) -> RunState:
    """Return the state of a run before its first step."""
    init_key, reset_key, run_key = jax.random.split(key, 3)
    n = config.num_envs
    worlds, obs = jax.vmap(world.reset)(jax.random.split(reset_key, n))
    carry = jax.vmap(agent.begin)(jax.random.split(jax.random.fold_in(init_key, APART), n), ranks(n))
    zeros = jnp.zeros(n)
    return RunState(
        agent.init(init_key), agent.memory.init(), worlds, obs, carry, zeros, zeros.astype(jnp.int32), run_key
    )


def keys_of_step(key: Array, n: int) -> tuple[Array, ...]:
    """Return the keys of one step, to act, to step and to reset, each [N]."""
    return tuple(jax.random.split(each, n) for each in jax.random.split(key, 3))


def make_vector_step(
    world: World[Any], agent: DeepAgent, config: DeepConfig
) -> Callable[[RunState, tuple[Array, tuple[Array, ...]]], tuple[RunState, tuple[Experience, StepRecord]]]:
    """Return `step(state, (t, keys)) -> (state, (experience [N], record))`, one step of every environment."""
    n = config.num_envs

    def step(state: RunState, clock: tuple[Array, tuple[Array, ...]]) -> tuple[RunState, tuple[Experience, StepRecord]]:
        t, keys = clock

        def one(
            now: tuple[Any, Obs, Carry], rank: Array, act_key: Array, step_key: Array, reset_key: Array
        ) -> tuple[tuple[Any, Obs, Carry], Experience]:
            world_state, obs, before = now
            action, carry = agent.act(state.learner, before, obs, act_key, t)
            world_state, next_obs, reward, terminated, truncated = world.step(world_state, action, step_key)
            transition = Transition(obs, action, reward, jnp.where(terminated, 0.0, config.gamma), next_obs)
            over = terminated | truncated
            fresh = (*world.reset(reset_key), agent.begin(jax.random.fold_in(reset_key, APART), rank))
            following = jax.tree.map(lambda new, old: jnp.where(over, new, old), fresh, (world_state, next_obs, carry))
            return following, Experience(transition, over.astype(jnp.int32), agent.remembered(before))

        following, experience = jax.vmap(one)(
            (state.world, state.obs, state.carry),
            ranks(n),
            *keys,
        )
        worlds, obs, carry = following
        over = experience.over.astype(bool)
        returns, lengths = state.episode_return + experience.transition.reward, state.episode_length + 1
        state = state._replace(
            memory=agent.memory.add(state.memory, experience),
            world=worlds,
            obs=obs,
            carry=carry,
            episode_return=jnp.where(over, 0.0, returns),
            episode_length=jnp.where(over, 0, lengths),
        )
        return state, (experience, StepRecord(over, returns, lengths))

    return step


def make_round(
    world: World[Any], agent: DeepAgent, config: DeepConfig
) -> Callable[[RunState, tuple[Array, Array]], tuple[RunState, Records]]:
    """Return `round_(state, (t, key)) -> (state, (StepRecord, metrics))`; t counts environment steps before the round.

    A round is `train_freq` steps of every environment, then `gradient_steps` gradient steps.
    """
    n, rounds = config.num_envs, config.train_freq
    keys_of = functools.partial(keys_of_step, n=n)
    vector_step, improve = make_vector_step(world, agent, config), make_improver(agent, config)

    def step(state: RunState, clock: tuple[Array, tuple[Array, ...]]) -> tuple[RunState, StepRecord]:
        state, (_, record) = vector_step(state, clock)
        return state, record

    def round_(state: RunState, clock: tuple[Array, Array]) -> tuple[RunState, Records]:
        t, key = clock
        step_key, learn_key = jax.random.split(key)
        # all keys of the round at once: in the scan they would be computed again for every number drawn from them
        clocks = (t + n * jnp.arange(rounds), jax.vmap(keys_of)(jax.random.split(step_key, rounds)))
        state, record = jax.lax.scan(step, state, clocks, unroll=rounds == 1)
        (learner, memory), metrics = improve((state.learner, state.memory), t + n * rounds, learn_key)
        return state._replace(learner=learner, memory=memory), (record, metrics)

    return round_


def make_chunk(
    world: World[Any], agent: DeepAgent, config: DeepConfig, rounds: int, stacked: bool = False
) -> Callable[[RunState, Array], tuple[RunState, Records]]:
    """Return `chunk(state, t) -> (state, records)`: `rounds` rounds in one call, which overwrites `state`.

    The key of a round is the run's key folded with the clock, so that runs do not depend on where chunks end.
    If `stacked`, `state` and `records` have a leading axis of seeds; the clock is shared.
    """
    round_ = make_round(world, agent, config)

    def chunk(state: RunState, t: Array) -> tuple[RunState, Records]:
        clocks = t + config.num_envs * config.train_freq * jnp.arange(rounds)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(state.key, clocks)
        return jax.lax.scan(round_, state, (clocks, keys))

    body = jax.vmap(chunk, in_axes=(0, None)) if stacked else chunk
    return jax.jit(body, donate_argnums=0, compiler_options=compiler_options(world.observation_space))
