"""JAX. Resets of the network now and then, around the parts that follow a gradient step."""

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
    """The optimizer's state. A reset clears it, except for the clock of the step size."""

    def anew(state: optax.OptState, params: Params, mix: Mix) -> optax.OptState:
        del mix
        return jax.tree.map(
            lambda begin, now: now if is_schedule(now) else begin,
            optimizer.init(params), state, is_leaf=is_schedule,
        )  # fmt: skip

    return Follower(optimizer.init, lambda state, params, updates, key, obs: (state, params), anew)


def is_schedule(state: object) -> bool:
    """Whether a part of an optimizer's state is the clock of its step size."""
    return isinstance(state, optax.ScaleByScheduleState)


def resetting(
    part: Follower[State], interval: int, last: float, fresh: Callable[[Array], Params], share: Params
) -> Follower[State]:
    """Around other parts: every `interval` gradient steps, before `last`, parameters move to fresh ones by `share`.

    `fresh(key) -> params`; D'Oro et al. (2023) reset all, Schwarzer et al. (2023), section 3, shrink and perturb.
    """

    def update(state: State, params: Params, updates: Array, key: Array, obs: Obs) -> tuple[State, Params]:
        state, params = part.update(state, params, updates, key, obs)

        def anew(state: State, params: Params) -> tuple[State, Params]:
            new = fresh(key)

            def mix(old: Params) -> Params:
                return tree_map(mixed, share, new, old)

            params = mix(params)
            return part.anew(state, params, mix), params

        due = (updates % interval == 0) & (updates < last)
        after: tuple[State, Params] = jax.lax.cond(due, anew, lambda *same: same, state, params)
        return after

    return part._replace(update=update)
