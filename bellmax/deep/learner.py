"""JAX. One gradient step of a method with a replay buffer: the loss of a batch, its gradient, and what follows."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy.typing as npt
import optax

from bellmax.contracts import Agent, Array, Batch, Experience, LearnReport, Memory, Obs, Space, Transition
from bellmax.deep.acting import make_actor
from bellmax.deep.averaging import policy_average
from bellmax.deep.building import Built, build_network, make_experience, spec_of
from bellmax.deep.config import DeepConfig, ReplayConfig
from bellmax.deep.following import Follower, chained
from bellmax.deep.memories import shaped
from bellmax.deep.method import Method, Network
from bellmax.deep.optimizer import make_optimizer
from bellmax.deep.own_methods import check_method
from bellmax.deep.resets import moments, resetting
from bellmax.deep.sequences import batch_of_sequences
from bellmax.deep.standardizing import as_rows, read_statistics, statistics, write_statistics
from bellmax.deep.state import DeepAgent, LearnerState, actor, remembered
from bellmax.keys import APART, drawn
from bellmax.networks.network import share_of_fresh, skeleton
from bellmax.networks.packing import Params
from bellmax.registry import is_own


def running(config: DeepConfig, built: Built[Any]) -> dict[str, Follower[Any]]:
    """Return the part that updates the statistics of observations, if the settings use them."""
    part = statistics(read_statistics(built), write_statistics(built))
    return {"statistics": part} if config.normalize_observations else {}


def averaging(config: DeepConfig, reset_interval: int = 0) -> dict[str, Follower[Any]]:
    """Return the part that averages the policy, if the settings use it."""
    return {"average": policy_average(reset_interval)} if config.weight_averaging else {}


def starter(built: Built[Any], follow: Follower[dict[str, Any]]) -> Callable[[Array], LearnerState]:
    """Return `init(key)`, which makes fresh parameters and the states of what follows."""

    def init(key: Array) -> LearnerState:
        params = built.fresh(key)
        return LearnerState(params, follow.init(params), jnp.int32(0))

    return init


def namer(config: DeepConfig, built: Built[Any]) -> Callable[[LearnerState], dict[str, npt.NDArray[Any]]]:
    """Return `parameters(state)`, the arrays of the policy by name."""
    return lambda state: built.named(state.average if config.weight_averaging else state.params)


def stepped(
    state: LearnerState,
    gradient: Params,
    optimizer: optax.GradientTransformation,
    follow: Follower[dict[str, Any]],
    key: Array,
    obs: Obs,
) -> LearnerState:
    """Return the state after a gradient step on these observations, and after what follows it."""
    change, moments = optimizer.update(gradient, state.optimizer, state.params)
    params, updates = optax.apply_updates(state.params, change), state.updates + 1
    states, params = follow.update({**state.following, "optimizer": moments}, params, updates, key, obs)
    return LearnerState(params, states, updates)


class Networks(NamedTuple):
    """The network and the target network of a gradient step, with their noise, and the random numbers of the loss."""

    net: Network[Any, Any]
    target_net: Network[Any, Any]
    draws: Array


def networks_of(
    config: ReplayConfig, method: Method[Any, Any], target: Follower[Any], built: Built[Any]
) -> Callable[[Params, Params, Array, Array], Networks]:
    """Return `networks(params, target_state, weight [B], key)`, those of the gradient step with this key."""

    def networks(params: Params, target_state: Params, weight: Array, key: Array) -> Networks:
        key, *noise = jax.random.split(key, 3) if config.noisy else (key, None, None)
        net = built.network(params, noise[0])
        target_net = target.network(target_state, lambda params: built.network(params, noise[1]))
        length = (config.sequence_length,) if config.recurrent != "none" else ()
        shape = (*weight.shape, *length, method.n_draws)
        draws = drawn(jax.random.uniform, key, shape) if method.n_draws else jnp.zeros(shape)
        return Networks(net, target_net, draws)

    return networks


def make_batch_loss(
    config: ReplayConfig, method: Method[Any, Any], target: Follower[Any], built: Built[Any]
) -> Callable[[Params, Params, Batch, Array, Array], tuple[Array, LearnReport]]:
    """Return `batch_loss(params, target_state, batch, weight [B], key) -> (mean, report)`."""
    networks = networks_of(config, method, target, built)

    def batch_loss(
        params: Params, target_state: Params, batch: Batch, weight: Array, key: Array
    ) -> tuple[Array, LearnReport]:
        net, target_net, draws = networks(params, target_state, weight, key)
        if isinstance(batch, Experience):
            losses, priority, metrics = batch_of_sequences(config, method.loss, net, target_net, batch, weight, draws)
        else:
            losses, priority, metrics = jax.vmap(lambda *x: method.loss(net, target_net, *x))(batch, weight, draws)
        mean = jnp.mean(losses)
        rewards = transitions_of(batch).reward
        metrics = {"loss": mean, **jax.tree.map(jnp.mean, metrics), "max_reward": jnp.max(jnp.abs(rewards))}
        if config.reward_clip:
            metrics["clipped_rewards"] = jnp.mean(jnp.abs(rewards) >= config.reward_clip)
        return mean, LearnReport(priority, metrics)

    return batch_loss


def make_learner(
    config: ReplayConfig,
    method: Method[Any, Any],
    target: Follower[Any],
    memory: Callable[[Experience, int], Memory[Any]],
    space: Space,
    n_actions: int,
    steps: int,
) -> DeepAgent:
    """Return the agent of a method, whose target network follows by `target`.

    `memory(example, steps)` makes its replay buffer, for a run of `steps` environment steps.

    Raises:
        ConfigError: the method or the network is your own and returns something else than it must.
    """
    if is_own(type(config)):
        check_method(config, space, n_actions)
    optimizer, built = make_optimizer(config, steps), build_network(config, method, space, n_actions)
    follow = chained(
        **running(config, built),
        target=target,
        **averaging(config, config.reset_interval),
        optimizer=moments(optimizer),
    )  # fmt: skip
    if config.reset_interval:
        share = built.pack(share_of_fresh(skeleton(space, n_actions, spec_of(config, method)), config.reset_share))
        fresh = lambda key: built.fresh(jax.random.fold_in(key, APART))  # noqa: E731
        follow = resetting(follow, config.reset_interval, config.updates(steps), fresh, share)

    batch_loss = make_batch_loss(config, method, target, built)

    def learn(state: LearnerState, batch: tuple[Batch, Array], key: Array) -> tuple[LearnerState, LearnReport]:
        gradient, report = jax.grad(batch_loss, has_aux=True)(state.params, state.target_params, *batch, key)
        return stepped(state, gradient, optimizer, follow, key, as_rows(transitions_of(batch[0]).obs, space)), report

    begin, act, q_values = make_actor(config, method, built.network, space, steps)
    kept = shaped(config, memory(make_experience(config, space), steps))
    return Agent(
        starter(built, follow), begin, act, remembered, learn, q_values, actor, namer(config, built), kept,
        lambda numbers, mask: method.values(method.output(numbers), mask),
    )  # fmt: skip


def transitions_of(batch: Batch) -> Transition:
    """Return the transitions of a batch of transitions or of sequences."""
    return batch.transition if isinstance(batch, Experience) else batch
