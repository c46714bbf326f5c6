"""Plain Python. The state of an agent with a network, and what acting stores within an episode. Types."""

from __future__ import annotations

from typing import Any, NamedTuple, TypeAlias

import optax

from bellmax.contracts import Agent, Array, Arrays
from bellmax.networks.packing import Params

NOTHING: Any = ()  # in the place of a part that an agent does not need


class LearnerState(NamedTuple):
    """Packed parameters, the states of what follows a gradient step by name, and how many gradient steps there were."""

    params: Params
    following: dict[str, Any]
    updates: Array

    @property
    def target_params(self) -> Params:
        """The parameters of the target network, or the state of another kind of target."""
        target: Params = self.following["target"]
        return target

    @property
    def average(self) -> Params:
        """The averaged parameters."""
        average: Params = self.following["average"]
        return average

    @property
    def optimizer(self) -> optax.OptState:
        """The state of the optimizer."""
        return self.following["optimizer"]

    def with_target(self, params: Params) -> LearnerState:
        """Return the state with another target."""
        return self._replace(following={**self.following, "target": params})


class Carry(NamedTuple):
    """What acting stores within an episode; parts that the agent does not need are ().

    Attributes:
        rank: of this environment among those side by side, 0 to 1.
        member: the network that this episode follows.
        cell: the state of a memory cell.
    """

    rank: Array = NOTHING
    member: Array = NOTHING
    cell: Arrays = ()


DeepAgent: TypeAlias = Agent[LearnerState, Carry, Any]  # with a memory of any kind


def policy_state(params: Params) -> LearnerState:
    """Return the state of an agent that only acts."""
    return LearnerState(params, NOTHING, NOTHING)


def actor(state: LearnerState) -> LearnerState:
    """Return the state without what only learning needs."""
    return policy_state(state.params)


def remembered(carry: Carry) -> Arrays:
    """Return the part of a carry that learning needs."""
    return carry.cell if carry else ()
