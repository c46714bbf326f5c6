"""JAX. The policy as an average of the parameters: a part that follows a gradient step."""

from __future__ import annotations

from typing import TypeVar

import jax.numpy as jnp

from bellmax.contracts import Array, Obs
from bellmax.deep.following import Follower, own_copy
from bellmax.networks.packing import Params
from bellmax.trees import tree_map

LONGEST_AVERAGE = 2_500  # gradient steps

Tree = TypeVar("Tree")


def averaged(average: Tree, params: Tree, count: Array) -> Tree:
    """Return the average after `count` gradient steps, in which step k has a weight of about k^3 at first.

    This is polynomial-decay averaging with η = 3: Shamir and Zhang (2013), equation 4. While values settle, a greedy
    policy jumps between actions of nearly equal value; the policy of the average does not. The window grows with the
    run, but the average of networks that are too far apart is not a good network. So after `4 LONGEST_AVERAGE` gradient
    steps it is an exponential average over about `LONGEST_AVERAGE` of them (decision 38).
    """
    share = jnp.maximum(4.0 / (count + 3.0), 1.0 / LONGEST_AVERAGE)
    return tree_map(lambda mean, x: mean + (x - mean) * share, average, params)


def policy_average(reset_interval: int = 0) -> Follower[Params]:
    """Return the part that averages the parameters since the last reset, for the policy."""

    def update(average: Params, params: Params, updates: Array, key: Array, obs: Obs) -> tuple[Params, Params]:
        del key, obs
        age = (updates - 1) % reset_interval + 1 if reset_interval else updates
        return averaged(average, params, age), params

    return Follower(own_copy, update, lambda average, params, mix: params)
