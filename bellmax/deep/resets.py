"""JAX. Resets of the network now and then, around the parts that follow a gradient step."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import optax

from bellmax.contracts import Array
from bellmax.deep.following import Mix, Part, mixed


def moments(optimizer: optax.GradientTransformation) -> Part:
    """The optimizer's state. A reset clears it, except for the clock of the step size."""

    def anew(state: Any, params: Any, mix: Mix) -> Any:
        del mix
        return jax.tree.map(
            lambda begin, now: now if is_schedule(now) else begin,
            optimizer.init(params), state, is_leaf=is_schedule,
        )  # fmt: skip

    return Part(optimizer.init, lambda state, params, updates, key, obs: (state, params), anew)


def is_schedule(state: Any) -> bool:
    """Whether a part of an optimizer's state is the clock of its step size."""
    return isinstance(state, optax.ScaleByScheduleState)


def resetting(part: Part, interval: int, last: float, fresh: Callable[[Array], Any], share: Any) -> Part:
    """Around other parts: every `interval` gradient steps, before `last`, parameters move to fresh ones by `share`.

    `fresh(key) -> params`; D'Oro et al. (2023) reset all, Schwarzer et al. (2023), section 3, shrink and perturb.
    """

    def update(state: Any, params: Any, updates: Array, key: Array, obs: Any) -> tuple[Any, Any]:
        state, params = part.update(state, params, updates, key, obs)

        def anew(state: Any, params: Any) -> tuple[Any, Any]:
            new = fresh(key)

            def mix(old: Any) -> Any:
                return jax.tree.map(mixed, share, new, old)

            params = mix(params)
            return part.anew(state, params, mix), params

        due = (updates % interval == 0) & (updates < last)
        return jax.lax.cond(due, anew, lambda state, params: (state, params), state, params)  # type: ignore[no-any-return]

    return part._replace(update=update)
