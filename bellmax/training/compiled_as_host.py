"""NumPy and JAX. A compiled world step by step, for a function that JAX cannot look into."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from bellmax.envs.host_steps import HostStep
from bellmax.sources import Source


def opened(source: Source) -> Source:
    """The source with its compiled world as a host world."""
    return source._replace(open=lambda n: SteppedWorld(source.compile(), n))


class SteppedWorld:
    """N compiled worlds in step, with what players use of a `HostWorld`."""

    def __init__(self, world: Any, n: int) -> None:
        import jax

        self.n, self._all, self._none = n, np.ones(n, np.bool_), np.zeros(n, np.bool_)
        self._reset, self._step = jax.jit(jax.vmap(world.reset)), jax.jit(jax.vmap(world.step))
        self._split = jax.jit(lambda key: (lambda keys: (keys[0], keys[1:]))(jax.random.split(key, n + 1)))
        self._key: Any = None
        self._state: Any = None

    def _keys(self) -> Any:
        self._key, keys = self._split(self._key)
        return keys

    def use_masks(self, *, if_given: bool = False) -> None:
        """Compiled worlds give masks from the start, if they give any."""

    def reset(self, seed: int) -> Any:
        """The first observations of n episodes."""
        import jax

        from bellmax.keys import make_key

        self._key = make_key(seed)
        self._state, obs = self._reset(self._keys())
        return jax.tree.map(np.asarray, obs)

    def step(self, actions: npt.ArrayLike) -> HostStep:
        """One step of each; where an episode ended, the next one begins."""
        import jax

        chosen = np.asarray(actions, np.int32)
        state, next_obs, reward, terminated, truncated = self._step(self._state, chosen, self._keys())
        over = np.asarray(terminated | truncated)
        self._state, obs = state, next_obs
        if over.any():
            fresh = self._reset(self._keys())
            self._state, obs = jax.tree.map(
                lambda new, old: jax.numpy.where(over.reshape(-1, *[1] * (old.ndim - 1)), new, old),
                fresh, (state, next_obs),
            )  # fmt: skip
        obs, next_obs = (jax.tree.map(np.asarray, part) for part in (obs, next_obs))
        ended = np.asarray(terminated)
        return HostStep(
            obs, next_obs, np.asarray(reward, np.float32), ended, np.asarray(truncated) & ~ended, self._all, over, over
        )

    def close(self) -> None:
        """Nothing is held outside memory."""
