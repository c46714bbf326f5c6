"""JAX. Implicit quantile network: Dabney et al. (2018b), "Implicit quantile networks for distributional RL".

    L(θ) = E [Σ_i mean_j ρ_τi(r + γ Z_τ'j(s', b; θ⁻) - Z_τi(s, a; θ))],  τ, τ' ~ U(0, 1)

where Z_τ(s, a) is the quantile at level τ, an input of the network: equations 3 and 4.

Differs from QR-DQN in: the levels are drawn for each transition, and are an input of the network.
Differs from the paper in: what DQN here differs in; acting averages over evenly spaced levels, not drawn ones, so that
a policy is a function of the observation; cosines begin at cos(πτ), because the constant cos(0) is the bias of the
layer; levels are rounded to 1/1024, so that the cosines are a table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax.numpy as jnp

from bellmax import bellman, distributions
from bellmax.agent_config import setting
from bellmax.contracts import Array, Transition
from bellmax.deep.algorithm import ReplayAlgorithm
from bellmax.deep.method import Method, Metrics, Net
from bellmax.deep.qr_dqn import KAPPA
from bellmax.deep.targets import TargetScale


class ImplicitQuantiles(NamedTuple):
    """Distributions of the returns of the actions, by a quantile function: levels [K] to learned quantiles [A, K]."""

    function: Callable[[Array], Array]
    scale: TargetScale
    n_samples: int
    n_policy_samples: int

    def mean(self) -> Array:
        """Return Q [A], the mean over evenly spaced levels."""
        levels = distributions.midpoints(self.n_policy_samples)
        return jnp.mean(self.scale.natural(self.function(levels)), axis=1)

    def returns(self, draws: Array) -> Array:
        """Return the quantiles [A, N'] at the levels drawn for the target."""
        return self.scale.natural(self.function(draws[self.n_samples :]))

    def distribution(self) -> tuple[Array, Array]:
        """Return the quantiles at evenly spaced levels and their probabilities, both [A, K]."""
        values = self.scale.natural(self.function(distributions.midpoints(self.n_policy_samples)))
        return values, jnp.full_like(values, 1 / self.n_policy_samples)


@dataclass(frozen=True, kw_only=True)
class IQN(ReplayAlgorithm):
    """IQN: the quantile function of returns. Dabney et al. (2018b)."""

    name: ClassVar[str] = "iqn"

    n_samples: int = setting(8, "N, levels drawn for the value", low=1, high=10_000)
    n_target_samples: int = setting(8, "N', levels drawn for the target", low=1, high=10_000)
    n_policy_samples: int = setting(32, "K, levels over which acting averages", low=1, high=10_000)
    n_cosines: int = setting(64, "cosine features of a level", low=1, high=100_000)
    quantile_kappa: float = setting(1.0, KAPPA, low=0.0)

    def method(self) -> Method[Callable[[Array], Array], ImplicitQuantiles]:
        """Return the method: the network returns a function from levels to the quantiles of the actions."""
        scale, look = self.scale, self.look()

        def loss(
            net: Net[ImplicitQuantiles],
            target_net: Net[ImplicitQuantiles],
            transition: Transition,
            weight: Array,
            draws: Array,
        ) -> tuple[Array, Array, Metrics]:
            """Return loss, priority |error of the mean| and metrics of ONE transition."""
            levels = draws[: self.n_samples]
            quantiles = bellman.value_of(net(transition.obs).function(levels), transition.action)
            reward, output_t, policy, bonus = look(net, target_net, transition)
            value = bellman.mean_under(policy, output_t.returns(draws))
            target = scale.back_up(reward, transition.discount, value, bonus)
            total = distributions.quantile_loss(quantiles, levels, target, self.quantile_kappa)
            error = jnp.mean(target) - jnp.mean(quantiles)
            return weight * total, jnp.abs(error), {"q": jnp.mean(scale.natural(quantiles))}

        return Method(
            lambda function: ImplicitQuantiles(function, scale, self.n_samples, self.n_policy_samples), loss,
            n_draws=self.n_samples + self.n_target_samples, n_cosines=self.n_cosines,
            n_pairs=self.n_samples * self.n_target_samples, uses_scale=True,
        )  # fmt: skip
