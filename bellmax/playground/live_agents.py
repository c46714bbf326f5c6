"""NumPy. A learner of either kind, a table or a network, as a session steps it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple, TypeAlias

import numpy as np

from bellmax.arguments import one_of
from bellmax.contracts import FloatArray, IntArray, Json
from bellmax.mdp.model import FiniteMDP
from bellmax.playground import live_tables as tables
from bellmax.playground import written_out
from bellmax.playground.live_tables import LiveTable, Settings
from bellmax.tabular.stepping import TabularState

if TYPE_CHECKING:
    from bellmax.playground.live_networks import LiveNetwork, NetworkNumbers, NetworkState

AGENTS_SHOWN = {**tables.TABLES_SHOWN, "dqn": "DQN"}
Live: TypeAlias = "LiveTable | LiveNetwork"
LiveState: TypeAlias = "TabularState | NetworkState"


class Standing(NamedTuple):
    """Where a learner stands.

    Attributes:
        time, ended, length: environment steps, episodes that ended, and steps of the running one.
        obs: the present state.
        action: the action chosen for the next step; -1 where it is chosen as the step is taken.
    """

    time: int
    ended: int
    length: int
    obs: int
    action: int


def start_live(name: str, settings: Settings, mdp: FiniteMDP, seed: int) -> Live:
    """A learner before its first step.

    Raises:
        ConfigError: the page does not show this agent.
    """
    one_of("agent", name, AGENTS_SHOWN)
    if name != "dqn":
        return tables.start_learner(name, settings, mdp, seed)
    from bellmax.playground.live_networks import start_network

    live = start_network(mdp, _numbers(settings), seed)
    run_live(live, 0)  # compiles
    return live


def _numbers(settings: Settings) -> NetworkNumbers:
    from bellmax.playground.live_networks import network_numbers

    return network_numbers(settings.epsilon, settings.gamma, settings.network_rate)


def set_settings(live: Live, settings: Settings) -> None:
    """Continue with other settings; nothing is compiled again."""
    if isinstance(live, LiveTable):
        tables.with_settings(live, settings)
    else:
        live.numbers = _numbers(settings)


def set_model(live: Live, mdp: FiniteMDP) -> None:
    """Continue in a changed grid of the same size, with all that was learned, in a new episode."""
    if isinstance(live, LiveTable):
        tables.with_model(live, mdp)
        return
    from bellmax.playground.live_networks import grid_arrays

    live.grid = grid_arrays(mdp)
    live.state = live.program.begin_episode(live.grid, live.state)


def run_live(live: Live, steps: int) -> tuple[float, int]:
    """Take so many steps; the sum of the returns of the episodes that ended, and their number."""
    if isinstance(live, LiveTable):
        returns, _ = tables.run_piece(live, steps)
        return float(returns.sum()), returns.size
    live.state, total, count = live.program.run(live.grid, live.numbers, live.state, steps)
    return float(total), int(count)


def again_from(live: Live, state: LiveState) -> Live:
    """The same learner at another state of its own, copied where steps change it in place."""
    return replace(live, state=tables.copy_state(state))  # type: ignore[arg-type]


def q_now(live: Live) -> FloatArray:
    """Q [S, A], as it is now."""
    if isinstance(live, LiveTable):
        return tables.q_of(live)
    return np.asarray(live.program.values(live.state.learner)[0], np.float64)


def visit_counts(state: LiveState) -> IntArray:
    """How often each pair was updated, or of a network taken [S, A]."""
    return np.asarray(state.visits)


def standing(live: Live) -> Standing:
    """Where a learner stands."""
    if isinstance(live, LiveTable):
        clock = live.state.clock
        return Standing(*(int(each[0]) for each in (clock.time, clock.ended, clock.length, clock.obs, clock.action)))
    state = live.state
    return Standing(int(state.time), int(state.ended), int(state.length), int(state.obs), -1)


def write_live(live: Live, before: LiveState) -> dict[str, Json]:
    """The update of the step from the state `before`, written out."""
    if isinstance(live, LiveTable):
        assert isinstance(before, TabularState)  # noqa: S101 - as all states of a table
        return written_out.write_out(live, before)
    assert not isinstance(before, TabularState)  # noqa: S101
    from bellmax.playground.written_out_network import write_network

    return write_network(live, before)
