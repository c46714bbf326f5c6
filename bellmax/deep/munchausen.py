"""JAX. Munchausen DQN: Vieillard et al. (2020), "Munchausen reinforcement learning", equation 1. A recipe.

    L(θ) = E [ℓ(r + α [τ ln π(a|s)] + γ Σ_b π(b|s') (Q(s', b; θ⁻) - τ ln π(b|s')) - Q(s, a; θ))]

with π = softmax(Q(·; θ⁻) / τ), and the log-policy clipped to [-1, 0].

Differs from DQN in its settings alone. The paper's are α = 0.9, τ = 0.03 and the clip -1 (section 4).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bellmax.agent_config import with_default
from bellmax.deep.dqn import DQN


@dataclass(frozen=True, kw_only=True)
class MunchausenDQN(DQN):
    """Munchausen DQN: soft targets and a log-policy bonus. Vieillard et al. (2020)."""

    name: ClassVar[str] = "munchausen-dqn"

    munchausen: bool = with_default(DQN, "munchausen", True)
