"""NumPy. Which actions an environment allows, also by the conventions of other libraries: methods, masks with parts."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import VectorEnv

LISTS = "(legal|valid|allowed|available|avail|possible|feasible)_?(actions?|moves?)(_?mask)?"
METHOD = "action_masks"  # of sb3-contrib's MaskablePPO


class AsksMasks(gym.Wrapper[Any, Any, Any, Any]):
    """Puts what `env.action_masks()` returns into info["action_mask"], where the environment does not do so itself."""

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        """As the environment's."""
        answer: tuple[Any, dict[str, Any]] = self._with_mask(self.env.reset(**kwargs))
        return answer

    def step(self, action: object) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        """As the environment's."""
        answer: tuple[Any, Any, bool, bool, dict[str, Any]] = self._with_mask(self.env.step(action))
        return answer

    def _with_mask(self, answer: object) -> Any:
        info = answer[-1] if isinstance(answer, tuple) else None
        if not isinstance(answer, tuple) or not isinstance(info, Mapping) or "action_mask" in info:
            return answer
        mask = one_for_each_action(self.env.get_wrapper_attr(METHOD)(), self.env.action_space)
        return (*answer[:-1], {**info, "action_mask": mask})


def asks_masks(env: object) -> object:
    """The environment, asked for its masks if it has the method; else as it is."""
    if not isinstance(env, gym.Env) or not env.has_wrapper_attr(METHOD) or not callable(env.get_wrapper_attr(METHOD)):
        return env
    return AsksMasks(env)


def asked_of_vector(env: VectorEnv[Any, Any, Any]) -> Callable[[], Any] | None:
    """The function that asks a vector environment, or all its parts, for masks [N, ...]; None if it has no such."""
    if callable(method := getattr(env, METHOD, None)):
        return method  # type: ignore[no-any-return]
    inner: Any = env.unwrapped
    if not hasattr(inner, "call"):
        return None
    try:
        has = all(inner.call("has_wrapper_attr", METHOD))
    except Exception:  # a vector of another kind, which says so in its own way
        return None
    space = env.single_action_space
    return (lambda: [one_for_each_action(mask, space) for mask in inner.call(METHOD)]) if has else None


def one_for_each_action(mask: object, space: gym.Space[Any]) -> object:
    """sb3-contrib's mask as a flag for each action: for a MultiDiscrete it has the flags of all parts in a row."""
    if not isinstance(space, gym.spaces.MultiDiscrete | gym.spaces.MultiBinary):
        return mask
    sizes = np.ravel(getattr(space, "nvec", np.full(space.shape, 2)))
    flags = np.asarray(mask)
    if flags.shape != (int(sizes.sum()),):
        return mask
    return combine(np.split(flags, np.cumsum(sizes)[:-1]), int(np.prod(sizes)))


def combine(mask: object, n_actions: int) -> object:
    """Flags of each part of an action, as Gymnasium's `MultiDiscrete.sample` takes them, as one per combination."""
    if not isinstance(mask, tuple | list) or not all(np.ndim(part) == 1 for part in mask):
        return mask
    parts = [np.asarray(part).astype(np.bool_) for part in mask]
    if math.prod(part.size for part in parts) != n_actions:
        return mask
    return functools.reduce(np.logical_and.outer, parts).ravel()


def misnamed_mask(info: Mapping[str, Any], n_actions: int) -> str | None:
    """The entry of an info that looks like a mask of the actions, or a list of the allowed ones, by another name."""
    if "action_mask" in info:
        return None
    for name, value in info.items():
        words = str(name).lower()
        if re.fullmatch(LISTS, words):
            return str(name)
        if "mask" in words and not words.startswith("_"):  # _NAME in a vector's info says where NAME is given
            try:
                flags = np.asarray(value).shape[-1:] == (n_actions,)
            except (TypeError, ValueError):
                continue
            if flags:
                return str(name)
    return None


def masks_in(space: gym.Space[Any], n_actions: int) -> str | None:
    """The part of a dictionary observation that looks like a mask of the actions, in words; None if there is none."""
    if not isinstance(space, gym.spaces.Dict):
        return None
    for name, part in space.spaces.items():
        flags = isinstance(part, gym.spaces.MultiBinary) or (
            isinstance(part, gym.spaces.Box) and bool((part.low == 0).all() and (part.high == 1).all())
        )
        words = str(name).lower()
        if flags and part.shape == (n_actions,) and ("mask" in words or re.fullmatch(LISTS, words)):
            return str(name)
    return None
