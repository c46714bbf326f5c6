"""NumPy. The exact answer beside what was learned: its picture, how far a policy is from it, and both in a table."""

from __future__ import annotations

import numpy as np

from bellmax.contracts import BellmaxError, counted
from bellmax.page.document import Child, Html, number_text, table
from bellmax.page.greedy_episodes import learned_rewards
from bellmax.pictures.picture import Picture
from bellmax.solving.solve import solve
from bellmax.training.run import Run

LISTED_STATES = 100
ROUNDING = 1e-12  # relative, up to which a learned value is the exact one


def exact_picture(run: Run, learned: Picture) -> tuple[Picture | None, str]:
    """Return the exact answer on the map of the picture `learned`, or why there is none; "" without a model."""
    source = run.find_source()
    mdp = None if source is None else source.mdp
    if mdp is None or (mdp.n_states, mdp.n_actions) != learned.numbers.q.shape:
        return None, ""
    rewards = np.array([1.0, -1e6])
    if not np.array_equal(learned_rewards(run.config, rewards), rewards):
        return None, "The agent learns from scaled or clipped rewards, so its values have no exact answer beside them."
    try:
        return solve(mdp, run.config.gamma).show("value", title="the exact answer"), ""
    except BellmaxError as error:
        return None, f"The exact answer is not available: {error}."


def distance_in_words(learned: Picture, exact: Picture) -> str:
    """Return how many greedy actions are exact ones, and how far values are from the exact ones."""
    mine, best = learned.numbers, exact.numbers
    known = np.flatnonzero(mine.known & best.known & np.isfinite(mine.values) & np.isfinite(best.values))
    right = int(best.greedy[known, mine.q[known].argmax(axis=1)].sum())
    apart = np.abs(mine.values - best.values)[known]
    off = np.where(apart <= ROUNDING * np.maximum(1.0, np.abs(best.values[known])), 0.0, apart).max(initial=0.0)
    return (
        f"the greedy action is an exact one in {right:,} of {counted(known.size, 'state')}; values are up to "
        f"{number_text(float(off), 3)} off"
    )


def exact_table(learned: Picture, exact: Picture | None) -> Html:
    """Return value and greedy actions of the states on a map, also of the exact answer if there is one."""
    pictures = [learned] if exact is None else [learned, exact]
    numbers = learned.numbers
    known = np.flatnonzero(numbers.known & np.isfinite(numbers.values))
    rows: list[list[Child]] = []
    for state in known[:LISTED_STATES].tolist():
        row: list[Child] = [name_in_table(learned, state)]
        for each in pictures:
            found = each.numbers
            best = np.flatnonzero(found.greedy[state]).tolist()
            row += [number_text(float(found.values[state]), 5), ", ".join(found.action_names[a] for a in best)]
        rows.append(row)
    head: list[Child] = ["", "value", "greedy actions", *(["exact value", "exact actions"] if exact else [])]
    first = f", the first {LISTED_STATES} of {known.size:,}" if known.size > LISTED_STATES else ""
    return table(head, rows, f"States {numbers.title}{first}")


def name_in_table(picture: Picture, state: int) -> str:
    """Return where a state is: "state 7, row 1, column 3", with the name of its map where there are several."""
    layout = picture.numbers.layout
    assert layout is not None  # noqa: S101 - a picture without a map is left out
    if layout.cell[state] < 0:
        return f"state {state}"
    row, column = divmod(int(layout.cell[state]), layout.columns)
    name = layout.panels[int(layout.panel[state])]
    return f"state {state}, row {row}, column {column}{f', {name}' if name else ''}"
