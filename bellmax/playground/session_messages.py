"""NumPy. What a page and its session say to each other: commands as JSON, answers as JSON, frames as bytes.

A frame is a header in JSON, its length before it (4 bytes, little-endian), padded to a multiple of 8 bytes, and then
for each table Q [S, A] and the visits of each state [S], as float64.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from bellmax.arguments import describe, integer, real
from bellmax.contracts import ConfigError, Json, unknown
from bellmax.playground import session as sessions
from bellmax.playground.edited_grid import MOST, checked_grid, grid_to_json, read_json_text
from bellmax.playground.exact_answers import q_error
from bellmax.playground.grid_presets import PRESETS
from bellmax.playground.live_agents import AGENTS_SHOWN, q_now, standing, visit_counts
from bellmax.playground.live_tables import MOST_PLANNED, read_settings
from bellmax.playground.session import Session

Reply = dict[str, Json]
MOST_STEPS = 100_000  # of one command
LARGEST_SEED = 2**31 - 1


def obey(session: Session, text: str) -> list[Reply]:
    """Do what a command says, and return what to say to the page.

    Raises:
        ConfigError: the command is not valid; nothing is changed then.
    """
    message = read_json_text(text)
    if not isinstance(message, Mapping) or not isinstance(message.get("do"), str):
        raise ConfigError(f'a command is a JSON object with "do"; got {describe(message)}')
    word = message["do"]
    if word not in COMMANDS:
        raise ConfigError(unknown("command", word, COMMANDS))
    return COMMANDS[word](session, message)


def greeting() -> Reply:
    """What the page receives first: all that it offers."""
    return {
        "kind": "hello", "agents": AGENTS_SHOWN, "most": MOST, "most_planned": MOST_PLANNED,
        "presets": {name: grid_to_json(grid) for name, grid in PRESETS.items()},
    }  # fmt: skip


def describe_grid(session: Session) -> Reply:
    """The grid, and its exact answer."""
    solution = session.exact.solution
    exact: Json = None
    if solution is not None:
        exact = {
            "q": solution.q.tolist(), "v": solution.v.tolist(), "bound": finite_or_none(solution.bound),
            "start_value": float(solution.start_value),
        }  # fmt: skip
    return {"kind": "grid", "grid": grid_to_json(session.grid), "exact": exact, "why": session.exact.why}


def describe_session(session: Session) -> Reply:
    """The agents and settings."""
    return {
        "kind": "session", "agents": [live.name for live in session.tables], "seed": session.seed,
        "settings": session.settings._asdict(), "speed": session.speed, "playing": session.playing,
    }  # fmt: skip


def finite_or_none(number: float) -> float | None:
    """A number of JSON, which has neither NaN nor infinity."""
    return float(number) if np.isfinite(number) else None


def make_frame(session: Session) -> bytes:
    """The numbers of now; the returns since the last frame are then counted."""
    tables: list[Json] = []
    arrays: list[bytes] = []
    for live, ended in zip(session.tables, session.ended, strict=True):
        here, q = standing(live), q_now(live)
        error = q_error(session.exact, q)
        tables.append({
            "agent": live.name, "state": here.obs, "action": here.action,
            "length": here.length, "episodes": here.ended,
            "error": error, "return": ended[0] / ended[1] if ended[1] else None, "returns": int(ended[1]),
        })  # fmt: skip
        arrays += [q.tobytes(), visit_counts(live.state).sum(axis=1).astype(np.float64).tobytes()]
        ended[:] = [0.0, 0.0]
    step, at = sessions.now(session), time.monotonic()
    session.measured.append((at, step))
    begin, before = session.measured[0]
    header = json.dumps({
        "step": step, "first": session.moments[0].time, "playing": session.playing, "states": session.mdp.n_states,
        "speed": (step - before) / (at - begin) if session.playing and at > begin else 0.0, "tables": tables,
    }).encode()  # fmt: skip
    header += b" " * (-(len(header) + 4) % 8)
    return b"".join([struct.pack("<I", len(header)), header, *arrays])


def _grid(session: Session, message: Mapping[str, Any]) -> list[Reply]:
    sessions.change_grid(session, checked_grid(message.get("grid")))
    return [describe_grid(session)]


def _agents(session: Session, message: Mapping[str, Any]) -> list[Reply]:
    names = message.get("agents")
    if not isinstance(names, list):
        raise ConfigError(f"`agents` must be a list of names; got {describe(names)}")
    sessions.restart(session, names, session.seed)
    return [describe_session(session)]


def _settings(session: Session, message: Mapping[str, Any]) -> list[Reply]:
    given = message.get("settings")
    if not isinstance(given, dict):
        raise ConfigError(f"`settings` must be a JSON object; got {describe(given)}")
    settings = read_settings(given, session.settings)
    other = settings.gamma != session.settings.gamma
    sessions.change_settings(session, settings)
    return [describe_session(session), *([describe_grid(session)] if other else [])]


def _play(session: Session, message: Mapping[str, Any]) -> list[Reply]:
    session.playing, session.due = True, 0.0
    session.measured.clear()
    return []


def _pause(session: Session, message: Mapping[str, Any]) -> list[Reply]:
    session.playing = False
    return []


def _speed(session: Session, message: Mapping[str, Any]) -> list[Reply]:
    session.speed = real("speed", message.get("speed"), 0.1, sessions.FASTEST)
    session.due = 0.0
    session.measured.clear()
    return []


def _step(session: Session, message: Mapping[str, Any]) -> list[Reply]:
    steps = integer("steps", message.get("steps", 1), 1, MOST_STEPS)
    session.playing = False
    if steps > 1:
        sessions.advance(session, steps - 1)
    return [{"kind": "update", "table": i, **update} for i, update in enumerate(sessions.step_written_out(session))]


def _back(session: Session, message: Mapping[str, Any]) -> list[Reply]:
    steps = integer("steps", message.get("steps", 1), 1, MOST_STEPS)
    session.playing = False
    sessions.go_back(session, steps)
    return []


def _reset(session: Session, message: Mapping[str, Any]) -> list[Reply]:
    seed = integer("seed", message.get("seed", session.seed), 0, LARGEST_SEED)
    sessions.restart(session, [live.name for live in session.tables], seed)
    return [describe_session(session)]


def _explain(session: Session, message: Mapping[str, Any]) -> list[Reply]:
    which = integer("table", message.get("table", 0), 0, len(session.tables) - 1)
    state = integer("state", message.get("state"), 0, session.mdp.n_states - 1)
    update = sessions.last_update(session, which, state)
    if update is None:
        return [{"kind": "no update", "table": which, "state": state}]
    return [{"kind": "update", "table": which, "asked": True, **update}]


COMMANDS: dict[str, Callable[[Session, Mapping[str, Any]], list[Reply]]] = {
    "grid": _grid, "agents": _agents, "settings": _settings, "play": _play, "pause": _pause, "speed": _speed,
    "step": _step, "back": _back, "reset": _reset, "explain": _explain,
}  # fmt: skip
