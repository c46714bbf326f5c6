"""JAX. Bootstrapped DQN with randomized priors: Osband et al. (2016), "Deep exploration via bootstrapped DQN".

The priors are from Osband et al. (2018), "Randomized prior functions for deep reinforcement learning".

    L(θ) = E [mean_k ℓ(r + γ max_b Q_k(s', b; θ⁻) - Q_k(s, a; θ))],  Q_k = f_k(θ) + β p_k

where p_k is a fixed random network of each member, so that the members differ where there are no data. In each
episode the agent follows one member greedily, so exploration is consistent over many steps.

Differs from DQN in: an ensemble; each member has its own target; acting follows the member of the episode, without
further exploration (ε = 0).
Differs from the papers in: every member learns from every transition, so only the priors make them differ; the policy
uses the mean of the members, where Osband et al. (2016) let them vote.
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
from bellmax.deep.dqn import LOSSES, ActionValues, Loss
from bellmax.deep.method import Method, Metrics, Net
from bellmax.deep.targets import TargetScale


class Members(NamedTuple):
    """Action values [K, A] of each member, as they are learned."""

    numbers: Array
    scale: TargetScale

    def mean(self) -> Array:
        """Return Q [A], the mean of the members."""
        return jnp.mean(self.scale.natural(self.numbers), axis=0)

    def returns(self, draws: Array) -> Array:
        """Return Q [A]."""
        del draws
        return self.mean()

    def member(self, k: Array) -> ActionValues:
        """Return the values of member k."""
        return ActionValues(self.numbers[k], self.scale)


@dataclass(frozen=True, kw_only=True)
class BootstrappedDQN(ReplayAlgorithm):
    """Bootstrapped DQN with randomized priors. Osband et al. (2016, 2018)."""

    name: ClassVar[str] = "bootstrapped-dqn"
    recurrent_cells: ClassVar[bool] = False

    exploration_initial_eps: float = with_default(ReplayAlgorithm, "exploration_initial_eps", 0.0)
    exploration_final_eps: float = with_default(ReplayAlgorithm, "exploration_final_eps", 0.0)
    loss: Loss = setting("squared", "loss of the TD error")
    n_members: int = setting(10, "networks in the ensemble", low=1, high=1_000)
    prior_scale: float = setting(3.0, "β, factor of the fixed prior networks", low=0.0)

    def conflicts(self) -> list[str]:
        """Return what is wrong between settings, one line each."""
        problems = super().conflicts()
        if self.noisy:
            problems.append("noisy and an ensemble are two ways to explore; set noisy=False")
        if self.normalize_observations:
            problems.append("the priors of an ensemble use observations as they are; set normalize_observations=False")
        if self.weight_decay:
            problems.append("weight_decay would shrink the fixed priors; set weight_decay=0")
        return problems

    def method(self) -> Method[Array, Members]:
        """Return the method: the network returns the action values of each member."""
        scale, look, loss_of = self.scale, self.look(), LOSSES[self.loss]

        def loss(
            net: Net[Members], target_net: Net[Members], transition: Transition, weight: Array, draws: Array
        ) -> tuple[Array, Array, Metrics]:
            """Return loss, priority (mean |TD error|) and metrics of ONE transition."""
            q_tm1 = net(transition.obs)

            def error_of(k: Array, q: Array) -> Array:
                reward, output_t, policy, bonus = look(_of(net, k), _of(target_net, k), transition)
                value = bellman.mean_under(policy, output_t.returns(draws))
                target = scale.back_up(reward, transition.discount, value, bonus)
                return bellman.td_error(q, transition.action, target)

            errors = jax.vmap(error_of)(jnp.arange(self.n_members), q_tm1.numbers)
            spread = jnp.std(q_tm1.numbers[:, 0])
            q = bellman.value_of(q_tm1.mean(), transition.action)
            return weight * jnp.mean(loss_of(errors)), jnp.mean(jnp.abs(errors)), {"q": q, "spread": spread}

        return Method(
            lambda numbers: Members(numbers, scale), loss, n_members=self.n_members, prior_scale=self.prior_scale,
            uses_scale=True,
        )  # fmt: skip


def _of(net: Net[Members], k: Array) -> Net[ActionValues]:
    return lambda obs: net(obs).member(k)
