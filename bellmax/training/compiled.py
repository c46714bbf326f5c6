"""JAX. The compiled loop: world, acting, memory and learning in one `scan`, called once per chunk of steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bellmax.deep.learner import DeepConfig
from bellmax.envs.functional import World
from bellmax.replay.uniform import Memory
from bellmax.types import Agent, Array, Box, Space, Transition


class RunState(NamedTuple):
    """Everything of one seed's run that evolves, but the clock, which all seeds share.

    `world`, `obs`, `episode_return` and `episode_length` have a leading axis [N], one entry per world.
    """

    learner: Any
    memory: Any
    world: Any
    obs: Array
    episode_return: Array
    episode_length: Array
    key: Array


class StepRecord(NamedTuple):
    """Of every world and step [T, N]: did an episode end, with which return and length (so far, if not)."""

    ended: Array
    episode_return: Array
    episode_length: Array


def example_transition(space: Space) -> Transition:
    """A transition of zeros with the shapes and types that the world gives."""
    obs = jnp.zeros(space.shape, space.dtype) if isinstance(space, Box) else jnp.int32(0)
    return Transition(obs, jnp.int32(0), jnp.float32(0), jnp.float32(0), obs)


def start(world: World, agent: Agent, memory: Memory, config: DeepConfig, key: Array) -> RunState:
    """The state of a run before its first step."""
    init_key, reset_key, run_key = jax.random.split(key, 3)
    worlds, obs = jax.vmap(world.reset)(jax.random.split(reset_key, config.num_envs))
    zeros = jnp.zeros(config.num_envs)
    return RunState(agent.init(init_key), memory.init(), worlds, obs, zeros, zeros.astype(jnp.int32), run_key)


def make_round(world: World, agent: Agent, memory: Memory, config: DeepConfig) -> Callable[..., Any]:
    """One round: `train_freq` steps of every world, then `gradient_steps` gradient steps.

    `round_(state, (t, key)) -> (state, (StepRecord, metrics))`; t counts environment steps before the round.
    """
    n, rounds = config.num_envs, config.train_freq

    def step(state: RunState, clock: tuple[Array, Array]) -> tuple[RunState, StepRecord]:
        t, key = clock
        act_key, step_key, reset_key = jax.random.split(key, 3)

        def one(world_state: Any, obs: Array, act_key: Array, step_key: Array, reset_key: Array) -> Any:
            action, _ = agent.act(state.learner, (), obs, act_key, t)
            world_state, next_obs, reward, terminated, truncated = world.step(world_state, action, step_key)
            transition = Transition(obs, action, reward, jnp.where(terminated, 0.0, config.gamma), next_obs)
            over = terminated | truncated
            following = jax.tree.map(
                lambda fresh, old: jnp.where(over, fresh, old),
                world.reset(reset_key),
                (world_state, next_obs),
            )
            return *following, transition, over

        worlds, obs, transitions, over = jax.vmap(one)(
            state.world,
            state.obs,
            jax.random.split(act_key, n),
            jax.random.split(step_key, n),
            jax.random.split(reset_key, n),
        )
        returns, lengths = state.episode_return + transitions.reward, state.episode_length + 1
        state = state._replace(
            memory=memory.add(state.memory, transitions),
            world=worlds,
            obs=obs,
            episode_return=jnp.where(over, 0.0, returns),
            episode_length=jnp.where(over, 0, lengths),
        )
        return state, StepRecord(over, returns, lengths)

    improve = make_improver(agent, memory, config)

    def round_(state: RunState, clock: tuple[Array, Array]) -> tuple[RunState, Any]:
        t, key = clock
        step_key, learn_key = jax.random.split(key)
        clocks = (t + n * jnp.arange(rounds), jax.random.split(step_key, rounds))
        state, record = jax.lax.scan(step, state, clocks, unroll=rounds == 1)
        mind, metrics = improve((state.learner, state.memory), t + n * rounds, learn_key)
        return state._replace(learner=mind[0], memory=mind[1]), (record, metrics)

    return round_


def make_improver(agent: Agent, memory: Memory, config: DeepConfig) -> Callable[..., Any]:
    """`improve((learner, ring), t, key) -> ((learner, ring), metrics)`: the gradient steps of one round.

    Nothing happens until the clock has passed `learning_starts`; until then all metrics are 0, "learnt" among them.
    Both loops use it.
    """

    def learn(mind: tuple[Any, Any], key: Array) -> tuple[tuple[Any, Any], dict[str, Array]]:
        learner, ring = mind
        sample_key, learn_key = jax.random.split(key)
        batch, weight, index = memory.sample(ring, sample_key)
        learner, learned = agent.learn(learner, (batch, weight), learn_key)
        mind = learner, memory.update(ring, index, learned.priority)
        return mind, {**learned.metrics, "learnt": jnp.ones(())}

    def learn_all(mind: tuple[Any, Any], key: Array) -> tuple[tuple[Any, Any], dict[str, Array]]:
        keys = jax.random.split(key, config.gradient_steps)
        mind, metrics = jax.lax.scan(learn, mind, keys, unroll=config.gradient_steps == 1)
        return mind, jax.tree.map(jnp.mean, metrics)

    def wait(mind: tuple[Any, Any], key: Array) -> tuple[tuple[Any, Any], dict[str, Array]]:
        shapes = jax.eval_shape(learn_all, mind, key)[1]
        return mind, jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)

    def improve(mind: tuple[Any, Any], t: Array, key: Array) -> tuple[tuple[Any, Any], dict[str, Array]]:
        # the clock is shared by all seeds, so that this stays a branch when seeds are stacked by vmap
        return jax.lax.cond(t > config.learning_starts, learn_all, wait, mind, key)  # type: ignore[no-any-return]

    return improve


def make_chunk(
    world: World, agent: Agent, memory: Memory, config: DeepConfig, rounds: int, stacked: bool = False
) -> Callable[[RunState, Array], tuple[RunState, tuple[StepRecord, dict[str, Array]]]]:
    """`chunk(state, t) -> (state, records)`: `rounds` rounds in one call; `state` is overwritten.

    The key of a round is the run's key folded with the clock, so that runs do not depend on where chunks end.
    If `stacked`, `state` and `records` have a leading axis of seeds; the clock is shared.
    """
    round_ = make_round(world, agent, memory, config)

    def chunk(state: RunState, t: Array) -> tuple[RunState, Any]:
        clocks = t + config.num_envs * config.train_freq * jnp.arange(rounds)
        keys = jax.vmap(jax.random.fold_in, (None, 0))(state.key, clocks)
        return jax.lax.scan(round_, state, (clocks, keys))

    body = jax.vmap(chunk, in_axes=(0, None)) if stacked else chunk
    return jax.jit(body, donate_argnums=0, compiler_options=compiler_options())


def make_actor(agent: Agent, n: int) -> Callable[..., Array]:
    """`act(actor, obs [N, ...], key, t) -> actions [N]`: the host loop's one call per vector step."""

    def act(actor: Any, obs: Array, key: Array, t: Array) -> Array:
        keys = jax.random.split(jax.random.fold_in(key, 2 * t), n)  # even numbers act, odd ones learn
        return jax.vmap(lambda o, k: agent.act(actor, (), o, k, t)[0])(obs, keys)  # type: ignore[no-any-return]

    return jax.jit(act, compiler_options=compiler_options())


