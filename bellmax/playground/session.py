"""NumPy. What one page has: a grid, its exact answer, one or two tables that learn in it, and the way back."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from bellmax.contracts import ConfigError, Json, counted
from bellmax.mdp.model import FiniteMDP
from bellmax.playground.edited_grid import Grid, to_model
from bellmax.playground.exact_answers import Exact, find_exact
from bellmax.playground.live_agents import (
    Live,
    LiveState,
    again_from,
    run_live,
    set_model,
    set_settings,
    standing,
    start_live,
    visit_counts,
    write_live,
)
from bellmax.playground.live_tables import Settings, copy_state, state_bytes

FIRST_AGENTS = ("q-learning",)
MOST_TABLES = 2
PIECE = 50_000  # environment steps of one call
SPACING = 256  # environment steps between states that are kept for the way back
KEPT_BYTES = 64_000_000  # of these states
BUSY = 0.012  # seconds of learning per frame
SHOWN_SPEED = 10.0  # steps per second up to which each update is written out
FASTEST = 1e9


class Moment(NamedTuple):
    """The states of all tables at one environment step."""

    time: int
    states: tuple[LiveState, ...]


@dataclass
class Session:
    """What one page has; the functions of this file change it.

    Attributes:
        grid, mdp, exact: the grid, its model, and the exact answer for the γ of the settings.
        settings, seed: of all tables.
        tables: one or two, which take the same number of steps.
        moments: earlier states, since the last change of the grid or of a setting.
        kept: bytes of these.
        playing, speed: whether it runs by itself, and how fast (environment steps per second).
        due: steps that are due by the clock; `affordable`: steps that fit in one frame.
        ended: the sum of returns, and the number, of the episodes of each table since the last frame.
        measured: (time, step) of recent frames.
    """

    grid: Grid
    mdp: FiniteMDP
    exact: Exact
    settings: Settings
    seed: int
    tables: list[Live]
    moments: deque[Moment] = field(default_factory=deque)
    kept: int = 0
    playing: bool = False
    speed: float = 30.0
    due: float = 0.0
    affordable: float = 1_000.0
    ended: list[list[float]] = field(default_factory=list)
    measured: deque[tuple[float, int]] = field(default_factory=lambda: deque(maxlen=30))


def blank_session(grid: Grid, settings: Settings | None = None, seed: int = 0) -> Session:
    """A page's session with its grid and the exact answer, and no table yet: `restart` starts them, and may compile."""
    settings, mdp = settings or Settings(), to_model(grid)
    return Session(grid, mdp, find_exact(mdp, settings.gamma), settings, seed, [])


def open_session(
    grid: Grid, agents: Sequence[str] = FIRST_AGENTS, settings: Settings | None = None, seed: int = 0
) -> Session:
    """A page's session before the first step; raises ConfigError for an agent that the page does not show."""
    session = blank_session(grid, settings, seed)
    restart(session, agents, seed)
    return session


def restart(session: Session, agents: Sequence[str], seed: int) -> None:
    """Begin again with these agents, from nothing.

    Raises:
        ConfigError: there are none, or too many, or the page does not show one.
    """
    if not 1 <= len(agents) <= MOST_TABLES:
        raise ConfigError(f"the page shows 1 to {counted(MOST_TABLES, 'agent')}; got {len(agents)}")
    session.tables = [start_live(name, session.settings, session.mdp, seed) for name in agents]
    session.seed, session.due = seed, 0.0
    session.ended = [[0.0, 0.0] for _ in agents]
    forget_moments(session)


def now(session: Session) -> int:
    """Environment steps so far, of each table."""
    return standing(session.tables[0]).time


def forget_moments(session: Session) -> None:
    """Let the way back begin here."""
    session.moments.clear()
    session.measured.clear()
    session.kept = 0
    keep_moment(session)


def keep_moment(session: Session) -> None:
    """Keep the states of now, and drop the oldest where they are too many bytes."""
    moment = Moment(now(session), tuple(copy_state(live.state) for live in session.tables))
    session.moments.append(moment)
    session.kept += sum(map(state_bytes, moment.states))
    while session.kept > KEPT_BYTES and len(session.moments) > 1:
        session.kept -= sum(map(state_bytes, session.moments.popleft().states))


