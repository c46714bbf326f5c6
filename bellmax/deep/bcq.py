"""JAX. Discrete batch-constrained Q-learning: Fujimoto et al. (2019), "Benchmarking batch deep reinforcement learning".

    L(θ) = E [ℓ(r + γ Q(s', b; θ⁻) - Q(s, a; θ)) - ln G(a|s; θ) + λ i(s)²]
    b = argmax Q(s', b; θ) over actions with G(b|s') / max G > τ

with G the behaviour that made the data, learnt beside Q, and i its logits: algorithm 1.

Differs from DQN in: the network gives [A, 2], a value and a logit; actions that the data would hardly take are left
out, in the target and in the policy. Learns from a fixed data set.
Differs from the paper in: what DQN here differs in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from bellmax import bellman
from bellmax.agent_config import setting, with_default
from bellmax.contracts import Agent, Array, Space, Transition
from bellmax.deep.config import ReplayConfig
from bellmax.deep.dqn import LOSSES
from bellmax.deep.learner import make_agent
from bellmax.deep.targets import back_up, bootstrap, mask_of, natural


@dataclass(frozen=True, kw_only=True)
class BCQ(ReplayConfig):
    """Discrete BCQ: only actions that the data would take. Fujimoto et al. (2019)."""

    name: ClassVar[str] = "bcq"

    double: bool = with_default(ReplayConfig, "double", True)
    loss: str = setting("huber", "what is done to the TD error", choices=tuple(LOSSES))
    bcq_threshold: float = setting(
        0.3, "τ, least probability of an action relative to the likeliest", low=0.0, high=1.0
    )
    logit_penalty: float = setting(0.01, "λ, weight of the squared logits", low=0.0)

    def conflicts(self) -> list[str]:
        """Rules between fields."""
        both = (
            ["conservative_weight is another way to hold actions back: leave it at 0"]
            if self.conservative_weight
            else []
        )
        return super().conflicts() + both

    @property
    def n_outputs(self) -> int:
        """A value and a logit for an action."""
        return 2

    def make(self, space: Space, n_actions: int, steps: int) -> Agent:
        """The agent for these spaces, on a run of `steps` environment steps."""
        return make_agent(self, loss, values, space, n_actions, steps)


def values(output: Array, config: BCQ, mask: Array | None) -> Array:
    """Q [A] of an output [A, 2]; -inf for actions that the data would hardly take."""
    log_g = jax.nn.log_softmax(bellman.legal(output[:, 1], mask))
    likely = log_g - jnp.max(log_g) >= jnp.log(config.bcq_threshold)
    return bellman.legal(bellman.legal(natural(config, output[:, 0]), mask), likely)  # a threshold of 0 passes all


def loss(
    net: Any, target_net: Any, transition: Transition, weight: Array, draws: Array, config: BCQ
) -> tuple[Array, Array, dict[str, Array]]:
    """Loss, priority |TD error| and metrics of ONE transition."""
    del draws
    output = net(transition.obs)
    reward, output_t, policy, bonus = bootstrap(config, values, net, target_net, transition)
    target = back_up(config, reward, transition.discount, bellman.mean_under(policy, output_t)[0], bonus)
    error = bellman.td_error(output[:, 0], transition.action, target)
    logits = bellman.legal(output[:, 1], mask_of(transition.obs))
    imitation = -bellman.value_of(jax.nn.log_softmax(logits), transition.action)
    total = LOSSES[config.loss](error) + imitation + config.logit_penalty * jnp.mean(jnp.square(output[:, 1]))
    q = natural(config, bellman.value_of(output[:, 0], transition.action))
    return weight * total, jnp.abs(error), {"q": q, "imitation": imitation}
