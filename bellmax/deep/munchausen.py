"""JAX. The Munchausen target: Vieillard et al. (2020), "Munchausen reinforcement learning", equation 1.

    L(θ) = E [ℓ(r + α [τ ln π(a|s)] + γ Σ_b π(b|s') (Q(s', b; θ⁻) - τ ln π(b|s')) - Q(s, a; θ))]

with π = softmax(Q(·; θ⁻) / τ), and the log-policy clipped to [-1, 0]. The paper uses α = 0.9, τ = 0.03 and the clip -1
(section 4).
"""

from __future__ import annotations

from typing import Any

from bellmax import bellman
from bellmax.contracts import Transition
from bellmax.deep.method import Bootstrap, Look, Net, Values, allowed, mask_of


def soft_target(temperature: float, share: float, clip: float, values: Values[Any] = allowed) -> Look:
    """Return a target with the soft policy of the target network, its entropy, and a `share` of its log-policy."""

    def look(net: Net[Any], target_net: Net[Any], transition: Transition) -> Bootstrap:
        del net
        output = target_net(transition.next_obs)
        q = values(output, mask_of(transition.next_obs))
        q_tm1 = values(target_net(transition.obs), mask_of(transition.obs))
        bonus = bellman.munchausen_bonus(q_tm1, transition.action, temperature, share, clip)
        policy, entropy = bellman.soft_policy(q, temperature), bellman.entropy_bonus(q, temperature)
        return Bootstrap(transition.reward + bonus, output, policy, entropy)

    return look
