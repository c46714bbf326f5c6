"""Q-learning, from the table to the network: compiled, with error bars, with the exact answer beside the learned one.

    import bellmax as bx

    run = bx.train("FrozenLake-v1", "q-learning", steps=1_000_000, seeds=10)
    print(run.summary())

Names load when first used, so that importing bellmax takes no time.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from bellmax.contracts import (
    BellmaxError,
    CheckpointError,
    ConfigError,
    CorruptCheckpoint,
    EnvContractError,
    EnvCrashed,
    EnvTimeout,
    EnvWarning,
    IncompatibleCheckpoint,
    ModelWarning,
    NonFiniteError,
    ResourceError,
    RunLocked,
    RunWarning,
    UnsafeFile,
)
from bellmax.version import __version__

if TYPE_CHECKING:
    from bellmax import extend
    from bellmax.caching import store_compiled_programs
    from bellmax.deep.bcq import BCQ
    from bellmax.deep.bootstrapped import BootstrappedDQN
    from bellmax.deep.c51 import C51
    from bellmax.deep.dqn import DQN
    from bellmax.deep.iqn import IQN
    from bellmax.deep.pqn import PQN
    from bellmax.deep.qr_dqn import QRDQN
    from bellmax.deep.r2d2 import R2D2
    from bellmax.deep.rainbow import Rainbow
    from bellmax.deep.variants import CQL, MunchausenDQN
    from bellmax.envs.compiled_gymnasium import as_gymnasium
    from bellmax.envs.functional import World
    from bellmax.envs.tabulated import TabulatedEnv
    from bellmax.files.dataset import Dataset
    from bellmax.mdp.gallery import (
        admission_control,
        blocking_maze,
        car_rental,
        chain,
        cliff,
        corridor,
        deep_sea,
        dyna_maze,
        four_rooms,
        gamblers_problem,
        gridworld,
        inventory,
        machine_replacement,
        maximization_bias,
        random_garnet,
        random_walk,
        river_swim,
        shortcut_maze,
        windy_gridworld,
    )
    from bellmax.mdp.layout import Layout
    from bellmax.mdp.model import FiniteMDP
    from bellmax.page.report_file import write_report
    from bellmax.recording.explaining import explain
    from bellmax.recording.window import Phase, RecordedStep, Term, Window
    from bellmax.report.checking import check_env
    from bellmax.report.checking_worlds import check_world
    from bellmax.report.comparing import compare
    from bellmax.report.comparison import Comparison
    from bellmax.report.plot import plot
    from bellmax.solving.average import Average, evaluate_average, occupancy, solve_average, stationary_distribution
    from bellmax.solving.gap import PolicyGap, policy_gap, regret
    from bellmax.solving.horizon import HorizonSolution, solve_horizon
    from bellmax.solving.operators import bellman_operator, greedy_policy, q_values
    from bellmax.solving.soft import soften, solve_soft
    from bellmax.solving.solve import Solution, evaluate_policy, horizon_length, horizon_return, solve
    from bellmax.summary_statistics import Summary
    from bellmax.tabular.multistep import MonteCarlo, NStepSarsa, QSigma, TreeBackup
    from bellmax.tabular.pac import DelayedQ, RMax
    from bellmax.tabular.planning import DynaQ, DynaQPlus, PrioritizedSweeping
    from bellmax.tabular.td import DoubleQ, ExpectedSarsa, QLearning, Sarsa, SpeedyQ
    from bellmax.tabular.traces import PengQ, SarsaLambda, TrueOnlineSarsa, WatkinsQ
    from bellmax.training import metrics
    from bellmax.training.collect import collect
    from bellmax.training.evaluate import evaluate
    from bellmax.training.options import RunOptions
    from bellmax.training.play import Evaluation
    from bellmax.training.policy import Policy, load_policy
    from bellmax.training.policy_distribution import ReturnDistribution
    from bellmax.training.record_hooks import Record, StopTraining, stop_at
    from bellmax.training.resume import resume
    from bellmax.training.run import Run
    from bellmax.training.saved_runs import load
    from bellmax.training.train import train
    from bellmax.watching.watch import Watched, watch

_HOME = {
    "Average": "bellmax.solving.average",
    "BCQ": "bellmax.deep.bcq",
    "BootstrappedDQN": "bellmax.deep.bootstrapped",
    "C51": "bellmax.deep.c51",
    "CQL": "bellmax.deep.variants",
    "DQN": "bellmax.deep.dqn",
    "Comparison": "bellmax.report.comparison",
    "Dataset": "bellmax.files.dataset",
    "DelayedQ": "bellmax.tabular.pac",
    "DoubleQ": "bellmax.tabular.td",
    "DynaQ": "bellmax.tabular.planning",
    "DynaQPlus": "bellmax.tabular.planning",
    "Evaluation": "bellmax.training.play",
    "ExpectedSarsa": "bellmax.tabular.td",
    "FiniteMDP": "bellmax.mdp.model",
    "HorizonSolution": "bellmax.solving.horizon",
    "IQN": "bellmax.deep.iqn",
    "Layout": "bellmax.mdp.layout",
    "MonteCarlo": "bellmax.tabular.multistep",
    "MunchausenDQN": "bellmax.deep.variants",
    "NStepSarsa": "bellmax.tabular.multistep",
    "PQN": "bellmax.deep.pqn",
    "PengQ": "bellmax.tabular.traces",
    "Phase": "bellmax.recording.window",
    "Policy": "bellmax.training.policy",
    "PolicyGap": "bellmax.solving.gap",
    "PrioritizedSweeping": "bellmax.tabular.planning",
    "QLearning": "bellmax.tabular.td",
    "QRDQN": "bellmax.deep.qr_dqn",
    "QSigma": "bellmax.tabular.multistep",
    "R2D2": "bellmax.deep.r2d2",
    "RMax": "bellmax.tabular.pac",
    "Rainbow": "bellmax.deep.rainbow",
    "RecordedStep": "bellmax.recording.window",
    "ReturnDistribution": "bellmax.training.policy_distribution",
    "Record": "bellmax.training.record_hooks",
    "Run": "bellmax.training.run",
    "RunOptions": "bellmax.training.options",
    "Sarsa": "bellmax.tabular.td",
    "SarsaLambda": "bellmax.tabular.traces",
    "Solution": "bellmax.solving.solve",
    "SpeedyQ": "bellmax.tabular.td",
    "StopTraining": "bellmax.training.record_hooks",
    "Summary": "bellmax.summary_statistics",
    "TabulatedEnv": "bellmax.envs.tabulated",
    "Term": "bellmax.recording.window",
    "TreeBackup": "bellmax.tabular.multistep",
    "TrueOnlineSarsa": "bellmax.tabular.traces",
    "WatkinsQ": "bellmax.tabular.traces",
    "Window": "bellmax.recording.window",
    "Watched": "bellmax.watching.watch",
    "World": "bellmax.envs.functional",
    "admission_control": "bellmax.mdp.gallery",
    "blocking_maze": "bellmax.mdp.gallery",
    "as_gymnasium": "bellmax.envs.compiled_gymnasium",
    "bellman_operator": "bellmax.solving.operators",
    "car_rental": "bellmax.mdp.gallery",
    "chain": "bellmax.mdp.gallery",
    "check_env": "bellmax.report.checking",
    "check_world": "bellmax.report.checking_worlds",
    "cliff": "bellmax.mdp.gallery",
    "collect": "bellmax.training.collect",
    "compare": "bellmax.report.comparing",
    "corridor": "bellmax.mdp.gallery",
    "deep_sea": "bellmax.mdp.gallery",
    "dyna_maze": "bellmax.mdp.gallery",
    "evaluate": "bellmax.training.evaluate",
    "evaluate_average": "bellmax.solving.average",
    "evaluate_policy": "bellmax.solving.solve",
    "explain": "bellmax.recording.explaining",
    "four_rooms": "bellmax.mdp.gallery",
    "gamblers_problem": "bellmax.mdp.gallery",
    "greedy_policy": "bellmax.solving.operators",
    "horizon_length": "bellmax.solving.solve",
    "gridworld": "bellmax.mdp.gallery",
    "horizon_return": "bellmax.solving.solve",
    "inventory": "bellmax.mdp.gallery",
    "load": "bellmax.training.saved_runs",
    "load_policy": "bellmax.training.policy",
    "machine_replacement": "bellmax.mdp.gallery",
    "maximization_bias": "bellmax.mdp.gallery",
    "occupancy": "bellmax.solving.average",
    "plot": "bellmax.report.plot",
    "policy_gap": "bellmax.solving.gap",
    "q_values": "bellmax.solving.operators",
    "random_garnet": "bellmax.mdp.gallery",
    "random_walk": "bellmax.mdp.gallery",
    "regret": "bellmax.solving.gap",
    "resume": "bellmax.training.resume",
    "river_swim": "bellmax.mdp.gallery",
    "shortcut_maze": "bellmax.mdp.gallery",
    "soften": "bellmax.solving.soft",
    "solve": "bellmax.solving.solve",
    "solve_average": "bellmax.solving.average",
    "solve_horizon": "bellmax.solving.horizon",
    "solve_soft": "bellmax.solving.soft",
    "stationary_distribution": "bellmax.solving.average",
    "stop_at": "bellmax.training.record_hooks",
    "store_compiled_programs": "bellmax.caching",
    "train": "bellmax.training.train",
    "watch": "bellmax.watching.watch",
    "windy_gridworld": "bellmax.mdp.gallery",
    "write_report": "bellmax.page.report_file",
}

_MODULES = {"extend": "bellmax.extend", "metrics": "bellmax.training.metrics"}


if not TYPE_CHECKING:  # a type checker knows the names

    def __getattr__(name: str) -> Any:
        if name in _MODULES:
            return importlib.import_module(_MODULES[name])
        if name in _HOME:
            return getattr(importlib.import_module(_HOME[name]), name)
        message = f"module 'bellmax' has no attribute {name!r}"
        if not name.startswith("_"):  # others look for such names, and expect nothing
            from bellmax.names import meant

            message += meant(name, [*_HOME, *_MODULES, *globals()])
        raise AttributeError(message)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME, *_MODULES})


__all__ = [  # noqa: RUF022 - what is used first comes first
    "train", "evaluate", "load", "load_policy", "resume", "check_env", "check_world", "as_gymnasium", "collect",
    "plot", "compare", "Comparison", "Dataset", "write_report", "solve", "FiniteMDP", "Layout",
    "World", "TabulatedEnv", "Run", "RunOptions", "Policy",
    "Evaluation", "Solution", "Summary", "explain", "Window",
    "RecordedStep", "Phase", "Term", "QLearning", "Sarsa", "ExpectedSarsa", "DoubleQ", "SpeedyQ", "NStepSarsa",
    "TreeBackup", "QSigma", "MonteCarlo", "SarsaLambda", "TrueOnlineSarsa", "WatkinsQ", "PengQ", "DynaQ", "DynaQPlus",
    "PrioritizedSweeping", "RMax", "DelayedQ", "DQN", "C51", "QRDQN", "IQN",
    "MunchausenDQN", "Rainbow", "BootstrappedDQN", "R2D2", "PQN", "CQL", "BCQ",
    "watch", "Watched", "ReturnDistribution",
    "corridor", "cliff", "random_garnet", "admission_control",
    "blocking_maze", "car_rental", "chain", "deep_sea", "dyna_maze", "four_rooms", "gamblers_problem", "gridworld",
    "inventory", "machine_replacement", "maximization_bias", "random_walk", "river_swim", "shortcut_maze",
    "windy_gridworld", "extend", "metrics", "stop_at", "StopTraining", "Record",
    "evaluate_policy", "bellman_operator", "q_values", "greedy_policy",
    "horizon_return", "horizon_length", "solve_horizon",
    "solve_soft", "soften", "solve_average", "evaluate_average", "occupancy", "stationary_distribution", "policy_gap",
    "store_compiled_programs", "regret", "HorizonSolution", "Average", "PolicyGap", "BellmaxError",
    "ConfigError",
    "ModelWarning", "EnvContractError", "EnvCrashed", "EnvTimeout", "EnvWarning", "NonFiniteError",
    "ResourceError", "RunLocked", "RunWarning",
    "CheckpointError", "CorruptCheckpoint", "IncompatibleCheckpoint", "UnsafeFile", "__version__",
]  # fmt: skip
