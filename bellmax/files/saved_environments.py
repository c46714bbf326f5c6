"""Plain Python. Create the environment that a saved file names, safely, and report what differs from training.

A run's folder may come from anybody. Nothing in it makes bellmax import a module, write a file or open a window, unless
the caller asks for the same again.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from bellmax.agent_config import AgentConfig
from bellmax.arguments import keywords
from bellmax.contracts import ConfigError, IncompatibleCheckpoint, UnsafeFile
from bellmax.envs.host_steps import Handling
from bellmax.envs.making import normal_wrappers
from bellmax.files.saved_parts import agent_of
from bellmax.mdp.gallery import GALLERY
from bellmax.registry import WORLDS
from bellmax.sources import Source, find_world

# Gymnasium's wrappers that only compute: nothing on disk, no window, no function that a string could name
PURE_WRAPPERS = frozenset((
    "AddRenderObservation", "AtariPreprocessing", "Autoreset", "ClipAction", "ClipReward", "DelayObservation",
    "DiscretizeAction", "DiscretizeObservation", "DtypeObservation", "FilterObservation", "FlattenObservation",
    "FrameStackObservation", "GrayscaleObservation", "MaxAndSkipObservation", "NormalizeObservation",
    "NormalizeReward", "OrderEnforcing", "PassiveEnvChecker", "RecordEpisodeStatistics", "RepeatAction",
    "RescaleAction", "RescaleObservation", "ReshapeObservation", "ResizeObservation", "StickyAction",
    "TimeAwareObservation", "TimeLimit",
))  # fmt: skip
QUIET_RENDERING = (None, "ansi", "ansi_list", "rgb_array", "rgb_array_list", "depth_array")
# arguments that Gymnasium reads as something to import or to build an environment from, at any depth
BUILDING = ("wrappers", "additional_wrappers", "entry_point", "vector_entry_point", "vector_kwargs")
# `module:name`, `module.name` or a script: strings that an environment may import
IMPORTABLE = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*[.:][^\W\d][\w./-]*|.*\.py[co]?", re.DOTALL)


def imports_module(world: object) -> bool:
    """Return whether creating the environment of this name imports a module that the name contains: `module:id`."""
    return isinstance(world, str) and ":" in world and not world.startswith(("probe:", "gymnax:"))


def options_to_repeat(world: str, env_kwargs: Mapping[str, Any], config: AgentConfig) -> str:
    """Return the options that the command line needs to resume a saved run, each after a space.

    They are those that import, write or open something, which a saved file must not do by itself.
    """
    words = dict.fromkeys(key for key, _ in find_risks(env_kwargs))
    named = f" --world {shlex.quote(world)}" if imports_module(world) else ""
    modules = dict.fromkeys(path.partition(":")[0] for path in agent_of(config).get("parts", {}).values())
    named += "".join(f" --import {shlex.quote(module)}" for module in modules)
    return named + "".join(f" --env {shlex.quote(f'{key}={json.dumps(env_kwargs[key])}')}" for key in words)


def find_risks(env_kwargs: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (argument, reason) for each argument that a saved file must not set by itself."""
    for key, value in env_kwargs.items():
        if key == "wrappers":
            yield from (("wrappers", reason) for reason in _of_wrappers(value))
        else:
            yield from ((key, reason) for reason in _of_value(key, value))


def _of_wrappers(given: object) -> Iterator[str]:
    if not isinstance(given, list | tuple):
        yield "it is not a list of names or of dictionaries with a name"
        return
    try:
        wrappers = normal_wrappers(given)
    except ConfigError as error:
        yield str(error)
        return
    for wrapper in wrappers:
        if wrapper["name"] not in PURE_WRAPPERS:
            imports = ":" in wrapper["name"]
            yield f"{wrapper['name']!r} " + ("imports a module" if imports else "may do more than compute")
        for key, value in wrapper.items():
            if key != "name":
                yield from _of_value(key, value)


