"""JAX. Discrete batch-constrained Q-learning: Fujimoto et al. (2019), "Benchmarking batch deep reinforcement learning".

    L(θ) = E [ℓ(r + γ Q(s', b; θ⁻) - Q(s, a; θ)) - ln G(a|s; θ) + λ i(s)²]
    b = argmax Q(s', b; θ) over actions with G(b|s') / max G > τ

with G the behavior that made the data, learned beside Q, and i its logits: algorithm 1.

Differs from DQN in: the network gives [A, 2], a value and a logit; actions that the data would hardly take are left
out, in the target and in the policy. Learns from a fixed data set.
Differs from the paper in: what DQN here differs in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from bellmax import bellman
from bellmax.agent_config import setting, with_default
from bellmax.contracts import Array, Transition
from bellmax.deep.algorithm import ReplayAlgorithm
from bellmax.deep.dqn import LOSSES, Loss
from bellmax.deep.method import Method, Metrics, Net, mask_of
from bellmax.deep.targets import Scale


class Imitating(NamedTuple):
    """A value, as it is learned, and a logit of each action [A, 2]."""

    numbers: Array
    scale: Scale

    @property
    def logits(self) -> Array:
        """Of the behavior that made the data [A]."""
        return self.numbers[:, 1]

    def mean(self) -> Array:
        """Q [A], also of actions that the data would hardly take."""
        return self.scale.natural(self.numbers[:, 0])

    def returns(self, draws: Array) -> Array:
        """Q [A]."""
        del draws
        return self.mean()


@dataclass(frozen=True, kw_only=True)
class BCQ(ReplayAlgorithm):
    """Discrete BCQ: only actions that the data would take. Fujimoto et al. (2019)."""

    name: ClassVar[str] = "bcq"

    double: bool = with_default(ReplayAlgorithm, "double", True)
    loss: Loss = setting("huber", "what is done to the TD error")
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

    def method(self) -> Method[Array, Imitating]:
        """What the network gives for an action is its value, and how likely the data take it."""
        scale, loss_of = self.scale, LOSSES[self.loss]

        def values(output: Imitating, mask: Array | None) -> Array:
            """Q [A]; -inf for actions that the data would hardly take."""
            log_g = jax.nn.log_softmax(bellman.legal(output.logits, mask))
            likely = log_g - jnp.max(log_g) >= jnp.log(self.bcq_threshold)
            return bellman.legal(bellman.legal(output.mean(), mask), likely)  # a threshold of 0 passes all

        look = self.look(values)

        def loss(
            net: Net[Imitating], target_net: Net[Imitating], transition: Transition, weight: Array, draws: Array
        ) -> tuple[Array, Array, Metrics]:
            """Loss, priority |TD error| and metrics of ONE transition."""
            output = net(transition.obs)
            q_tm1 = output.numbers[:, 0]
            reward, output_t, policy, bonus = look(net, target_net, transition)
            value = bellman.mean_under(policy, output_t.returns(draws))
            target = scale.back_up(reward, transition.discount, value, bonus)
            error = bellman.td_error(q_tm1, transition.action, target)
            logits = bellman.legal(output.logits, mask_of(transition.obs))
            imitation = -bellman.value_of(jax.nn.log_softmax(logits), transition.action)
            total = loss_of(error) + imitation + self.logit_penalty * jnp.mean(jnp.square(output.logits))
            q = scale.natural(bellman.value_of(q_tm1, transition.action))
            return weight * total, jnp.abs(error), {"q": q, "imitation": imitation}

        return Method(lambda numbers: Imitating(numbers, scale), loss, values, n_outputs=2)
