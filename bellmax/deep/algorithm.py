"""JAX. The parts that the settings of an algorithm with a replay buffer choose; override a part to change it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from bellmax.contracts import Experience, Memory, Space
from bellmax.deep import munchausen, targets
from bellmax.deep.config import ReplayConfig
from bellmax.deep.cql import conservative
from bellmax.deep.following import Follower, copied, polyak
from bellmax.deep.learner import make_learner
from bellmax.deep.memories import make_memory
from bellmax.deep.method import Look, Method, Values, allowed
from bellmax.deep.state import DeepAgent
from bellmax.deep.targets import SAME, SQUEEZED, TargetScale


@dataclass(frozen=True, kw_only=True)
class ReplayAlgorithm(ReplayConfig):
    """Settings and the parts that they choose; an algorithm states its `method`."""

    @property
    def scale(self) -> TargetScale:
        """The scale on which values are learned."""
        return SQUEEZED if self.value_rescaling else SAME

    def look(self, values: Values[Any] = allowed) -> Look:
        """Return how a target values the next observation: greedy, double or soft."""
        if self.munchausen:
            return munchausen.soft_target(
                self.munchausen_temperature, self.munchausen_alpha, self.munchausen_clip, values
            )
        return targets.double_target(values) if self.double else targets.greedy_target(values)

    def target(self) -> Follower[Any]:
        """Return how the target network follows the network: a hard copy or a Polyak average."""
        return copied(self.target_period) if self.tau == 1.0 else polyak(self.target_period, self.tau)

    def memory(self, example: Experience, steps: int) -> Memory[Any]:
        """Return the replay buffer for experience like `example`, in a run of `steps` environment steps."""
        return make_memory(self, example, steps)

    def idle(self, given: Iterable[str] | None = None) -> list[str]:
        """Return the given settings that have no effect, also those that an own loss or target does not use."""
        found, name = super().idle(given), type(self).__name__
        if self.value_rescaling and self.is_asked("value_rescaling", given) and not self.method().uses_scale:
            found.append(
                f"value_rescaling has no effect: the loss of {name} does not learn on self.scale; leave it out, or use "
                "self.scale and return Method(..., uses_scale=True)"
            )
        if self.tau != 1.0 and self.is_asked("tau", given) and self.target().share != self.tau:
            found.append(
                f"tau={self.tau} has no effect: the target network of {name} does not use it; leave it out, or return "
                "Follower(..., share=self.tau) from target()"
            )
        return found

    def whole_method(self) -> Method[Any, Any]:
        """Return the method, with the conservative loss if the settings add it."""
        method = self.method()
        return conservative(method, self.conservative_weight) if self.conservative_weight else method

    def make(self, space: Space, n_actions: int, steps: int) -> DeepAgent:
        """Return the agent for these spaces, in a run of `steps` environment steps."""
        return make_learner(self, self.whole_method(), self.target(), self.memory, space, n_actions, steps)