def _of_value(key: object, value: object) -> Iterator[str]:
    """The reasons for which one argument, or a part of it, is dangerous."""
    name = str(key).strip().lower()
    if not isinstance(key, str) or name in BUILDING:
        yield f"{key!r} builds an environment from a description"
    if name == "render_mode" and (isinstance(value, list | dict) or value not in QUIET_RENDERING):
        yield f"render_mode={value!r} may open a window"
    if isinstance(value, Mapping):
        for inner, item in value.items():
            yield from _of_value(inner, item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _of_value("", item)
    elif isinstance(value, str):
        if IMPORTABLE.fullmatch(value.strip()):
            yield f"{value!r} may name a module to import"
    elif not (value is None or isinstance(value, bool | int | float)):
        yield f"{type(value).__name__} does not come from a file"


def find_saved_world(
    world: object,
    env_kwargs: Mapping[str, Any] | None,
    name: str,
    saved: Mapping[str, Any],
    *,
    trusted: bool = False,
    handling: Handling | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Source:
    """The environment of a run or policy: what the caller gives, merged over what was saved.

    Args:
        world: the caller's environment, or None for the saved one.
        env_kwargs: the caller's arguments; each replaces the saved one of the same name.
        name: the saved name.
        saved: the saved arguments, which apply only to the environment of this name.
        trusted: `name` and `saved` come from this process, and not from a file.
        handling: see `find_world`.
        say: called with a line on what differs from training.

    Raises:
        IncompatibleCheckpoint: the saved name is not registered in this process.
        UnsafeFile: only a file asks for something that imports, writes or opens a window.
        ConfigError: as `find_world`.
    """
    given = keywords("env_kwargs", env_kwargs)
    if world is None and not trusted and imports_module(name):
        raise UnsafeFile(
            f"refusing to import {name.partition(':')[0]!r}, because only the saved file names it; to allow it, pass "
            f"world={name!r} (--world {name})"
        )
    if world is None and not name.startswith("<"):
        _check_known(name)
    if world is None or (isinstance(world, str) and world == name):
        return _make(name, _merged(given, name, saved, trusted, say), handling)
    if not isinstance(world, str) and name.startswith("<") and saved:  # perhaps the object of training, passed again
        remarks: list[str] = []
        source = _make(world, _merged(given, name, saved, trusted, remarks.append), handling)
        if source.name == name:
            for remark in remarks:
                say(remark)
            return source
    source = _make(world, given, handling)
    if source.name != name:
        lost = f"; its env_kwargs {dict(saved)} do not apply" if saved else ""
        say(f"{source.name} is not the environment of training, {name}{lost}")
    return source


def _check_known(name: str) -> None:
    """Check that the name of an environment is registered, if it is one that a module of the user registers.

    Raises:
        IncompatibleCheckpoint: it is not registered.
    """
    own = re.fullmatch(r"[^:/]+(?<!-v\d)(?<!-v\d\d)", name)
    if own and name not in WORLDS and name not in GALLERY:
        import gymnasium as gym

        if name not in gym.registry:
            raise IncompatibleCheckpoint(
                f"the file was saved with the environment {name!r}, and {name!r} is not registered here: import the "
                "module that registers it before you use the file (on the command line: --import MODULE), or pass the "
                "environment again"
            )


def _make(world: object, env_kwargs: dict[str, Any], handling: Handling | None) -> Source:
    return find_world(world, env_kwargs, handling)._replace(arguments=env_kwargs)


def _merged(
    given: dict[str, Any], name: str, saved: Mapping[str, Any], trusted: bool, say: Callable[[str], None]
) -> dict[str, Any]:
    """The saved arguments, which are checked first, updated with the given ones."""
    kept = {key: value for key, value in saved.items() if key not in given}
    for key, reason in () if trusted else find_risks(kept):
        again = json.dumps({key: kept[key]}, default=str)
        raise UnsafeFile(
            f"refusing to create {name} with {key}={kept[key]!r}, because only the saved file asks for it: {reason}; "
            f"to allow it, pass env_kwargs={again} (--env '{key}={json.dumps(kept[key], default=str)}')"
        )
    if kept.get("wrappers"):
        kept["wrappers"] = normal_wrappers(kept["wrappers"])
    differing = [
        f"{key}={value!r} ({f'training: {saved[key]!r}' if key in saved else 'not given in training'})"
        for key, value in given.items()
        if key not in saved or written(saved[key]) != written(value)
    ]
    if differing:
        say(f"env_kwargs differ from training: {', '.join(differing)}")
    return {**kept, **given}


def written(value: object) -> str:
    """Return a value as JSON, in which a tuple is a list, or its description if JSON cannot hold it."""
    try:
        return json.dumps(value, sort_keys=True)
    except (TypeError, ValueError):
        return repr(value)
