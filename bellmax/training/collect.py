"""NumPy and JAX. `collect`: a data set from a policy that plays, greedily except for a share of random actions."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Never

import numpy as np

from bellmax.agent_config import AgentConfig
from bellmax.arguments import STEPS_MEANT, check_call, integer, real
from bellmax.contracts import ArrayDict, BoolArray, ConfigError, Masked, Space
from bellmax.dispatch import in_32_bits
from bellmax.envs.raising import closed_at_the_end
from bellmax.files.dataset import Dataset, join_data, stack_trees
from bellmax.loops.masking import with_action_masks
from bellmax.machine import check_fits
from bellmax.sources import Source, find_world
from bellmax.spaces import in_words, leaf_arrays, zeros
from bellmax.training.actors import find_actors
from bellmax.training.compiled_as_host import as_host
from bellmax.training.function_policy import Actor
from bellmax.training.policy import Policy
from bellmax.training.policy_values import network_function
from bellmax.training.run import Which

if TYPE_CHECKING:
    from bellmax.contracts import Array
    from bellmax.envs.functional import World

STEP_BYTES = 100  # of a step besides its observations


def collect(
    policy: object,
    world: object = None,
    *misplaced: Never,
    steps: int,
    seed: int = 0,
    epsilon: float = 0.0,
    which: Which = "final",
    env_kwargs: Mapping[str, Any] | None = None,
    **unknown_names: Never,
) -> Dataset:
    """Play `steps` steps and return them in time order; each action is greedy with probability 1 - epsilon.

    Args:
        policy: anything that `evaluate` accepts (a run must have one seed), or None for uniformly random actions.
        *misplaced: an error, which says what to write.
        **unknown_names: an error, which says what to write.
        world: anything that `train` accepts; None: the policy's own. Its compiled twin is used, if it has one.
        steps: environment steps; the last episode is cut there.
        seed: of the environment and of the random actions.
        epsilon: share of random actions, uniform among those that are allowed.
        which: "final" or "best" policy of a run.
        env_kwargs: of an environment given by name; in the policy's own, they replace those of training one by one.

    Raises:
        UnsafeFile: only a file asks for something that imports, writes or opens a window.
        ConfigError: a number is out of range, `policy` cannot act, or the environment has observations or actions with
            which it did not learn.
        ResourceError: so many steps do not fit in memory.
    """
    check_call(collect, "steps", misplaced, unknown_names, {**STEPS_MEANT, "env": "world", "total_timesteps": "steps"})
    steps, seed = integer("steps", steps), integer("seed", seed, 0, 2**31 - 1)
    epsilon = real("epsilon", epsilon, 0.0, 1.0)
    if policy is None:
        if world is None:
            raise ConfigError("without a policy, pass an environment: bx.collect(None, 'CartPole-v1', steps=...)")
        source, actor = with_action_masks(find_world(world, env_kwargs)), None
    else:
        actors, source = find_actors(policy, world, env_kwargs, which, "collect")
        if len(actors) > 1:
            raise ConfigError(f"the run has {len(actors)} policies; pass one of them: run.policy(seed)")
        (actor,) = actors
    _check_steps(steps, source.space)
    compiled = source.mdp is not None or source.compiled is not None
    if compiled and (actor is None or (isinstance(actor, Policy) and "low" not in actor.arrays)):
        return _in_compiled(actor, source, steps, seed, epsilon)
    return _in_host(actor, as_host(source), steps, seed, epsilon)


def _check_steps(steps: int, space: Space) -> None:
    """Refuse more steps than fit in memory, where they are twice while they are joined."""
    each = 4 * sum(array.nbytes for array in leaf_arrays(zeros(space))) + STEP_BYTES
    check_fits(
        steps * each,
        f"steps={steps} with observations of {in_words(space)}",
        lambda share: f"steps={int(share * steps)} fits",
    )


def _in_host(policy: Actor | None, source: Source, steps: int, seed: int, epsilon: float) -> Dataset:
    """Play in Gymnasium, in one environment or in as many as an object has."""
    worlds = source.open_worlds(1)
    rng = np.random.default_rng(seed)
    taken: list[tuple[Any, Any]] = []
    with closed_at_the_end(worlds):
        n = worlds.n
        obs, carry, over = worlds.reset(seed), policy.begin(n) if policy else (), np.zeros(n, np.bool_)
        missing = steps
        while missing > 0:
            q = np.zeros((n, source.n_actions))
            if policy is not None:
                if over.any() and carry != ():
                    carry = _begun(policy.begin(n), carry, over)
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
    whole, valid = stack_trees(np.stack, taken)
    return join_data([stack_trees(functools.partial(_column, valid[:, i], i), [whole]) for i in range(valid.shape[1])])


def _column(valid: BoolArray, i: int, arrays: list[np.ndarray]) -> np.ndarray:
    """The valid rows of environment `i` in the one of `arrays`, [T, N, ...]."""
    return np.asarray(arrays[0][valid, i])


def _begun(fresh: object, carry: object, over: BoolArray) -> object:
    """The carry [n], as at the start of an episode where one was over."""
    import jax

    def choose(new: Array, old: Array) -> np.ndarray:
        return np.where(over.reshape(-1, *[1] * (np.ndim(old) - 1)), new, old)

    return jax.tree.map(choose, fresh, carry)


@in_32_bits
def _in_compiled(policy: Policy | None, source: Source, steps: int, seed: int, epsilon: float) -> Dataset:
    """Play in the compiled environment, all in one `scan`."""
    import jax

    from bellmax.keys import make_key

    arrays = {} if policy is None else policy.arrays
    play = _player(source.compile, policy and policy.config, source.space, source.n_actions, steps)
    data = play(arrays, make_key(seed), np.float32(1.0 if policy is None else epsilon))
    return join_data([jax.tree.map(np.asarray, data)])


@functools.lru_cache(maxsize=4)
def _player(
    compile_: Callable[[], World[Any]], config: AgentConfig | None, space: Space, n_actions: int, steps: int
) -> Callable[[ArrayDict, Array, np.float32], Dataset]:
    """`play(arrays, key, epsilon) -> Dataset`, compiled once per environment and kind of policy."""
    import jax
    import jax.numpy as jnp

    from bellmax.exploration import epsilon_greedy

    world = compile_()
    begin, look = network_function(config, space, n_actions) if config else (lambda n: (), None)

    def play(arrays: ArrayDict, key: Array, epsilon: np.float32) -> Dataset:
        def step(now: tuple[Any, Any, Any], key: Array) -> tuple[tuple[Any, Any, Any], Dataset]:
            state, obs, carry = now
            act_key, step_key, reset_key = jax.random.split(key, 3)
            q, after = jnp.zeros(n_actions), carry
            if look is not None:
                values, after = look(arrays, carry, jax.tree.map(lambda x: x[None], obs))
                q = values[0]
            action = epsilon_greedy(q, jnp.asarray(epsilon), act_key, obs.mask if isinstance(obs, Masked) else None)
            state, next_obs, reward, terminated, truncated = world.step(state, action, step_key)
            row = Dataset(obs, action, jnp.float32(reward), terminated, truncated & ~terminated, next_obs)
            fresh = (*world.reset(reset_key), begin(1))
            over = terminated | truncated
            following = jax.tree.map(lambda new, old: jnp.where(over, new, old), fresh, (state, next_obs, after))
            return following, row

        reset_key, key = jax.random.split(key)
        _, data = jax.lax.scan(step, (*world.reset(reset_key), begin(1)), jax.random.split(key, steps))
        rows: Dataset = data
        return rows

    return jax.jit(play)
