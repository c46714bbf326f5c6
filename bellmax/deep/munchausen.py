"""JAX. The Munchausen target: Vieillard et al. (2020), "Munchausen reinforcement learning", equation 1.

    L(θ) = E [ℓ(r + α [τ ln π(a|s)] + γ Σ_b π(b|s') (Q(s', b; θ⁻) - τ ln π(b|s')) - Q(s, a; θ))]

with π = softmax(Q(·; θ⁻) / τ), and the log-policy clipped to [-1, 0]. The paper uses α = 0.9, τ = 0.03 and the clip -1
(section 4).
"""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from bellmax import bellman
from bellmax.contracts import Array, Transition
from bellmax.deep.method import Bootstrap, Look, Net, Values, allowed, mask_of


def soft_policy(q: Array, temperature: float) -> Array:
    """Return the softmax of q / temperature [A]; it is 0 where q is -inf."""
    return jax.nn.softmax(q / temperature)


def soft_log_policy(q: Array, temperature: float) -> Array:
    """Return `temperature` ln π [A] of the soft policy, without overflow. Vieillard et al. (2020), appendix B.1."""
    top = jnp.max(q)
    return q - top - temperature * jax.nn.logsumexp((q - top) / temperature)


def entropy_bonus(q: Array, temperature: float) -> Array:
    """Return -τ Σ π ln π of the soft policy, by which a soft value exceeds the mean."""
    return -bellman.mean_under(soft_policy(q, temperature), soft_log_policy(q, temperature))


def munchausen_bonus(q_tm1: Array, a_tm1: Array, temperature: float, alpha: float, clip: float) -> Array:
    """Return α [τ ln π(a|s)], clipped to [clip, 0], to add to the reward. Vieillard et al. (2020), equation 2."""
    log_policy = bellman.value_of(soft_log_policy(q_tm1, temperature), a_tm1)
    return alpha * jnp.clip(log_policy, clip, 0.0)


def soft_target(temperature: float, share: float, clip: float, values: Values[Any] = allowed) -> Look:
    """Return a target with the soft policy of the target network, its entropy, and a `share` of its log-policy."""

    def look(net: Net[Any], target_net: Net[Any], transition: Transition) -> Bootstrap:
        del net
        output = target_net(transition.next_obs)
        q = values(output, mask_of(transition.next_obs))
        q_tm1 = values(target_net(transition.obs), mask_of(transition.obs))
        bonus = munchausen_bonus(q_tm1, transition.action, temperature, share, clip)
        policy, entropy = soft_policy(q, temperature), entropy_bonus(q, temperature)
        return Bootstrap(transition.reward + bonus, output, policy, entropy)

    return look
