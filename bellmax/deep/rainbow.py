"""JAX. Rainbow: Hessel et al. (2018), "Rainbow: combining improvements in deep reinforcement learning". A recipe.

C51 with all of: a double target, n-step returns, prioritised replay, dueling streams and noisy layers for ε-greedy.

Differs from C51 in its settings alone. Differs from the paper in: what C51 here differs in; layer normalisation;
settings for small worlds. The exponent of priorities is the paper's 0.5 (section "Hyper-parameter tuning").
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bellmax.config import setting
from bellmax.deep.c51 import C51


@dataclass(frozen=True, kw_only=True)
class Rainbow(C51):
    """Rainbow: C51, double, n-step, prioritised, dueling, noisy. Hessel et al. (2018)."""

    name: ClassVar[str] = "rainbow"

    double: bool = setting(True, "choose the target's action by the network, value it by the copy")
    n_steps: int = setting(3, "steps before bootstrapping", low=1)
    prioritized: bool = setting(True, "learn more often from transitions with large errors")
    dueling: bool = setting(True, "state value and advantages in two streams")
    noisy: bool = setting(True, "learnt noise in the head's layers, for exploration")
    exploration_initial_eps: float = setting(0.0, "ε at the first step", low=0.0, high=1.0)
    exploration_final_eps: float = setting(0.0, "ε at the end of the schedule", low=0.0, high=1.0)
