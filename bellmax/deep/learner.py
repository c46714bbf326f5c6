"""JAX. What every deep method shares: loss of a batch, gradient, clipping, optimiser, target network, acting."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax

from bellmax import bellman
from bellmax.deep.config import DeepConfig, ReplayConfig, arguments
from bellmax.deep.sequences import batch_of_sequences
from bellmax.exploration import boltzmann, epsilon_greedy, ladder
from bellmax.networks.network import flatten, skeleton, to_named, with_noise
from bellmax.networks.network import make_network as make_module
from bellmax.random import APART, drawn, make_key
from bellmax.spaces import visible, zeros
from bellmax.types import Agent, Array, Experience, Masked, Space, Transition

Loss = Callable[..., tuple[Array, Array, dict[str, Array]]]
Values = Callable[[Any, Any, Any], Array]


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


class Carry(NamedTuple):
    """What acting remembers within an episode; parts that the agent does not need are ().

    Attributes:
        rank: of this world among those side by side, 0 to 1.
        member: the network that this episode follows.
        cell: of a recurrent network.
    """

    rank: Any = ()
    member: Any = ()
    cell: Any = ()


class Bootstrap(NamedTuple):
    """How a transition's target looks at the next observation.

    Attributes:
        reward: of the transition, with a bonus if the method has one.
        output: of the target network there, [A] or [A, n], not squeezed.
        policy: what the target takes the mean under [A].
        bonus: added to the value there (soft targets), a scalar.
    """

    reward: Array
    output: Array
    policy: Array
    bonus: Array


def mask_of(obs: Any) -> Any:
    """The allowed actions [A] of an observation, or None."""
    # where nothing is allowed an episode has ended, and no value counts: all is as good as nothing, and finite
    return obs.mask | ~jnp.any(obs.mask) if isinstance(obs, Masked) else None


def natural(config: DeepConfig, output: Array) -> Array:
    """Values as they are, of an output that may be on the squeezed scale."""
    return bellman.unsqueeze(output) if getattr(config, "value_rescaling", False) else output


def bootstrap(
    config: ReplayConfig, values: Values, net: Any, target_net: Any, transition: Transition, read: Any = None
) -> Bootstrap:
    """The target's choice of action: greedy, double, or soft (Munchausen); only of allowed actions.

    `values(output, config, mask) -> q [A]`; `read(output) -> [A] or [A, n]`, by default the values themselves.
    """
    read = read or (lambda output: natural(config, output))
    mask = mask_of(transition.next_obs)
    output = target_net(transition.next_obs)
    chooser = net(transition.next_obs) if config.double else output
    q = values(chooser, config, mask)
    if not config.munchausen:
        return Bootstrap(transition.reward, read(output), bellman.greedy_policy(q), jnp.float32(0.0))
    q_tm1 = values(target_net(transition.obs), config, mask_of(transition.obs))
    temperature = config.munchausen_temperature
    bonus = bellman.munchausen_bonus(
        q_tm1, transition.action, temperature, config.munchausen_alpha, config.munchausen_clip
    )
    policy, soft = bellman.soft_policy(q, temperature), bellman.entropy_bonus(q, temperature)
    return Bootstrap(transition.reward + bonus, read(output), policy, soft)


def back_up(config: ReplayConfig, reward: Array, discount: Array, value: Array, bonus: Array) -> Array:
    """`reward + discount (value + bonus)`, for any shape of values; on the squeezed scale if the config says so."""
    target = reward + discount * (value + bonus)
    return bellman.squeeze(target) if config.value_rescaling else target


def make_optimiser(config: DeepConfig, steps: int) -> optax.GradientTransformation:
    """Clip by global norm, then the optimiser, its step size on the config's schedule over the run."""
    rate: Any = config.learning_rate
    updates = max(1, math.ceil(config.updates(steps)))
    if config.learning_rate_schedule == "linear":
        rate = optax.linear_schedule(config.learning_rate, 0.0, updates)
    elif config.learning_rate_schedule == "cosine":
        rate = optax.cosine_decay_schedule(config.learning_rate, updates)
    known = arguments(config.optimizer)
    options = {"eps": config.adam_epsilon} if "eps" in known else {}
    before = [optax.clip_by_global_norm(config.max_grad_norm)]
    if "weight_decay" in known:
        options["weight_decay"] = config.weight_decay
    elif config.weight_decay:
        before.append(optax.add_decayed_weights(config.weight_decay))
    return optax.chain(*before, getattr(optax, config.optimizer)(rate, **options))


def is_schedule(state: Any) -> bool:
    """Whether a part of an optimiser's state is the clock of its step size."""
    return isinstance(state, optax.ScaleByScheduleState)


