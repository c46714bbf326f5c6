"""Numba and NumPy. A table that learns in a grid, stepped in pieces: its settings may change between any two steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import numpy as np

from bellmax.arguments import integer, one_of, real
from bellmax.catalog import agent_class
from bellmax.contracts import ConfigError, FloatArray, IntArray, unknown
from bellmax.mdp.model import FiniteMDP
from bellmax.tabular import stepping
from bellmax.tabular.agent import Learner, Shape, TabularAgent, TabularConfig, build_rates
from bellmax.tabular.model_kernels import Model, build_model
from bellmax.tabular.own_kernels import make_table_agent
from bellmax.tabular.representation import table_of

TABLES_SHOWN = {
    "q-learning": "Q-learning",
    "sarsa": "SARSA",
    "expected-sarsa": "Expected SARSA",
    "double-q": "Double Q-learning",
    "watkins-q": "Q(λ)",
    "dyna-q": "Dyna-Q",
    "prioritized-sweeping": "Prioritized sweeping",
}
ACTIONS = 4
MOST_PLANNED = 1_000
OUTCOMES = 16  # of a pair that a model keeps, whatever the grid, so that an edit changes no array
State = TypeVar("State")


class Settings(NamedTuple):
    """The numbers that sliders set.

    Attributes:
        epsilon, learning_rate, gamma: ε, α of tables, γ.
        trace_decay: λ, of traces.
        planning_steps: planned updates per step, of models.
        network_rate: learning rate of networks.
    """

    epsilon: float = 0.1
    learning_rate: float = 0.1
    gamma: float = 0.95
    trace_decay: float = 0.9
    planning_steps: int = 10
    network_rate: float = 0.001


def read_settings(value: dict[str, object], before: Settings) -> Settings:
    """`before`, with the numbers in `value`.

    Raises:
        ConfigError: a name is unknown, or a number is out of range.
    """
    for name in value:
        if name not in Settings._fields:
            raise ConfigError(unknown("setting", name, Settings._fields))
    given = {**before._asdict(), **value}
    return Settings(
        epsilon=real("epsilon", given["epsilon"], 0.0, 1.0),
        learning_rate=real("learning_rate", given["learning_rate"], 1e-6, 1.0),
        gamma=real("gamma", given["gamma"], 0.0, 1.0),
        trace_decay=real("trace_decay", given["trace_decay"], 0.0, 1.0),
        planning_steps=integer("planning_steps", given["planning_steps"], 0, MOST_PLANNED),
        network_rate=real("network_rate", given["network_rate"], 1e-6, 0.1),
    )


@dataclass
class LiveTable:
    """A learner in a grid.

    Attributes:
        name: of the agent.
        agent, learner: its kernels, and these with the settings of now.
        world: the grid as the loop steps it.
        state: everything that evolves.
    """

    name: str
    agent: TabularAgent
    learner: Learner
    world: Model
    state: stepping.TabularState


def make_config(name: str, settings: Settings) -> TabularConfig:
    """The agent's settings; those that it does not have are left out.

    Raises:
        ConfigError: the page does not show this agent.
    """
    one_of("agent", name, TABLES_SHOWN)
    cls: Any = agent_class(name)
    numbers = {"trace_decay": settings.trace_decay, "planning_steps": settings.planning_steps, "outcomes": OUTCOMES}
    constant = {
        "exploration_initial_eps": settings.epsilon, "exploration_final_eps": settings.epsilon,
        "learning_rate": settings.learning_rate, "gamma": settings.gamma,
    }  # fmt: skip
    config: TabularConfig = cls(
        **constant, random_ties=True, **{key: number for key, number in numbers.items() if hasattr(cls, key)}
    )
    return config


def _make(name: str, settings: Settings, n_states: int) -> tuple[TabularAgent, Learner]:
    config = make_config(name, settings)
    agent = make_table_agent(config, Shape(n_states, ACTIONS))
    return agent, agent.learner(build_rates(config, 1))


def start_learner(name: str, settings: Settings, mdp: FiniteMDP, seed: int) -> LiveTable:
    """A learner before its first step; raises ConfigError for an agent that the page does not show."""
    agent, learner = _make(name, settings, mdp.n_states)
    state = stepping.init_state(agent, Shape(mdp.n_states, ACTIONS), 0.0, seed)
    live = LiveTable(name, agent, learner, build_model(mdp, mdp.max_episode_steps), state)
    begin_episode(live)
    return live


def with_settings(live: LiveTable, settings: Settings) -> None:
    """Let the learner continue with other settings; the compiled loop stays the same."""
    live.agent, live.learner = _make(live.name, settings, table_of(live.state.q).shape[0])


def with_model(live: LiveTable, mdp: FiniteMDP) -> None:
    """Let the learner continue in a changed grid of the same size, with all that it knows, in a new episode."""
    live.world = build_model(mdp, mdp.max_episode_steps)
    clock = live.state.clock
    clock.obs[0], clock.action[0], clock.length[0] = -1, -1, 0
    live.state.episode_return[0] = 0.0
    if live.agent.episodic:
        live.agent.forget(live.state.memory)
    begin_episode(live)


def begin_episode(live: LiveTable) -> None:
    """Draw the start and the first action, where that has not been done: the next step is then known before it."""
    run_piece(live, 0)


def run_piece(live: LiveTable, steps: int) -> tuple[FloatArray, IntArray]:
    """Take so many steps, in place; the returns and the lengths of the episodes that ended."""
    returns, lengths = np.empty(max(1, steps)), np.empty(max(1, steps), np.int64)
    count, _ = stepping.run_steps(live.learner, live.world, live.state, steps, returns, lengths)
    return returns[:count], lengths[:count]


def copy_state(part: State) -> State:
    """A state whose arrays of NumPy are copies; those of JAX never change."""
    if isinstance(part, np.ndarray):
        return part.copy()
    if isinstance(part, tuple):
        parts = [copy_state(each) for each in part]
        return type(part)(*parts) if hasattr(part, "_fields") else type(part)(parts)
    return part


def state_bytes(part: object) -> int:
    """Bytes of the arrays of a state."""
    if isinstance(part, tuple | dict):
        return sum(map(state_bytes, part.values() if isinstance(part, dict) else part))
    return int(getattr(part, "nbytes", 0))


def q_of(live: LiveTable) -> FloatArray:
    """Q [S, A], as it is now."""
    return table_of(live.state.q)
