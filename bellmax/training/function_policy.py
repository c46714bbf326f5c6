"""NumPy. A function of one observation in the place of a policy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from bellmax import spaces
from bellmax.arguments import describe, is_integer
from bellmax.contracts import ConfigError, Space
from bellmax.training.policy import Policy


@dataclass(frozen=True)
class FunctionPolicy:
    """A function of one observation in the place of a policy: its choice has the value 1, all others 0."""

    function: Callable[[Any], Any]
    space: Space
    n_actions: int
    config: Any = None

    def begin(self, n: int) -> Any:
        """It remembers nothing."""
        del n
        return ()

    def look_from_zero(self, carry: Any, obs: Any) -> tuple[Any, Any]:
        """(values [n, A], carry) of a batch of observations.

        Raises:
            ConfigError: the function returned no action.
        """
        seen, space = spaces.visible(obs), spaces.visible(self.space)
        batch, _ = spaces.read(space, seen)
        n = len(spaces.leaf_arrays(batch)[0])
        q = np.zeros((n, self.n_actions), np.float32)
        for i in range(n):
            one = spaces.named(space, spaces.map_space(lambda leaf, x, i=i: x[i], space, batch))
            q[i, self._checked(self.function(one), one)] = 1.0
        return q, carry

    def _checked(self, action: Any, obs: Any) -> int:
        value = action[()] if isinstance(action, np.ndarray) and action.ndim == 0 else action
        if is_integer(value) and 0 <= value < self.n_actions:
            return int(value)
        remedy = "; of Stable-Baselines3, give lambda obs: model.predict(obs)[0]" if isinstance(action, tuple) else ""
        raise ConfigError(
            f"the function returned {action!r} for the observation {describe(obs)}; it must return one action, an "
            f"integer from 0 to {self.n_actions - 1}{remedy}"
        )


Actor: TypeAlias = Policy | FunctionPolicy
