"""JAX. Discrete batch-constrained Q-learning: Fujimoto et al. (2019), "Benchmarking batch deep reinforcement learning".

    L(θ) = E [ℓ(r + γ Q(s', b; θ⁻) - Q(s, a; θ)) - ln G(a|s; θ) + λ i(s)²]
    b = argmax Q(s', b; θ) over actions with G(b|s') / max G > τ

with G the behavior policy of the data, learned together with Q, and i its logits: algorithm 1.

Differs from DQN in: the network returns [A, 2], a value and a logit of each action; the target and the policy leave out
actions that are unlikely in the data. For learning from a fixed data set.
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
from bellmax.deep.targets import TargetScale


class Imitating(NamedTuple):
    """The value, as it is learned, and the logit of each action [A, 2]."""

    numbers: Array
    scale: TargetScale

    @property
    def logits(self) -> Array:
        """The logits [A] of the behavior policy of the data."""
        return self.numbers[:, 1]

    def mean(self) -> Array:
        """Return Q [A], also of actions that are unlikely in the data."""
        return self.scale.natural(self.numbers[:, 0])

    def returns(self, draws: Array) -> Array:
        """Return Q [A]."""
        del draws
        return self.mean()


@dataclass(frozen=True, kw_only=True)
class BCQ(ReplayAlgorithm):
    """Discrete BCQ: only actions that are likely in the data. Fujimoto et al. (2019)."""

    name: ClassVar[str] = "bcq"

    double: bool = with_default(ReplayAlgorithm, "double", True)
    loss: Loss = setting("huber", "loss of the TD error")
    bcq_threshold: float = setting(
        0.3, "τ, smallest probability of an action relative to the most likely one", low=0.0, high=1.0
    )
    logit_penalty: float = setting(0.01, "λ, weight of the squared logits", low=0.0)

    def conflicts(self) -> list[str]:
        """Return what is wrong between settings, one line each."""
        both = (
            ["conservative_weight is another way to avoid actions outside the data; set it to 0"]
            if self.conservative_weight
            else []
        )
        return super().conflicts() + both

    def method(self) -> Method[Array, Imitating]:
        """Return the method: the network returns the value of each action and its logit in the data."""
        scale, loss_of = self.scale, LOSSES[self.loss]

        def values(output: Imitating, mask: Array | None) -> Array:
            """Return Q [A], with -inf for actions that are unlikely in the data."""
            log_g = jax.nn.log_softmax(bellman.legal(output.logits, mask))
            likely = log_g - jnp.max(log_g) >= jnp.log(self.bcq_threshold)
            return bellman.legal(bellman.legal(output.mean(), mask), likely)  # a threshold of 0 allows all

        look = self.look(values)

        def loss(
            net: Net[Imitating], target_net: Net[Imitating], transition: Transition, weight: Array, draws: Array
        ) -> tuple[Array, Array, Metrics]:
            """Return loss, priority |TD error| and metrics of ONE transition."""
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

        return Method(lambda numbers: Imitating(numbers, scale), loss, values, n_outputs=2, uses_scale=True)
