"""JAX. R2D2: Kapturowski et al. (2019), "Recurrent experience replay in distributed reinforcement learning". A recipe.

DQN with an LSTM that learns from prioritized sequences with stored state and burn-in, a double n-step target on a scale
that compresses values, dueling streams, and an ε for each environment.

Differs from DQN only in its settings. Differs from the paper in: sequences can begin at any step; a sequence can span
the end of an episode, where the cell starts again; the cell only sees observations, not the last action and reward;
settings for small environments (the paper has a burn-in of 40, sequences of 80, n = 5, 256 environments, η = 0.9, and
exponents 0.9 and 0.6, also constant here).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bellmax.agent_config import with_default
from bellmax.deep.config import Explore
from bellmax.deep.dqn import DQN
from bellmax.networks.network import Cell


@dataclass(frozen=True, kw_only=True)
class R2D2(DQN):
    """R2D2: a memory cell, for partial observations. Kapturowski et al. (2019)."""

    name: ClassVar[str] = "r2d2"

    recurrent: Cell = with_default(DQN, "recurrent", "lstm")
    double: bool = with_default(DQN, "double", True)
    dueling: bool = with_default(DQN, "dueling", True)
    value_rescaling: bool = with_default(DQN, "value_rescaling", True)
    n_steps: int = with_default(DQN, "n_steps", 5)
    prioritized: bool = with_default(DQN, "prioritized", True)
    priority_alpha: float = with_default(DQN, "priority_alpha", 0.9)
    priority_beta: float = with_default(DQN, "priority_beta", 0.6)
    priority_beta_final: float = with_default(DQN, "priority_beta_final", 0.6)
    exploration: Explore = with_default(DQN, "exploration", "ladder")
    exploration_initial_eps: float = with_default(DQN, "exploration_initial_eps", 0.4)
    exploration_final_eps: float = with_default(DQN, "exploration_final_eps", 0.4)
    num_envs: int = with_default(DQN, "num_envs", 8)
    batch_size: int = with_default(DQN, "batch_size", 32)
