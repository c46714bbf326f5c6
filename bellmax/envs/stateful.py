"""Plain Python. Wrappers and environments that learn: what an agent sees of them depends on what they saw before.

Such state is outside the policy. An evaluation makes its environments again, and a policy that is loaded elsewhere has
none, so that both would act on other numbers than those of training.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import gymnasium as gym
from gymnasium.vector import VectorEnv, VectorWrapper

from bellmax.contracts import ConfigError
from bellmax.envs.making import Env, Vector
from bellmax.envs.replaying import carrier, may_carry, wrappers_of

Worlds: TypeAlias = Env | Vector | list[Env]

STATISTICS = ("obs_rms", "return_rms", "ret_rms", "running_mean", "running_var")  # by which such state is known
FROZEN = ("update_running_mean", "training")  # switches that stop the learning, where False
REMEDIES = {
    "NormalizeObservation": "networks have normalize_observations=True instead, which is part of the policy; tables "
    "need none",
    "NormalizeReward": "give reward_scale or reward_clip instead; scores then stay in the environment's own rewards",
}
REMEDY = (
    "give normalize_observations=True, which is part of the policy, and reward_scale or reward_clip; or fix its "
    "statistics beforehand (update_running_mean=False), or put its state into the observation"
)


def all_layers(env: object) -> Iterator[object]:
    """The wrappers of an environment or a vector from the outside, it itself, and the parts of a vector."""
    while isinstance(env, gym.Wrapper | VectorWrapper):
        yield env
        env = env.env
    yield env
    if isinstance(env, VectorEnv):
        for part in getattr(env, "envs", ()):
            yield from all_layers(part)


def refuse_learning(name: str, world: Worlds) -> None:
    """Refuse an environment, a vector or a list of them in which a layer has running statistics.

    Raises:
        ConfigError: names the layer and what to do instead.
    """
    for env in world if isinstance(world, list) else [world]:
        for layer in all_layers(env):
            if (state := _statistics(layer)) is not None:
                raise ConfigError(complaint(name, type(layer).__name__, state))
        if isinstance(env, VectorEnv) and (state := _in_processes(env)) is not None:
            raise ConfigError(complaint(name, "a wrapper in its processes", state))


def complaint(name: str, wrapper: str, state: str) -> str:
    """Why such a wrapper does not do, and what to do."""
    return (
        f"{name}: {wrapper} learns while it is stepped ({state}), and that state is not part of the policy: it begins "
        f"again in evaluation and in policy.act. Leave it out: {REMEDIES.get(wrapper, REMEDY)}"
    )


def _statistics(layer: object) -> str | None:
    """The attribute of a layer that holds running statistics; None without one, and where they are frozen."""
    own = getattr(layer, "__dict__", {})
    if any(own.get(switch, own.get(f"_{switch}")) is False for switch in FROZEN):
        return None
    for key, value in own.items():
        key = str(key)
        named = key.lstrip("_") in STATISTICS and value is not None
        running = hasattr(value, "mean") and hasattr(value, "var") and not callable(value.mean)  # an array has methods
        if named or running:
            return key
    return None


def _in_processes(vector: VectorEnv[Any, Any, Any]) -> str | None:
    """The same of environments in other processes, where only names can be asked for."""
    inner = vector.unwrapped
    if getattr(inner, "envs", None) is not None or not hasattr(inner, "processes"):
        return None
    for state in ("obs_rms", "return_rms"):
        with contextlib.suppress(AttributeError, NotImplementedError):
            if any(inner.call("has_wrapper_attr", state)):
                return state
    return None


def reward_wrappers(world: Worlds) -> list[str]:
    """The names of the layers that change rewards."""
    first = world[0] if isinstance(world, list) else world
    kinds = (gym.RewardWrapper, gym.vector.VectorRewardWrapper)
    return [type(layer).__name__ for layer in all_layers(first) if isinstance(layer, kinds)]


def refuse_carrying(name: str, world: Worlds, again: Callable[[], Env | Vector | list[Env]] | None) -> None:
    """Refuse a wrapper that shows the same episodes differently the second time, in an environment or in a vector.

    Args:
        name: of the environment.
        world: an environment, a vector, or a list of environments.
        again: makes such an environment again; None where it is the user's own.

    Raises:
        ConfigError: names the wrapper and what to do instead.
    """

    def one() -> Env | Vector:
        made = world if again is None else again()
        return made[0] if isinstance(made, list) else made

    first = world[0] if isinstance(world, list) else world
    found = carrier(one, given=again is None) if may_carry(first) else None
    if found is None and isinstance(first, VectorEnv):
        inner = first.unwrapped
        parts, makers = getattr(inner, "envs", None), list(getattr(inner, "env_fns", None) or ())
        if parts is None:  # in processes, all alike as a rule
            found = carrier(makers[0]) if makers else None
        else:
            kinds = {tuple(map(type, wrappers_of(part))): i for i, part in enumerate(parts) if may_carry(part)}
            for i in kinds.values():
                part = makers[i] if len(makers) == len(parts) else (lambda i=i: parts[i])
                found = found or carrier(part, given=not makers)
    if found is not None:
        raise ConfigError(complaint(name, found, "the same episodes look different the second time"))
