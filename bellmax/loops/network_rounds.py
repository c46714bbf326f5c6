"""JAX. The compiled loop: world, acting, memory and learning in one `scan`, called once per chunk of steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bellmax.contracts import Agent, Array, Experience, Space, Transition
from bellmax.deep.config import DeepConfig
from bellmax.envs.functional import World
from bellmax.keys import APART
from bellmax.networks.images import image_of
from bellmax.replay.ring import NOWHERE
from bellmax.spaces import leaves_of


class RunState(NamedTuple):
    """Everything of one seed's run that evolves, but the clock, which all seeds share.

    `world`, `obs`, `carry`, `episode_return` and `episode_length` have a leading axis [N], one entry per world.
    """

    learner: Any
    memory: Any
    world: Any
    obs: Any
    carry: Any
    episode_return: Array
    episode_length: Array
    key: Array


class StepRecord(NamedTuple):
    """Of every world and step [T, N]: did an episode end, with which return and length (so far, if not)."""

    ended: Array
    episode_return: Array
    episode_length: Array


def ranks(n: int) -> Array:
    """The rank of each of n worlds side by side [N]: 0 for the first, 1 for the last."""
    return jnp.linspace(0.0, 1.0, n)


def start(world: World, agent: Agent, config: DeepConfig, key: Array) -> RunState:
    """The state of a run before its first step."""
    init_key, reset_key, run_key = jax.random.split(key, 3)
    n = config.num_envs
    worlds, obs = jax.vmap(world.reset)(jax.random.split(reset_key, n))
    carry = jax.vmap(agent.begin)(jax.random.split(jax.random.fold_in(init_key, APART), n), ranks(n))
    zeros = jnp.zeros(n)
    return RunState(
        agent.init(init_key), agent.memory.init(), worlds, obs, carry, zeros, zeros.astype(jnp.int32), run_key
    )


def make_round(world: World, agent: Agent, config: DeepConfig) -> Callable[..., Any]:
    """One round: `train_freq` steps of every world, then `gradient_steps` gradient steps.

    `round_(state, (t, key)) -> (state, (StepRecord, metrics))`; t counts environment steps before the round.
    """
    n, rounds = config.num_envs, config.train_freq

    def keys_of(key: Array) -> tuple[Array, ...]:
        """Of one step: a key for each world to act, to step and to reset, each [N]."""
        return tuple(jax.random.split(each, n) for each in jax.random.split(key, 3))

    def step(state: RunState, clock: tuple[Array, tuple[Array, ...]]) -> tuple[RunState, StepRecord]:
        t, keys = clock

        def one(now: Any, rank: Array, act_key: Array, step_key: Array, reset_key: Array) -> Any:
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
        return state, StepRecord(over, returns, lengths)

    improve = make_improver(agent, config)

    def round_(state: RunState, clock: tuple[Array, Array]) -> tuple[RunState, Any]:
        t, key = clock
        step_key, learn_key = jax.random.split(key)
        # all keys of the round at once: in the scan they would be made anew for every number drawn from them
        clocks = (t + n * jnp.arange(rounds), jax.vmap(keys_of)(jax.random.split(step_key, rounds)))
        state, record = jax.lax.scan(step, state, clocks, unroll=rounds == 1)
        mind, metrics = improve((state.learner, state.memory), t + n * rounds, learn_key)
        return state._replace(learner=mind[0], memory=mind[1]), (record, metrics)

    return round_


def make_improver(agent: Agent, config: DeepConfig) -> Callable[..., Any]:
    """`improve((learner, memory), t, key) -> ((learner, memory), metrics)`: the gradient steps of one round.

    Nothing happens until the clock has passed `learning_starts`; until then all metrics are 0, "learnt" among them.
    Both loops use it.
    """

    def learn(learner: Any, kept: Any, key: Array) -> tuple[Any, Any, dict[str, Array]]:
        sample_key, learn_key = jax.random.split(key)
        batch, weight, index = agent.memory.sample(kept, sample_key, learner.updates)
        learner, learned = agent.learn(learner, (batch, weight), learn_key)
        return learner, (index, learned.priority), {**learned.metrics, "learnt": jnp.ones(())}

    def wait(learner: Any, kept: Any, key: Array) -> tuple[Any, Any, dict[str, Array]]:
        _, (index, priority), metrics = jax.eval_shape(learn, learner, kept, key)
        nothing = jnp.full(index.shape, NOWHERE, index.dtype), jnp.zeros(priority.shape)
        return learner, nothing, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), metrics)

    def improve(mind: tuple[Any, Any], t: Array, key: Array) -> tuple[tuple[Any, Any], dict[str, Array]]:
        def once(mind: tuple[Any, Any], key: Array) -> tuple[tuple[Any, Any], dict[str, Array]]:
            learner, kept = mind
            # the clock is shared by all seeds, so that this stays a branch when seeds are stacked by vmap; it only
            # reads the memory, which XLA would copy whole if one of the branches wrote to it
            learner, priorities, metrics = jax.lax.cond(t > config.learning_starts, learn, wait, learner, kept, key)
            return (learner, agent.memory.update(kept, *priorities)), metrics

        keys = jax.random.split(key, config.gradient_steps)
        if config.gradient_steps == 1:
            return once(mind, keys[0])
        mind, metrics = jax.lax.scan(once, mind, keys)
        return mind, jax.tree.map(jnp.mean, metrics)

    return improve


def make_chunk(
    world: World, agent: Agent, config: DeepConfig, rounds: int, stacked: bool = False
) -> Callable[[RunState, Array], tuple[RunState, tuple[StepRecord, dict[str, Array]]]]:
    """`chunk(state, t) -> (state, records)`: `rounds` rounds in one call; `state` is overwritten.

    The key of a round is the run's key folded with the clock, so that runs do not depend on where chunks end.
    If `stacked`, `state` and `records` have a leading axis of seeds; the clock is shared.
    """
    round_ = make_round(world, agent, config)

    def chunk(state: RunState, t: Array) -> tuple[RunState, Any]:
        clocks = t + config.num_envs * config.train_freq * jnp.arange(rounds)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(state.key, clocks)
        return jax.lax.scan(round_, state, (clocks, keys))

    body = jax.vmap(chunk, in_axes=(0, None)) if stacked else chunk
    return jax.jit(body, donate_argnums=0, compiler_options=compiler_options(world.observation_space))


def make_actor(agent: Agent, n: int) -> Callable[..., Any]:
    """`act(actor, carry [N], over [N], obs [N, ...], key, t) -> (actions [N], carry before, carry after)`.

    The host loop's one call per vector step. Where an episode was `over`, the carry begins anew first.
    """

    def act(actor: Any, carry: Any, over: Array, obs: Any, key: Array, t: Array) -> Any:
        key = jax.random.fold_in(key, 2 * t)  # even numbers act, odd ones learn
        keys = jax.random.split(key, n)
        fresh = jax.vmap(agent.begin)(jax.random.split(jax.random.fold_in(key, APART), n), ranks(n))

        def one(old: Any, new: Any, over: Array, obs: Any, key: Array) -> Any:
            before = jax.tree.map(lambda x, y: jnp.where(over, x, y), new, old)
            action, after = agent.act(actor, before, obs, key, t)
            return action, agent.remembered(before), after

        return jax.vmap(one)(carry, fresh, over, obs, keys)

    return jax.jit(act, compiler_options=compiler_options(None))


def make_block(agent: Agent, config: DeepConfig, space: Space) -> Callable[..., Any]:
    """`learn((learner, memory), steps, valid, key, t) -> ((learner, memory), actor, metrics)`, of a block of steps.

    `steps` is an Experience of columns [T, N, ...], `valid` [T, N]; `t` counts environment steps before the first.
    `actor` is a copy that outlives the next call, which overwrites the learner.
    """
    improve = make_improver(agent, config)
    stride = config.num_envs * config.train_freq

    def learn(mind: tuple[Any, Any], steps: Experience, valid: Array, key: Array, t: Array) -> Any:
        def round_(mind: tuple[Any, Any], now: tuple[Any, Array]) -> tuple[tuple[Any, Any], dict[str, Array]]:
            columns, t = now
            kept, _ = jax.lax.scan(lambda m, c: (agent.memory.add(m, *c), None), mind[1], columns)
            return improve((mind[0], kept), t, jax.random.fold_in(key, 2 * t + 1))  # type: ignore[no-any-return]

        rounds = valid.shape[0] // config.train_freq
        columns = jax.tree.map(lambda x: x.reshape(rounds, config.train_freq, *x.shape[1:]), (steps, valid))
        mind, metrics = jax.lax.scan(round_, mind, (columns, t + stride * (1 + jnp.arange(rounds))))
        return mind, jax.tree.map(jnp.copy, agent.actor(mind[0])), metrics

    return jax.jit(learn, donate_argnums=0, compiler_options=compiler_options(space))


def compiler_options(space: Space | None) -> dict[str, str | bool]:
    """How XLA compiles a loop's body over observations of `space`: one thread per seed.

    On CPUs it orders operations so that threads can share them, and cuts the larger ones into a piece for each core;
    for operations of microseconds the hand-over costs more than the work (decision 2). Pieces of images are worth it.
    """
    if jax.default_backend() != "cpu":
        return {}
    options: dict[str, str | bool] = {
        "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
        "xla_cpu_multi_thread_eigen": False,
    }
    whole = {"xla_disable_hlo_passes": "cpu-parallel-task-assigner"}
    images = space is not None and any(map(image_of, leaves_of(space)))
    return options if images else {**options, **whole}
