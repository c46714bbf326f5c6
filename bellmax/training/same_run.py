"""Plain Python. Compare the run in a folder with the one that `train` is asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bellmax.contracts import ConfigError, listed
from bellmax.files.saved_parts import agent_of
from bellmax.files.world_traits import find_other_traits
from bellmax.training.options import FIXED
from bellmax.training.run import Run
from bellmax.training.saved_runs import load


def find_differences(asked: Run, saved: Run) -> list[str]:
    """Return a line for each difference between two runs that resuming cannot change."""
    pairs: list[tuple[str, Any, Any]] = [
        (name, getattr(asked, name), getattr(saved, name)) for name in ("world", "steps", "seeds", "loop")
    ]
    pairs.append(("env_kwargs", json.loads(json.dumps(asked.env_kwargs)), saved.env_kwargs))  # tuples become lists
    agents = agent_of(asked.config)["agent"], agent_of(saved.config)["agent"]
    pairs.append(("agent", *agents))
    if agents[0] == agents[1]:
        pairs += _unlike(asdict(asked.config), asdict(saved.config))
    pairs += [pair for pair in _unlike(asdict(asked.options), asdict(saved.options)) if pair[0] in (*FIXED, "data")]
    found = [f"{name}={mine!r} (saved: {theirs!r})" for name, mine, theirs in pairs if mine != theirs]
    if asked.world == saved.world and (inside := find_other_traits(saved._traits, asked._traits)):
        found.insert(0, f"{asked.world} differs in {listed(inside)}")
    return found


def changed_options(asked: Run, saved: Run) -> dict[str, Any]:
    """Return the options that differ and that a resumed run can have."""
    pairs = _unlike(asdict(asked.options), asdict(saved.options))
    return {name: mine for name, mine, _ in pairs if name not in (*FIXED, "data")}


def _unlike(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    return [(name, value, theirs.get(name)) for name, value in mine.items() if value != theirs.get(name)]


def read_same(asked: Run, folder: Path) -> Run:
    """Read the run in `folder` and check that it is the one that is asked for.

    Raises:
        ConfigError: there is no run, or it differs; the message says in what.
    """
    saved = load(folder)
    if differing := find_differences(asked, saved):
        raise ConfigError(f"the run in {folder} is another one: {'; '.join(differing)}; choose another folder")
    return saved
