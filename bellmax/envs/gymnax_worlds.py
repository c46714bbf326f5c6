"""JAX. The worlds of gymnax (1.0 or newer) as compiled worlds.

gymnax's `step` resets a world by itself. Here `step_env` and `is_truncated` below it are called, so that the last
observation of an episode is the true one, and an end and a time limit are told apart.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from bellmax.contracts import Array, Box, ConfigError, Discrete, EnvContractError, EnvCrashed, unknown
from bellmax.dispatch import refuse_fork
from bellmax.envs.functional import World

if TYPE_CHECKING:
    from gymnax.environments.environment import Environment, EnvParams, EnvState

PREFIX = "gymnax:"


def make_gymnax(name: str, env_kwargs: Mapping[str, Any]) -> World[Any]:
    """The world of a name like `gymnax:Breakout-MinAtar`.

    Of `env_kwargs`, the fields of the environment's `EnvParams` (`max_steps_in_episode` is one of all) go there and
    the others to its constructor.

    Raises:
        ConfigError: gymnax is missing, does not have this environment, or cannot create it with these arguments.
        EnvCrashed: the environment's own constructor raised.
    """
    gymnax = _gymnax()
    name = name.removeprefix(PREFIX)
    if name not in gymnax.registered_envs:
        raise ConfigError(unknown("world of gymnax", name, gymnax.registered_envs))
    fields = _parameters(gymnax, name) if env_kwargs else []
    env, params = _construct(gymnax, name, {key: env_kwargs[key] for key in env_kwargs if key not in fields}, fields)
    chosen = {
        key: _like(f"{PREFIX}{name}: {key}", value, getattr(params, key))
        for key, value in env_kwargs.items()
        if key in fields
    }
    return as_world(env, dataclasses.replace(params, **chosen), PREFIX + name)


def as_world(env: Environment[Any, Any], params: EnvParams | None = None, name: str | None = None) -> World[Any]:
    """A gymnax environment with its parameters (its own defaults if None) as a compiled world.

    Raises:
        ConfigError: it is a wrapper and not a gymnax environment, or bellmax cannot learn in its spaces.
        EnvContractError: its observations do not have the shape of its space.
    """
    _gymnax()
    from gymnax.environments import environment

    if not isinstance(env, environment.Environment):
        raise ConfigError(
            f"{type(env).__name__} is not a gymnax environment: a wrapper resets itself and hides final observations; "
            "give the environment inside"
        )
    refuse_fork()
    params = env.default_params if params is None else params
    name = env.name if name is None else name
    space, (n_actions, action_type) = _observation_space(name, env, params), _actions(name, env, params)
    obs_type = jnp.dtype(space.dtype if isinstance(space, Box) else "int32")
    limit = math.ceil(params.max_steps_in_episode)
    if limit < 1:
        raise ConfigError(f"{name}: max_steps_in_episode={limit} is not positive")

    def leap(state: EnvState, action: Any, key: Array) -> Any:
        return env.step_env(key, state, jnp.asarray(action, action_type), params)

    # An environment may start with a Python int where it goes on with an int32; a compiled loop needs one type.
    key = jax.random.key(0)
    first_obs, first = jax.eval_shape(lambda: env.reset_env(key, params))
    _, second, *_ = jax.eval_shape(leap, first, 0, key)
    types = jax.tree.map(
        lambda a, b: a.dtype if a.dtype == b.dtype else jnp.promote_types(a.dtype, b.dtype), first, second
    )
    shape = space.shape if isinstance(space, Box) else ()
    if getattr(first_obs, "shape", None) != shape:
        raise EnvContractError(f"{name}: observations {first_obs} do not have the shape {shape} of their space")

    def settle(state: EnvState) -> EnvState:
        return jax.tree.map(jnp.asarray, state, types)

    def reset(key: Array) -> tuple[Any, Array]:
        obs, state = env.reset_env(key, params)
        return settle(state), jnp.asarray(obs, obs_type)

    def step(state: EnvState, action: Array, key: Array) -> tuple[Any, Array, Array, Array, Array]:
        obs, state, reward, terminated, _ = leap(state, action, key)
        truncated = env.is_truncated(state, params)
        flags = jnp.asarray(terminated, bool), jnp.asarray(truncated, bool)
        return settle(state), jnp.asarray(obs, obs_type), jnp.asarray(reward, jnp.float32), *flags

    return World(name, reset, step, space, n_actions, limit)


def _gymnax() -> ModuleType:
    try:
        import gymnax
        from gymnax.environments.environment import Environment
    except ImportError as error:
        raise ConfigError(f"gymnax cannot be imported ({error}); pip install 'bellmax[gymnax]'") from error
    if not hasattr(Environment, "is_truncated"):
        raise ConfigError("this gymnax is older than 1.0 and calls a time limit an end; pip install 'bellmax[gymnax]'")
    module: ModuleType = gymnax
    return module


def _parameters(gymnax: ModuleType, name: str) -> list[str]:
    """The fields of its `EnvParams`; none where the constructor needs arguments, so that all of them go there."""
    try:
        return [field.name for field in dataclasses.fields(gymnax.make(name)[1])]
    except Exception:
        return []


def _construct(gymnax: ModuleType, name: str, arguments: dict[str, Any], fields: list[str]) -> tuple[Any, Any]:
    """(environment, its default parameters)."""
    try:
        return gymnax.make(name, **arguments)  # type: ignore[no-any-return]
    except Exception as error:
        what = f"{PREFIX}{name}: cannot be made with {arguments}: {type(error).__name__}: {error}"
        if not arguments:
            raise EnvCrashed(f"{PREFIX}{name}: its constructor raised {type(error).__name__}: {error}") from error
        raise ConfigError(f"{what}; its parameters are {', '.join(fields)}" if fields else what) from error


def _like(what: str, value: object, default: object) -> object:
    """`value` for a parameter whose default is `default`.

    Raises:
        ConfigError: it is of another type or shape.
    """
    kind = type(default)
    if kind in (bool, int, float):
        if type(value) not in ((int, float) if kind is float else (kind,)):
            raise ConfigError(f"{what}={value!r} is not of type {kind.__name__}")
        return value
    if isinstance(default, jax.Array | np.ndarray):
        try:
            array = jnp.asarray(value, default.dtype)
        except (TypeError, ValueError) as error:
            raise ConfigError(f"{what}={value!r} is not an array of numbers") from error
        if array.shape != default.shape:
            raise ConfigError(f"{what} has shape {array.shape}, not {default.shape}")
        return array
    return value


def _observation_space(name: str, env: Environment[Any, Any], params: EnvParams) -> Box | Discrete:
    """Float32, but flags are bool: a network sees 0 and 1, and a memory keeps a byte of each."""
    from gymnax.environments import spaces

    space = env.observation_space(params)
    if isinstance(space, spaces.Discrete):
        return Discrete(int(space.n))
    if not isinstance(space, spaces.Box):
        raise ConfigError(f"{name}: observations are {space}, neither Box nor Discrete")
    integer = np.issubdtype(space.dtype, np.integer) or space.dtype == bool
    # MinAtar's space says float32; its observations are flags by definition (Young and Tian, 2019).
    if type(env).__module__.startswith("gymnax.environments.minatar.") or (
        integer and np.min(space.low) >= 0 and np.max(space.high) <= 1
    ):
        return Box(tuple(space.shape), "bool")
    return Box(tuple(space.shape), "uint8" if space.dtype == np.uint8 else "float32")


def _actions(name: str, env: Environment[Any, Any], params: EnvParams) -> tuple[int, type]:
    """(A, the type that the environment takes)."""
    from gymnax.environments import spaces

    space = env.action_space(params)
    if not isinstance(space, spaces.Discrete):
        raise ConfigError(f"{name}: actions are {space}, and Q-learning takes the maximum over Discrete ones")
    return int(space.n), space.dtype
