"""JAX. Periodic resets of the network, around the parts that follow a gradient step."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import jax
import optax

from bellmax.contracts import Array, Obs
from bellmax.deep.following import Follower, Mix, mixed
from bellmax.networks.packing import Params
from bellmax.trees import tree_map

State = TypeVar("State")  # of what follows


def moments(optimizer: optax.GradientTransformation) -> Follower[optax.OptState]:
    """Return the part for the state of the optimizer. A reset clears it, except for the learning rate schedule."""

    def restart(state: optax.OptState, params: Params, mix: Mix) -> optax.OptState:
        del mix
        return jax.tree.map(
            lambda begin, now: now if is_schedule(now) else begin,
            optimizer.init(params), state, is_leaf=is_schedule,
        )  # fmt: skip

    return Follower(optimizer.init, lambda state, params, updates, key, obs: (state, params), restart)


def is_schedule(state: object) -> bool:
    """Whether a part of the state of an optimizer is the clock of its learning rate schedule."""
    return isinstance(state, optax.ScaleByScheduleState)


def resetting(
    part: Follower[State], interval: int, last: float, fresh: Callable[[Array], Params], share: Params
) -> Follower[State]:
    """Return a part that also moves the parameters by `share` to `fresh(key)`, every `interval` gradient steps.

    Gradient step `last` and later ones do not reset. D'Oro et al. (2023) reset everything; Schwarzer et al. (2023),
    section 3, shrink and perturb.
    """

    def update(state: State, params: Params, updates: Array, key: Array, obs: Obs) -> tuple[State, Params]:
        state, params = part.update(state, params, updates, key, obs)

        def restart(state: State, params: Params) -> tuple[State, Params]:
            new = fresh(key)

            def mix(old: Params) -> Params:
                return tree_map(mixed, share, new, old)

            params = mix(params)
            return part.restart(state, params, mix), params

        due = (updates % interval == 0) & (updates < last)
        after: tuple[State, Params] = jax.lax.cond(due, restart, lambda *same: same, state, params)
        return after

    return part._replace(update=update)
