"""Plain Python. From an id, a class or an environment, and wrappers by name, to Gymnasium environments."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from types import ModuleType
from typing import Any, NamedTuple, TypeAlias

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

from bellmax.arguments import describe
from bellmax.contracts import ConfigError, EnvWarning, counted, nearest, unknown
from bellmax.envs import atari
from bellmax.envs.action_masks import AsksMasks, asks_masks
from bellmax.envs.functional import World
from bellmax.envs.naming import PACKAGES, game_of, id_meant, meant_in, module_meant
from bellmax.envs.raising import error_in_words, failure, theirs
from bellmax.envs.signatures import parameters_of
from bellmax.mdp.model import FiniteMDP
from bellmax.registry import import_named
from bellmax.stderr import warn

Env: TypeAlias = gym.Env[Any, Any]
Vector: TypeAlias = VectorEnv[Any, Any, Any]
Source: TypeAlias = "str | Env | Vector | Callable[..., Env | Vector | FiniteMDP | World[Any]]"


class Ready(ConfigError):
    """A name or a function that makes no Gymnasium environment but a FiniteMDP or a compiled World: `made`."""

    def __init__(self, name: str, made: FiniteMDP | World[Any]) -> None:
        super().__init__(
            f"{name}: makes a {type(made).__name__}, not a gymnasium.Env; bx.TabulatedEnv makes one of a FiniteMDP"
        )
        self.made = made


class Made(NamedTuple):
    """Environments of one name.

    Attributes:
        name: Gymnasium's id, or the class.
        world: n plain ones, or one vector environment; with workers, one that shows what the others will be.
        limit: their time limit (steps), if known.
        again: makes one more plain environment; None where they were given as objects.
        n: how many there will be, where `world` is not all of them.
    """

    name: str
    world: list[Env] | Vector
    limit: int | None
    again: Callable[[], Env] | None = None
    n: int | None = None


def make(
    env: Source,
    n: int,
    kwargs: dict[str, Any],
    *,
    plain: bool = False,
    training: bool = False,
) -> Made:
    """See `bellmax.envs.host_world.open_world`; if `plain`, one environment to look at, n to be made by workers."""
    if n < 1:
        raise ConfigError(f"`n` must be a positive integer; got {n}")
    kwargs = dict(kwargs)
    wrap = read_wrappers(kwargs.pop("wrappers", ()))
    if isinstance(env, str):
        return _make_id(env, n, kwargs, wrap, plain, training)
    if isinstance(env, gym.Env | VectorEnv):
        name = _name(env)
        if kwargs:
            raise ConfigError(
                f"{name}: it exists already, so env_kwargs {sorted(kwargs)} come too late; pass its class"
            )
        if wrap and isinstance(env, VectorEnv):
            raise ConfigError(f"{name}: wrappers need plain environments, and this is a vector; wrap its parts")
        made = _make(name, n, kwargs, lambda: _wrapped(env, wrap))
        return made._replace(again=None)
    if not callable(env):
        raise ConfigError(
            f"{describe(env)} is not an environment; give a Gymnasium id, a gymnasium.Env, a "
            "gymnasium.vector.VectorEnv, or a callable that makes one"
        )
    remark_on_text(getattr(env, "__name__", repr(env)), env, kwargs)
    return _make(getattr(env, "__name__", repr(env)), n, kwargs, lambda: _wrapped(env(**kwargs), wrap), plain, env)


def _import_own(module: str, env_id: str) -> ModuleType:
    meant = module_meant(env_id)
    return import_named(module, repr(env_id), f"; write {meant!r}" if meant else "")


def _make_id(env_id: str, n: int, kwargs: dict[str, Any], wrap: Wrap, plain: bool, training: bool) -> Made:
    module, _, name = env_id.rpartition(":")
    package = next((package for prefix, package in PACKAGES.items() if name.startswith(prefix)), (module, ""))
    if module or (package[0] and name not in gym.registry):
        try:
            imported = _import_own(module, env_id) if module else importlib.import_module(package[0])
        except ImportError as error:
            raise ConfigError(f"{name}: it needs pip install '{package[1]}'") from error
        if not module and package[0] == "ale_py":
            gym.register_envs(imported)
        own = getattr(imported, name, None)
        if module and name not in gym.registry:  # module:Class, or module:function
            if isinstance(own, FiniteMDP | World):
                raise Ready(env_id, own)
            if callable(own):
                remark_on_text(name, own, kwargs)
                return _make(name, n, kwargs, lambda: _wrapped(own(**kwargs), wrap), plain, own)
            if own is not None:
                raise ConfigError(f"{env_id!r} is {describe(own)}; name a class, or a function that makes one")
            if not re.search(r"-v\d+$", name):
                raise ConfigError(f"{env_id!r}: module {module!r} has no {name!r}; {meant_in(imported, name)}")
    spec = gym.registry.get(name)
    if spec is not None and not module and not wrap and game_of(name):
        raise ConfigError(
            f"{name!r} gives raw frames; {id_meant(name)} That is the game by its protocol; give 'ale_py:{name}', or "
            "wrappers, to have this id as it stands"
        )
    if spec is None:
        namespace = name.rpartition("/")[0]
        if (
            namespace
            and "minatar" not in name.lower()
            and namespace not in {s.namespace for s in gym.registry.values()}
        ):
            raise ConfigError(
                f"unknown environment {describe(name)}; no package has registered {namespace!r}: install it and give "
                f"'package:{name}', so that it is imported"
            )
        raise ConfigError(f"unknown environment {describe(name)}; {id_meant(name)}")
    remark_on_text(name, spec.entry_point, {**spec.kwargs, **kwargs})
    if atari.is_game(name) and not wrap:
        if plain:
            raise ConfigError(f"{name}: ale-py steps its games in its own threads; leave workers out")
        made = _make(name, n, kwargs, lambda: atari.make_games(name, n, kwargs, training=training))
        return made._replace(name=name, limit=made.limit or 27_000)
    if n == 1 or plain or wrap or spec.vector_entry_point is None or spec.additional_wrappers:
        return _make(name, n, kwargs, lambda: _wrapped(gym.make(spec, disable_env_checker=True, **kwargs), wrap), plain)
    return _make(name, n, kwargs, lambda: gym.make_vec(name, n, "vector_entry_point", **kwargs))


def _make(
    name: str,
    n: int,
    kwargs: dict[str, Any],
    call: Callable[[], object],
    plain: bool = False,
    constructor: object = None,
) -> Made:
    def masking() -> Any:
        return asks_masks(call())

    first = _call(name, kwargs, masking, constructor)
    if isinstance(first, FiniteMDP | World):
        raise Ready(name, first)
    if isinstance(first, VectorEnv):
        if n not in (1, first.num_envs):
            raise ConfigError(f"{_name(first)}: n is {n}, but this vector has {counted(first.num_envs, 'environment')}")
        return Made(_name(first), first, _vector_limit(first))
    if not isinstance(first, gym.Env):
        raise ConfigError(
            f"{name}: is a {type(first).__module__}.{type(first).__qualname__}, not a gymnasium.Env; derive "
            "it from gymnasium.Env, or wrap an old gym environment with shimmy"
        )
    if plain:
        return Made(_name(first), [first], _limit(first), masking, n)
    worlds = [first, *(_call(name, kwargs, masking) for _ in range(n - 1))]
    if len({id(world.env if isinstance(world, AsksMasks) else world) for world in worlds}) < n:
        raise ConfigError(f"{_name(first)}: one environment cannot be {n} environments; pass its class or id")
    return Made(_name(first), worlds, _limit(first), masking)


Wrap: TypeAlias = "list[tuple[Callable[..., Any], dict[str, Any]]]"


def normal_wrappers(given: object) -> list[dict[str, Any]]:
    """`given` as a list of {"name": ..., arguments}: one name or dictionary, or several. Nothing is imported.

    Raises:
        ConfigError: it is something else.
    """
    listed = [given] if isinstance(given, str | Mapping) else given
    if not isinstance(listed, list | tuple):
        raise ConfigError(
            f'wrappers={describe(given)} is not a list; give ["FlattenObservation"], or [{{"name": ...}}]'
        )
    normal = []
    for one in listed:
        wrapper = {"name": one} if isinstance(one, str) else dict(one) if isinstance(one, Mapping) else {}
        if not isinstance(wrapper.get("name"), str) or not all(isinstance(key, str) for key in wrapper):
            raise ConfigError(
                f"wrapper {describe(one)} does not have a name; "
                'give "FlattenObservation", or {"name": ..., arguments}'
            )
        normal.append(wrapper)
    return normal


def read_wrappers(given: object) -> Wrap:
    """The classes and arguments of wrappers in any form that `normal_wrappers` reads.

    Raises:
        ConfigError: it is not such a list, or nothing has this name; the message offers the nearest.
    """
    wrap: Wrap = []
    for wrapper in normal_wrappers(given):
        name, arguments = wrapper["name"], {key: value for key, value in wrapper.items() if key != "name"}
        module, _, cls = name.rpartition(":")
        if not module and cls not in dir(gym.wrappers):
            known = [known for known in dir(gym.wrappers) if known[0].isupper()]
            raise ConfigError(unknown("wrapper", cls, known))
        found = import_named(module or "gymnasium.wrappers", f"wrapper {name!r}")
        try:
            wrap.append((getattr(found, cls), arguments))
        except AttributeError as error:
            raise ConfigError(f"wrapper {name!r}: module {module!r} has no {cls!r}; {meant_in(found, cls)}") from error
    return wrap


def _wrapped(env: object, wrap: Wrap) -> object:
    if wrap and isinstance(env, FiniteMDP | World):
        raise ConfigError(f"wrappers need a Gymnasium environment, and this makes a {type(env).__name__}")
    for wrapper, arguments in wrap:
        try:
            env = wrapper(env, **arguments)
        except Exception as error:
            raise ConfigError(
                f"wrapper {wrapper.__name__} with {arguments}: {type(error).__name__}: {error}"
            ) from error
    return env


def remark_on_text(name: str, constructor: object, kwargs: Mapping[str, Any]) -> None:
    """Warn of a string where the constructor's default is True or False: any string but "" counts as true."""
    parameters = parameters_of(constructor)
    for key, value in kwargs.items():
        if isinstance(value, str) and key in parameters and isinstance(parameters[key].default, bool):
            warn(
                f"{name}: {key}={value!r} is a string, which counts as true, where the default is "
                f"{parameters[key].default}; give True or False",
                EnvWarning, stacklevel=2,
            )  # fmt: skip


