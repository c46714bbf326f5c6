"""Plain Python. The arguments that an environment's constructor has, for messages."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping

import gymnasium as gym


def parameters_of(constructor: object) -> Mapping[str, inspect.Parameter]:
    """The parameters of a class, a function or an entry point "module:Class"; none if it does not say them."""
    try:
        if isinstance(constructor, str):
            constructor = gym.envs.registration.load_env_creator(constructor)
        return inspect.signature(constructor).parameters if callable(constructor) else {}
    except Exception:  # it cannot be imported, or has no signature: making it will tell
        return {}


def arguments_of(world: object) -> set[str]:
    """The names of the arguments of an environment given by a registered id, "module:Class", a class or a function."""
    named = {"max_episode_steps", "render_mode"} if isinstance(world, str) and world in gym.registry else set()
    if isinstance(world, str):
        if world in gym.registry:
            spec = gym.registry[world]
            named |= spec.kwargs.keys()
            world = spec.entry_point
        elif ":" in world:
            module, _, name = world.partition(":")
            world = getattr(sys.modules.get(module), name, None)
    if not (callable(world) or isinstance(world, str)):
        return named
    return named | (parameters_of(world).keys() - {"self", "args", "kwargs"})
