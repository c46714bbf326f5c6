"""JAX. R2D2: Kapturowski et al. (2019), "Recurrent experience replay in distributed reinforcement learning". A recipe.

DQN with an LSTM that learns from prioritised sequences with stored state and burn-in, a double n-step target on a scale
that squeezes values, dueling streams, and worlds that each explore with an ε of their own.

Differs from DQN in its settings alone. Differs from the paper in: sequences may begin at any step; a sequence may go
over the end of an episode, where the cell begins anew; settings for small worlds (the paper has a burn-in of 40, sequences
of 80, n = 5, 256 worlds, η = 0.9, exponents 0.9 and 0.6).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from bellmax.config import setting
from bellmax.deep.dqn import DQN
from bellmax.networks.network import CELLS


@dataclass(frozen=True, kw_only=True)
class R2D2(DQN):
    """R2D2: a memory cell, for worlds that do not show all. Kapturowski et al. (2019)."""

    name: ClassVar[str] = "r2d2"

    recurrent: str = setting("lstm", "memory cell between torso and head", choices=tuple(CELLS))
    double: bool = setting(True, "choose the target's action by the network, value it by the copy")
    dueling: bool = setting(True, "state value and advantages in two streams")
    value_rescaling: bool = setting(True, "learn the values on a scale that squeezes large ones")
    n_steps: int = setting(5, "steps before bootstrapping", low=1)
    prioritized: bool = setting(True, "learn more often from sequences with large errors")
    priority_alpha: float = setting(0.9, "exponent of a priority", low=0.0, high=1.0)
    priority_beta: float = setting(0.6, "exponent of the importance weights at the start", low=0.0, high=1.0)
    exploration: str = setting(
        "ladder",
        "how it explores; ladder: each world has an ε of its own",
        choices=("epsilon-greedy", "ladder", "boltzmann"),
    )
    exploration_initial_eps: float = setting(0.4, "ε of the first world at the first step", low=0.0, high=1.0)
    exploration_final_eps: float = setting(0.4, "the same at the end of the schedule", low=0.0, high=1.0)
    num_envs: int = setting(8, "worlds stepped side by side", low=1)
    batch_size: int = setting(32, "sequences per gradient step", low=1)
