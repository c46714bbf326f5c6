"""Plain Python. What `train` was asked for: found, checked, and made into the plan of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bellmax.agent_config import AgentConfig
from bellmax.arguments import path_of
from bellmax.catalog import make_agent
from bellmax.contracts import ConfigError, Masked, unknown
from bellmax.envs.host_steps import Handling
from bellmax.files.data_sources import name_of, read_data
from bellmax.files.dataset import Dataset
from bellmax.files.existing_folders import IF_EXISTS
from bellmax.loops import choosing
from bellmax.loops.masking import as_asked
from bellmax.sources import Source, find_world, split_arguments
from bellmax.training.options import DataCard, RunOptions
from bellmax.training.train_arguments import (
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
    """The arguments of `train` as they were given; `keywords` are those that are also fields of `RunOptions`."""

    world: Any
    agent: Any
    steps: Any
    episodes: Any
    seeds: Any
    out: Any
    if_exists: str
    loop: str
    env_kwargs: Any
    wrappers: Any
    data: Any
    options: Any
    keywords: Mapping[str, Any]
    hyper_parameters: Mapping[str, Any]


@dataclass(frozen=True)
class Plan:
    """A run that can start.

    Attributes:
        source: the environment, with the masks that the agent uses.
        config: the agent, as its loop needs it.
        seeds: different integers from 0.
        steps: the length of the run, whole rounds of the agent; episodes where `options.episodes` says so.
        kind: "compiled" or "host", or of each where that was asked for: `loop` before `choose`.
        why: why this loop.
        options: how the run goes.
        env_kwargs: of the environment, its wrappers among them.
        folder: where its files go, or None.
        data: what it learns from without the environment, or None.
        without_effect: a line for each setting that was given and changes nothing.
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


def check(request: Request) -> Plan:
    """Find everything that was asked for; the loop is not chosen yet, and `steps` are as given.

    Raises:
        ConfigError: anything asked for is unknown or out of range; all of it in one message.
    """
    problems: list[str] = []
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
    if source and asked and handling:
        masked = isinstance(getattr(given, "obs", None), Masked)
        wanted = "host" if handling != Handling() or masked else request.loop
        source, about_masks = attempt(problems, lambda: as_asked(asked, source, wanted)) or (None, "")
    if source and asked and given is not None:
        config = attempt(problems, lambda: choosing.prepare_for_data(asked, source, given))
    kept = options is not None and options.keep_experience
    attempt(problems, lambda: check_kept(config, kept, offline_run=data is not None))
    length = attempt(problems, lambda: read_length(request.steps, episodes, config, with_data=data is not None))
    problems += find_unknown(request)
    if problems or not (source and config and asked and seeds and options):
        raise ConfigError("; ".join(problems))
    options = replace(options, episodes=None if episodes is None else length, data=None)
    idle = asked.idle(None if isinstance(request.agent, AgentConfig) else settings)
    if given is not None:
        options = replace(options, data=DataCard(source=name_of(data), steps=given.steps, sha256=given.sha256()))
    return Plan(
        source, config, seeds, length, request.loop, about_masks, options, env_kwargs, folder, given, list(idle)
    )


def choose(plan: Plan, say: Callable[[str], None]) -> Plan:
    """The plan with its loop, and whole rounds of it; `say` is called where steps are left out.

    Raises:
        ConfigError: there is no such loop, the parts of the plan exclude each other, or it is shorter than a round.
    """
    source, config, loop = plan.source, plan.config, plan.kind
    if plan.folder is not None:
        check_saved(plan.env_kwargs)
    if source.fixed is not None and len(plan.seeds) > 1:
        raise ConfigError(f"one {source.name} object serves one seed, not {len(plan.seeds)}; give its class or its id")
    if plan.options.handling != Handling():  # it is asked how an environment of Gymnasium is run
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


def merged_options(options: Any, keywords: Mapping[str, Any]) -> RunOptions:
    """One object of the options and the keywords of `train`.

    Raises:
        ConfigError: a keyword has the wrong type or range, or is also given in `options`, which is something else.
    """
    if options is None:
        return RunOptions(**keywords)
    if not isinstance(options, RunOptions):
        raise ConfigError(f"`options` must be bellmax.RunOptions(...); got {options!r}")
    defaults = {field.name: field.default for field in dataclasses.fields(RunOptions)}
    given = {name: value for name, value in keywords.items() if value != defaults[name]}
    if twice := [name for name in given if getattr(options, name) != defaults[name]]:
        words = ", ".join(f"{name}={given[name]!r} and options.{name}={getattr(options, name)!r}" for name in twice)
        raise ConfigError(f"given twice: {words}; give one of each")
    return replace(options, **given)


def asked_length(request: Request) -> Any:
    """The episodes that were asked for, in an argument or in the options; None where there are none."""
    inside = request.options.episodes if isinstance(request.options, RunOptions) else None
    return inside if request.episodes is None else request.episodes


def find_unknown(request: Request) -> list[str]:
    """What is wrong with the words among the arguments."""
    problems = []
    if request.if_exists not in IF_EXISTS:
        problems.append(unknown("if_exists", request.if_exists, IF_EXISTS))
    elif request.if_exists != "error" and request.out is None:
        problems.append(f"if_exists={request.if_exists!r} goes with out, the folder of the run's files")
    if request.loop not in ("auto", "compiled", "host"):
        problems.append(f"loop={request.loop!r}; choose auto, compiled or host")
    if isinstance(request.options, RunOptions):
        if None not in (request.episodes, request.options.episodes):
            problems.append("episodes are given twice: as an argument and in options; give one of them")
        if request.options.data is not None and request.data is None:
            problems.append(f"options are of a run with data: give the data too, data={request.options.data.source!r}")
    return problems
