"""Plain Python. Wrappers and environments that learn: what an agent sees of them depends on what they saw before.

Such state is outside the policy. An evaluation makes its environments again, and a policy that is loaded elsewhere has
none, so that both would act on other numbers than those of training.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv, VectorWrapper

from bellmax.types import ConfigError

STATISTICS = ("obs_rms", "return_rms", "ret_rms", "running_mean", "running_var")  # by which such state is known
FROZEN = ("update_running_mean", "training")  # switches that stop the learning, where False
PROBE_STEPS = 8
REMEDIES = {
    "NormalizeObservation": "networks have normalize_observations=True instead, which is part of the policy; tables "
    "need none",
    "NormalizeReward": "give reward_scale or reward_clip instead; scores then stay in the environment's own rewards",
}
REMEDY = (
    "fix its statistics beforehand (update_running_mean=False), or give normalize_observations=True, which is part of "
    "the policy, and reward_scale or reward_clip"
)


def layers(env: Any) -> Iterator[Any]:
    """The wrappers of an environment or a vector from the outside, it itself, and the parts of a vector."""
    while isinstance(env, gym.Wrapper | VectorWrapper):
        yield env
        env = env.env
    yield env
    if isinstance(env, VectorEnv):
        for part in getattr(env, "envs", ()):
            yield from layers(part)


def refuse_learning(name: str, world: Any) -> None:
    """Refuse an environment, a vector or a list of them in which a layer has running statistics.

    Raises:
        ConfigError: names the layer and what to do instead.
    """
    for env in world if isinstance(world, list) else [world]:
        for layer in layers(env):
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


def _statistics(layer: Any) -> str | None:
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


def reward_wrappers(world: Any) -> list[str]:
    """The names of the layers that change rewards."""
    first = world[0] if isinstance(world, list) else world
    kinds = (gym.RewardWrapper, gym.vector.VectorRewardWrapper)
    return [type(layer).__name__ for layer in layers(first) if isinstance(layer, kinds)]


def own_wrappers(world: Any) -> bool:
    """Whether a plain environment has a wrapper that is not Gymnasium's."""
    first = world[0] if isinstance(world, list) else world
    kinds = [type(layer) for layer in layers(first) if isinstance(layer, gym.Wrapper)]
    return any(not kind.__module__.startswith("gymnasium.") for kind in kinds)


def refuse_hidden_learning(name: str, make: Callable[[], Any]) -> None:
    """Refuse an own wrapper whose numbers change what the agent sees from one episode to the next.

    The same seed must show the same first observation after an episode as before it. Where it does not, and does again
    once the wrapper has its numbers back, these numbers are state outside the policy. Whatever else such an
    environment does is found when it is trained in.

    Raises:
        ConfigError: names the wrapper and the numbers.
    """
    env = None
    try:
        env = make()
        env.reset(seed=0)
        own = [layer for layer in layers(env) if isinstance(layer, gym.Wrapper) and not _is_gymnasiums(layer)]
        before = [_numbers(layer) for layer in own]
        first = _first(env)
        env.action_space.seed(0)
        for _ in range(PROBE_STEPS):
            *_, terminated, truncated, _ = env.step(env.action_space.sample())
            if terminated or truncated:
                env.reset()
        after = [_numbers(layer) for layer in own]
        if _same(first, _first(env)):
            return
        for layer, old, new in zip(own, before, after, strict=True):
            changed = [key for key in old if not _same(old[key], new.get(key))]
            if not any(_has_floats(old[key], new.get(key)) for key in changed):
                continue
            for key in changed:
                setattr(layer, key, copy.deepcopy(old[key]))
            if _same(first, _first(env)):
                raise ConfigError(complaint(name, type(layer).__name__, ", ".join(changed)))
    except ConfigError:
        raise
    except Exception:  # noqa: S110 - what fails here fails in training as well, and is told there in full
        pass
    finally:
        if env is not None:
            with contextlib.suppress(Exception):
                env.close()


def _is_gymnasiums(layer: Any) -> bool:
    return type(layer).__module__.startswith("gymnasium.")


def _first(env: Any) -> Any:
    return copy.deepcopy(env.reset(seed=0)[0])


def _numbers(layer: Any) -> dict[str, Any]:
    """The attributes of a layer that are numbers, arrays of numbers, or lists or dictionaries of such."""
    own = {key: value for key, value in vars(layer).items() if _is_numeric(value)}
    return copy.deepcopy(own)


def _is_numeric(value: Any) -> bool:
    if isinstance(value, list | tuple):
        return all(map(_is_numeric, value))
    if isinstance(value, dict):
        return all(map(_is_numeric, value.values()))
    return isinstance(value, int | float | np.number) or (isinstance(value, np.ndarray) and value.dtype.kind in "biuf")


def _has_floats(*values: Any) -> bool:
    """Whether a float is in it: statistics are floats, a count of episodes is not."""
    for value in values:
        parts = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
        if isinstance(value, float | np.floating) or (isinstance(value, np.ndarray) and value.dtype.kind == "f"):
            return True
        if _has_floats(*parts):
            return True
    return False


def _same(one: Any, other: Any) -> bool:
    """Whether two observations, or two values of an attribute, are equal in every number."""
    if isinstance(one, dict):
        return isinstance(other, dict) and one.keys() == other.keys() and all(_same(one[k], other[k]) for k in one)
    if isinstance(one, list | tuple):
        return isinstance(other, list | tuple) and len(one) == len(other) and all(map(_same, one, other))
    return bool(np.array_equal(np.asarray(one), np.asarray(other)))
