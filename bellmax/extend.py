"""Plain Python. The stable names for agents, networks and environments of your own, on one page.

    from bellmax import extend

These names are public and change only after a deprecation; the other modules of bellmax may change at any time.

**An agent with a table** is a config class and a Numba kernel (`docs/own-algorithm.md`):

    @kernel
    def update(q, memory, options, step, behavior, now):
        error = step.reward + step.discount * largest(q, step.next_obs) - value(q, step.obs, step.action)
        change(q, step.obs, step.action, step.step_size * error)
        return error

    @dataclass(frozen=True, kw_only=True)
    class Mine(LearningConfig):
        name: ClassVar[str] = "mine"
        patience: float = setting(0.5, "a sentence on it", low=0.0)

        def make(self, shape: Shape) -> TabularAgent:
            return TabularAgent(update, find_behavior(self))

**An agent with a network** is a config class and the loss of ONE transition: a `Method`, made of `bellman` and
`distributions`; its metrics are columns of the history (`docs/own-algorithm.md`). `copied`, `polyak` and
`mean_of_copies` are targets.

**A network** is a function `make(space, widths, normalization, key)` that returns any Equinox module from ONE
observation to features; `flat` turns any observation into numbers (`docs/own-network.md`).

**A compiled environment** is a `World` of two functions (`docs/own-world.md`). `check_world` checks it, and
`as_gymnasium` opens it as a Gymnasium environment. Other environments need nothing from here.

`module:name` is accepted wherever a name is; `register_agent`, `register_network` and `register_world` give short
names. A saved run stores both. No file makes bellmax import a module: import yours before you load the run.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bellmax import bellman, distributions
    from bellmax.agent_config import AgentConfig, setting, with_default
    from bellmax.catalog import register_agent
    from bellmax.contracts import (
        Agent,
        Array,
        Box,
        Discrete,
        Experience,
        Masked,
        Memory,
        MultiDiscrete,
        Named,
        Space,
        Transition,
    )
    from bellmax.deep.algorithm import ReplayAlgorithm
    from bellmax.deep.c51 import Categorical
    from bellmax.deep.dqn import ActionValues
    from bellmax.deep.following import Follower, copied, polyak
    from bellmax.deep.method import Bootstrap, Look, Method, Metrics, Net, Network, Output, allowed
    from bellmax.deep.several import mean_of_copies
    from bellmax.envs.compiled_gymnasium import as_gymnasium
    from bellmax.envs.functional import World
    from bellmax.networks.torsos import flat, flat_size, register_network
    from bellmax.report.checking_worlds import check_world
    from bellmax.sources import register_world
    from bellmax.tabular.action_values import change, greedy, largest, mean_value, value
    from bellmax.tabular.agent import LearningConfig, Now, Shape, Step, TabularAgent, TabularConfig
    from bellmax.tabular.behavior import find_behavior
    from bellmax.tabular.kernel import kernel, uniform
    from bellmax.tabular.soundness import MOST, Sizes

_HOME = {
    "ActionValues": "bellmax.deep.dqn",
    "Agent": "bellmax.contracts",
    "AgentConfig": "bellmax.agent_config",
    "Array": "bellmax.contracts",
    "Bootstrap": "bellmax.deep.method",
    "Box": "bellmax.contracts",
    "Categorical": "bellmax.deep.c51",
    "Discrete": "bellmax.contracts",
    "Experience": "bellmax.contracts",
    "Follower": "bellmax.deep.following",
    "LearningConfig": "bellmax.tabular.agent",
    "MOST": "bellmax.tabular.soundness",
    "Look": "bellmax.deep.method",
    "Masked": "bellmax.contracts",
    "Memory": "bellmax.contracts",
    "Method": "bellmax.deep.method",
    "Metrics": "bellmax.deep.method",
    "MultiDiscrete": "bellmax.contracts",
    "Named": "bellmax.contracts",
    "Net": "bellmax.deep.method",
    "Network": "bellmax.deep.method",
    "Now": "bellmax.tabular.agent",
    "Output": "bellmax.deep.method",
    "ReplayAlgorithm": "bellmax.deep.algorithm",
    "Shape": "bellmax.tabular.agent",
    "Sizes": "bellmax.tabular.soundness",
    "Space": "bellmax.contracts",
    "Step": "bellmax.tabular.agent",
    "TabularAgent": "bellmax.tabular.agent",
    "TabularConfig": "bellmax.tabular.agent",
    "Transition": "bellmax.contracts",
    "World": "bellmax.envs.functional",
    "allowed": "bellmax.deep.method",
    "as_gymnasium": "bellmax.envs.compiled_gymnasium",
    "bellman": "bellmax",
    "change": "bellmax.tabular.action_values",
    "check_world": "bellmax.report.checking_worlds",
    "copied": "bellmax.deep.following",
    "distributions": "bellmax",
    "find_behavior": "bellmax.tabular.behavior",
    "flat": "bellmax.networks.torsos",
    "flat_size": "bellmax.networks.torsos",
    "greedy": "bellmax.tabular.action_values",
    "kernel": "bellmax.tabular.kernel",
    "largest": "bellmax.tabular.action_values",
    "mean_of_copies": "bellmax.deep.several",
    "mean_value": "bellmax.tabular.action_values",
    "polyak": "bellmax.deep.following",
    "register_agent": "bellmax.catalog",
    "register_network": "bellmax.networks.torsos",
    "register_world": "bellmax.sources",
    "setting": "bellmax.agent_config",
    "uniform": "bellmax.tabular.kernel",
    "value": "bellmax.tabular.action_values",
    "with_default": "bellmax.agent_config",
}


if not TYPE_CHECKING:  # a type checker knows the names

    def __getattr__(name: str) -> Any:
        home = _HOME.get(name)
        if home == "bellmax":
            return importlib.import_module(f"bellmax.{name}")
        if home is not None:
            return getattr(importlib.import_module(home), name)
        message = f"module 'bellmax.extend' has no attribute {name!r}"
        if not name.startswith("_"):
            from bellmax.names import meant

            message += meant(name, _HOME)
        raise AttributeError(message)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOME})


__all__ = [  # noqa: RUF022 - what belongs together stands together
    "register_agent", "register_network", "register_world",
    "AgentConfig", "setting", "with_default",
    "TabularAgent", "TabularConfig", "LearningConfig", "Shape", "Step", "Now", "kernel", "find_behavior", "value",
    "change", "largest", "greedy", "mean_value", "uniform", "Sizes", "MOST",
    "ActionValues", "Categorical",
    "ReplayAlgorithm", "Method", "Output", "Net", "Metrics", "Look", "Bootstrap", "allowed", "bellman", "distributions",
    "Follower", "copied", "polyak", "mean_of_copies", "Agent", "Memory", "Experience", "Transition",
    "Network", "flat", "flat_size",
    "World", "Box", "Discrete", "MultiDiscrete", "Named", "Masked", "Space", "Array", "check_world", "as_gymnasium",
]  # fmt: skip
