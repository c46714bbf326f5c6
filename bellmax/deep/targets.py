"""JAX. What a transition's target looks at: the choice of the next action, whatever the head; for ONE transition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from bellmax import bellman
from bellmax.contracts import Array, Masked, Transition
from bellmax.deep.config import DeepConfig, ReplayConfig

Values = Callable[[Any, Any, Any], Array]


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
