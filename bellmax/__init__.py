"""Q-learning, from the table to the network: compiled, with error bars, with the exact answer beside the learnt one.

    import bellmax as bx

    run = bx.train("FrozenLake-v1", "q-learning", steps=1_000_000, seeds=10)
    print(run.summary())

Names load when first used, so that importing bellmax takes no time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from bellmax.types import (
    BellmaxError,
    CheckpointError,
    ConfigError,
    CorruptCheckpoint,
    EnvContractError,
    EnvCrashed,
    EnvTimeout,
    IncompatibleCheckpoint,
    NonFiniteError,
    ResourceError,
    RunLocked,
    UnsafeFile,
)

if TYPE_CHECKING:
    from bellmax.deep.dqn import DQN
    from bellmax.envs.functional import World
    from bellmax.envs.tabulated import TabulatedEnv
    from bellmax.mdp.gallery import cliff, corridor, random_garnet
    from bellmax.mdp.model import FiniteMDP
    from bellmax.mdp.solve import Solution, evaluate_policy, greedy_policy, horizon_return, solve
    from bellmax.statistics import Summary
    from bellmax.tabular.multistep import MonteCarlo, NStepSarsa, QSigma, TreeBackup
    from bellmax.tabular.pac import DelayedQ, RMax
    from bellmax.tabular.planning import DynaQ, DynaQPlus, PrioritizedSweeping
    from bellmax.tabular.td import DoubleQ, ExpectedSarsa, QLearning, Sarsa, SpeedyQ
    from bellmax.tabular.traces import PengQ, SarsaLambda, TrueOnlineSarsa, WatkinsQ
    from bellmax.training.evaluate import Evaluation, evaluate
    from bellmax.training.policy import Policy
    from bellmax.training.run import Run
    from bellmax.training.saving import load
    from bellmax.training.train import resume, train

__version__ = "0.1.0"

_HOME = {
    "DQN": "bellmax.deep.dqn",
    "Evaluation": "bellmax.training.evaluate",
    "FiniteMDP": "bellmax.mdp.model",
    "Policy": "bellmax.training.policy",
    "DelayedQ": "bellmax.tabular.pac",
    "DoubleQ": "bellmax.tabular.td",
    "DynaQ": "bellmax.tabular.planning",
    "DynaQPlus": "bellmax.tabular.planning",
    "ExpectedSarsa": "bellmax.tabular.td",
    "MonteCarlo": "bellmax.tabular.multistep",
    "NStepSarsa": "bellmax.tabular.multistep",
    "PengQ": "bellmax.tabular.traces",
    "PrioritizedSweeping": "bellmax.tabular.planning",
    "QLearning": "bellmax.tabular.td",
    "QSigma": "bellmax.tabular.multistep",
    "RMax": "bellmax.tabular.pac",
    "Sarsa": "bellmax.tabular.td",
    "SarsaLambda": "bellmax.tabular.traces",
    "SpeedyQ": "bellmax.tabular.td",
    "TreeBackup": "bellmax.tabular.multistep",
    "TrueOnlineSarsa": "bellmax.tabular.traces",
    "WatkinsQ": "bellmax.tabular.traces",
    "Run": "bellmax.training.run",
    "Solution": "bellmax.mdp.solve",
    "Summary": "bellmax.statistics",
    "TabulatedEnv": "bellmax.envs.tabulated",
    "World": "bellmax.envs.functional",
    "cliff": "bellmax.mdp.gallery",
    "corridor": "bellmax.mdp.gallery",
    "evaluate": "bellmax.training.evaluate",
    "evaluate_policy": "bellmax.mdp.solve",
    "greedy_policy": "bellmax.mdp.solve",
    "horizon_return": "bellmax.mdp.solve",
    "load": "bellmax.training.saving",
    "random_garnet": "bellmax.mdp.gallery",
    "resume": "bellmax.training.train",
    "solve": "bellmax.mdp.solve",
    "train": "bellmax.training.train",
}


def __getattr__(name: str) -> Any:
    if name in _HOME:
        return getattr(importlib.import_module(_HOME[name]), name)
    raise AttributeError(f"module 'bellmax' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})


__all__ = [  # noqa: RUF022 - what is used first comes first
    "train", "evaluate", "load", "resume", "solve", "FiniteMDP", "World", "TabulatedEnv", "Run", "Policy",
    "Evaluation", "Solution", "Summary", "QLearning", "Sarsa", "ExpectedSarsa", "DoubleQ", "SpeedyQ", "NStepSarsa",
    "TreeBackup", "QSigma", "MonteCarlo", "SarsaLambda", "TrueOnlineSarsa", "WatkinsQ", "PengQ", "DynaQ",
    "DynaQPlus", "PrioritizedSweeping", "RMax", "DelayedQ", "DQN", "corridor", "cliff", "random_garnet",
    "evaluate_policy", "greedy_policy", "horizon_return", "BellmaxError", "ConfigError", "EnvContractError",
    "EnvCrashed", "EnvTimeout", "NonFiniteError", "ResourceError", "RunLocked", "CheckpointError",
    "CorruptCheckpoint", "IncompatibleCheckpoint", "UnsafeFile", "__version__",
]  # fmt: skip
