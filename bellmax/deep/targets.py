"""JAX. Which next action a target values, and on which scale, for any head and ONE transition.

Van Hasselt et al. (2016), "Deep reinforcement learning with double Q-learning"; Pohlen et al. (2018), "Observe and look
further". Soft targets are in munchausen.py.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp

from bellmax import bellman
from bellmax.contracts import Array, Transition
from bellmax.deep.method import Bootstrap, Look, Net, Values, allowed, mask_of


class TargetScale(NamedTuple):
    """Two functions between rewards and the numbers that a network learns, each the inverse of the other."""

    natural: Callable[[Array], Array]
    learned: Callable[[Array], Array]

    def back_up(self, reward: Array, discount: Array, value: Array, bonus: Array) -> Array:
        """Return the target `reward + discount (value + bonus)` as the network learns it, for values of any shape."""
        return self.learned(reward + discount * (value + bonus))


SAME = TargetScale(lambda x: x, lambda x: x)
SQUEEZED = TargetScale(bellman.unsqueeze, bellman.squeeze)  # Pohlen et al. (2018), proposition A.2


def greedy_target(values: Values[Any] = allowed) -> Look:
    """Return a target for the action that the target network prefers. Mnih et al. (2015)."""

    def look(net: Net[Any], target_net: Net[Any], transition: Transition) -> Bootstrap:
        del net
        output = target_net(transition.next_obs)
        q = values(output, mask_of(transition.next_obs))
        return Bootstrap(transition.reward, output, bellman.greedy_policy(q), jnp.float32(0.0))

    return look


def double_target(values: Values[Any] = allowed) -> Look:
    """Return a target for the action that the network prefers, valued by the target network.

    Van Hasselt et al. (2016), equation 4.
    """

    def look(net: Net[Any], target_net: Net[Any], transition: Transition) -> Bootstrap:
        output, chooser = target_net(transition.next_obs), net(transition.next_obs)
        q = values(chooser, mask_of(transition.next_obs))
        return Bootstrap(transition.reward, output, bellman.greedy_policy(q), jnp.float32(0.0))

    return look
