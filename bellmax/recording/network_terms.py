"""JAX. What the loss of ONE transition is made of, for each head: the target term by term, as `deep/` computes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp

from bellmax import bellman, distributions
from bellmax.contracts import Array, Obs, Transition
from bellmax.deep.algorithm import ReplayAlgorithm
from bellmax.deep.bcq import Imitating
from bellmax.deep.bootstrapped import Members
from bellmax.deep.c51 import Categorical
from bellmax.deep.dqn import ActionValues
from bellmax.deep.iqn import ImplicitQuantiles
from bellmax.deep.method import Bootstrap, Method, Net, Output, mask_of
from bellmax.deep.munchausen import munchausen_bonus
from bellmax.deep.qr_dqn import Quantiles
from bellmax.spaces import visible

Parts: TypeAlias = dict[str, Array]


def transition_terms(
    config: ReplayAlgorithm, method: Method[Any, Any], net: Net[Any], target_net: Net[Any], step: Transition,
    draws: Array,
) -> Parts:  # fmt: skip
    """Return the numbers of ONE transition by name; which there are depends on what the network returns."""
    online = net(step.obs)
    loss, priority, metrics = method.loss(net, target_net, step, jnp.float32(1.0), draws)
    common = {"loss": loss, "error_size": priority, "q_row": method.values(online, mask_of(step.obs)), **metrics}
    if not type(config).method.__module__.startswith("bellmax."):
        return common
    if isinstance(online, Members):
        return {**common, **of_members(config, net, target_net, step, draws)}
    made = config.look(method.values)(net, target_net, step)
    looked = {
        "next_q": method.values(made.output, mask_of(step.next_obs)), "policy": made.policy, "entropy": made.bonus,
        "reward_learned": made.reward, **log_policy_bonus(config, method, target_net, step),
    }  # fmt: skip
    if config.double and not config.munchausen:
        looked["next_q_online"] = method.values(net(step.next_obs), mask_of(step.next_obs))
    return {**common, **looked, **of_head(config, online, made, step, draws)}


def log_policy_bonus(
    config: ReplayAlgorithm, method: Method[Any, Any], target_net: Net[Any], step: Transition
) -> Parts:
    """Return what Munchausen adds to the reward; {} without it."""
    if not config.munchausen:
        return {}
    q = method.values(target_net(step.obs), mask_of(step.obs))
    temperature, share, clip = config.munchausen_temperature, config.munchausen_alpha, config.munchausen_clip
    return {"log_policy_bonus": munchausen_bonus(q, step.action, temperature, share, clip)}


def of_head(config: ReplayAlgorithm, online: object, made: Bootstrap, step: Transition, draws: Array) -> Parts:
    """Return the target and the prediction, as the loss of this kind of output compares them."""
    scale, value = config.scale, bellman.mean_under(made.policy, made.output.returns(draws))
    if isinstance(online, Categorical):
        return of_atoms(config, online, made, step, value)
    target = scale.back_up(made.reward, step.discount, value, made.bonus)
    if isinstance(online, ActionValues | Imitating):
        numbers = online.numbers if isinstance(online, ActionValues) else online.numbers[:, 0]
        found = bellman.value_of(numbers, step.action)
        return {"bootstrap": value, "target": target, "prediction": found, "td_error": target - found}
    if isinstance(online, ImplicitQuantiles):
        levels = draws[: online.n_samples]
        quantiles = bellman.value_of(online.function(levels), step.action)
        more = {"levels": levels, "target_levels": draws[online.n_samples :]}
    elif isinstance(online, Quantiles):
        quantiles = bellman.value_of(online.numbers, step.action)
        more = {"levels": distributions.midpoints(quantiles.shape[0])}
    else:
        return {}
    error = jnp.mean(target) - jnp.mean(quantiles)
    return {"next_quantiles": value, "quantile_targets": target, "quantiles": quantiles, "td_error": error, **more}


def of_atoms(config: ReplayAlgorithm, online: Categorical, made: Bootstrap, step: Transition, p: Array) -> Parts:
    """Return the distributions of C51: the target before and after its projection, and the prediction."""
    atoms, scale = getattr(config, "atoms"), config.scale  # noqa: B009 - C51 and what derives from it have them
    moved = scale.back_up(made.reward, step.discount, scale.natural(atoms), made.bonus)
    target = distributions.project(moved, p, atoms)
    prediction = jax.nn.softmax(bellman.value_of(online.logits, step.action))
    found = jnp.sum(prediction * scale.natural(atoms))
    mean = jnp.sum(target * scale.natural(atoms))
    return {
        "atoms": scale.natural(atoms), "moved_atoms": moved, "next_probabilities": p, "target_probabilities": target,
        "probabilities": prediction, "target": mean, "prediction": found, "td_error": mean - found,
    }  # fmt: skip


def of_members(
    config: ReplayAlgorithm, net: Net[Members], target_net: Net[Members], step: Transition, draws: Array
) -> Parts:
    """Return the targets and the predictions of all members of an ensemble [K]."""

    def of(k: Array) -> Parts:
        def member(source: Net[Members]) -> Net[ActionValues]:
            return lambda obs: source(obs).member(k)

        made = config.look()(member(net), member(target_net), step)
        value = bellman.mean_under(made.policy, made.output.returns(draws))
        target = config.scale.back_up(made.reward, step.discount, value, made.bonus)
        found = bellman.value_of(net(step.obs).numbers[k], step.action)
        return {
            "member_targets": target, "member_predictions": found, "member_errors": target - found,
            "member_bootstraps": value, "next_q": made.output.mean(),
        }  # fmt: skip

    n = int(net(step.obs).numbers.shape[0])
    found: Parts = jax.vmap(of)(jnp.arange(n))
    return {**found, "td_error": jnp.mean(found["member_errors"])}


def output_parts(output: object) -> Parts:
    """Return the distributions in the output of a network for ONE observation; {} if it has only action values."""
    if isinstance(output, Categorical):
        return {"atoms": output.atoms, "probabilities": jax.nn.softmax(output.logits)}
    if isinstance(output, Quantiles):
        return {"quantiles": output.scale.natural(output.numbers)}
    if isinstance(output, ImplicitQuantiles):
        levels = distributions.midpoints(output.n_policy_samples)
        return {"quantiles": output.scale.natural(output.function(levels))}
    if isinstance(output, Members):
        return {"members": output.scale.natural(output.numbers)}
    return {}


def with_heads(head: Callable[[Any], Output], part: str) -> Net[Any]:
    """Return a network from what both heads see of an observation to the output of one; `part` is its field."""

    def net(obs: Obs) -> Output:
        return head(getattr(visible(obs), part))

    return net