def averaged(average: Array, params: Array, count: Array) -> Array:
    """The average after `count` gradient steps, in which step k weighs about k^3: most of it is the last third.

    Polynomial-decay averaging with η = 3: Shamir and Zhang (2013), equation 4. A greedy policy jumps between
    near-equal actions while its values settle; their average does not.
    """
    return average + (params - average) * (4.0 / (count + 3.0))


def make_experience(config: DeepConfig, space: Space, cell: Any) -> Experience:
    """One experience of zeros, as a memory keeps it."""
    obs = jax.tree.map(jnp.asarray, zeros(space))
    transition = Transition(obs, jnp.int32(0), jnp.float32(0), jnp.float32(0), obs)
    return Experience(transition, jnp.int32(0), cell if config.recurrent != "none" else ())


def make_actor(config: DeepConfig, values: Values, network: Any, space: Space, steps: int) -> tuple[Any, Any, Any]:
    """The three functions of an agent that act: (begin, act, q_values)."""
    recurrent, members = config.recurrent != "none", config.spec.n_members
    blank = skeleton(space, 2, config.spec).begin() if recurrent else ()

    def begin(key: Array, rank: Any) -> Any:
        carry = Carry(
            jnp.float32(rank) if config.exploration == "ladder" else (),
            jax.random.randint(key, (), 0, members) if members else (),
            blank,
        )
        return carry if jax.tree.leaves(carry) else ()

    def look(module: Any, cell: Any, obs: Any) -> tuple[Any, Any]:
        if not recurrent:
            return module(obs), ()
        cell, seen = module.remember(cell, module.torso(visible_part(space, obs)))
        return module.head(seen), cell

    def act(state: LearnerState, carry: Any, obs: Any, key: Array, t: Array) -> tuple[Array, Any]:
        noise, coin = jax.random.split(key) if config.noisy else (key, key)
        output, cell = look(network(state.params, noise if config.noisy else None), carry and carry.cell, obs)
        mask = mask_of(obs)
        q = values(output[carry.member][None] if members else output, config, mask)
        epsilon = config.epsilon(t, steps)
        if config.exploration == "boltzmann":
            action = boltzmann(q, jnp.float32(config.temperature), coin)
        else:
            epsilon = ladder(epsilon, carry.rank) if config.exploration == "ladder" else epsilon
            action = epsilon_greedy(q, epsilon, coin, mask)
        return action, carry._replace(cell=cell) if carry else carry

    def q_values(state: LearnerState, carry: Any, obs: Any) -> tuple[Array, Any]:
        output, cell = look(network(state.params, None), carry and carry.cell, obs)
        return values(output, config, mask_of(obs)), carry._replace(cell=cell) if carry else carry

    return begin, act, q_values


def visible_part(space: Space, obs: Any) -> Any:
    """What a network looks at in an observation of `space`."""
    return obs.obs if isinstance(space, Masked) else obs


def make_network(config: DeepConfig, space: Space, n_actions: int) -> tuple[Any, Any, Any]:
    """(fresh, network, name) of parameters as a vector [P].

    `fresh(key) -> params`, `network(params, noise key or None)` maps observations, `name(params)` are NumPy arrays by
    name.
    """
    _, unflatten = flatten(make_module(space, n_actions, config.spec, make_key(0)))

    def fresh(key: Array) -> Array:
        return flatten(make_module(space, n_actions, config.spec, key))[0]

    def network(params: Array, noise: Any) -> Any:
        module = unflatten(params)
        if config.noisy and noise is not None:
            module = with_noise(module, noise)
        if config.recurrent != "none" or visible(space) is space:
            return module
        return lambda obs: module(visible_part(space, obs))

    def name(params: Array) -> dict[str, Any]:
        return {name: np.asarray(leaf) for name, leaf in to_named(unflatten(params)).items()}

    return fresh, network, name


