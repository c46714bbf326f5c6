"""JAX. Quantile regression DQN: Dabney et al. (2018a), "Distributional RL with quantile regression".

    L(θ) = E [Σ_i mean_j ρ_τ̂i(r + γ θ_j(s', b; θ⁻) - θ_i(s, a; θ))],  b = argmax mean_j θ_j(s', b; θ⁻)

with θ_i the quantiles at the levels τ̂_i and ρ the quantile Huber loss: equation 10 and algorithm 1.

Differs from DQN in: the network returns quantiles [A, N], and the loss compares each with every sample of the target.
Differs from the paper in: what DQN here differs in; fewer quantiles by default, for small environments.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax.numpy as jnp

from bellmax import bellman, distributions
from bellmax.agent_config import setting
from bellmax.contracts import Array, Transition
from bellmax.deep.algorithm import ReplayAlgorithm
from bellmax.deep.method import Method, Metrics, Net
from bellmax.deep.targets import TargetScale

KAPPA = "error at which the quantile Huber loss becomes linear; it biases narrower return distributions, and 0 does not"


class Quantiles(NamedTuple):
    """Distributions of the returns of the actions, by quantiles [A, N] at evenly spaced levels, as they are learned."""

    numbers: Array
    scale: TargetScale

    def mean(self) -> Array:
        """Return Q [A]."""
        return jnp.mean(self.scale.natural(self.numbers), axis=1)

    def returns(self, draws: Array) -> Array:
        """Return the quantiles [A, N]."""
        del draws
        return self.scale.natural(self.numbers)

    def distribution(self) -> tuple[Array, Array]:
        """Return the values and their probabilities, both [A, N]."""
        values = self.scale.natural(self.numbers)
        return values, jnp.full_like(values, 1 / values.shape[1])


@dataclass(frozen=True, kw_only=True)
class QRDQN(ReplayAlgorithm):
    """QR-DQN: the distribution of returns as quantiles. Dabney et al. (2018a)."""

    name: ClassVar[str] = "qr-dqn"

    n_quantiles: int = setting(32, "quantiles of the distribution", low=1, high=100_000)
    quantile_kappa: float = setting(1.0, KAPPA, low=0.0)

    def method(self) -> Method[Array, Quantiles]:
        """Return the method: the network returns the quantiles of each action."""
        scale, look = self.scale, self.look()

        def loss(
            net: Net[Quantiles], target_net: Net[Quantiles], transition: Transition, weight: Array, draws: Array
        ) -> tuple[Array, Array, Metrics]:
            """Return loss, priority |error of the mean| and metrics of ONE transition."""
            quantiles = bellman.value_of(net(transition.obs).numbers, transition.action)
            reward, output_t, policy, bonus = look(net, target_net, transition)
            value = bellman.mean_under(policy, output_t.returns(draws))
            target = scale.back_up(reward, transition.discount, value, bonus)
            levels = distributions.midpoints(self.n_quantiles)
            total = distributions.quantile_loss(quantiles, levels, target, self.quantile_kappa)
            error = jnp.mean(target) - jnp.mean(quantiles)
            return weight * total, jnp.abs(error), {"q": jnp.mean(scale.natural(quantiles))}

        return Method(
            lambda numbers: Quantiles(numbers, scale), loss, n_outputs=self.n_quantiles, n_pairs=self.n_quantiles**2,
            uses_scale=True,
        )  # fmt: skip
