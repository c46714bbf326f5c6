"""NumPy and SciPy sparse. The transition table of a Gymnasium environment, if it has one that is true."""

from __future__ import annotations

from collections.abc import Callable, Sized
from typing import TYPE_CHECKING, Any, TypeAlias

from bellmax.arguments import brief, describe
from bellmax.contracts import ConfigError
from bellmax.mdp.gymnasium_grids import gymnasium_grid
from bellmax.mdp.reading import Labels

if TYPE_CHECKING:
    import gymnasium

Env: TypeAlias = "gymnasium.Env[Any, Any]"
ACTION_NAMES = {
    "FrozenLakeEnv": ("left", "down", "right", "up"),
    "CliffWalkingEnv": ("up", "right", "down", "left"),
    "TaxiEnv": ("south", "north", "east", "west", "pickup", "dropoff"),
}


def read_table(env: str | Env | Callable[..., Env], kwargs: dict[str, Any]) -> tuple[Any, Any, Labels]:
    """`(P, start distribution [S], labels)` of an environment, or of what an id or a class makes with `kwargs`.

    Raises:
        ConfigError: the environment cannot be made, has no table, or does not behave as its table says.
    """
    import gymnasium

    if isinstance(env, gymnasium.Env):
        if kwargs:
            raise ConfigError(f"{sorted(kwargs)} are for making an environment: give them with an id or a class")
        return _read(env)
    if not isinstance(env, str) and not callable(env):
        raise ConfigError(f"`env` must be an environment of Gymnasium, its class or its id; got {describe(env)}")
    try:
        made = gymnasium.make(env, **kwargs) if isinstance(env, str) else env(**kwargs)
    except Exception as error:
        said = f"{type(error).__name__}: {brief(error)}"
        raise ConfigError(f"cannot make {describe(env)}: {said}") from error
    if not isinstance(made, gymnasium.Env):
        raise ConfigError(f"{env!r} makes a {type(made).__name__}, not an environment of Gymnasium")
    try:
        return _read(made)
    finally:
        made.close()


def _read(env: Env) -> tuple[Any, Any, Labels]:
    world, name = env.unwrapped, _name(env)
    if not hasattr(world, "P"):
        raise ConfigError(
            f"{name!r} has no transition table (`unwrapped.P`), so it is not a finite MDP that can be read; "
            "FrozenLake-v1, CliffWalking-v1 and Taxi-v4 have one"
        )
    if not hasattr(world, "initial_state_distrib"):
        raise ConfigError(
            f"{name!r} has a transition table, but no `unwrapped.initial_state_distrib`; "
            "use FiniteMDP.from_successors(env.unwrapped.P, start=...)"
        )
    _refuse_untrue_table(env, name)
    labels = Labels(name=name, action_names=ACTION_NAMES.get(type(world).__name__, ()))
    labels["max_episode_steps"] = env.spec.max_episode_steps if env.spec is not None else None
    labels["grid"] = gymnasium_grid(world, _size(world.P))
    return world.P, world.initial_state_distrib, labels


def _size(table: object) -> int:
    return len(table) if isinstance(table, Sized) else 0


def _refuse_untrue_table(env: Env, name: str) -> None:
    """A wrapper, or a fickle Taxi passenger, acts outside `P`: the answer would be to another question."""
    import gymnasium

    if getattr(env.unwrapped, "fickle_passenger", False):
        raise ConfigError(f"{name!r} with fickle_passenger=True changes its goal outside its transition table")
    changing = (gymnasium.ObservationWrapper, gymnasium.ActionWrapper, gymnasium.RewardWrapper)
    layer = env
    while isinstance(layer, gymnasium.Wrapper):
        if isinstance(layer, changing):
            raise ConfigError(
                f"{name!r} is wrapped in {type(layer).__name__}, which its transition table does not show; "
                "pass env.unwrapped to read the environment below"
            )
        layer = layer.env


def _name(env: Env) -> str:
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__
