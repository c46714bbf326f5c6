"""JAX. Bootstrapped DQN with randomised priors: Osband et al. (2016), "Deep exploration via bootstrapped DQN".

The priors are of Osband et al. (2018), "Randomized prior functions for deep reinforcement learning".

    L(θ) = E [mean_k ℓ(r + γ max_b Q_k(s', b; θ⁻) - Q_k(s, a; θ))],  Q_k = f_k(θ) + β p_k

with p_k a fixed random network of each member, which keeps the members apart where there is no data. An episode follows
one member greedily, so that a plan to explore lasts for many steps.

Differs from DQN in: an ensemble; each member has a target of its own; acting follows the member of the episode, and
does not explore besides (ε = 0).
Differs from the papers in: every member learns from every transition (the priors alone make them differ); a policy acts
on the members' mean, where Osband et al. (2016) let them vote.
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
from bellmax.deep.targets import back_up, bootstrap, natural


@dataclass(frozen=True, kw_only=True)
class BootstrappedDQN(ReplayConfig):
    """Bootstrapped DQN with randomised priors. Osband et al. (2016, 2018)."""

    name: ClassVar[str] = "bootstrapped-dqn"
    recurrent_cells: ClassVar[bool] = False

    exploration_initial_eps: float = with_default(ReplayConfig, "exploration_initial_eps", 0.0)
    exploration_final_eps: float = with_default(ReplayConfig, "exploration_final_eps", 0.0)
    loss: str = setting("squared", "what is done to the TD error", choices=tuple(LOSSES))
    n_members: int = setting(10, "networks of the ensemble", low=1)
    prior_scale: float = setting(3.0, "β, what the fixed networks are multiplied by", low=0.0)

    def conflicts(self) -> list[str]:
        """Rules between fields."""
        problems = super().conflicts()
        if self.noisy:
            problems.append("noisy and an ensemble are two ways to explore: noisy=False")
        if self.weight_decay:
            problems.append("weight_decay would shrink the fixed priors: weight_decay=0")
        return problems

    def make(self, space: Space, n_actions: int, steps: int) -> Agent:
        """The agent for these spaces, on a run of `steps` environment steps."""
        return make_agent(self, loss, values, space, n_actions, steps)


def values(output: Array, config: BootstrappedDQN, mask: Array | None) -> Array:
    """Q [A], the mean of the members [K, A]."""
    return bellman.legal(jnp.mean(natural(config, output), axis=0), mask)


def member(output: Array, config: BootstrappedDQN, mask: Array | None) -> Array:
    """Q [A] of one member [A]."""
    return bellman.legal(natural(config, output), mask)


def _of(net: Any, k: Array) -> Any:
    return lambda obs: net(obs)[k]


def loss(
    net: Any, target_net: Any, transition: Transition, weight: Array, draws: Array, config: BootstrappedDQN
) -> tuple[Array, Array, dict[str, Array]]:
    """Loss, priority (mean |TD error|) and metrics of ONE transition."""
    del draws
    q_tm1 = net(transition.obs)

    def error_of(k: Array, q: Array) -> Array:
        reward, q_t, policy, bonus = bootstrap(config, member, _of(net, k), _of(target_net, k), transition)
        target = back_up(config, reward, transition.discount, bellman.mean_under(policy, q_t), bonus)
        return bellman.td_error(q, transition.action, target)

    errors = jax.vmap(error_of)(jnp.arange(config.n_members), q_tm1)
    spread = jnp.std(q_tm1[:, 0])
    q = bellman.value_of(values(q_tm1, config, None), transition.action)
    return weight * jnp.mean(LOSSES[config.loss](errors)), jnp.mean(jnp.abs(errors)), {"q": q, "spread": spread}
