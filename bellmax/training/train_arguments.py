"""Plain Python. Check the arguments of `train` other than agent and environment, before the first step."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

from bellmax.agent_config import AgentConfig
from bellmax.arguments import describe, integer, is_integer, keywords
from bellmax.catalog import is_tabular
from bellmax.contracts import ConfigError
from bellmax.envs.making import normal_wrappers
from bellmax.literals import whole_number
from bellmax.sources import Source
from bellmax.training.options import RunOptions
from bellmax.training.play import SEED_OFFSET

T = TypeVar("T")


def read_length(steps: object, episodes: object, config: AgentConfig | None, *, with_data: bool) -> int:
    """Return the run's length: `steps`, or `episodes` if those are given.

    Raises:
        ConfigError: it is not a positive integer; or both are given, or episodes for an agent that cannot use them.
    """
    if episodes is None:
        return integer("steps", 100_000 if steps is None else steps)
    if steps is not None:
        raise ConfigError(f"pass steps={describe(steps)} or episodes={describe(episodes)}, not both")
    if with_data:
        raise ConfigError(
            f"a run with data has gradient steps and no episodes: pass steps, not episodes={describe(episodes)}"
        )
    if config is not None and not is_tabular(config):
        raise ConfigError(
            f"episodes={describe(episodes)}: the schedules and the target network of {config.name} count steps, and "
            "episodes become longer as it learns; pass steps, such as steps=100_000"
        )
    return integer("episodes", episodes)


def check_seeds(seeds: object) -> list[int]:
    """Return `seeds` as a list of different non-negative integers.

    Raises:
        ConfigError: they are something else.
    """
    read: Any = whole_number(seeds)
    if is_integer(read):
        read = range(min(read, SEED_OFFSET + 1))
    several = isinstance(read, Iterable) and not isinstance(read, str | bytes | Mapping)
    listed = [whole_number(seed) for seed in read] if several else []
    good = [seed for seed in listed if is_integer(seed) and 0 <= seed < SEED_OFFSET]
    if not listed or len(set(good)) < len(listed):
        raise ConfigError(
            f"`seeds` must be how many seeds (1 or more), or different integers from 0 to 999999; got {describe(seeds)}"
        )
    return good


def with_wrappers(env_kwargs: Mapping[str, Any] | None, wrappers: object) -> dict[str, Any]:
    """Return the arguments of an environment with its wrappers among them, as a list.

    Raises:
        ConfigError: wrappers are given twice, or are not wrappers.
    """
    kwargs = keywords("env_kwargs", env_kwargs)
    if not (wrappers is None or isinstance(wrappers, str | Mapping | Sequence)) or wrappers == "":
        raise ConfigError(f"`wrappers` must be a list of wrappers; got {describe(wrappers)}")
    if wrappers and kwargs.get("wrappers"):
        raise ConfigError("wrappers are given twice; pass wrappers=..., or env_kwargs={'wrappers': ...}, not both")
    given: Any = wrappers or kwargs.get("wrappers")
    if given:
        normal_wrappers(given)
        kwargs["wrappers"] = [given] if isinstance(given, str | Mapping) else list(given)
    return kwargs


def check_saved(env_kwargs: Mapping[str, Any]) -> None:
    """Check that the arguments of an environment can be saved and read without change.

    Raises:
        ConfigError: a value is not valid in JSON, or a key of a dictionary is not a string.
    """
    try:
        json.dumps(env_kwargs)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"env_kwargs cannot be saved: {error}; pass a factory as environment instead") from error
    parts: list[Any] = [env_kwargs]
    while parts:
        part = parts.pop()
        if isinstance(part, Mapping):
            if odd := [key for key in part if not isinstance(key, str)]:
                raise ConfigError(
                    f"env_kwargs cannot be saved: the key {odd[0]!r} would become a string; pass a factory as "
                    "environment instead"
                )
            parts += part.values()
        elif isinstance(part, list | tuple):
            parts += part


def check_handled(source: Source, loop: str) -> None:
    """Check that an environment can have the options that only Gymnasium environments have.

    Raises:
        ConfigError: it is compiled.
    """
    if loop == "compiled" or source.work is None:
        raise ConfigError(
            "workers, env_timeout, env_restarts, on_nonfinite and strict need a Gymnasium environment and "
            f"loop='host'; {source.name} is compiled"
        )


def check_kept(config: AgentConfig | None, options: RunOptions | None, *, offline_run: bool) -> None:
    """Check that a run has the replay buffer that its options are about.

    Raises:
        ConfigError: it has none, or none from which data could be read again.
    """
    if options is None:
        return
    keep_experience = options.keep_experience
    if options.save_replay_every is not None and (offline_run or (config and not hasattr(config, "buffer_size"))):
        whose = "a run with data" if offline_run else config.name if config else ""
        raise ConfigError(f"save_replay_every: the checkpoints of {whose} have no replay buffer; leave it out")
    if keep_experience and offline_run:
        raise ConfigError("keep_experience stores environment steps, and a run with data takes none")
    if keep_experience and config and not hasattr(config, "buffer_size"):
        raise ConfigError(
            f"keep_experience stores the replay buffer, and {config.name} does not have one; use an agent such as dqn, "
            "or record the steps of a policy with bx.collect(run.policy(), steps=...)"
        )
    if keep_experience and config and config.gamma == 0:
        raise ConfigError("keep_experience needs gamma above 0: with 0, every stored step looks terminated")


class Problems(list[str]):
    """What is wrong, one message each; `cause` is the first error behind them, such as one in a module of yours."""

    cause: BaseException | None = None


def attempt(problems: Problems, action: Callable[[], T]) -> T | None:
    """Return the action's result; if it raises a ConfigError, add the message to `problems` and return None."""
    try:
        return action()
    except ConfigError as error:
        problems.append(str(error))
        problems.cause = problems.cause or error.__cause__
        return None