def _call(name: str, kwargs: dict[str, Any], call: Callable[[], object], constructor: object = None) -> Any:
    """`call()`; what it raises becomes a bellmax error that blames the arguments or a missing package."""
    try:
        return call()
    except ConfigError as error:
        raise ConfigError(f"{name}: {error}") from error
    except (gym.error.DependencyNotInstalled, ImportError) as error:
        raise ConfigError(f"{name}: missing dependency: {error}") from error
    except BaseException as error:
        what = error_in_words(theirs(error))
        if not kwargs and isinstance(error, TypeError) and re.search(r"missing \d+ required", str(error)):
            raise ConfigError(f"{name}: {error}; give it in env_kwargs, on the command line --env KEY=VALUE") from error
        if kwargs and isinstance(error, Exception) and not isinstance(error, MemoryError):
            more = _meant_argument(name, kwargs, error, constructor)
            raise ConfigError(f"{name}: cannot be made with env_kwargs {kwargs}: {what}{more}") from error
        raise failure(f"{name}: its constructor raised {what}", error) from error


def _meant_argument(name: str, kwargs: Mapping[str, Any], error: BaseException, constructor: object = None) -> str:
    """What is probably wrong with the arguments of an environment; "" if nothing is known."""
    if isinstance(error, KeyError):
        keys = [
            key for key, value in kwargs.items() if error.args and isinstance(value, str) and value == error.args[0]
        ]
        return "".join(f": {key}={kwargs[key]!r} is not a value that the environment knows" for key in keys)
    word = re.search(r"unexpected keyword argument '(\w+)'", str(error))
    if word is None or "did you mean" in str(error).lower():
        return ""
    if constructor is None and name in gym.registry:
        constructor = gym.registry[name].entry_point
    near = nearest(word.group(1), parameters_of(constructor).keys() - {"self", "args", "kwargs"})
    return f"; did you mean {near!r}?" if near else ""


def _name(env: Env | Vector) -> str:
    if env.spec is not None:
        return env.spec.id
    parts = _parts(env)
    return _name(parts[0]) if parts else type(env.unwrapped).__name__


def made_with(native: Sequence[Env] | Vector) -> str:
    """The arguments with which `gymnasium.make` made environments, as JSON; "" if it did not, or they are not data."""
    spec = (native if isinstance(native, VectorEnv) else native[0]).unwrapped.spec
    given = {} if spec is None else spec.kwargs
    told = {name: value for name, value in given.items() if name not in ("render_mode", "max_episode_steps")}
    try:
        return json.dumps(told, sort_keys=True, default=lambda value: np.asarray(value).tolist()) if told else ""
    except (TypeError, ValueError):  # functions, other objects
        return ""


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
