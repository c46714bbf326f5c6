"""NumPy. `Run`: what was asked for and what came out of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from bellmax.config import AgentConfig
from bellmax.statistics import Summary, summarise
from bellmax.training.evaluate import Evaluation
from bellmax.training.policy import Policy
from bellmax.training.records import History
from bellmax.types import ConfigError


@dataclass
class Run:
    """What `train` returns and `load` reads back.

    Attributes:
        world, agent, config, steps, seeds, loop: what was asked for; `loop` is "compiled" or "host".
        options: records, eval_episodes, final_episodes and vmap, as given.
        history: columns over the records, see `History`.
        policies: {"final": [...], "best": [...]}, one Policy per seed.
        evaluations: of the final policies, one Evaluation per seed.
        scores: one number per seed: the exact expected return of the final greedy policy where the world has a
            table and a time limit, else the mean return of its evaluation.
        folder: where it is saved, or None.
    """

    world: str
    config: AgentConfig
    steps: int
    seeds: list[int]
    loop: str
    env_kwargs: dict[str, Any]
    history: History
    options: dict[str, Any] = field(default_factory=dict)
    policies: dict[str, list[Policy]] = field(default_factory=dict)
    evaluations: list[Evaluation] = field(default_factory=list)
    scores: list[float] = field(default_factory=list)
    folder: Path | None = None

    def summary(self) -> Summary:
        """IQM and mean of `scores` over seeds, each with its 95 % bootstrap interval."""
        return summarise(np.array(self.scores))

    def policy(self, seed: int = 0, which: str = "final") -> Policy:
        """The policy of one of the run's seeds: "final", or "best" by the evaluations during training.

        Raises:
            ConfigError: the run has no such seed or no such policy.
        """
        if seed not in self.seeds or which not in self.policies:
            raise ConfigError(f"no {which!r} policy of seed {seed}; seeds: {self.seeds}, kinds: {list(self.policies)}")
        return self.policies[which][self.seeds.index(seed)]
