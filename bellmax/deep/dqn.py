"""JAX. Deep Q-network: Mnih et al. (2015), "Human-level control through deep reinforcement learning", equation 2.

    L(θ) = E [ℓ(r + γ max_b Q(s', b; θ⁻) - Q(s, a; θ))]

with ℓ the Huber or squared loss and θ⁻ a frozen copy of θ. With `double` (van Hasselt et al., 2016, equation 4)
the network chooses b and its copy values it.

Differs from the paper in: Adam for RMSProp; the copy may follow softly (`tau` < 1); by default layer normalisation, a
falling step size and an averaged policy, see `DeepConfig`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp

from bellmax import bellman
from bellmax.agent_config import setting
from bellmax.contracts import Agent, Array, Space, Transition
from bellmax.deep.config import ReplayConfig
from bellmax.deep.learner import make_agent
from bellmax.deep.targets import back_up, bootstrap, natural

LOSSES = {"huber": bellman.huber_loss, "squared": bellman.squared_loss}


@dataclass(frozen=True, kw_only=True)
class DQN(ReplayConfig):
    """DQN: a network, a replay memory, a frozen copy for the targets, ε-greedy. Mnih et al. (2015)."""

    name: ClassVar[str] = "dqn"

    loss: str = setting("squared", "what is done to the TD error", choices=tuple(LOSSES))

    def make(self, space: Space, n_actions: int, steps: int) -> Agent:
        """The agent for these spaces, on a run of `steps` environment steps."""
        return make_agent(self, loss, values, space, n_actions, steps)


def values(output: Array, config: DQN, mask: Array | None) -> Array:
    """Q [A] of an output [A]."""
    return bellman.legal(natural(config, output), mask)


def loss(
    net: Any, target_net: Any, transition: Transition, weight: Array, draws: Array, config: DQN
) -> tuple[Array, Array, dict[str, Array]]:
    """Loss, priority |TD error| and metrics of ONE transition."""
    del draws
    q_tm1 = net(transition.obs)
    reward, q_t, policy, bonus = bootstrap(config, values, net, target_net, transition)
    target = back_up(config, reward, transition.discount, bellman.mean_under(policy, q_t), bonus)
    error = bellman.td_error(q_tm1, transition.action, target)
    q = natural(config, bellman.value_of(q_tm1, transition.action))
    return weight * LOSSES[config.loss](error), jnp.abs(error), {"q": q}
