"""JAX. Quantile regression DQN: Dabney et al. (2018a), "Distributional RL with quantile regression".

    L(θ) = E [Σ_i mean_j ρ_τ̂i(r + γ θ_j(s', b; θ⁻) - θ_i(s, a; θ))],  b = argmax mean_j θ_j(s', b; θ⁻)

with θ_i the quantiles at the levels τ̂_i and ρ the quantile Huber loss: equation 10 and algorithm 1.

Differs from DQN in: the network gives quantiles [A, N], and the loss compares each with every sample of the target.
Differs from the paper in: what DQN here differs in; fewer quantiles by default, for small worlds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp

from bellmax import bellman, distributions
from bellmax.agent_config import setting
from bellmax.contracts import Agent, Array, Space, Transition
from bellmax.deep.config import ReplayConfig
from bellmax.deep.learner import make_agent
from bellmax.deep.targets import back_up, bootstrap, natural

KAPPA = "where the quantile Huber loss turns linear; it biases returns that differ by less than this: 0 does not"


@dataclass(frozen=True, kw_only=True)
class QRDQN(ReplayConfig):
    """QR-DQN: the distribution of returns by its quantiles. Dabney et al. (2018a)."""

    name: ClassVar[str] = "qr-dqn"

    n_quantiles: int = setting(32, "quantiles of the distribution", low=1)
    quantile_kappa: float = setting(1.0, KAPPA, low=0.0)

    @property
    def n_outputs(self) -> int:
        """Quantiles for an action."""
        return self.n_quantiles

    def make(self, space: Space, n_actions: int, steps: int) -> Agent:
        """The agent for these spaces, on a run of `steps` environment steps."""
        return make_agent(self, loss, values, space, n_actions, steps)


def values(output: Array, config: QRDQN, mask: Array | None) -> Array:
    """Q [A], the means of the quantiles [A, N]."""
    return bellman.legal(jnp.mean(natural(config, output), axis=1), mask)


def loss(
    net: Any, target_net: Any, transition: Transition, weight: Array, draws: Array, config: QRDQN
) -> tuple[Array, Array, dict[str, Array]]:
    """Loss, priority |error of the mean| and metrics of ONE transition."""
    del draws
    quantiles = bellman.value_of(net(transition.obs), transition.action)
    reward, quantiles_t, policy, bonus = bootstrap(config, values, net, target_net, transition)
    target = back_up(config, reward, transition.discount, bellman.mean_under(policy, quantiles_t), bonus)
    levels = distributions.midpoints(config.n_quantiles)
    total = distributions.quantile_loss(quantiles, levels, target, config.quantile_kappa)
    error = jnp.mean(target) - jnp.mean(quantiles)
    return weight * total, jnp.abs(error), {"q": jnp.mean(natural(config, quantiles))}
