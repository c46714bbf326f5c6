"""JAX. What a method is: its loss, how it reads the output of a network, and what a network must provide. Types."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, NamedTuple, Protocol, TypeAlias, TypeVar

from bellmax import bellman
from bellmax.contracts import Array, Arrays, Masked, Obs, Transition

Metrics: TypeAlias = dict[str, Array]


class Output(Protocol):
    """What a network says of ONE observation, as a method reads it."""

    def mean(self) -> Array:
        """Return the action values [A] on the scale of rewards, also of actions that are not allowed."""

    def returns(self, draws: Array) -> Array:
        """Return what a target averages under its policy, [A] or [A, n]; `draws` are the method's random numbers."""


Numbers = TypeVar("Numbers")  # what the head of a network returns for one observation
Features = TypeVar("Features")  # of one observation, by the torso
Out = TypeVar("Out", bound=Output)
Out_co = TypeVar("Out_co", bound=Output, covariant=True)
Out_contra = TypeVar("Out_contra", bound=Output, contravariant=True)


class Network(Protocol[Features, Out_co]):
    """A network with its parameters, for ONE observation: `head(remember(begin(), features(obs))[1])`, or a call."""

    def features(self, obs: Obs) -> Features:
        """Return the features of an observation."""

    def begin(self) -> Arrays:
        """Return the state of the memory cell at the start of an episode; () without one."""

    def resume(self, cell: Arrays) -> Arrays:
        """Return its state at a step for which an agent stored `cell`."""

    def remember(self, cell: Arrays, features: Features) -> tuple[Arrays, Features]:
        """Take one step of the memory cell; return (cell, input of the head)."""

    def head(self, seen: Features) -> Out_co:
        """Return the output for what the memory cell returned, or for the features, without a cell."""

    def __call__(self, obs: Obs) -> Out_co:
        """Return the output for an observation, without a cell."""


class Bootstrap(NamedTuple):
    """How the target of a transition values the next observation.

    Attributes:
        reward: of the transition, with a bonus if the method has one.
        output: of the target network for the next observation.
        policy: the probabilities [A] under which the target averages.
        bonus: a scalar that soft targets add to the value.
    """

    reward: Array
    output: Output
    policy: Array
    bonus: Array


Net: TypeAlias = Callable[[Obs], Out]  # an observation to an output
Values: TypeAlias = Callable[[Out, "Array | None"], Array]  # an output and a mask [A] to q [A], -inf where not allowed


class Look(Protocol):
    """How a target values the next observation."""

    def __call__(self, net: Net[Any], target_net: Net[Any], transition: Transition, /) -> Bootstrap:
        """Return the parts of the target, by the network and the target network."""


class Loss(Protocol[Out_contra]):
    """The loss of ONE transition."""

    def __call__(
        self, net: Net[Out_contra], target_net: Net[Out_contra], transition: Transition, weight: Array, draws: Array, /
    ) -> tuple[Array, Array, Metrics]:
        """Return (loss, priority, metrics)."""


def mask_of(obs: Obs) -> Array | None:
    """Return the allowed actions [A] of an observation, or None if it has no mask."""
    import jax.numpy as jnp

    # an observation that allows no action ends its episode, and its value is not used; all actions keep it finite
    return obs.mask | ~jnp.any(obs.mask) if isinstance(obs, Masked) else None


def allowed(output: Output, mask: Array | None) -> Array:
    """Return the means [A] of an output, with -inf for actions that are not allowed."""
    return bellman.legal(output.mean(), mask)


class Method(NamedTuple, Generic[Numbers, Out]):
    """An algorithm, as its file states it; its functions already contain the settings.

    Attributes:
        output: `output(numbers) -> Output`, from what the head of the network returns for one observation.
        loss: `loss(net, target_net, transition, weight, draws) -> (loss, priority, metrics)`, of ONE transition; the
            networks map an observation to an Output, and `draws` are `n_draws` numbers from [0, 1).
        values: `values(output, mask) -> q [A]`, by which the agent acts.
        n_outputs: numbers that the network returns for each action; 0 means one, without an axis of its own.
        n_draws: random numbers that the loss of one transition needs.
        n_cosines: features of a quantile level, if the network returns a quantile function; else 0.
        n_members: networks of an ensemble, each with a fixed prior; `output.member(k)` is that of one. 0: one network.
        prior_scale: factor of the priors.
        bounds: (low, high) of all values, such as (v_min, v_max) of atoms; None if they are unbounded.
        n_pairs: numbers that the loss of one transition computes at once, if it compares each of many with each.
        uses_scale: whether the loss learns on `self.scale`; if not, a line says that `value_rescaling` has no effect.
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
    n_pairs: int = 0
    uses_scale: bool = False
