"""Plain Python. Check the arguments of `train` and turn them into the plan of a run."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from bellmax.agent_config import AgentConfig
from bellmax.arguments import describe, one_of, path_of
from bellmax.catalog import make_agent
from bellmax.contracts import ConfigError, Masked
from bellmax.envs.host_steps import Handling
from bellmax.files.data_sources import name_of, read_data
from bellmax.files.dataset import Dataset
from bellmax.files.existing_folders import IF_EXISTS
from bellmax.files.saved_parts import check_found
from bellmax.loops import choosing
from bellmax.loops.masking import masked_as_asked
from bellmax.sources import Source, find_world, split_arguments
from bellmax.training.options import DataCard, RunOptions, check_records, check_room_for
from bellmax.training.record_hooks import OnRecord, read_hooks
from bellmax.training.train_arguments import (
    Problems,
    attempt,
    check_handled,
    check_kept,
    check_saved,
    check_seeds,
    read_length,
    with_wrappers,
)


@dataclass(frozen=True)
class Request:
    """The arguments of `train` as the caller passed them; `keywords` are those that are fields of `RunOptions`."""

    world: object
    agent: str | type[AgentConfig] | AgentConfig
    steps: object
    episodes: object
    seeds: object
    out: object
    if_exists: str
    loop: str
    env_kwargs: Mapping[str, Any] | None
    wrappers: object
    data: object
    options: object
    on_record: object
    keywords: Mapping[str, Any]
    hyper_parameters: Mapping[str, Any]


@dataclass(frozen=True)
class RunPlan:
    """A run that can start.

    Attributes:
        source: the environment, with the masks that the agent uses.
        config: the agent, as its loop needs it.
        seeds: different integers from 0.
        steps: the length of the run, in whole rounds of the agent; episodes if `options.episodes` is set.
        kind: "compiled" or "host"; before `choose`, the argument `loop`.
        why: the reason for this loop.
        options: the other settings of the run.
        env_kwargs: arguments of the environment, with its wrappers.
        folder: for its files, or None.
        data: of an offline run, or None.
        without_effect: a line for each setting that has no effect.
        hooks: the functions to call after each record.
    """

    source: Source
    config: AgentConfig
    seeds: list[int]
    steps: int
    kind: str
    why: str
    options: RunOptions
    env_kwargs: dict[str, Any]
    folder: Path | None
    data: Dataset | None
    without_effect: list[str]
    hooks: tuple[OnRecord, ...]


def check(request: Request) -> RunPlan:
    """Check all arguments; the loop is not chosen yet, and `steps` are not rounded.

    Raises:
        ConfigError: arguments are unknown or out of range; one message reports all of them.
        ResourceError: the results do not fit in memory.
    """
    problems = Problems()
    options = attempt(problems, lambda: merged_options(request.options, request.keywords))
    episodes, data = asked_length(request), request.data
    env_kwargs = attempt(problems, lambda: with_wrappers(request.env_kwargs, request.wrappers)) or {}
    handling = options.handling if options else Handling()
    folder = None if request.out is None else attempt(problems, lambda: path_of("out", request.out))
    source = attempt(problems, lambda: find_world(request.world, env_kwargs, handling))
    settings = split_arguments(request.world, request.agent, request.hyper_parameters, problems)
    name = source.name if source else ""
    asked = attempt(problems, lambda: make_agent(request.agent, name, settings, data is not None))
    seeds = attempt(problems, lambda: check_seeds(request.seeds))
    given = None if data is None else attempt(problems, lambda: read_data(data))
    about_masks, config = "", asked
    if source and asked:
        masked = isinstance(getattr(given, "obs", None), Masked)
        wanted = "host" if handling != Handling() or masked else request.loop
        source, about_masks = attempt(problems, functools.partial(masked_as_asked, asked, source, wanted)) or (None, "")
    if source and asked and given is not None:
        config = attempt(problems, lambda: choosing.prepare_for_data(asked, source, given))
    attempt(problems, lambda: check_kept(config, options, offline_run=data is not None))
    length = attempt(problems, lambda: read_length(request.steps, episodes, config, with_data=data is not None))
    hooks = attempt(problems, lambda: read_hooks(request.on_record)) or ()
    if options and length:
        attempt(problems, functools.partial(check_records, options, length, by_episode=episodes is not None))
    problems += find_unknown(request)
    if problems or not (source and config and asked and seeds and options and length):
        raise ConfigError("; ".join(problems)) from problems.cause
    check_room_for(options, len(seeds), length)
    options = replace(options, episodes=None if episodes is None else length, data=None)
    idle = asked.idle(None if isinstance(request.agent, AgentConfig) else settings)
    if given is not None:
        options = replace(options, data=DataCard(source=name_of(data), steps=given.steps, sha256=given.sha256()))
    return RunPlan(
        source, config, seeds, length, request.loop, about_masks, options, env_kwargs, folder, given, list(idle), hooks
    )


def choose(plan: RunPlan, say: Callable[[str], None]) -> RunPlan:
    """Return the plan with its loop, and with steps in whole rounds; `say` is called if steps are rounded down.

    Raises:
        ConfigError: there is no such loop, parts of the plan are incompatible, or it is shorter than a round.
    """
    source, config, loop = plan.source, plan.config, plan.kind
    if plan.folder is not None:
        check_saved(plan.env_kwargs)
        check_found(config, "`out`: the run")
        choosing.check_resumable(config, source)
    if source.fixed is not None and len(plan.seeds) > 1:
        raise ConfigError(f"one {source.name} object can run 1 seed, not {len(plan.seeds)}; pass its class or its id")
    if plan.options.handling != Handling():  # options that only Gymnasium environments have
        check_handled(source, loop)
        loop = "host"
    kind, why = choosing.choose_loop(config, source, loop)
    why += plan.why
    if plan.options.data is not None:
        about = plan.options.data
        why = f"learning from {about.steps:,} steps of {about.source}, evaluated in the environment"
    stride, steps = choosing.round_steps(config, source), plan.steps
    if steps < stride:
        raise ConfigError(f"steps={steps} is less than one round of {stride} environment steps")
    if remainder := steps % stride:
        say(f"steps: {steps:,} -> {steps - remainder:,}, a multiple of {stride:,}, one round of {config.name}")
    return replace(plan, kind=kind, why=why, steps=steps - steps % stride)


def merged_options(options: object, keywords: Mapping[str, Any]) -> RunOptions:
    """Return the options, updated with the keywords of `train`.

    Raises:
        ConfigError: a keyword has the wrong type or range, or is also set in `options`; or `options` is something else.
    """
    if options is None:
        return RunOptions(**keywords)
    if not isinstance(options, RunOptions):
        raise ConfigError(f"`options` must be bellmax.RunOptions(...); got {describe(options)}")
    defaults = {field.name: field.default for field in dataclasses.fields(RunOptions)}
    given = {name: value for name, value in keywords.items() if not _is(value, defaults[name])}
    if twice := [name for name in given if getattr(options, name) != defaults[name]]:
        words = ", ".join(f"{name}={given[name]!r} and options.{name}={getattr(options, name)!r}" for name in twice)
        raise ConfigError(f"set twice: {words}; set each only once")
    return replace(options, **given)


def _is(value: object, default: object) -> bool:
    """Whether an argument is at its default; an array, which compares number by number, never is."""
    return not isinstance(value, np.ndarray) and value == default


def asked_length(request: Request) -> object:
    """Return the episodes in the argument or in the options; None if the run's length is in steps."""
    inside = request.options.episodes if isinstance(request.options, RunOptions) else None
    return inside if request.episodes is None else request.episodes


def find_unknown(request: Request) -> list[str]:
    """Return a line for each argument whose value is not one of the valid words, or needs another argument."""
    problems = Problems()
    if_exists = attempt(problems, lambda: one_of("if_exists", request.if_exists, IF_EXISTS))
    if if_exists not in (None, "error") and request.out is None:
        problems.append(f"if_exists={request.if_exists!r} needs out, the folder of the run's files")
    if not isinstance(request.loop, str) or request.loop not in choosing.LOOPS:
        problems.append(f"`loop` must be 'auto', 'compiled' or 'host'; got {describe(request.loop)}")
    if isinstance(request.options, RunOptions):
        if request.episodes is not None and request.options.episodes is not None:
            problems.append("episodes are set twice: as an argument and in options; set them only once")
        if request.options.data is not None and request.data is None:
            problems.append(f"options are of a run with data: also pass data={request.options.data.source!r}")
    return problems
