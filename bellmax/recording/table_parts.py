"""Numba. The parts of a step of a table, called one after the other: choose an action, and learn from a transition.

They are the kernels that the loops call, on the state that the loops advance; what each part does is recorded.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias, TypeVar

import numpy as np

from bellmax.contracts import IntArray, Json
from bellmax.recording.window import MOST_ROWS, Phase, shown, term
from bellmax.tabular.action_values import greedy, value
from bellmax.tabular.agent import Learner, Now, Step, TabularConfig, level_at
from bellmax.tabular.kernel import coin_and_choice, uniform
from bellmax.tabular.representation import MaskedTable, MaskedTiles, Ragged, Representation, Tiles, table_of
from bellmax.tabular.stepping import TabularState

Tree = TypeVar("Tree")
ACT = "return int(agent.behavior.act(table.q, obs, now))"
STEP = "next_obs, reward, continues = world.step(world, table.place, q, obs, action, table.generator)"
RESET = "next_obs, length = world.begin(world, table.place, q, table.generator), -1"


class TableUpdate(NamedTuple):
    """One update of a table: what the kernel was given, and the values before and after it.

    Attributes:
        learner: the kernels.
        step: the transition.
        now: as the kernel saw it; its generator is a copy from before the update.
        q, memory: copies from before the update.
        new_q, new_memory: after it.
        options: of the learner.
        td_error: what the kernel returned.
        order: [S, A] the action of the environment for each column of the table; None: the same.
    """

    learner: Learner
    step: Step
    now: Now
    q: Representation
    memory: Any
    new_q: Representation
    new_memory: Any
    options: Any
    td_error: float
    order: IntArray | None

    def draws(self) -> Now:
        """Return the moment with random numbers of its own, which are those that the kernel drew."""
        return self.now._replace(generator=self.now.generator.copy())


Describe: TypeAlias = Callable[[TableUpdate], list[Phase]]


def copy_of(tree: Tree) -> Tree:
    """Return a tree of tuples with copies of its arrays."""
    made: Any = tree
    if isinstance(tree, np.ndarray):
        made = tree.copy()
    elif isinstance(tree, tuple):
        parts = [copy_of(part) for part in tree]
        made = type(tree)(*parts) if hasattr(tree, "_fields") else tuple(parts)
    copied: Tree = made
    return copied


def n_active_of(q: Representation) -> int:
    """Return how many rows of the table are active at a time: 1, or the number of tilings."""
    return int(q.active.shape[1]) if isinstance(q, Tiles | MaskedTiles) else 1


def first_row(q: Representation, obs: int) -> int:
    """Return the row of the table for an observation; of tiles, that of the first active one."""
    return int(q.active[obs, 0]) if isinstance(q, Tiles | MaskedTiles) else obs


def columns_of(q: Representation, obs: int) -> list[int]:
    """Return the columns of the table whose actions are allowed in `obs`."""
    if isinstance(q, Ragged):
        return list(range(int(q.n_allowed[obs])))
    if isinstance(q, MaskedTable | MaskedTiles):
        columns: list[int] = np.flatnonzero(q.allowed[obs]).tolist()
        return columns
    return list(range(table_of(q).shape[1]))


def action_of(order: IntArray | None, row: int, column: int) -> int:
    """Return the action of the environment for a column of a row of the table."""
    return column if order is None else int(order[row, column])


def action_row(q: Representation, obs: int) -> list[float]:
    """Return Q(s, ·) of the allowed actions, by column."""
    return [float(value(q, obs, column)) for column in columns_of(q, obs)]


def q_row(q: Representation, obs: int, order: IntArray | None) -> list[Json]:
    """Return Q(s, ·) by the environment's actions; None where an action is not allowed."""
    row: list[Json] = [None] * table_of(q).shape[1]
    for column, number in zip(columns_of(q, obs), action_row(q, obs), strict=True):
        row[action_of(order, obs, column)] = number
    return row


def cell_of(q: Representation, obs: int) -> Json:
    """Return what identifies an observation in the table: its state or cell, or the tiles that are active in it."""
    if isinstance(q, Tiles | MaskedTiles):
        return {"tiles": shown(q.active[obs])}
    return int(obs)


def cell_json(order: IntArray | None, row: int, column: int, **numbers: float) -> dict[str, Json]:
    """Return one cell of the table with its numbers; `state` is the row: a state, a cell, or a tile."""
    return {"state": int(row), "action": action_of(order, int(row), int(column)), **numbers}


