"""Plain Python. What `train` was asked for beside agent and environment, checked before the first step."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bellmax.agent_config import AgentConfig
from bellmax.arguments import integer, is_integer, keywords
from bellmax.catalog import is_tabular
from bellmax.contracts import ConfigError
from bellmax.envs.making import normal_wrappers
from bellmax.literals import whole
from bellmax.sources import Source
from bellmax.training.play import SEED_OFFSET


def read_length(steps: Any, episodes: Any, config: AgentConfig | None, *, with_data: bool) -> int:
    """The run's length: steps, or episodes where those are given.

    Raises:
        ConfigError: it is not a positive integer; or both are given, or episodes where they do not go.
    """
    if episodes is None:
        return integer("steps", 100_000 if steps is None else steps)
    if steps is not None:
        raise ConfigError(f"give steps={steps!r} or episodes={episodes!r}, not both")
    if with_data:
        raise ConfigError(f"a run with data has gradient steps and no episodes: give steps, not episodes={episodes!r}")
    if config is not None and not is_tabular(config):
        raise ConfigError(
            f"episodes={episodes!r}: {config.name} explores, learns and copies its target network by steps, and "
            "episodes become longer as it learns; give steps, such as steps=100_000"
        )
    return integer("episodes", episodes)


def check_seeds(seeds: Any) -> list[int]:
    """A list of different non-negative integers."""
    given, seeds = seeds, whole(seeds)
    if is_integer(seeds):
        seeds = range(min(seeds, SEED_OFFSET + 1))
    several = isinstance(seeds, Iterable) and not isinstance(seeds, str | Mapping)
    listed = [whole(seed) for seed in seeds] if several else []
    good = [seed for seed in listed if is_integer(seed) and 0 <= seed < SEED_OFFSET]
    if not listed or len(set(good)) < len(listed):
        raise ConfigError(
            f"`seeds` must be how many seeds (1 or more), or different integers from 0 to 999999; got {given!r}"
        )
    return good


def with_wrappers(env_kwargs: Mapping[str, Any] | None, wrappers: Any) -> dict[str, Any]:
    """Arguments of an environment with its wrappers among them, a list.

    Raises:
        ConfigError: they are given twice, or are not wrappers.
    """
    kwargs = keywords("env_kwargs", env_kwargs)
    if wrappers and kwargs.get("wrappers"):
        raise ConfigError("wrappers are given twice; give wrappers=..., or env_kwargs={'wrappers': ...}, not both")
    given = wrappers or kwargs.get("wrappers")
    if given:
        normal_wrappers(given)
        kwargs["wrappers"] = [given] if isinstance(given, str | Mapping) else list(given)
    return kwargs


def check_saved(env_kwargs: Mapping[str, Any]) -> None:
    """Refuse arguments of an environment that would not come back from a run's folder as they are.

    Raises:
        ConfigError: a value is not JSON's, or a key of a dictionary is not a string.
    """
    try:
        json.dumps(env_kwargs)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"env_kwargs cannot be saved: {error}; give a factory as world instead") from error
    parts: list[Any] = [env_kwargs]
    while parts:
        part = parts.pop()
        if isinstance(part, Mapping):
            if odd := [key for key in part if not isinstance(key, str)]:
                raise ConfigError(
                    f"env_kwargs cannot be saved: the key {odd[0]!r} would come back as a string; give a factory as "
                    "world instead"
                )
            parts += part.values()
        elif isinstance(part, list | tuple):
            parts += part


def check_handled(source: Source, loop: str) -> None:
    """Refuse to say how an environment of Gymnasium is run where none is."""
    if loop == "compiled" or source.work is None:
        raise ConfigError(
            "workers, env_timeout, env_restarts, on_nonfinite and strict go with environments of Gymnasium and "
            f"loop='host'; {source.name} is compiled"
        )


def check_kept(config: AgentConfig | None, keep_experience: bool, *, offline_run: bool) -> None:
    """Refuse to keep experience where there is none."""
    if keep_experience and offline_run:
        raise ConfigError("keep_experience keeps what was stepped, and a run with data steps nothing")
    if keep_experience and config and not hasattr(config, "buffer_size"):
        raise ConfigError(
            f"keep_experience keeps a replay memory, and {config.name} has none; use dqn, or another, or record what a "
            "policy does with bx.collect(run.policy(), steps=...)"
        )
    if keep_experience and config and config.gamma == 0:
        raise ConfigError("keep_experience tells ends by their discount, which is always 0 with gamma=0")


def attempt(problems: list[str], action: Callable[[], Any]) -> Any:
    """The action's result, or None and its complaint."""
    try:
        return action()
    except ConfigError as error:
        problems.append(str(error))
        return None
