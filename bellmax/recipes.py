"""Plain Python. Settings for known environments, from recipes.toml, and where each setting of an agent comes from."""

from __future__ import annotations

import dataclasses
import functools
import tomllib
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, NamedTuple

from bellmax.agent_config import AgentConfig

FILE = Path(__file__).with_name("recipes.toml")


class Recipe(NamedTuple):
    """A setting's value for an environment, and why."""

    value: Any
    source: str


@functools.cache
def read_recipes() -> list[dict[str, Any]]:
    """The file's recipes, in order."""
    recipes: list[dict[str, Any]] = tomllib.loads(FILE.read_text(encoding="utf-8"))["recipe"]
    return recipes


def recipe_for(environment: str, agent: str) -> dict[str, Recipe]:
    """The settings by name that an environment wants of an agent, where they differ from the agent's defaults."""
    found = {}
    for recipe in read_recipes():
        fits = any(fnmatchcase(environment, pattern) for pattern in recipe["environments"])
        if fits and agent in recipe["agents"]:
            for name, value in recipe["settings"].items():
                value = tuple(value) if isinstance(value, list) else value
                found[name] = Recipe(value, recipe["source"])
    return found


class Origin(NamedTuple):
    """A setting as it is used: its group, its value, where that comes from, and a sentence on the setting."""

    name: str
    group: str
    value: Any
    origin: str
    text: str


def origins(
    config: AgentConfig, environment: str, agent: str, named: Mapping[str, Any], given: Mapping[str, Any]
) -> list[Origin]:
    """Every setting of `config`, which was made for an environment, in groups.

    `named` are the settings that the agent's name stands for, `given` those that the user gave.
    """
    recipes = recipe_for(environment, agent)
    rows = []
    for field in dataclasses.fields(config):
        name, value = field.name, getattr(config, field.name)
        if name in given:
            origin = "given"
        elif name in named:
            origin = "the agent's name"
        elif name in recipes and recipes[name].value == value:
            origin = f"recipe for {environment}: {recipes[name].source}"
        else:
            origin = "agent's default"
        rows.append(Origin(name, field.metadata["group"], value, origin, field.metadata["text"]))
    order = list(dict.fromkeys(row.group for row in rows))
    return sorted(rows, key=lambda row: order.index(row.group))