def make_agent(config: ReplayConfig, loss: Loss, values: Values, space: Space, n_actions: int, steps: int) -> Agent:
    """An agent from the loss of one transition and the values of one output.

    `loss(net, target_net, transition, weight, draws, config) -> (loss, priority, metrics)`, where `net` maps one
    observation to an output, and `draws` are `config.n_draws` numbers from [0, 1); `values(output, config, mask)` are
    q [A].
    """
    optimiser = make_optimiser(config, steps)
    fresh, network, name = make_network(config, space, n_actions)
    period = max(1, config.target_update_interval * config.gradient_steps // (config.train_freq * config.num_envs))
    begin, act, q_values = make_actor(config, values, network, space, steps)
    example = make_experience(config, space, begin(make_key(0), 0.0).cell if config.recurrent != "none" else ())

    def init(key: Array) -> LearnerState:
        params = fresh(key)
        # the copy is a buffer of its own: donation would free a shared one twice
        average = jnp.copy(params) if config.weight_averaging else ()
        return LearnerState(params, jnp.copy(params), average, optimiser.init(params), jnp.int32(0))

    def one(net: Any, target_net: Any, transition: Transition, weight: Array, draws: Array) -> Any:
        total, priority, metrics = loss(net, target_net, transition, weight, draws, config)
        if config.conservative_weight:  # Kumar et al. (2020), equation 4
            q = values(net(transition.obs), config, mask_of(transition.obs))
            gap = jax.nn.logsumexp(q) - bellman.value_of(q, transition.action)
            total, metrics = total + config.conservative_weight * weight * gap, {**metrics, "conservative_gap": gap}
        return total, priority, metrics

    def batch_loss(params: Array, target_params: Array, batch: Any, weight: Array, key: Array) -> tuple[Array, Learned]:
        key, *noise = jax.random.split(key, 3) if config.noisy else (key, None, None)
        net, target_net = network(params, noise[0]), network(target_params, noise[1])
        length = (config.sequence_length,) if config.recurrent != "none" else ()
        draws = drawn(jax.random.uniform, key, (*weight.shape, *length, config.n_draws))
        if config.recurrent != "none":
            losses, priority, metrics = batch_of_sequences(config, one, space, net, target_net, batch, weight, draws)
        else:
            losses, priority, metrics = jax.vmap(lambda *x: one(net, target_net, *x))(batch, weight, draws)
        mean = jnp.mean(losses)
        rewards = batch.transition.reward if config.recurrent != "none" else batch.reward
        metrics = {"loss": mean, **jax.tree.map(jnp.mean, metrics), "max_reward": jnp.max(jnp.abs(rewards))}
        return mean, Learned(priority, metrics)

    def learn(state: LearnerState, batch: tuple[Any, Array], key: Array) -> tuple[LearnerState, Learned]:
        gradient, learned = jax.grad(batch_loss, has_aux=True)(state.params, state.target_params, *batch, key)
        change, optimiser_state = optimiser.update(gradient, state.optimiser, state.params)
        params = optax.apply_updates(state.params, change)
        updates = state.updates + 1
        mixed = config.tau * params + (1.0 - config.tau) * state.target_params
        target_params = jnp.where(updates % period == 0, mixed, state.target_params)
        age = (updates - 1) % config.reset_interval + 1 if config.reset_interval else updates
        average = averaged(state.average, params, age) if config.weight_averaging else ()
        state = LearnerState(params, target_params, average, optimiser_state, updates)
        return (reset(state, key) if config.reset_interval else state), learned

    head = flatten(share_of_fresh(skeleton(space, n_actions, config.spec), config.reset_share))[0]

    def reset(state: LearnerState, key: Array) -> LearnerState:
        """Now and then: shrink the torso towards fresh parameters, begin the head and the optimiser anew."""

        def anew(state: LearnerState) -> LearnerState:
            new = fresh(jax.random.fold_in(key, APART))
            params = head * new + (1.0 - head) * state.params
            target = head * new + (1.0 - head) * state.target_params
            average = params if config.weight_averaging else ()
            moments = jax.tree.map(  # the step size goes on falling
                lambda begin, now: now if is_schedule(now) else begin,
                optimiser.init(params), state.optimiser, is_leaf=is_schedule,
            )  # fmt: skip
            return LearnerState(params, target, average, moments, state.updates)

        due = (state.updates % config.reset_interval == 0) & (state.updates < config.updates(steps))
        return jax.lax.cond(due, anew, lambda state: state, state)  # type: ignore[no-any-return]

    def actor(state: LearnerState) -> LearnerState:
        return LearnerState(state.params, (), (), (), ())

    def parameters(state: LearnerState) -> dict[str, Any]:
        return dict(name(state.average if config.weight_averaging else state.params))

    memory = config.make_memory(example, steps)
    return Agent(init, begin, act, remembered, learn, q_values, actor, parameters, memory)


def remembered(carry: Any) -> Any:
    """The part of a carry that learning needs."""
    return carry.cell if carry else ()


def share_of_fresh(module: Any, share: float) -> Any:
    """Per parameter, how much of a fresh one it becomes at a reset: 1 in the head, 0 in a prior, `share` elsewhere.

    D'Oro et al. (2023) reset all; Schwarzer et al. (2023), section 3, shrink and perturb the torso.
    """

    def of(path: Any, leaf: Array) -> Array:
        name = jax.tree_util.keystr(path, simple=True, separator=".")
        part = name.split(".")
        return jnp.full_like(leaf, 0.0 if "priors" in part else 1.0 if "head" in part else share)

    return jax.tree_util.tree_map_with_path(of, module)
