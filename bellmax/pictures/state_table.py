"""Rich. States as rows of a table, and all of them as CSV: for models without a map, and for spreadsheets."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

from bellmax.pictures.map_colors import number_format
from bellmax.pictures.map_view import shortened
from bellmax.pictures.state_numbers import WORDS, StateNumbers, What, ask
from bellmax.printing import plain

if TYPE_CHECKING:
    from bellmax.rich_parts import Table

SHOWN_STATES = 40
SHOWN_ACTIONS = 12  # columns of single actions


def state_table(numbers: StateNumbers, what: What, *, everything: bool = False) -> tuple[Table, str]:
    """A row for each state: its number, its greedy actions, and the numbers of all actions; and what is left out.

    The first 40 of the states in which somebody acts, or with `everything` all of them.

    Raises:
        ConfigError: as `ask`.
    """
    from bellmax.rich_parts import Table, Text

    asked = ask(numbers, what)
    states = np.flatnonzero(numbers.known)
    shown = states if everything else states[:SHOWN_STATES]
    write = number_format(np.concatenate([asked.of_states[shown], asked.of_actions[shown].ravel()]))
    actions = range(len(numbers.action_names)) if len(numbers.action_names) <= SHOWN_ACTIONS else range(0)
    table = Table()
    names = [f"{'q' if what in ('value', 'policy', 'q') else what}({numbers.action_names[a]})" for a in actions]
    for name in ("state", WORDS[what], "greedy", *names):
        table.add_column(Text(plain(shortened(name, 20))), justify="right")
    for s in shown.tolist():
        cells = [state_label(numbers, s), write(float(asked.of_states[s])), ", ".join(greedy_names(numbers, s))]
        cells += [write(float(asked.of_actions[s, a])) for a in actions]
        table.add_row(*(Text(plain(shortened(cell))) for cell in cells))
    left = []
    if len(shown) < len(states):
        left.append(f"... and {len(states) - len(shown):,} more states: --all shows them, --csv writes all numbers")
    if not actions:
        left.append(f"the values of {len(numbers.action_names)} actions are left out: --csv writes them")
    return table, "\n".join(left)


def state_label(numbers: StateNumbers, state: int) -> str:
    """The number of a state, and what it is called."""
    name = str(numbers.state_names[state]) if numbers.state_names else ""
    return f"{state} {name}" if name and name != str(state) else str(state)


def greedy_names(numbers: StateNumbers, state: int) -> list[str]:
    """The names of the greedy actions of a state."""
    return [plain(numbers.action_names[action]) for action in np.flatnonzero(numbers.greedy[state]).tolist()]


def states_csv(numbers: StateNumbers) -> str:
    """All numbers of all states as CSV, a line for each state; numbers with all their digits."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerows(_lines(numbers))
    return out.getvalue()


def _lines(numbers: StateNumbers) -> Iterator[list[str]]:
    layout, actions = numbers.layout, [plain(name) for name in numbers.action_names]
    columns = ["state", "name", "known", "value", "greedy", *(f"q({name})" for name in actions)]
    place = [] if layout is None else ["row", "column", "map"]
    visits = [] if numbers.visits is None else [f"visits({name})" for name in actions]
    exact = [] if numbers.optimal_q is None else [f"exact_q({name})" for name in actions]
    yield [*columns, *visits, *exact, *place]
    values = numbers.values
    for s in range(len(numbers.q)):
        name = plain(numbers.state_names[s]) if numbers.state_names else ""
        line = [str(s), name, str(int(numbers.known[s])), _digits(values[s]), " ".join(greedy_names(numbers, s))]
        line += map(_digits, numbers.q[s])
        line += [] if numbers.visits is None else map(_digits, numbers.visits[s])
        line += [] if numbers.optimal_q is None else map(_digits, numbers.optimal_q[s])
        if layout is not None:
            cell = int(layout.cell[s])
            where = divmod(cell, layout.columns) if cell >= 0 else ("", "")
            line += [*map(str, where), plain(layout.panels[int(layout.panel[s])])]
        yield line


def _digits(number: float) -> str:
    value = float(number)
    return (
        "" if not np.isfinite(value) else repr(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
    )
