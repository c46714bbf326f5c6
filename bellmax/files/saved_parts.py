"""Plain Python. Agents and networks of your own in saved files: what is written of them, and how they are found again.

A file never makes bellmax import a module. An agent or network of your own is found where its module is imported
already, or its name registered; otherwise the error says which module to import.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bellmax.agent_config import AgentConfig
from bellmax.catalog import AGENTS, agent_class
from bellmax.contracts import ConfigError, IncompatibleCheckpoint
from bellmax.registry import Registry, place_of, present


def agent_of(config: AgentConfig) -> dict[str, Any]:
    """What a file says of an agent: its name, and where those of its parts stand that are not bellmax's own.

    The name of an agent that nobody registered is `module:Class`.
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


def saved_class(card: Mapping[str, Any]) -> type[AgentConfig]:
    """The class of the agent in a file; its network is there too.

    Raises:
        UnsafeFile: a module that the file names is not imported.
        IncompatibleCheckpoint: an imported module no longer has it, or no such name is registered.
    """
    name, parts = card["agent"], card.get("parts", {})
    network = card["hyper_parameters"].get("network", "auto")
    if network != "auto" and network not in _torsos():
        make = _find(_torsos(), network, parts, callable)
        if ":" not in network:
            _torsos()[network] = make
    if name in AGENTS:
        return AGENTS[name]
    found: type[AgentConfig] = _find(AGENTS, name, parts, _is_agent)
    return found


def _find(registry: Registry[Any], name: str, parts: Mapping[str, str], suits: Any) -> Any:
    kind = registry.kind
    if path := name if ":" in name else parts.get(kind):
        return present(kind, path, suits)
    try:
        return agent_class(name) if registry is AGENTS else registry.find(name)
    except ConfigError as error:
        raise IncompatibleCheckpoint(
            f"the file was saved with the {kind} {name!r}, which is not registered here: import the module that "
            f"registers it before you load the file (on the command line: --import MODULE); {error}"
        ) from error


def _is_agent(thing: Any) -> bool:
    return isinstance(thing, type) and issubclass(thing, AgentConfig)


def _torsos() -> Registry[Any]:
    from bellmax.networks.torsos import TORSOS

    return TORSOS
