"""JAX. What every deep method shares: loss of a batch, gradient, clipping, optimiser, target network."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bellmax.config import AgentConfig, setting
from bellmax.exploration import epsilon_greedy
from bellmax.networks import encode, flatten, q_network, to_named
from bellmax.types import Agent, Array, Space, Transition


@dataclass(frozen=True, kw_only=True)
class DeepConfig(AgentConfig):
    """What every deep agent has besides; names and units as in Stable-Baselines3."""

    learning_rate: float = setting(2.5e-4, "step size of the optimiser (Adam)", low=0.0)
    learning_rate_schedule: str = setting(
        "linear", "linear: the step size falls to 0 over the run", choices=("constant", "linear")
    )
    adam_epsilon: float = setting(1e-5, "Adam's ε; larger ones calm it where gradients are small", low=0.0)
    weight_averaging: bool = setting(
        True, "the policy is an average of the parameters over the later part of learning; acting uses the present ones"
    )
    net_arch: tuple[int, ...] = setting((64, 64), "widths of the hidden layers", low=1)
    layer_norm: bool = setting(True, "normalise each hidden layer before its ReLU")
    buffer_size: int = setting(100_000, "transitions that the replay memory holds", low=1)
    batch_size: int = setting(64, "transitions per gradient step", low=1)
    learning_starts: int = setting(1_000, "environment steps before the first gradient step", low=0)
    train_freq: int = setting(1, "steps of each world between rounds of learning", low=1)
    gradient_steps: int = setting(1, "gradient steps per round of learning", low=1)
    target_update_interval: int = setting(25, "environment steps between updates of the target network", low=1)
    tau: float = setting(1.0, "share of the network taken into its target copy at an update", low=0.0, high=1.0)
    max_grad_norm: float = setting(10.0, "global norm to which gradients are clipped", low=0.0)
    num_envs: int = setting(1, "worlds stepped side by side", low=1)

    def conflicts(self) -> list[str]:
        """Rules between fields."""
        problems = []
        if self.batch_size > self.buffer_size:
            problems.append(f"batch_size={self.batch_size} is larger than buffer_size={self.buffer_size}")
        if self.num_envs > self.buffer_size:
            problems.append(f"num_envs={self.num_envs} is larger than buffer_size={self.buffer_size}")
        return problems

    def make(self, space: Space, n_actions: int, steps: int) -> Agent:
        """The agent for these spaces, on a run of `steps` environment steps."""
        raise NotImplementedError


class LearnerState(NamedTuple):
    """Parameters, their frozen copy and their average (or ()) as vectors [P], the optimiser's state, gradient steps."""

    params: Array
    target_params: Any
    average: Any
    optimiser: Any
    updates: Any


class Learned(NamedTuple):
    """What one gradient step tells: new priorities [B] and means over the batch, by name."""

    priority: Array
    metrics: dict[str, Array]


def make_optimiser(config: DeepConfig, steps: int) -> optax.GradientTransformation:
    """Clip by global norm, then Adam, its step size on the config's schedule over the run."""
    rate: Any = config.learning_rate
    if config.learning_rate_schedule == "linear":
        updates = (steps - config.learning_starts) * config.gradient_steps / (config.train_freq * config.num_envs)
        rate = optax.linear_schedule(config.learning_rate, 0.0, max(1, math.ceil(updates)))
    return optax.chain(optax.clip_by_global_norm(config.max_grad_norm), optax.adam(rate, eps=config.adam_epsilon))


def averaged(average: Array, params: Array, count: Array) -> Array:
    """The average after `count` gradient steps, in which step k weighs about k^3: most of it is the last third.

    Polynomial-decay averaging with η = 3: Shamir and Zhang (2013), equation 4. A greedy policy jumps between
    near-equal actions while its values settle; their average does not.
    """
    return average + (params - average) * (4.0 / (count + 3.0))


Loss = Callable[..., tuple[Array, Array, dict[str, Array]]]


def make_agent(config: DeepConfig, loss: Loss, space: Space, n_actions: int, steps: int) -> Agent:
    """An agent from the loss of one transition.

    `loss(net, target_net, transition, weight, key, config) -> (loss, priority, metrics)`, where `net` maps one
    observation to q [A].
    """
    optimiser = make_optimiser(config, steps)
    _, unflatten = flatten(q_network(space, n_actions, config.net_arch, config.layer_norm, jax.random.key(0)))
    period = max(1, config.target_update_interval * config.gradient_steps // (config.train_freq * config.num_envs))

    def network(params: Any) -> Callable[[Array], Array]:
        module = unflatten(params)
        return lambda obs: module(encode(space, obs))

    def init(key: Array) -> LearnerState:
        params, _ = flatten(q_network(space, n_actions, config.net_arch, config.layer_norm, key))
        # the copy is a buffer of its own: donation would free a shared one twice
        average = jnp.copy(params) if config.weight_averaging else ()
        return LearnerState(params, jnp.copy(params), average, optimiser.init(params), jnp.int32(0))

    def q_values(state: LearnerState, obs: Array) -> Array:
        return network(state.params)(obs)

    def act(state: LearnerState, carry: Any, obs: Array, key: Array, t: Array) -> tuple[Array, Any]:
        return epsilon_greedy(q_values(state, obs), config.epsilon(t, steps), key), carry

    def batch_loss(
        params: Array, target_params: Array, batch: Transition, weight: Array, key: Array
    ) -> tuple[Array, Learned]:
        net, target_net = network(params), network(target_params)
        keys = jax.random.split(key, weight.shape[0])

        def one(transition: Transition, w: Array, k: Array) -> tuple[Array, Array, dict[str, Array]]:
            return loss(net, target_net, transition, w, k, config)

        losses, priority, metrics = jax.vmap(one)(batch, weight, keys)
        mean = jnp.mean(losses)
        return mean, Learned(priority, {"loss": mean, **jax.tree.map(jnp.mean, metrics)})

    def learn(state: LearnerState, batch: tuple[Transition, Array], key: Array) -> tuple[LearnerState, Learned]:
        gradient, learned = jax.grad(batch_loss, has_aux=True)(state.params, state.target_params, *batch, key)
        change, optimiser_state = optimiser.update(gradient, state.optimiser, state.params)
        params = optax.apply_updates(state.params, change)
        updates = state.updates + 1
        mixed = config.tau * params + (1.0 - config.tau) * state.target_params
        target_params = jnp.where(updates % period == 0, mixed, state.target_params)
        average = averaged(state.average, params, updates) if config.weight_averaging else ()
        return LearnerState(params, target_params, average, optimiser_state, updates), learned

    def actor(state: LearnerState) -> LearnerState:
        return LearnerState(state.params, (), (), (), ())

    def parameters(state: LearnerState) -> dict[str, Any]:
        vector = state.average if config.weight_averaging else state.params
        return {name: np.asarray(leaf) for name, leaf in to_named(unflatten(vector)).items()}

    return Agent(init, act, learn, q_values, actor, parameters)
