"""Plain Python. Every setting of an agent in an environment, with its value and where that comes from."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Mapping
from typing import Any

from bellmax.agent_config import AgentConfig
from bellmax.catalog import own_name, show_settings
from bellmax.recipes import Origin, origins, recipe_for
from bellmax.sources import find_world
from bellmax.training.run import Run


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


def settings_of(run: Run) -> list[Origin]:
    """Every setting of the agent of a run, with where its value came from; a value of its own was given.

    A saved run has only values: one that equals the agent's default, or a recipe's, counts as that.
    """
    cls = type(run.config)
    recipes = recipe_for(run.world, own_name(cls))
    if run.options.data is not None:
        recipes.pop("n_steps", None)  # as `make_agent` leaves it out
    expected = {field.name: field.default for field in dataclasses.fields(cls)}
    expected |= {name: recipe.value for name, recipe in recipes.items()}
    given = {name: getattr(run.config, name) for name in expected if getattr(run.config, name) != expected[name]}
    return origins(run.config, run.world, own_name(cls), {}, given)
