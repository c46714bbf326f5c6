"""JAX. Implicit quantile network: Dabney et al. (2018b), "Implicit quantile networks for distributional RL".

    L(θ) = E [Σ_i mean_j ρ_τi(r + γ Z_τ'j(s', b; θ⁻) - Z_τi(s, a; θ))],  τ, τ' ~ U(0, 1)

with Z_τ(s, a) the quantile at level τ, which is an input of the network: equations 3 and 4.

Differs from QR-DQN in: the levels are drawn anew for each transition, and the network takes them as an input.
Differs from the paper in: what DQN here differs in; acting takes the mean over evenly spread levels, not drawn ones, so
that a policy is a function of the observation; cosines begin at cos(πτ), as the constant cos(0) is the layer's bias;
levels are rounded to 1/1024, so that the cosines are a table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

import jax.numpy as jnp

from bellmax import bellman, distributions
from bellmax.agent_config import setting
from bellmax.contracts import Agent, Array, Space, Transition
from bellmax.deep.config import ReplayConfig
from bellmax.deep.learner import make_agent
from bellmax.deep.qr_dqn import KAPPA
from bellmax.deep.targets import back_up, bootstrap, natural


@dataclass(frozen=True, kw_only=True)
class IQN(ReplayConfig):
    """IQN: the quantile function of returns. Dabney et al. (2018b)."""

    name: ClassVar[str] = "iqn"

    n_samples: int = setting(8, "levels drawn of the value, N in the paper", low=1)
    n_target_samples: int = setting(8, "levels drawn of its target, N' in the paper", low=1)
    n_policy_samples: int = setting(32, "levels that acting takes the mean of, K in the paper", low=1)
    n_cosines: int = setting(64, "cosine features of a level", low=1)
    quantile_kappa: float = setting(1.0, KAPPA, low=0.0)

    @property
    def n_draws(self) -> int:
        """Random numbers in [0, 1) that the loss of one transition wants."""
        return self.n_samples + self.n_target_samples

    def make(self, space: Space, n_actions: int, steps: int) -> Agent:
        """The agent for these spaces, on a run of `steps` environment steps."""
        return make_agent(self, loss, values, space, n_actions, steps)


def values(output: Callable[[Array], Array], config: IQN, mask: Array | None) -> Array:
    """Q [A], the means over evenly spread levels."""
    levels = distributions.midpoints(config.n_policy_samples)
    return bellman.legal(jnp.mean(natural(config, output(levels)), axis=1), mask)


def loss(
    net: Any, target_net: Any, transition: Transition, weight: Array, draws: Array, config: IQN
) -> tuple[Array, Array, dict[str, Array]]:
    """Loss, priority |error of the mean| and metrics of ONE transition."""
    levels, levels_t = draws[: config.n_samples], draws[config.n_samples :]
    quantiles = bellman.value_of(net(transition.obs)(levels), transition.action)
    reward, quantiles_t, policy, bonus = bootstrap(
        config, values, net, target_net, transition, lambda output: natural(config, output(levels_t))
    )
    target = back_up(config, reward, transition.discount, bellman.mean_under(policy, quantiles_t), bonus)
    total = distributions.quantile_loss(quantiles, levels, target, config.quantile_kappa)
    error = jnp.mean(target) - jnp.mean(quantiles)
    return weight * total, jnp.abs(error), {"q": jnp.mean(natural(config, quantiles))}
