"""NumPy. What a Gymnasium environment promises to answer, and the checks that hold it to that on every step.

A broken promise is an error at the step where it is broken, before it becomes experience.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NoReturn

import numpy as np
import numpy.typing as npt

from bellmax.contracts import BoolArray, EnvContractError, EnvWarning, NonFiniteError, counted
from bellmax.envs.action_masks import combine
from bellmax.envs.native_spaces import one_line
from bellmax.envs.positions import MIGRATION
from bellmax.observations import LARGEST
from bellmax.stderr import warn

LARGE = 1e6  # a reward that a network will hardly learn from


class Contract:
    """The checks of rewards, flags and infos; `place(i)` describes the position of i, for messages.

    Attributes:
        usual: rewards within ± this are not worth a look: up to a large one all that are less, then all.
    """

    def __init__(self, place: Callable[[int | None], str]) -> None:
        self._place, self.usual = place, LARGE

    def reward(self, value: object, i: int) -> float:
        """The reward of environment i."""
        if not isinstance(value, float | int | np.floating | np.integer | np.bool_):
            array = value if isinstance(value, np.ndarray) else np.array(None)
            if array.shape != () or array.dtype.kind not in "biuf":
                self._refuse("reward", value, "a number", i)
            value = float(array)
        number = float(value)
        if not -self.usual <= number <= self.usual:
            self._judge_reward(number, i)
        return number

    def rewards(self, values: object, n: int) -> npt.NDArray[np.float32]:
        """`[n]`, a checked copy of the rewards of n environments."""
        array = np.asarray(values)
        if array.shape != (n,) or array.dtype.kind not in "biuf":
            self._refuse("reward", values, counted(n, "number"), None)
        array = array.astype(np.float64)
        if not np.vdot(array, array) <= self.usual**2:
            for i in np.flatnonzero(~(np.abs(array) <= self.usual)):
                self._judge_reward(float(array[i]), int(i))
        return array.astype(np.float32)

    def _judge_reward(self, value: float, i: int) -> None:
        """Raise an error if it is not a finite float32; otherwise warn once."""
        if not -LARGEST <= value <= LARGEST:
            raise NonFiniteError(
                f"{self._place(i)}: reward is {value}, not a finite float32; repair the environment, or bound "
                "the reward in a wrapper"
            )
        if self.usual < LARGEST:
            self.usual = LARGEST
            warn(
                f"{self._place(i)}: reward is {value:g}, the largest so far, and networks hardly learn from rewards "
                f"above {LARGE:g}; give reward_scale or reward_clip, or scale it in a wrapper (said once)",
                EnvWarning,
                stacklevel=2,
            )

    def flag(self, name: str, value: object, i: int) -> bool:
        """`terminated` or `truncated` of environment i."""
        if not isinstance(value, bool | np.bool_):
            array = value if isinstance(value, np.ndarray) else np.array(None)
            if array.shape != () or array.dtype != np.bool_:
                self._refuse(name, value, "True or False", i)
        return bool(value)

    def flags(self, name: str, values: object, n: int) -> npt.NDArray[np.bool_]:
        """`[n]`, a checked copy of `terminated` or `truncated` of n environments."""
        array = np.asarray(values)
        if array.shape != (n,) or array.dtype != np.bool_:
            self._refuse(name, values, f"{counted(n, 'flag')} (True or False)", None)
        return array.copy()

    def five(self, answer: object, i: int | None) -> tuple[Any, Any, Any, Any, Any]:
        """What `step` returned, if it is (obs, reward, terminated, truncated, info)."""
        if not isinstance(answer, tuple) or len(answer) != 5:
            got = counted(len(answer), "value") if isinstance(answer, tuple) else type(answer).__name__
            raise EnvContractError(f"{self._place(i)}: step returned {got}, not 5; {MIGRATION}")
        if not isinstance(answer[4], Mapping):
            self._refuse("info", answer[4], "a dict", i)
        return answer

    def two(self, answer: object, i: int | None) -> object:
        """The observation that `reset` returned, if it returned (obs, info)."""
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise EnvContractError(
                f"{self._place(i)}: reset returned {type(answer).__name__}, not (obs, info); {MIGRATION}"
            )
        if not isinstance(answer[1], Mapping):
            self._refuse("info", answer[1], "a dict", i)
        return answer[0]

    def mask(self, info: Mapping[str, Any], n_actions: int, i: int | None, ended: bool) -> BoolArray:
        """The actions that info["action_mask"] allows [n_actions]; all of them where an episode ended."""
        given = combine(info.get("action_mask"), n_actions)
        try:
            mask = np.asarray(given).astype(np.bool_)
        except (TypeError, ValueError):
            mask = np.zeros(0, np.bool_)
        if given is None or mask.shape != (n_actions,):
            self._refuse("info['action_mask']", given, f"one flag for each of {counted(n_actions, 'action')}", i)
        if ended:
            return np.ones(n_actions, np.bool_) if not mask.any() else mask
        if not mask.any():
            self._refuse("info['action_mask']", given, "a mask that allows an action", i)
        return mask

    def _refuse(self, name: str, value: object, wanted: str, i: int | None) -> NoReturn:
        shape = f" of shape {value.shape} and dtype {value.dtype}" if isinstance(value, np.ndarray) else ""
        raise EnvContractError(
            f"{self._place(i)}: {name} is {one_line(value)} ({type(value).__name__}{shape}), not {wanted}; "
            "return what Gymnasium's interface requires"
        )