def changed_cells(before: Representation, after: Representation, order: IntArray | None) -> dict[str, Json]:
    """Return the cells whose value changed, the first in full, and how many there are."""
    old, new = table_of(before), table_of(after)
    rows, columns = np.nonzero(old != new)
    cells: list[Json] = [
        cell_json(order, r, c, before=float(old[r, c]), after=float(new[r, c]))
        for r, c in zip(rows[:MOST_ROWS].tolist(), columns[:MOST_ROWS].tolist(), strict=True)
    ]
    return {"changed": cells, "n_changed": int(rows.size)}


@dataclass
class TableParts:
    """One seed of a table, played part by part.

    Attributes:
        config: of the agent.
        learner: its kernels, on the schedules of the run.
        state: everything that changes; the parts change it as the loops do.
        order: as in `TableUpdate`.
        describe: the phases of an update of this agent.
        chosen: the phase in which the next action was chosen; None if that was before the window.
    """

    config: TabularConfig
    learner: Learner
    state: TabularState
    order: IntArray | None
    describe: Describe
    chosen: Phase | None = None

    def now(self, clock: int) -> Now:
        """Return the moment at a number of steps, or of episodes where the schedules count these."""
        rates = self.learner.rates
        return Now(level_at(clock, rates), self.state.visits, rates, self.state.generator)

    def choose(self, obs: int, now: Now) -> int:
        """Choose an action, and set `chosen` to the phase that says how."""
        q, before = self.state.q, now.generator.copy()
        action = int(self.learner.behavior.act(q, obs, now))
        name = action_of(self.order, obs, action)
        best = action_of(self.order, obs, int(greedy(q, obs)))
        values: dict[str, Json] = {
            "obs": cell_of(q, obs), "q": q_row(q, obs, self.order), "greedy_action": best, "action": name,
        }  # fmt: skip
        a, row = term("a", "action", name), term("Q(s, ·)", "values", action_row(q, obs))
        if self.config.exploration == "boltzmann":
            coin, columns = float(uniform(before)), columns_of(q, obs)
            shares = [float(self.learner.behavior.probability(q, obs, column, now)) for column in columns]
            values |= {"temperature": float(now.level), "coin": coin, "probabilities": shown(shares)}
            values["explored"] = name != best
            self.chosen = Phase(
                "choose", values, (a, "~ softmax(", row, "/", term("τ", "temperature", now.level), ")"), ACT
            )
        elif self.config.exploration == "ucb":
            values |= {"width": float(now.level), "bounds": shown(self.bounds(obs, now)), "explored": name != best}
            width = term("c", "width of the bound", now.level)
            self.chosen = Phase("choose", values, (a, "= argmax", row, "+", width, "√(ln N(s) / N(s, a))"), ACT)
        else:
            coin = float(coin_and_choice(before, len(columns_of(q, obs)))[0])
            explored = bool(coin < now.level)
            values |= {"epsilon": float(now.level), "coin": coin, "explored": explored}
            rest = ("random, as" if explored else "argmax", *(() if explored else (row, ", as")))
            why = term("coin", "random number", coin), "<" if explored else "≥", term("ε", "exploration", now.level)
            self.chosen = Phase("choose", values, (a, "=", *rest, *why), ACT)
        return action

    def bounds(self, obs: int, now: Now) -> list[float | None]:
        """Return Q(s, a) and the bonus of its confidence bound; None for an action that was not tried."""
        q, columns = self.state.q, columns_of(self.state.q, obs)
        seen = [int(now.visits[first_row(q, obs), column]) for column in columns]
        log = math.log(max(sum(seen), 1))
        return [
            float(number) + float(now.level) * math.sqrt(log / n) if n else None
            for number, n in zip(action_row(q, obs), seen, strict=True)
        ]

    def taken(self, obs: int, action: int) -> Phase:
        """Return the phase in which the present action was chosen."""
        if self.chosen is not None:
            return self.chosen
        q = self.state.q
        return Phase(
            "choose",
            {
                "obs": cell_of(q, obs), "q": q_row(q, obs, self.order), "action": action_of(self.order, obs, action),
                "before_the_window": True,
            },
            code=ACT,
        )  # fmt: skip

    def learn(self, transition: Step, now: Now) -> tuple[float, list[Phase]]:
        """Learn from a transition whose visit is counted; return the TD error and the phases of the update."""
        learner, state = self.learner, self.state
        q, memory, generator = copy_of(state.q), copy_of(state.memory), state.generator.copy()
        td_error = float(learner.update(state.q, state.memory, learner.options, transition, learner.behavior, now))
        return td_error, self.describe(
            TableUpdate(
                learner, transition, now._replace(generator=generator), q, memory, state.q, state.memory,
                learner.options, td_error, self.order,
            )
        )  # fmt: skip
