"""JAX. Conservative Q-learning: Kumar et al. (2020), "Conservative Q-learning for offline RL". A recipe.

    L(θ) = DQN's + α E [ln Σ_b exp Q(s, b; θ) - Q(s, a; θ)]

the discrete form of equation 4, CQL(H). Learns from a fixed data set: actions that are not in it are held low.

Differs from DQN in its settings alone. Differs from the paper in: a plain double DQN below it, not QR-DQN (which takes
the same switch, `conservative_weight`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bellmax.agent_config import with_default
from bellmax.deep.dqn import DQN


@dataclass(frozen=True, kw_only=True)
class CQL(DQN):
    """CQL: DQN that trusts only what the data shows. Kumar et al. (2020)."""

    name: ClassVar[str] = "cql"

    double: bool = with_default(DQN, "double", True)
    conservative_weight: float = with_default(DQN, "conservative_weight", 1.0)
