"""JAX. Rainbow: Hessel et al. (2018), "Rainbow: combining improvements in deep reinforcement learning". A recipe.

C51 with a double target, n-step returns, prioritized replay, dueling streams, and noisy layers instead of ε-greedy.

Differs from C51 only in its settings. Differs from the paper in: what C51 here differs in; layer normalization;
settings for small environments. The exponent of priorities is the paper's 0.5 (section "Hyper-parameter tuning").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bellmax.agent_config import with_default
from bellmax.deep.c51 import C51


@dataclass(frozen=True, kw_only=True)
class Rainbow(C51):
    """Rainbow: C51, double, n-step, prioritized, dueling, noisy. Hessel et al. (2018)."""

    name: ClassVar[str] = "rainbow"

    double: bool = with_default(C51, "double", True)
    n_steps: int = with_default(C51, "n_steps", 3)
    prioritized: bool = with_default(C51, "prioritized", True)
    dueling: bool = with_default(C51, "dueling", True)
    noisy: bool = with_default(C51, "noisy", True)
    exploration_initial_eps: float = with_default(C51, "exploration_initial_eps", 0.0)
    exploration_final_eps: float = with_default(C51, "exploration_final_eps", 0.0)
