"""JAX. Categorical DQN (C51): Bellemare et al. (2017), "A distributional perspective on reinforcement learning".

    L(θ) = E [-Σ_i m_i ln p_i(s, a; θ)],  m = Φ (r + γ z, p(s', b; θ⁻)),  b = argmax Σ_i z_i p_i(s', b; θ⁻)

with p the probabilities of fixed atoms z, and Φ the projection of moved atoms on the fixed ones: algorithm 1.

Differs from DQN in: the network gives logits [A, N], the target is a distribution, the loss a cross-entropy.
Differs from the paper in: what DQN here differs in. A soft policy (Munchausen) mixes the actions' distributions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from bellmax import bellman, distributions
from bellmax.agent_config import setting
from bellmax.contracts import Agent, Array, Space, Transition
from bellmax.deep.config import ReplayConfig
from bellmax.deep.learner import make_agent
from bellmax.deep.targets import back_up, bootstrap, natural


@dataclass(frozen=True, kw_only=True)
class C51(ReplayConfig):
    """C51: the distribution of returns on fixed atoms. Bellemare et al. (2017)."""

    name: ClassVar[str] = "c51"

    n_atoms: int = setting(51, "atoms of the distribution", low=2)
    v_min: float = setting(0.0, "lowest atom: no discounted return should be below (squeezed, if values are)")
    v_max: float = setting(100.0, "highest atom: no discounted return should be above")

    @property
    def n_outputs(self) -> int:
        """Logits for an action."""
        return self.n_atoms

    @property
    def atoms(self) -> Array:
        """The support z [N]."""
        return distributions.support(self.v_min, self.v_max, self.n_atoms)

    def conflicts(self) -> list[str]:
        """Rules between fields."""
        order = [] if self.v_min < self.v_max else [f"v_min={self.v_min} is not below v_max={self.v_max}"]
        return super().conflicts() + order

    def make(self, space: Space, n_actions: int, steps: int) -> Agent:
        """The agent for these spaces, on a run of `steps` environment steps."""
        return make_agent(self, loss, values, space, n_actions, steps)


def values(output: Array, config: C51, mask: Array | None) -> Array:
    """Q [A], the means of the distributions with logits [A, N]."""
    return bellman.legal(jax.nn.softmax(output) @ natural(config, config.atoms), mask)


def loss(
    net: Any, target_net: Any, transition: Transition, weight: Array, draws: Array, config: C51
) -> tuple[Array, Array, dict[str, Array]]:
    """Loss, priority (the cross-entropy above its least) and metrics of ONE transition."""
    del draws
    logits = bellman.value_of(net(transition.obs), transition.action)
    reward, p_t, policy, bonus = bootstrap(config, values, net, target_net, transition, jax.nn.softmax)
    p = bellman.mean_under(policy, p_t)
    moved = back_up(config, reward, transition.discount, natural(config, config.atoms), bonus)
    target = jax.lax.stop_gradient(distributions.project(moved, p, config.atoms))
    total = distributions.cross_entropy(target, logits)
    divergence = total + jnp.sum(target * jnp.log(target + 1e-8))
    clipped = jnp.sum(p * ((moved < config.v_min) | (moved > config.v_max)))  # share of the target outside the atoms
    q = values(logits, config, None)
    return weight * total, jnp.maximum(divergence, 0.0), {"q": q, "clipped_targets": clipped}
