"""NumPy and JAX. Data from a policy: it plays, greedily but for a share of random actions, and every step is kept."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from bellmax.arguments import check_call, integer, real
from bellmax.contracts import BoolArray, ConfigError, Masked
from bellmax.dispatch import in_32_bits
from bellmax.files.dataset import Dataset, join_data, stack_trees
from bellmax.loops.masking import with_masks
from bellmax.sources import Source, find_world
from bellmax.training.actors import find_actors
from bellmax.training.compiled_as_host import opened
from bellmax.training.function_policy import Actor
from bellmax.training.policy import Policy
from bellmax.training.policy_values import network_function


def collect(
    policy: Any,
    world: Any = None,
    *misplaced: Any,
    steps: int,
    seed: int = 0,
    epsilon: float = 0.0,
    which: str = "final",
    env_kwargs: Mapping[str, Any] | None = None,
    **unknown: Any,
) -> Dataset:
    """`steps` steps of `world` in time order, greedy by `policy` with probability 1 - epsilon, else uniform.

    Args:
        policy: whatever `evaluate` uses (of a run, one with one seed), or None for uniform actions.
        *misplaced: refused, with what to write.
        **unknown: refused, with what to write.
        world: whatever `train` uses; None: the policy's own. Its compiled twin plays, where there is one.
        steps: how many; the last episode is cut there.
        seed: of the environment and of the random actions.
        epsilon: share of uniform actions among those that are allowed.
        which: "final" or "best" policy of a run.
        env_kwargs: of an environment given by name; in the policy's own, merged over those of training.

    Raises:
        UnsafeFile: a file alone asks for what imports, writes or opens a window.
        ConfigError: a number is out of range, `policy` is nothing that acts, or the environment has other observations
            or actions than it knows.
    """
    check_call("collect", "steps", misplaced, unknown, {"n_steps": "steps", "env": "world", "total_timesteps": "steps"})
    steps, seed = integer("steps", steps), integer("seed", seed, 0, 2**31 - 1)
    epsilon = real("epsilon", epsilon, 0.0, 1.0)
    if policy is None:
        if world is None:
            raise ConfigError("without a policy, say in which environment: bx.collect(None, 'CartPole-v1', steps=...)")
        source, actor = with_masks(find_world(world, env_kwargs)), None
    else:
        actors, source = find_actors(policy, world, env_kwargs, which, "collect")
        if len(actors) > 1:
            raise ConfigError(f"the run has {len(actors)} policies; collect with one of them: run.policy(seed)")
        (actor,) = actors
    compiled = source.mdp is not None or source.compiled is not None
    if compiled and (actor is None or (isinstance(actor, Policy) and "low" not in actor.arrays)):
        return _in_compiled(actor, source, steps, seed, epsilon)
    return _in_host(actor, source if source.open is not None else opened(source), steps, seed, epsilon)


def _in_host(policy: Actor | None, source: Source, steps: int, seed: int, epsilon: float) -> Dataset:
    """Play in Gymnasium, one world, or as many as an object is."""
    worlds = source.open_worlds(1)
    rng = np.random.default_rng(seed)
    taken: list[tuple[Any, Any]] = []
    try:
        n = worlds.n
        obs, carry, over = worlds.reset(seed), policy.begin(n) if policy else (), np.zeros(n, np.bool_)
        missing = steps
        while missing > 0:
            q = np.zeros((n, source.n_actions))
            if policy is not None:
                if over.any() and carry != ():
                    carry = _begun_anew(policy.begin(n), carry, over)
                q, carry = policy.look_from_zero(carry, obs)
            mask = obs.mask if isinstance(obs, Masked) else np.ones(q.shape, np.bool_)
            explored = np.argmax(np.where(mask, rng.random(q.shape), -1.0), axis=1)
            random = rng.random(n) < (1.0 if policy is None else epsilon)
            action = np.where(random, explored, np.argmax(q, axis=1)).astype(np.int32)
            step = worlds.step(action)
            over = step.terminated | step.truncated
            truncated = step.truncated & ~step.terminated
            row = Dataset(obs, action, step.reward, step.terminated, truncated, step.next_obs)
            taken.append((row, step.valid))
            missing -= int(step.valid.sum())
            obs = step.obs
    finally:
        worlds.close()
    whole, valid = stack_trees(np.stack, taken)
    return join_data([stack_trees(functools.partial(_column, valid[:, i], i), [whole]) for i in range(valid.shape[1])])


def _column(valid: BoolArray, i: int, arrays: list[np.ndarray]) -> np.ndarray:
    """The valid rows of environment `i` in the one of `arrays`, [T, N, ...]."""
    return np.asarray(arrays[0][valid, i])


def _begun_anew(fresh: Any, carry: Any, over: Any) -> Any:
    """The carry [n], as at the start of an episode where one was over."""
    import jax

    def choose(new: Any, old: Any) -> Any:
        return np.where(over.reshape(-1, *[1] * (np.ndim(old) - 1)), new, old)

    return jax.tree.map(choose, fresh, carry)


@in_32_bits
def _in_compiled(policy: Policy | None, source: Source, steps: int, seed: int, epsilon: float) -> Dataset:
    """Play in the compiled world, all in one `scan`."""
    import jax

    from bellmax.keys import make_key

    arrays = {} if policy is None else policy.arrays
    play = _player(source.compile, policy and policy.config, source.space, source.n_actions, steps)
    data = play(arrays, make_key(seed), np.float32(1.0 if policy is None else epsilon))
    return join_data([jax.tree.map(np.asarray, data)])


@functools.lru_cache(maxsize=4)
def _player(compile_: Any, config: Any, space: Any, n_actions: int, steps: int) -> Any:
    """`play(arrays, key, epsilon) -> Dataset`, compiled once per world and kind of policy."""
    import jax
    import jax.numpy as jnp

    from bellmax.exploration import epsilon_greedy

    world = compile_()
    begin, look = network_function(config, space, n_actions) if config else (lambda n: (), None)

    def play(arrays: dict[str, Any], key: Any, epsilon: Any) -> Any:
        def step(now: Any, key: Any) -> Any:
            state, obs, carry = now
            act_key, step_key, reset_key = jax.random.split(key, 3)
            q, after = jnp.zeros(n_actions), carry
            if look is not None:
                values, after = look(arrays, carry, jax.tree.map(lambda x: x[None], obs))
                q = values[0]
            action = epsilon_greedy(q, epsilon, act_key, obs.mask if isinstance(obs, Masked) else None)
            state, next_obs, reward, terminated, truncated = world.step(state, action, step_key)
            row = Dataset(obs, action, jnp.float32(reward), terminated, truncated & ~terminated, next_obs)
            fresh = (*world.reset(reset_key), begin(1))
            over = terminated | truncated
            following = jax.tree.map(lambda new, old: jnp.where(over, new, old), fresh, (state, next_obs, after))
            return following, row

        reset_key, key = jax.random.split(key)
        _, data = jax.lax.scan(step, (*world.reset(reset_key), begin(1)), jax.random.split(key, steps))
        return data

    return jax.jit(play)
