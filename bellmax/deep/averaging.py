"""JAX. The policy as an average of the parameters, one of the parts that follow a gradient step."""

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
    """Return the average after `count` gradient steps, in which step k weighs about k^3 at first.

    Polynomial-decay averaging with η = 3: Shamir and Zhang (2013), equation 4. A greedy policy jumps between
    near-equal actions while its values settle; their average does not. The window of that average is a share of the
    run, and networks too far apart have no average that is a good network, so from `4 LONGEST_AVERAGE` gradient steps
    on it is an exponential average of the last `LONGEST_AVERAGE` (decision 38).
    """
    share = jnp.maximum(4.0 / (count + 3.0), 1.0 / LONGEST_AVERAGE)
    return tree_map(lambda mean, x: mean + (x - mean) * share, average, params)


def policy_average(reset_interval: int = 0) -> Follower[Params]:
    """The average of the parameters since the last reset, for the policy."""

    def update(average: Params, params: Params, updates: Array, key: Array, obs: Obs) -> tuple[Params, Params]:
        del key, obs
        age = (updates - 1) % reset_interval + 1 if reset_interval else updates
        return averaged(average, params, age), params

    return Follower(own_copy, update, lambda average, params, mix: params)
