"""JAX. Categorical DQN (C51): Bellemare et al. (2017), "A distributional perspective on reinforcement learning".

    L(θ) = E [-Σ_i m_i ln p_i(s, a; θ)],  m = Φ (r + γ z, p(s', b; θ⁻)),  b = argmax Σ_i z_i p_i(s', b; θ⁻)

with p the probabilities of fixed atoms z, and Φ the projection of shifted atoms onto the fixed ones: algorithm 1.

Differs from DQN in: the network returns logits [A, N], the target is a distribution, and the loss is a cross-entropy.
Differs from the paper in: what DQN here differs in. A soft policy (Munchausen) mixes the distributions of the actions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from bellmax import bellman, distributions
from bellmax.agent_config import setting
from bellmax.contracts import Array, Transition
from bellmax.deep.algorithm import ReplayAlgorithm
from bellmax.deep.method import Method, Metrics, Net


class Categorical(NamedTuple):
    """Distributions of the returns of the actions, by logits [A, N] on atoms z [N] on the scale of rewards."""

    logits: Array
    atoms: Array

    def mean(self) -> Array:
        """Return Q [A]."""
        return jax.nn.softmax(self.logits) @ self.atoms

    def returns(self, draws: Array) -> Array:
        """Return the probabilities of the atoms [A, N]."""
        del draws
        return jax.nn.softmax(self.logits)

    def distribution(self) -> tuple[Array, Array]:
        """Return the values and their probabilities, both [A, N]."""
        return jnp.broadcast_to(self.atoms, self.logits.shape), jax.nn.softmax(self.logits)


@dataclass(frozen=True, kw_only=True)
class C51(ReplayAlgorithm):
    """C51: the distribution of returns on fixed atoms. Bellemare et al. (2017)."""

    name: ClassVar[str] = "c51"

    n_atoms: int = setting(51, "atoms of the distribution", low=2, high=100_000)
    v_min: float = setting(
        0.0, "lowest atom, a lower bound of the discounted returns (on the scale of value_rescaling, if it is on)"
    )
    v_max: float = setting(100.0, "highest atom, an upper bound of the discounted returns (likewise)")

    @property
    def atoms(self) -> Array:
        """The support z [N]."""
        return distributions.support(self.v_min, self.v_max, self.n_atoms)

    def conflicts(self) -> list[str]:
        """Return what is wrong between settings, one line each."""
        order = [] if self.v_min < self.v_max else [f"v_min={self.v_min} is not below v_max={self.v_max}"]
        return super().conflicts() + order

    def method(self) -> Method[Array, Categorical]:
        """Return the method: the network returns a distribution on atoms for each action."""
        scale, look = self.scale, self.look()

        def loss(
            net: Net[Categorical], target_net: Net[Categorical], transition: Transition, weight: Array, draws: Array
        ) -> tuple[Array, Array, Metrics]:
            """Return loss, priority (the cross-entropy above its minimum) and metrics of ONE transition."""
            logits = bellman.value_of(net(transition.obs).logits, transition.action)
            reward, output_t, policy, bonus = look(net, target_net, transition)
            p = bellman.mean_under(policy, output_t.returns(draws))
            moved = scale.back_up(reward, transition.discount, scale.natural(self.atoms), bonus)
            target = jax.lax.stop_gradient(distributions.project(moved, p, self.atoms))
            total = distributions.cross_entropy(target, logits)
            divergence = total + jnp.sum(target * jnp.log(target + 1e-8))
            clipped = jnp.sum(
                p * ((moved < self.v_min) | (moved > self.v_max))
            )  # the share of the target outside the atoms
            q = Categorical(logits, scale.natural(self.atoms)).mean()
            return weight * total, jnp.maximum(divergence, 0.0), {"q": q, "clipped_targets": clipped}

        return Method(
            lambda numbers: Categorical(numbers, scale.natural(self.atoms)), loss, n_outputs=self.n_atoms,
            bounds=(self.v_min, self.v_max), uses_scale=True,
        )  # fmt: skip
