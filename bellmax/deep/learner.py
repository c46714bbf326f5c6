"""JAX. What every deep method with a replay memory shares: loss of a batch, gradient, target network, resets."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bellmax import bellman
from bellmax.contracts import Agent, Array, Experience, Space, Transition
from bellmax.deep.acting import blank_cell, make_actor, remembered
from bellmax.deep.config import DeepConfig, ReplayConfig
from bellmax.deep.optimiser import averaged, is_schedule, make_optimiser
from bellmax.deep.sequences import batch_of_sequences
from bellmax.deep.targets import Values, mask_of
from bellmax.keys import APART, drawn, make_key
from bellmax.networks.network import flatten, skeleton, to_named, with_noise, with_standardizer
from bellmax.networks.network import make_network as make_module
from bellmax.spaces import visible, zeros

Loss = Callable[..., tuple[Array, Array, dict[str, Array]]]


class LearnerState(NamedTuple):
    """Parameters, their frozen copy and average (or ()), the optimiser's state, gradient steps.

    Parameters are as `flatten` gives them: a vector [P], and the large arrays beside it.
    """

    params: Any
    target_params: Any
    average: Any
    optimiser: Any
    updates: Any


class Learned(NamedTuple):
    """What one gradient step tells: new priorities [B] and means over the batch, by name."""

    priority: Array
    metrics: dict[str, Array]


def actor(state: LearnerState) -> LearnerState:
    """The state without what only learning needs."""
    return LearnerState(state.params, (), (), (), ())


def transitions_of(batch: Transition | Experience) -> Transition:
    """Of a batch of transitions, or of sequences of experience."""
    return batch.transition if isinstance(batch, Experience) else batch


def make_experience(config: DeepConfig, space: Space) -> Experience:
    """One experience of zeros, as a memory keeps it."""
    obs = jax.tree.map(jnp.asarray, zeros(space))
    transition = Transition(obs, jnp.int32(0), jnp.float32(0), jnp.float32(0), obs)
    return Experience(transition, jnp.int32(0), blank_cell(config, space))


def mix(share: Any, new: Any, old: Any) -> Any:
    """`share` of new parameters and the rest of old ones."""
    return jax.tree.map(lambda x, y: share * x + (1.0 - share) * y, new, old)


def make_network(config: DeepConfig, space: Space, n_actions: int) -> tuple[Any, Any, Any, Any]:
    """(fresh, network, name, watch) of parameters as `flatten` makes them.

    `fresh(key) -> params`, `network(params, noise key or None)` maps observations, `name(state)` gives the policy's
    parameters as NumPy arrays by name, `watch(params, before, obs [..., ...]) -> params` takes the running mean and
    variance of `before` one batch further.
    """
    _, unflatten = flatten(make_module(space, n_actions, config.spec, make_key(0)))

    def fresh(key: Array) -> Any:
        return flatten(make_module(space, n_actions, config.spec, key))[0]

    def network(params: Any, noise: Any) -> Any:
        module = unflatten(params)
        if config.noisy and noise is not None:
            module = with_noise(module, noise)
        if config.recurrent != "none" or visible(space) is space:
            return module
        return lambda obs: module(visible(obs))

    def name(state: LearnerState) -> dict[str, Any]:
        params = state.average if config.weight_averaging else state.params
        return {name: np.asarray(leaf) for name, leaf in to_named(unflatten(params)).items()}

    def watch(params: Any, before: Any, obs: Any) -> Any:
        if not config.normalize_observations:
            return params
        batch = jax.tree.map(lambda x, one: x.reshape(-1, *one.shape), visible(obs), zeros(visible(space)))
        standardizer = unflatten(before).standardizer.seen(batch)
        return flatten(with_standardizer(unflatten(params), standardizer))[0]

    return fresh, network, name, watch


def make_agent(config: ReplayConfig, loss: Loss, values: Values, space: Space, n_actions: int, steps: int) -> Agent:
    """An agent from the loss of one transition and the values of one output.

    `loss(net, target_net, transition, weight, draws, config) -> (loss, priority, metrics)`, where `net` maps one
    observation to an output, and `draws` are `config.n_draws` numbers from [0, 1); `values(output, config, mask)` are
    q [A].
    """
    optimiser = make_optimiser(config, steps)
    fresh, network, name, watch = make_network(config, space, n_actions)
    period = max(1, config.target_update_interval * config.gradient_steps // (config.train_freq * config.num_envs))
    begin, act, q_values = make_actor(config, values, network, space, steps)

    def init(key: Array) -> LearnerState:
        params = fresh(key)
        # the copy is a buffer of its own: donation would free a shared one twice
        copy = jax.tree.map(jnp.copy, params)
        average = jax.tree.map(jnp.copy, params) if config.weight_averaging else ()
        return LearnerState(params, copy, average, optimiser.init(params), jnp.int32(0))

    def one(net: Any, target_net: Any, transition: Transition, weight: Array, draws: Array) -> Any:
        total, priority, metrics = loss(net, target_net, transition, weight, draws, config)
        if config.conservative_weight:  # Kumar et al. (2020), equation 4
            q = values(net(transition.obs), config, mask_of(transition.obs))
            gap = jax.nn.logsumexp(q) - bellman.value_of(q, transition.action)
            total, metrics = total + config.conservative_weight * weight * gap, {**metrics, "conservative_gap": gap}
        return total, priority, metrics

    def batch_loss(params: Any, target_params: Any, batch: Any, weight: Array, key: Array) -> tuple[Array, Learned]:
        key, *noise = jax.random.split(key, 3) if config.noisy else (key, None, None)
        net, target_net = network(params, noise[0]), network(target_params, noise[1])
        length = (config.sequence_length,) if config.recurrent != "none" else ()
        shape = (*weight.shape, *length, config.n_draws)
        draws = drawn(jax.random.uniform, key, shape) if config.n_draws else jnp.zeros(shape)
        if config.recurrent != "none":
            losses, priority, metrics = batch_of_sequences(config, one, net, target_net, batch, weight, draws)
        else:
            losses, priority, metrics = jax.vmap(lambda *x: one(net, target_net, *x))(batch, weight, draws)
        mean = jnp.mean(losses)
        rewards = transitions_of(batch).reward
        metrics = {"loss": mean, **jax.tree.map(jnp.mean, metrics), "max_reward": jnp.max(jnp.abs(rewards))}
        if config.reward_clip:
            metrics["clipped_rewards"] = jnp.mean(jnp.abs(rewards) >= config.reward_clip)
        return mean, Learned(priority, metrics)

    def learn(state: LearnerState, batch: tuple[Any, Array], key: Array) -> tuple[LearnerState, Learned]:
        gradient, learned = jax.grad(batch_loss, has_aux=True)(state.params, state.target_params, *batch, key)
        change, optimiser_state = optimiser.update(gradient, state.optimiser, state.params)
        params = watch(optax.apply_updates(state.params, change), state.params, transitions_of(batch[0]).obs)
        updates = state.updates + 1
        mixed = mix(config.tau, params, state.target_params)
        target_params = jax.tree.map(
            lambda new, old: jnp.where(updates % period == 0, new, old), mixed, state.target_params
        )
        age = (updates - 1) % config.reset_interval + 1 if config.reset_interval else updates
        average = averaged(state.average, params, age) if config.weight_averaging else ()
        state = LearnerState(params, target_params, average, optimiser_state, updates)
        return (reset(state, key) if config.reset_interval else state), learned

    head = flatten(share_of_fresh(skeleton(space, n_actions, config.spec), config.reset_share))[0]

    def reset(state: LearnerState, key: Array) -> LearnerState:
        """Now and then: shrink the torso towards fresh parameters, begin the head and the optimiser anew."""

        def anew(state: LearnerState) -> LearnerState:
            new = fresh(jax.random.fold_in(key, APART))
            params, target = (jax.tree.map(mix, head, new, old) for old in (state.params, state.target_params))
            average = params if config.weight_averaging else ()
            moments = jax.tree.map(  # the step size goes on falling
                lambda begin, now: now if is_schedule(now) else begin,
                optimiser.init(params), state.optimiser, is_leaf=is_schedule,
            )  # fmt: skip
            return LearnerState(params, target, average, moments, state.updates)

        due = (state.updates % config.reset_interval == 0) & (state.updates < config.updates(steps))
        return jax.lax.cond(due, anew, lambda state: state, state)  # type: ignore[no-any-return]

    memory = config.shaped(config.make_memory(make_experience(config, space), steps))
    return Agent(
        init,
        begin,
        act,
        remembered,
        learn,
        q_values,
        actor,
        name,
        memory,
        lambda output, mask: values(output, config, mask),
    )


def share_of_fresh(module: Any, share: float) -> Any:
    """Per parameter, how much of a fresh one it becomes at a reset: 1 in the head, 0 if not learnt, else `share`.

    D'Oro et al. (2023) reset all; Schwarzer et al. (2023), section 3, shrink and perturb the torso.
    """

    def of(path: Any, leaf: Array) -> Array:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        part = name.split(".")
        return jnp.full_like(leaf, 0.0 if {"priors", "standardizer"} & set(part) else 1.0 if "head" in part else share)

    return jax.tree_util.tree_map_with_path(of, module)
