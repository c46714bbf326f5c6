"""NumPy and JAX. Step a compiled environment from the host, for a policy that JAX cannot compile."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from bellmax.contracts import HostObs
from bellmax.envs.host_steps import HostStep
from bellmax.sources import Source

if TYPE_CHECKING:
    from bellmax.contracts import Array
    from bellmax.envs.functional import World


def as_host(source: Source) -> Source:
    """Return the source with a host environment: its own one, or its compiled one stepped from the host."""
    if source.open is not None:
        return source
    return source._replace(open=lambda n: SteppedWorld(source.compile(), n))


class SteppedWorld:
    """N compiled environments in step, with the part of `HostWorld` that players use."""

    def __init__(self, world: World[Any], n: int) -> None:
        import jax

        self.n, self._all, self._none = n, np.ones(n, np.bool_), np.zeros(n, np.bool_)
        self._reset, self._step = jax.jit(jax.vmap(world.reset)), jax.jit(jax.vmap(world.step))
        self._split = jax.jit(lambda key: (lambda keys: (keys[0], keys[1:]))(jax.random.split(key, n + 1)))
        self._key: Any = None
        self._state: Any = None

    def _keys(self) -> Array:
        keys: Array
        self._key, keys = self._split(self._key)
        return keys

    def use_masks(self, *, if_given: bool = False) -> None:
        """Do nothing: compiled environments give masks from the start, if they give any."""

    def reset(self, seed: int) -> HostObs:
        """Start n episodes and return their first observations."""
        import jax

        from bellmax.keys import make_key

        self._key = make_key(seed)
        self._state, obs = self._reset(self._keys())
        first: HostObs = jax.tree.map(np.asarray, obs)
        return first

    def step(self, actions: npt.ArrayLike) -> HostStep:
        """Step each environment; where an episode ends, the next one begins."""
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
        """Do nothing: there are no resources to free."""
