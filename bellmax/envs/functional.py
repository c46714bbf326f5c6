"""JAX. The compiled-world protocol: a world is two pure functions and what they promise."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, TypeVar

from bellmax.contracts import Array, Space

S = TypeVar("S")


class World(NamedTuple, Generic[S]):
    """A world that compiles. `state` is a pytree of arrays and carries its own step counter.

    Attributes:
        name: what the world is called; the Gymnasium id where it is the twin of one.
        reset: `reset(key) -> (state, obs)`.
        step: `step(state, action, key) -> (state, obs, reward, terminated, truncated)`. It never resets
            itself: `obs` is the true final observation when the episode ends.
        observation_space: `Box` or `Discrete`; or a `Masked` of one, where observations come with allowed actions.
        n_actions: actions are the integers 0 to n_actions - 1.
        max_episode_steps: the time limit after which `truncated` is true, or None.
    """

    name: str
    reset: Callable[[Array], tuple[S, Any]]
    step: Callable[[S, Array, Array], tuple[S, Any, Array, Array, Array]]
    observation_space: Space
    n_actions: int
    max_episode_steps: int | None
