"""JAX. Deep Q-network: Mnih et al. (2015), "Human-level control through deep reinforcement learning", equation 2.

    L(θ) = E [ℓ(r + γ max_b Q(s', b; θ⁻) - Q(s, a; θ))]

with ℓ the Huber or squared loss and θ⁻ the target network, a frozen copy of θ. With `double` (van Hasselt et al., 2016,
equation 4) the network chooses b and the target network values it.

Differs from the paper in: Adam instead of RMSProp; the target network may be updated by Polyak averaging (`tau` < 1);
by default layer normalization, a decreasing learning rate and an averaged policy, see `DeepConfig`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple, TypeAlias

import jax.numpy as jnp

from bellmax import bellman
from bellmax.agent_config import setting
from bellmax.contracts import Array, Transition
from bellmax.deep.algorithm import ReplayAlgorithm
from bellmax.deep.method import Method, Metrics, Net
from bellmax.deep.targets import TargetScale

Loss: TypeAlias = Literal["huber", "squared"]
LOSSES: dict[Loss, Callable[[Array], Array]] = {"huber": bellman.huber_loss, "squared": bellman.squared_loss}


class ActionValues(NamedTuple):
    """Action values [A] on the scale on which they are learned."""

    numbers: Array
    scale: TargetScale

    def mean(self) -> Array:
        """Return Q [A]."""
        return self.scale.natural(self.numbers)

    def returns(self, draws: Array) -> Array:
        """Return Q [A]."""
        del draws
        return self.mean()


@dataclass(frozen=True, kw_only=True)
class DQN(ReplayAlgorithm):
    """DQN: a network, a replay buffer, a target network, ε-greedy exploration. Mnih et al. (2015)."""

    name: ClassVar[str] = "dqn"

    loss: Loss = setting("squared", "loss of the TD error")

    def method(self) -> Method[Array, ActionValues]:
        """Return the method: the network returns the value of each action."""
        scale, look, loss_of = self.scale, self.look(), LOSSES[self.loss]

        def loss(
            net: Net[ActionValues], target_net: Net[ActionValues], transition: Transition, weight: Array, draws: Array
        ) -> tuple[Array, Array, Metrics]:
            """Return loss, priority |TD error| and metrics of ONE transition."""
            q_tm1 = net(transition.obs).numbers
            reward, output_t, policy, bonus = look(net, target_net, transition)
            value = bellman.mean_under(policy, output_t.returns(draws))
            target = scale.back_up(reward, transition.discount, value, bonus)
            error = bellman.td_error(q_tm1, transition.action, target)
            q = scale.natural(bellman.value_of(q_tm1, transition.action))
            return weight * loss_of(error), jnp.abs(error), {"q": q}

        return Method(lambda numbers: ActionValues(numbers, scale), loss, uses_scale=True)