def change_grid(session: Session, grid: Grid) -> None:
    """Continue in another grid: with all that was learned if it has the same size, else from nothing."""
    mdp = to_model(grid)
    same = grid.shape == session.grid.shape
    session.grid, session.mdp, session.exact = grid, mdp, find_exact(mdp, session.settings.gamma)
    if not same:
        restart(session, [live.name for live in session.tables], session.seed)
        return
    for live in session.tables:
        set_model(live, mdp)
    forget_moments(session)


def change_settings(session: Session, settings: Settings) -> None:
    """Continue with other numbers, from the next step."""
    if settings.gamma != session.settings.gamma:
        session.exact = find_exact(session.mdp, settings.gamma)
    session.settings = settings
    for live in session.tables:
        set_settings(live, settings)
    forget_moments(session)


def advance(session: Session, steps: int) -> None:
    """Take so many steps with each table."""
    while steps > 0:
        if now(session) - session.moments[-1].time >= SPACING:
            keep_moment(session)
        piece = min(steps, PIECE)
        for live, ended in zip(session.tables, session.ended, strict=True):
            total, count = run_live(live, piece)
            ended[0] += total
            ended[1] += count
        steps -= piece


def step_written_out(session: Session) -> list[dict[str, Json]]:
    """Take one step, and write out the update of each table."""
    before = [copy_state(live.state) for live in session.tables]
    advance(session, 1)
    return [write_live(live, state) for live, state in zip(session.tables, before, strict=True)]


def go_back(session: Session, steps: int) -> None:
    """Take steps back, exactly: from the last state that was kept before, the same steps are taken again.

    Raises:
        ConfigError: no state so far back is kept.
    """
    target = now(session) - steps
    first = session.moments[0].time
    if target < first:
        raise ConfigError(
            f"the way back begins at step {first:,}, at the last change of the grid or of a setting, or where memory "
            "ends"
        )
    while session.moments[-1].time > target:
        session.kept -= sum(map(state_bytes, session.moments.pop().states))
    moment = session.moments[-1]
    for live, state in zip(session.tables, moment.states, strict=True):
        live.state = copy_state(state)
        run_live(live, target - moment.time)
    session.ended = [[0.0, 0.0] for _ in session.tables]
    session.measured.clear()


def last_update(session: Session, which: int, state: int) -> dict[str, Json] | None:
    """The last update of an action of `state` by the table `which`, written out; None if it is too long ago.

    Steps are taken again from a state that was kept, and the one that counts the last visit is found by bisection.
    """
    live, end = session.tables[which], now(session)
    visits = int(visit_counts(live.state)[state].sum())
    for moment in reversed(session.moments):
        kept = moment.states[which]
        if int(visit_counts(kept)[state].sum()) < visits:
            break
        end = moment.time
    else:
        return None

    def at(time_: int) -> LiveState:
        again = again_from(live, kept)
        run_live(again, time_ - moment.time)
        return again.state

    low, high = moment.time, end  # fewer visits at `low`, all at `high`
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if int(visit_counts(at(middle))[state].sum()) < visits else (low, middle)
    return write_live(live, at(low))


def tick(session: Session, seconds: float) -> list[dict[str, Json]]:
    """Take the steps that are due after so many seconds; at a low speed, the updates written out."""
    if not session.playing:
        return []
    session.due += min(session.speed, FASTEST) * seconds
    steps = int(min(session.due, session.affordable))
    session.due = session.due - steps if session.due < session.affordable else 0.0
    if steps == 1 and session.speed <= SHOWN_SPEED:
        return step_written_out(session)
    begin = time.perf_counter()
    advance(session, steps)
    spent = time.perf_counter() - begin
    if steps >= session.affordable // 2:  # else it says little about what fits
        wanted = steps * BUSY / max(spent, 1e-6)
        session.affordable = max(100.0, min(wanted, 2.0 * session.affordable, FASTEST))
    return []
