"""JAX. Learning with a memory cell: from a sequence of experience to transitions between outputs of the cell.

Kapturowski et al. (2019), "Recurrent experience replay in distributed reinforcement learning" (R2D2): the cell starts
with the state stored while acting, the present parameters update it over the first `burn_in` steps, and the rest of the
sequence is learned from.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from bellmax import bellman
from bellmax.contracts import Array, Arrays, Experience, Masked, Obs, Transition
from bellmax.deep.config import ReplayConfig
from bellmax.deep.method import Features, Loss, Network
from bellmax.spaces import visible
from bellmax.trees import tree_map


class Seen(NamedTuple):
    """The inputs of the heads of the network and of the target network, for one observation."""

    network: Arrays
    target: Arrays


def unroll(module: Network[Features, Any], sequence: Experience, burn_in: int) -> tuple[Features, Features]:
    """Return what the head sees: [L, F] for the observations, and [L, F] for those after each step.

    The cell starts again after the end of an episode. No gradient flows into the burn-in.
    """
    features = jax.vmap(module.features)(sequence.transition.obs)
    following = jax.vmap(module.features)(sequence.transition.next_obs)
    start = module.resume(tree_map(lambda x: x[0], sequence.carry))

    def step(carry: Arrays, x: tuple[Array, Features, Features, Array]) -> tuple[Arrays, tuple[Features, Features]]:
        k, feature, after, over = x
        carry = tree_map(lambda c: jnp.where(k == burn_in, jax.lax.stop_gradient(c), c), carry)
        carry, seen = module.remember(carry, feature)
        _, seen_after = module.remember(carry, after)
        carry = tree_map(lambda begin, c: jnp.where(over, begin, c), module.begin(), carry)
        return carry, (seen, seen_after)

    length = sequence.over.shape[0]
    steps = (jnp.arange(length), features, following, sequence.over.astype(bool))
    return jax.lax.scan(step, start, steps)[1]


def transitions(config: ReplayConfig, sequence: Experience) -> tuple[Array, Array, Array]:
    """Return for each step [L] the n-step reward and discount, and the index of the last step of its window."""
    steps, length = sequence.transition, sequence.over.shape[0]
    span = jnp.minimum(jnp.arange(length)[:, None] + jnp.arange(config.n_steps)[None], length - 1)  # [L, n]
    stops = sequence.over.astype(bool)[span] | (span == length - 1)
    reward, discount, last = jax.vmap(bellman.n_step)(steps.reward[span], steps.discount[span], stops)
    return reward, discount, jnp.arange(length) + last


def seen_by_both(obs: Obs, x: Arrays, y: Arrays) -> Obs:
    """Return what the heads of the two networks see of an observation, with its mask."""
    return Masked(Seen(x, y), obs.mask) if isinstance(obs, Masked) else Seen(x, y)


def learned_transitions(
    config: ReplayConfig, net: Network[Any, Any], target_net: Network[Any, Any], sequence: Experience
) -> Transition:
    """Return the n-step transitions [L - burn_in] of a sequence [L], whose observations are what the heads see."""
    steps, burn_in = sequence.transition, config.burn_in
    now, after = unroll(net, sequence, burn_in)
    now_copy, after_copy = unroll(target_net, sequence, burn_in)
    reward, discount, last = transitions(config, sequence)
    ends, after, after_copy = tree_map(lambda x: x[last], (steps.next_obs, after, after_copy))
    made = Transition(
        seen_by_both(steps.obs, now, now_copy), steps.action, reward, discount, seen_by_both(ends, after, after_copy)
    )
    return tree_map(lambda x: x[burn_in:], made)


def batch_of_sequences(
    config: ReplayConfig,
    loss: Loss[Any],
    net: Network[Any, Any],
    target_net: Network[Any, Any],
    batch: Experience,
    weight: Array,
    draws: Array,
) -> tuple[Array, Array, dict[str, Array]]:
    """Return losses [B], priorities [B] and metrics of sequences [B, L], for the `loss` of one transition.

    A priority is a mix of the largest and the mean error. Kapturowski et al. (2019), section 2.3.
    """

    def of(sequence: Experience, w: Array, draw: Array) -> tuple[Array, Array, dict[str, Array]]:
        learned = learned_transitions(config, net, target_net, sequence)
        losses, errors, metrics = jax.vmap(
            lambda step, k: loss(
                lambda obs: net.head(visible(obs).network), lambda obs: target_net.head(visible(obs).target), step, w, k
            )
        )(learned, draw)
        priority = config.priority_eta * jnp.max(errors) + (1.0 - config.priority_eta) * jnp.mean(errors)
        return jnp.mean(losses), priority, jax.tree.map(jnp.mean, metrics)

    return jax.vmap(of)(batch, weight, draws)
