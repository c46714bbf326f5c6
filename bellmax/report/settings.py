"""Plain Python. Every setting of an agent in an environment, with its value and where that comes from."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from typing import Any

from bellmax.agent_config import AgentConfig
from bellmax.catalog import show_settings
from bellmax.sources import find_world


def explain_settings(
    agent: str | type[AgentConfig] | AgentConfig,
    world: str,
    env_kwargs: Mapping[str, Any],
    values: Mapping[str, Any],
    *,
    as_json: bool,
    from_data: bool,
) -> str:
    """The settings that `train` would use, in groups, for people or as JSON.

    Raises:
        ConfigError: an unknown agent, environment or setting, or a value that does not fit.
    """
    rows = show_settings(agent, find_world(world, env_kwargs).name, values, from_data)
    if as_json:
        return json.dumps({row.name: {"value": row.value, "from": row.origin, "group": row.group} for row in rows})
    width, lines = max(len(f"{row.name}={row.value}") for row in rows), []
    for group, members in itertools.groupby(rows, key=lambda row: row.group):
        lines += [f"{group}:", *(f"  {f'{row.name}={row.value}':<{width}}  {row.origin}" for row in members)]
    return "\n".join(lines)
