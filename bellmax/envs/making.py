"""NumPy. From an id, a class or an environment to Gymnasium environments with spaces that bellmax can use."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

from bellmax.types import Box, ConfigError, Discrete, EnvCrashed, Space, unknown

Env: TypeAlias = gym.Env[Any, Any]
Vector: TypeAlias = VectorEnv[Any, Any, Any]


class Made(NamedTuple):
    """Environments of one name: n plain ones or one vector environment, and their time limit if known."""

    name: str
    world: list[Env] | Vector
    limit: int | None


def make(env: str | Env | Vector | Callable[..., Env | Vector], n: int, kwargs: dict[str, Any]) -> Made:
    """See `bellmax.envs.gymnasium.open_world`."""
    if n < 1:
        raise ConfigError(f"n is {n}; give at least one world")
    if isinstance(env, str):
        return _make_id(env, n, kwargs)
    if isinstance(env, gym.Env | VectorEnv):
        name = _name(env)
        if kwargs:
            raise ConfigError(f"{name}: is made already, so env_kwargs {sorted(kwargs)} come too late; give its class")
        return _make(name, n, kwargs, lambda: env)
    if not callable(env):
        raise ConfigError(
            f"{env!r} is no world; give a Gymnasium id, a gymnasium.Env, a gymnasium.vector.VectorEnv, or a "
            "callable that makes one"
        )
    return _make(getattr(env, "__name__", repr(env)), n, kwargs, lambda: env(**kwargs))


def _make_id(env_id: str, n: int, kwargs: dict[str, Any]) -> Made:
    module, _, name = env_id.rpartition(":")
    if module:
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise ConfigError(f"{env_id!r}: cannot import {module!r}: {error}") from error
    spec = gym.registry.get(name)
    if spec is None:
        namespace = name.rpartition("/")[0]
        if namespace and all(known.namespace != namespace for known in gym.registry.values()):
            raise ConfigError(
                f"unknown environment {name!r}; no package has registered {namespace!r}: install it and give "
                f"'package:{name}', so that it is imported"
            )
        raise ConfigError(unknown("environment", name, gym.registry))
    if n == 1 or spec.vector_entry_point is None or spec.additional_wrappers:
        return _make(name, n, kwargs, lambda: gym.make(name, disable_env_checker=True, **kwargs))
    return _make(name, n, kwargs, lambda: gym.make_vec(name, n, "vector_entry_point", **kwargs))


def _make(name: str, n: int, kwargs: dict[str, Any], call: Callable[[], Any]) -> Made:
    first = _call(name, kwargs, call)
    if isinstance(first, VectorEnv):
        if n not in (1, first.num_envs):
            raise ConfigError(f"{_name(first)}: n is {n}, but this vector environment has {first.num_envs} worlds")
        return Made(_name(first), first, _vector_limit(first))
    if not isinstance(first, gym.Env):
        raise ConfigError(
            f"{name}: is a {type(first).__module__}.{type(first).__qualname__}, not a gymnasium.Env; derive "
            "it from gymnasium.Env, or wrap an old gym environment with shimmy"
        )
    worlds = [first, *(_call(name, kwargs, call) for _ in range(n - 1))]
    if len({id(world) for world in worlds}) < n:
        raise ConfigError(f"{_name(first)}: one environment cannot be {n} worlds; give its class or its id")
    return Made(_name(first), worlds, _limit(first))


def _call(name: str, kwargs: dict[str, Any], call: Callable[[], Any]) -> Any:
    """`call()`; what it raises becomes a bellmax error that blames the arguments or a missing package."""
    try:
        return call()
    except (gym.error.DependencyNotInstalled, ImportError) as error:
        raise ConfigError(f"{name}: missing dependency: {error}") from error
    except Exception as error:
        what = f"{type(error).__name__}: {error}"
        if kwargs:
            raise ConfigError(f"{name}: cannot be made with env_kwargs {kwargs}: {what}") from error
        raise EnvCrashed(f"{name}: its constructor raised {what}") from error


def _name(env: Env | Vector) -> str:
    if env.spec is not None:
        return env.spec.id
    parts = _parts(env)
    return _name(parts[0]) if parts else type(env.unwrapped).__name__


def _parts(env: Env | Vector) -> list[Env]:
    """The environments in a vector environment of this process, else nothing."""
    return getattr(env.unwrapped, "envs", []) if isinstance(env, VectorEnv) else []


def _limit(env: Env) -> int | None:
    """The time limit, from a TimeLimit wrapper or from the registry."""
    layer: Any = env
    while isinstance(layer, gym.Wrapper):
        if isinstance(layer, gym.wrappers.TimeLimit):
            return int(layer._max_episode_steps)
        layer = layer.env
    return None if env.spec is None else env.spec.max_episode_steps


def _vector_limit(env: Vector) -> int | None:
    if parts := _parts(env):
        return _limit(parts[0])
    if env.spec is None:
        return None
    limit: int | None = env.spec.kwargs.get("max_episode_steps", env.spec.max_episode_steps)
    return limit


class Spaces(NamedTuple):
    """A world's spaces in bellmax's words, and in Gymnasium's for messages and shifts.

    Attributes:
        observation: what bellmax sees: float32 arrays, or integers from 0.
        native: Gymnasium's observation space.
        low: the first observation of a Discrete space, else 0.
        n_actions: actions are 0 to n_actions - 1 here, and `first_action` more in the world.
        first_action: the `start` of the action space.
    """

    observation: Space
    native: gym.Space[Any]
    low: int
    n_actions: int
    first_action: int


def read_spaces(name: str, world: Sequence[Env] | Vector) -> Spaces:
    """The spaces of one of the worlds called `name`, which all have the same.

    Raises:
        ConfigError: bellmax cannot learn in such spaces.
    """
    if isinstance(world, VectorEnv):
        return _spaces(name, world.single_observation_space, world.single_action_space)
    first, *others = (_spaces(name, env.observation_space, env.action_space) for env in world)
    for other in others:
        if other._replace(native=first.native) != first:  # bounds may differ
            raise ConfigError(f"{name}: worlds of different spaces; make all like the first, {first.native}")
    return first


def _spaces(name: str, observation: gym.Space[Any], action: gym.Space[Any]) -> Spaces:
    if not isinstance(action, gym.spaces.Discrete):
        raise ConfigError(
            f"{name}: action space {one_line(action)} is not Discrete; bellmax chooses among finitely many "
            "actions: wrap the environment to discretise it"
        )
    actions = int(action.n), int(action.start)
    if isinstance(observation, gym.spaces.Discrete):
        if int(observation.n) > np.iinfo(np.int32).max:
            raise ConfigError(f"{name}: observation space {observation} has too many states to number in int32")
        return Spaces(Discrete(int(observation.n)), observation, int(observation.start), *actions)
    if isinstance(observation, gym.spaces.Box):
        return Spaces(Box(observation.shape), observation, 0, *actions)
    raise ConfigError(
        f"{name}: observation space {one_line(observation)} is neither Box nor Discrete; bellmax sees one "
        "array or one integer: wrap the environment in gymnasium.wrappers.FlattenObservation"
    )


def one_line(value: object) -> str:
    """One line, whatever the value."""
    text = " ".join((str(value) if isinstance(value, gym.Space) else repr(value)).split())
    return text if len(text) <= 120 else text[:117] + "..."