def make_block(agent: Agent, memory: Memory, config: DeepConfig) -> Callable[..., Any]:
    """`learn((learner, ring), steps, valid, key, t) -> ((learner, ring), actor, metrics)`, of a block of host steps.

    `steps` is a Transition of columns [T, N, ...], `valid` [T, N]; `t` counts environment steps before the first.
    `actor` is a copy that outlives the next call, which overwrites the learner.
    """
    improve = make_improver(agent, memory, config)
    stride = config.num_envs * config.train_freq

    def learn(mind: tuple[Any, Any], steps: Transition, valid: Array, key: Array, t: Array) -> Any:
        def round_(mind: tuple[Any, Any], now: tuple[Any, Array]) -> tuple[tuple[Any, Any], dict[str, Array]]:
            columns, t = now
            ring, _ = jax.lax.scan(lambda r, c: (memory.add(r, *c), None), mind[1], columns)
            return improve((mind[0], ring), t, jax.random.fold_in(key, 2 * t + 1))  # type: ignore[no-any-return]

        rounds = valid.shape[0] // config.train_freq
        columns = jax.tree.map(lambda x: x.reshape(rounds, config.train_freq, *x.shape[1:]), (steps, valid))
        mind, metrics = jax.lax.scan(round_, mind, (columns, t + stride * (1 + jnp.arange(rounds))))
        return mind, jax.tree.map(jnp.copy, agent.actor(mind[0])), metrics

    return jax.jit(learn, donate_argnums=0, compiler_options=compiler_options())


def compiler_options() -> dict[str, str | bool]:
    """XLA's scheduler for the loop's body.

    The default on CPUs orders operations so that threads can share them; for operations of a microsecond the
    hand-over costs more than the work (measured: 11,000 against 20,000 DQN steps/s). One thread per seed.
    """
    if jax.default_backend() != "cpu":
        return {}
    return {
        "xla_cpu_scheduler_type": "CPU_SCHEDULER_TYPE_MEMORY_OPTIMIZED",
        "xla_cpu_multi_thread_eigen": False,
    }
