"""NumPy. Use a function of one observation as a policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np

from bellmax import spaces
from bellmax.arguments import describe
from bellmax.coding import action_number, from_zero, to_native
from bellmax.contracts import ConfigError, HostObs, Space
from bellmax.observations import named, read_batch
from bellmax.training.policy import Policy


@dataclass(frozen=True)
class FunctionPolicy:
    """A function of one observation as a policy: its choice has the value 1, all others 0.

    Observations and actions are as the environment counts them, by its `coding`.
    """

    function: Callable[[Any], Any]
    space: Space
    n_actions: int
    coding: Mapping[str, Any] = field(default_factory=dict)
    config: None = None

    def begin(self, n: int) -> object:
        """Return an empty carry: a function has no memory."""
        del n
        return ()

    def look_from_zero(self, carry: object, obs: HostObs) -> tuple[np.ndarray, object]:
        """Return (values [n, A], carry) for a batch of observations whose integers count from 0.

        Raises:
            ConfigError: the function did not return an action.
        """
        seen, space = spaces.visible(obs), spaces.visible(self.space)
        batch, _ = read_batch(space, seen)
        n = len(spaces.leaf_arrays(batch)[0])
        q = np.zeros((n, self.n_actions), np.float32)
        for i in range(n):
            one = spaces.map_space(lambda leaf, x, i=i: x[i], space, batch)
            one = named(space, from_zero(space, one, self.coding))
            q[i, self._checked(self.function(one), one)] = 1.0
        return q, carry

    def _checked(self, action: object, obs: object) -> int:
        number = action_number(action, self.coding, self.n_actions)
        if number is not None:
            return number
        last = to_native(self.n_actions - 1, self.coding).tolist()
        first = to_native(0, self.coding).tolist()
        remedy = "; for Stable-Baselines3, pass lambda obs: model.predict(obs)[0]" if isinstance(action, tuple) else ""
        raise ConfigError(
            f"the function returned {describe(action)} for the observation {describe(obs)}; it must return one action, "
            f"{'an integer' if isinstance(first, int) else 'integers'} from {first} to {last}{remedy}"
        )


Actor: TypeAlias = Policy | FunctionPolicy
