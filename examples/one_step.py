"""One round of DQN by hand: act, step, store, sample, target, loss, gradient, optimizer, sync. Plain calls in order.

    python examples/one_step.py

The compiled loop does the same for many steps in one program; `tests/test_one_step.py` compares the two bit by bit.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax

import bellmax as bx
from bellmax.bellman import greedy_policy, mean_under, td_error
from bellmax.contracts import Experience, Transition
from bellmax.deep.building import build_network, make_experience
from bellmax.deep.memories import make_memory
from bellmax.deep.optimizer import make_optimizer
from bellmax.exploration import epsilon_greedy
from bellmax.keys import make_key
from bellmax.sources import find_world

STEPS = 1_000
CONFIG = bx.DQN(
    net_arch=(16,), learning_starts=50, batch_size=8, buffer_size=500, weight_averaging=False,
    exploration_initial_eps=0.2, exploration_final_eps=0.2,
)  # fmt: skip
PARTS = ("params", "target", "moments", "memory", "env", "obs", "updates")
State = NamedTuple("State", [(name, Any) for name in PARTS])


def begin(world, config, seed):
    """The parts, what evolves, and the key of the run."""
    built = build_network(config, config.method(), world.observation_space, world.n_actions)
    memory = make_memory(config, make_experience(config, world.observation_space), STEPS)
    parts = built.network, make_optimizer(config, STEPS), config.target(), memory
    init_key, reset_key, run_key = jax.random.split(make_key(seed), 3)
    params, (env, obs) = built.fresh(init_key), world.reset(jax.random.split(reset_key, 1)[0])
    return parts, State(params, params, parts[1].init(params), memory.init(), env, obs, jnp.int32(0)), run_key


def act_and_store(world, config, parts, state, t, key):
    """One environment step; `t` counts them."""
    network, _, _, memory = parts
    keys = jax.random.split(jax.random.split(jax.random.split(key)[0], 1)[0], 3)
    act_key, env_key, reset_key = (jax.random.split(k, 1)[0] for k in keys)
    # act
    action = epsilon_greedy(network(state.params, None)(state.obs).mean(), config.exploration_final_eps, act_key)
    # step
    env, next_obs, reward, terminated, truncated = world.step(state.env, action, env_key)
    over = terminated | truncated
    # store
    step = Transition(state.obs, action, reward, jnp.where(terminated, 0.0, config.gamma), next_obs)
    stored = memory.add(state.memory, jax.tree.map(lambda x: x[None], Experience(step, over.astype(jnp.int32))))
    env, obs = jax.tree.map(lambda new, old: jnp.where(over, new, old), world.reset(reset_key), (env, next_obs))
    return state._replace(memory=stored, env=env, obs=obs)


def learn(config, parts, state, key):
    """One gradient step."""
    network, optimizer, sync, memory = parts
    # sample
    sample_key, learn_key = jax.random.split(jax.random.split(jax.random.split(key)[1], 1)[0])
    batch, weight, _ = memory.sample(state.memory, sample_key, state.updates)

    def loss_of(params):
        q, q_target = network(params, None), network(state.target, None)

        def one(step, weight):
            # target
            q_t = q_target(step.next_obs).mean()
            target = step.reward + step.discount * mean_under(greedy_policy(q_t), q_t)
            # loss
            return weight * jnp.square(td_error(q(step.obs).mean(), step.action, target))

        return jnp.mean(jax.vmap(one)(batch, weight))

    # gradient
    gradient = jax.grad(loss_of)(state.params)
    # optimizer
    change, moments = optimizer.update(gradient, state.moments, state.params)
    params, updates = optax.apply_updates(state.params, change), state.updates + 1
    # sync
    target, params = sync.update(state.target, params, updates, learn_key, batch.obs)
    return state._replace(params=params, target=target, moments=moments, updates=updates)


if __name__ == "__main__":
    world = find_world("CartPole-v1").compile()
    parts, state, run_key = begin(world, CONFIG, seed=0)
    for t in range(60):
        key = jax.random.fold_in(run_key, t)
        state = act_and_store(world, CONFIG, parts, state, t, key)
        state = learn(CONFIG, parts, state, key) if t + 1 > CONFIG.learning_starts else state
    print(f"60 environment steps, {int(state.updates)} gradient steps: the parameters are {state.params[:3]} ...")
