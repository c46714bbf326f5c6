"""Plain Python. Find the agent and the network that a saved file names, also those of your own.

A file never makes bellmax import a module. An agent or network of your own is found if its module is imported already
or its name registered; otherwise the error says which module to import.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from bellmax.agent_config import AgentConfig, build
from bellmax.catalog import AGENTS, agent_class
from bellmax.contracts import ConfigError, IncompatibleCheckpoint, RunWarning, listed
from bellmax.registry import Registry, describe_error, is_found, place_of, present
from bellmax.stderr import warn

Thing = TypeVar("Thing")
MOST_ITEMS = 10_000  # of a setting that is a list: each is checked by its type and range


def agent_of(config: AgentConfig) -> dict[str, Any]:
    """Return what a file says about an agent: its name, and the modules of its parts that are not bellmax's own.

    The name of an agent that is not registered is `module:Class`.
    """
    cls, parts = type(config), dict[str, str]()
    name = config.name if config.name in AGENTS.built_in and AGENTS.place(config.name) == place_of(cls) else None
    if name is None:
        name = AGENTS.name_of(cls) or place_of(cls)
        parts["agent"] = place_of(cls)
    network = getattr(config, "network", "auto")
    if network != "auto" and network not in _torsos().built_in:
        parts["network"] = _torsos().place(network) if network in _torsos() else network
    return {"agent": name, **({"parts": parts} if parts else {})}


def check_found(config: AgentConfig, what: str) -> None:
    """Check that the parts of an agent can be found again where a file names them; `what` is saved, for the message.

    What no import can name, as in a session without a file, can be loaded only where it is defined again: a warning.

    Raises:
        ConfigError: one cannot be found, because it is inside a function, say.
    """
    for kind, place in agent_of(config).get("parts", {}).items():
        if AGENTS.name_of(type(config)) is not None if kind == "agent" else getattr(config, "network", "") in _torsos():
            continue  # loaded by its name
        if not is_found(place):
            raise ConfigError(
                f"{what} could be saved but not loaded, because no {kind} is found at {place!r}; move it to the top "
                f"of its module, or register it with bellmax.extend.register_{kind}"
            )
        module, _, name = place.partition(":")
        if module == "__main__" or not all(map(str.isidentifier, module.split("."))):
            warn(
                f"{what} is saved with the {kind} {place!r}, which is not in a module that can be imported: it can be "
                f"loaded only where {name} is defined again; move it to a module and import it from there",
                RunWarning,
                stacklevel=3,
            )


def saved_config(card: Mapping[str, Any]) -> AgentConfig:
    """Return the agent in a file.

    Raises:
        UnsafeFile: a module that the file names is not imported.
        IncompatibleCheckpoint: its class is not here, or is your own and does not accept the settings in the file.
        ConfigError: a setting of bellmax's own class is not valid.
    """
    cls, settings = saved_class(card), card["hyper_parameters"]
    for name, value in settings.items():
        if isinstance(value, list) and len(value) > MOST_ITEMS:
            raise ConfigError(f"{name[:40]} has {len(value):,} values; at most {MOST_ITEMS:,} are valid in a file")
    try:
        return build(cls, settings)
    except Exception as error:
        if cls.__module__.startswith("bellmax."):
            raise
        said = str(error) if isinstance(error, ConfigError) else describe_error(error, cls.__module__)
        raise IncompatibleCheckpoint(
            f"the file was saved with the agent {place_of(cls)!r}, whose class has changed since, and does not accept "
            f"the settings in the file ({listed(settings)}): {said}; restore the class as it was"
        ) from error


def saved_class(card: Mapping[str, Any]) -> type[AgentConfig]:
    """Return the class of the agent in a file, after its network has been found.

    Raises:
        UnsafeFile: a module that the file names is not imported.
        IncompatibleCheckpoint: an imported module does not have it, or its name is not registered.
    """
    name, parts = card["agent"], card.get("parts", {})
    network = card["hyper_parameters"].get("network", "auto")
    if network != "auto" and network not in _torsos():
        make = _find("network", _torsos().find, network, parts, callable)
        if ":" not in network:
            _torsos()[network] = make
    if name in AGENTS:
        return AGENTS[name]
    return _find("agent", agent_class, name, parts, _is_agent)


def _find(
    kind: str, find: Callable[[str], Thing], name: str, parts: Mapping[str, str], suits: Callable[[object], bool]
) -> Thing:
    if path := name if ":" in name else parts.get(kind):
        thing: Thing = present(kind, path, suits)
        return thing
    try:
        return find(name)
    except ConfigError as error:
        raise IncompatibleCheckpoint(
            f"the file was saved with the {kind} {name!r}, which is not registered here: import the module that "
            f"registers it before you load the file (on the command line: --import MODULE); {error}"
        ) from error


def _is_agent(thing: object) -> bool:
    return isinstance(thing, type) and issubclass(thing, AgentConfig)


def _torsos() -> Registry[Any]:
    from bellmax.networks.torsos import TORSOS

    return TORSOS
