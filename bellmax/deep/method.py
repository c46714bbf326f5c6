"""JAX. What a method is: its loss, how it reads a network's numbers, and what a network must give. Types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from bellmax import bellman
from bellmax.contracts import Array, Arrays, Masked, Obs, Transition

Metrics: TypeAlias = dict[str, Array]


class Output(Protocol):
    """What a network says about ONE observation."""

    def mean(self) -> Array:
        """The values of the actions [A], on the scale of rewards, also of actions that are not allowed."""

    def returns(self, draws: Array) -> Array:
        """What a target takes the mean of under its policy, [A] or [A, n]; `draws` are the method's random numbers."""


Numbers = TypeVar("Numbers")  # what the head of a network gives for one observation
Features = TypeVar("Features")  # what a torso makes of one observation
Out = TypeVar("Out", bound=Output)
Out_co = TypeVar("Out_co", bound=Output, covariant=True)
Out_contra = TypeVar("Out_contra", bound=Output, contravariant=True)


class Network(Protocol[Features, Out_co]):
    """A network with its parameters, for ONE observation: `head(remember(begin(), features(obs)))`, or a call."""

    def features(self, obs: Obs) -> Features:
        """What the torso makes of an observation."""

    def begin(self) -> Arrays:
        """What the memory cell holds at an episode's start; () without one."""

    def resume(self, cell: Arrays) -> Arrays:
        """What it holds where an agent had stored `cell`."""

    def remember(self, cell: Arrays, features: Features) -> tuple[Arrays, Features]:
        """One step of the memory cell: (cell, what the head sees)."""

    def head(self, seen: Features) -> Out_co:
        """The output for what the memory cell returns; for the features, without a cell."""

    def __call__(self, obs: Obs) -> Out_co:
        """The output for an observation, without a cell."""


class Bootstrap(NamedTuple):
    """How a transition's target looks at the next observation.

    Attributes:
        reward: of the transition, with a bonus if the method has one.
        output: of the target network there.
        policy: what the target takes the mean under [A].
        bonus: added to the value there (soft targets), a scalar.
    """

    reward: Array
    output: Output
    policy: Array
    bonus: Array


Net: TypeAlias = Callable[[Obs], Out]  # an observation to an output
Values: TypeAlias = Callable[[Out, "Array | None"], Array]  # an output and a mask [A] to q [A], -inf where not allowed


class Look(Protocol):
    """How a target looks at the next observation."""

    def __call__(self, net: Net[Any], target_net: Net[Any], transition: Transition, /) -> Bootstrap:
        """By the network and its target network."""


class Loss(Protocol[Out_contra]):
    """The loss of ONE transition."""

    def __call__(
        self, net: Net[Out_contra], target_net: Net[Out_contra], transition: Transition, weight: Array, draws: Array, /
    ) -> tuple[Array, Array, Metrics]:
        """(loss, priority, metrics)."""


def mask_of(obs: Obs) -> Array | None:
    """The allowed actions [A] of an observation, or None."""
    import jax.numpy as jnp

    # where nothing is allowed an episode has ended, and no value counts: all is as good as nothing, and finite
    return obs.mask | ~jnp.any(obs.mask) if isinstance(obs, Masked) else None


def allowed(output: Output, mask: Array | None) -> Array:
    """The means [A] of an output; -inf for actions that are not allowed."""
    return bellman.legal(output.mean(), mask)


class Method(NamedTuple, Generic[Numbers, Out]):
    """An algorithm, as its file states it; the settings are already in the functions.

    Attributes:
        output: `output(numbers) -> Output`, from what the network's head gives for one observation.
        loss: `loss(net, target_net, transition, weight, draws) -> (loss, priority, metrics)`, of ONE transition; the
            networks map an observation to an Output, and `draws` are `n_draws` numbers from [0, 1).
        values: `values(output, mask) -> q [A]`, what acting looks at.
        n_outputs: numbers that the network gives for an action; 0 for one, without an axis of its own.
        n_draws: random numbers that the loss of one transition wants.
        n_cosines: features of a quantile's level, where the network gives a quantile function; 0 for none.
        n_members: networks side by side, each with a fixed prior; `output.member(k)` is that of one. 0: a single one.
        prior_scale: what the priors are multiplied by.
        bounds: what no value can leave whatever it learns, such as (v_min, v_max) of atoms; None: values are free.
    """

    output: Callable[[Numbers], Out]
    loss: Loss[Out]
    values: Values[Out] = allowed
    n_outputs: int = 0
    n_draws: int = 0
    n_cosines: int = 0
    n_members: int = 0
    prior_scale: float = 0.0
    bounds: tuple[float, float] | None = None
