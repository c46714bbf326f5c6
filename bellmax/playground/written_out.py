"""Numba and NumPy. One update in words and numbers: what was there before it, each term of its target, what changed.

The step is taken again from a copy of the state before it, with the kernels of the loop and its random numbers.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bellmax.contracts import FloatArray, Json
from bellmax.playground.live_tables import LiveTable, copy_state, run_piece
from bellmax.tabular import stepping
from bellmax.tabular.agent import Now, Step, level_at, step_size_after
from bellmax.tabular.behavior import random_best
from bellmax.tabular.kernel import Generator, random_bits
from bellmax.tabular.representation import table_of
from bellmax.tabular.td import Tables

MOST_CHANGES = 12  # pairs that are listed; all are counted
EQUATIONS = {
    "q-learning": "Q(s,a) ← Q(s,a) + α [r + γ max_b Q(s′,b) − Q(s,a)]",
    "sarsa": "Q(s,a) ← Q(s,a) + α [r + γ Q(s′,a′) − Q(s,a)]",
    "expected-sarsa": "Q(s,a) ← Q(s,a) + α [r + γ ((1−ε) max_b Q(s′,b) + ε mean_b Q(s′,b)) − Q(s,a)]",
    "double-q": "Q₁(s,a) ← Q₁(s,a) + α [r + γ Q₂(s′, argmax_b Q₁(s′,b)) − Q₁(s,a)]",
    "watkins-q": "Q ← Q + α δ e for every pair with a trace e, where δ = r + γ max_b Q(s′,b) − Q(s,a)",
    "dyna-q": "Q(s,a) ← Q(s,a) + α [r + γ max_b Q(s′,b) − Q(s,a)], then the same with remembered steps",
    "prioritized-sweeping": "Q(s,a) ← mean of r + γ max_b Q(s′,b) in the model, for the pairs it would change most",
}


class WrittenTerm(NamedTuple):
    """A number of the target, and what it is."""

    symbol: str
    value: float
    words: str


class Taken(NamedTuple):
    """A step as the learner saw it.

    Attributes:
        step: the transition.
        terms: of what comes after it: the value of s′ as the target has it.
        mine: the table that was moved [S, A]: Q, or one of two.
        bootstrap: the sum of the terms.
        table: which of two tables it is, 0 without.
        terminated: the episode ended here, and not only by its time limit.
    """

    step: Step
    terms: tuple[WrittenTerm, ...]
    mine: FloatArray
    bootstrap: float
    table: int
    terminated: bool


def take_again(live: LiveTable, before: stepping.TabularState) -> Taken:
    """The step that the loop takes from `before`, without taking it: the same kernels draw the same numbers."""
    rates, behavior, q = live.learner.rates, live.learner.behavior, before.q
    generator: Generator = before.generator.copy()
    obs, action = int(before.clock.obs[0]), int(before.clock.action[0])
    next_obs, reward, continues = live.world.step(live.world, before.place, q, obs, action, generator)
    time = int(before.clock.time[0]) + 1
    now = Now(level_at(float(time), rates), before.visits, rates, generator)
    following = int(behavior.act(q, next_obs, now)) if live.learner.look_ahead else -1
    alpha = step_size_after(float(before.visits[obs, action]), rates)
    over = continues == 0.0 or int(before.clock.length[0]) + 1 >= live.world.time_limit
    step = Step(obs, action, reward, rates.gamma * continues, int(next_obs), following, over, alpha)
    return _with_terms(live.name, step, before, now)._replace(terminated=continues == 0.0)


def _with_terms(name: str, step: Step, before: stepping.TabularState, now: Now) -> Taken:
    """The step with the value of s′ as the agent has it."""
    table, which = table_of(before.q), 0
    terms: tuple[WrittenTerm, ...]
    row = table[step.next_obs]
    if name == "sarsa":
        value = float(row[step.next_action])
        terms = (WrittenTerm("Q(s′,a′)", value, f"value of the next action, {_arrow(int(step.next_action))}"),)
    elif name == "expected-sarsa":
        best, mean, level = float(row.max()), float(row.mean()), float(now.level)
        value = (1.0 - level) * best + level * mean
        terms = (
            WrittenTerm("max_b Q(s′,b)", best, f"value of the best action, weighted by 1−ε = {1.0 - level:g}"),
            WrittenTerm("mean_b Q(s′,b)", mean, f"mean over the actions, weighted by ε = {level:g}"),
        )
    elif isinstance(before.memory, Tables):
        which = 1 + int(random_bits(now.generator) >> np.uint64(63))
        table, other = before.memory.both[which - 1], before.memory.both[2 - which]
        best_action = int(random_best(table, step.next_obs, now))
        value = float(other[step.next_obs, best_action])
        symbol = f"Q{'₂₁'[which - 1]}(s′, {_arrow(best_action)})"
        terms = (WrittenTerm(symbol, value, "value in the other table of this table's best action"),)
    else:
        value = float(row.max())
        terms = (WrittenTerm("max_b Q(s′,b)", value, f"value of the best next action, {_arrow(int(row.argmax()))}"),)
    return Taken(step, terms, table, value, which, False)


def _arrow(action: int) -> str:
    return "↑→↓←"[action]


def write_out(live: LiveTable, before: stepping.TabularState) -> dict[str, Json]:
    """The update of the step from `before`, for the page: Q before, target, TD error, α, Q after, and all changes.

    `q_after` is that of the table that was moved, right after the step; `changes` compares Q as it is shown, with all
    that traces and planning did.
    """
    taken = take_again(live, before)
    again = LiveTable(live.name, live.agent, live.learner, live.world, copy_state(before))
    run_piece(again, 1)
    step, gamma = taken.step, live.learner.rates.gamma
    s, a = int(step.obs), int(step.action)
    old = float(taken.mine[s, a])
    target = float(step.reward + step.discount * taken.bootstrap)
    memory = again.state.memory
    moved = memory.both[taken.table - 1] if isinstance(memory, Tables) else table_of(again.state.q)
    shown, after = table_of(before.q), table_of(again.state.q)
    return {
        "agent": live.name,
        "equation": EQUATIONS[live.name],
        "step": int(before.clock.time[0]) + 1,
        "state": s,
        "action": a,
        "next_state": int(step.next_obs),
        "reward": float(step.reward),
        "gamma": float(gamma),
        "terminated": bool(taken.terminated),
        "over": bool(step.over),
        "alpha": float(step.step_size),
        "table_number": taken.table,
        "terms": [term._asdict() for term in taken.terms],
        "bootstrap": taken.bootstrap,
        "q_before": old,
        "target": target,
        "td_error": target - old,
        "q_after": float(moved[s, a]),
        "planned": live.name in ("dyna-q", "prioritized-sweeping"),
        **describe_changes(shown, after),
    }


def describe_changes(before: FloatArray, after: FloatArray) -> dict[str, Json]:
    """How many pairs of two tables [S, A] differ, and the largest changes."""
    changed = np.argwhere(before != after)
    largest_first = changed[np.argsort(-np.abs((after - before)[tuple(changed.T)]), kind="stable")]
    return {
        "n_changes": len(changed),
        "changes": [
            {"state": int(i), "action": int(j), "before": float(before[i, j]), "after": float(after[i, j])}
            for i, j in largest_first[:MOST_CHANGES]
        ],
    }
