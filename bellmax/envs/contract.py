"""NumPy. What a Gymnasium world promises, and the checks that hold it to that on every step.

A broken promise is an error at the step where it is broken, before it becomes experience.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt

from bellmax.envs.making import Spaces, one_line
from bellmax.types import BoolArray, Box, Discrete, EnvContractError, EnvCrashed, IntArray, NonFiniteError

Values: TypeAlias = npt.NDArray[Any]

LARGEST = float(np.finfo(np.float32).max)
MIGRATION = (
    "the interface before Gymnasium 0.26 was (obs, reward, done, info): return "
    "(obs, reward, terminated, truncated, info), or wrap the world with shimmy's GymV21CompatibilityV0"
)


class Diary:
    """Where each of n worlds is, for messages only."""

    def __init__(self, name: str, n: int) -> None:
        self.name, self.n = name, n
        self.start(None)

    def start(self, seed: int | None) -> None:
        """All worlds were reset; world i with seed + i."""
        self.seed, self.t = seed, 0  # an episode's own clock is t less the t at which it began
        self.began: IntArray = np.zeros(self.n, np.int64)
        self.episode: IntArray = np.ones(self.n, np.int64)
        self.actions: deque[IntArray] = deque(maxlen=20)

    def begin(self, worlds: int | BoolArray) -> None:
        """A new episode begins in these worlds."""
        self.began[worlds] = self.t
        self.episode[worlds] += 1

    def place(self, i: int | None) -> str:
        """Where world i is, in words; None: one or all of the worlds, not known which."""
        if i is None:
            return f"{self.name}: {self.n} worlds, step {self.t} since reset(seed)"
        step = self.t - self.began[i]
        doing = f"step {step}, action {self.actions[-1][i]}" if step else "reset"
        return f"{self.name}: world {i}, episode {self.episode[i]}, {doing}"

    def crash(self, doing: str, error: Exception, i: int | None) -> NoReturn:
        """Report what world i raised in its `reset` or `step`."""
        if isinstance(error, ValueError) and "unpack (expected 5, got 4)" in str(error):  # by a wrapper
            raise EnvContractError(f"{self.place(i)}: step returned 4 values, not 5; {MIGRATION}") from error
        recent = [actions.tolist() if i is None else int(actions[i]) for actions in self.actions]
        seed = self.seed if i is None or self.seed is None else self.seed + i
        raise EnvCrashed(
            f"{self.place(i)}: {doing} raised {type(error).__name__}: {error}; seed {seed}, last actions {recent}"
        ) from error


class Contract:
    """The checks of observations, rewards and flags against the spaces of one world."""

    def __init__(self, spaces: Spaces, place: Callable[[int | None], str]) -> None:
        """`place(i)` says in words where world i is; it is called only for a message."""
        self._spaces, self._place = spaces, place
        self._last = spaces.observation.n - 1 if isinstance(spaces.observation, Discrete) else None
        self.dtype = np.dtype(np.float32 if self._last is None else np.int32)
        self.shape = spaces.observation.shape if isinstance(spaces.observation, Box) else ()
        self._accepted: np.dtype[Any] | None = None  # the dtype of observations that has passed the check
        self._check_finite = True
        self._short = False  # a plain sum is the faster one; in float32 only, where no sum hides a large number

    def write(self, obs: Any, out: Values, i: int) -> None:
        """Check the observation of world i and copy it to `out[i]`."""
        if self._last is not None:
            if type(obs) is not int and type(obs) is not np.int64:
                obs = int(self._array(obs, (), i))
            index = obs - self._spaces.low
            if not 0 <= index <= self._last:
                self._refuse_index(obs, i)
            out[i] = index
            return
        if type(obs) is not np.ndarray or obs.dtype != self._accepted or obs.shape != self.shape:
            obs = self._array(obs, self.shape, i)
        if self._check_finite:
            # A finite sum proves that all are finite, faster than np.isfinite and without NumPy's warnings.
            total = sum(obs.tolist()) if self._short else np.vdot(obs, obs)
            if not -LARGEST < total < LARGEST:
                self._refuse_nonfinite(obs[np.newaxis], i)
        out[i] = obs

    def read(self, obs: Any, n: int) -> Values:
        """`[n, ...]`, a checked copy of the observations of n worlds."""
        if type(obs) is not np.ndarray or obs.dtype != self._accepted or obs.shape != (n, *self.shape):
            obs = self._array(obs, (n, *self.shape), None)
        if self._last is not None:
            index = obs.astype(np.int64) - self._spaces.low
            for i in np.flatnonzero((index < 0) | (index > self._last)):
                self._refuse_index(obs[i], int(i))
            return np.array(index, np.int32)
        if self._check_finite and not np.vdot(obs, obs) < LARGEST:
            self._refuse_nonfinite(obs, 0)
        return np.array(obs, np.float32)

    def _array(self, obs: Any, shape: tuple[int, ...], i: int | None) -> Values:
        """`obs` as an array of this shape, of a dtype that the space can hold; remembers the dtype."""
        native, got = self._spaces.native, type(obs).__name__
        try:
            array = np.asarray(obs)
            got = f"{got} of shape {array.shape} and dtype {array.dtype}"
            kind, wanted = array.dtype.kind, np.dtype(native.dtype)
            held = np.can_cast(array.dtype, wanted, "same_kind") or (kind in "iu" and wanted.kind in "iu")
            fits = held and array.shape == shape and kind in ("biuf" if self._last is None else "iu")
        except ValueError:  # rows of different lengths
            fits = False
        if not fits:
            each = " for each world" if i is None else ""
            raise EnvContractError(
                f"{self._place(i)}: observation is {got}, but the observation space is "
                f"{one_line(native)}{each}; make the two agree"
            )
        if array.dtype == np.float16:  # its sums of squares would overflow
            array = array.astype(np.float32)
        self._accepted, self._check_finite = array.dtype, array.dtype.kind == "f"
        self._short = array.dtype == np.float32 and len(self.shape) == 1 and self.shape[0] <= 16
        return array

    def _refuse_index(self, obs: int, i: int) -> NoReturn:
        last = self._spaces.low + (self._last or 0)
        raise EnvContractError(
            f"{self._place(i)}: observation {obs} is outside {one_line(self._spaces.native)}; return "
            f"{self._spaces.low} to {last}, or declare a larger space"
        )

    def _refuse_nonfinite(self, obs: Values, first: int) -> None:
        """`obs [N, ...]` of the worlds from `first`; returns if all is finite (but large) after all."""
        bad = np.argwhere(~(np.abs(obs) <= LARGEST))
        if len(bad):
            row, *where = (int(index) for index in bad[0])
            value, entry = obs[(row, *where)], "".join(f"[{index}]" for index in where)
            raise NonFiniteError(
                f"{self._place(first + row)}: observation{entry} is {value}, not a finite float32; repair "
                "the environment, or bound the observation in a wrapper"
            )

    def reward(self, value: Any, i: int) -> float:
        """The reward of world i."""
        if not isinstance(value, float | int | np.floating | np.integer | np.bool_):
            array = value if isinstance(value, np.ndarray) else np.array(None)
            if array.shape != () or array.dtype.kind not in "biuf":
                self._refuse("reward", value, "a number", i)
        number = float(value)
        if not -LARGEST <= number <= LARGEST:
            self._refuse_reward(number, i)
        return number

    def rewards(self, values: Any, n: int) -> npt.NDArray[np.float32]:
        """`[n]`, a checked copy of the rewards of n worlds."""
        array = np.asarray(values)
        if array.shape != (n,) or array.dtype.kind not in "biuf":
            self._refuse("reward", values, f"{n} numbers", None)
        array = array.astype(np.float64)
        if not np.vdot(array, array) < LARGEST:
            for i in np.flatnonzero(~(np.abs(array) <= LARGEST)):
                self._refuse_reward(float(array[i]), int(i))
        return array.astype(np.float32)

    def _refuse_reward(self, value: float, i: int) -> NoReturn:
        raise NonFiniteError(
            f"{self._place(i)}: reward is {value}, not a finite float32; repair the environment, or bound "
            "the reward in a wrapper"
        )

    def flag(self, name: str, value: Any, i: int) -> bool:
        """`terminated` or `truncated` of world i."""
        if not isinstance(value, bool | np.bool_):
            array = value if isinstance(value, np.ndarray) else np.array(None)
            if array.shape != () or array.dtype != np.bool_:
                self._refuse(name, value, "True or False", i)
        return bool(value)

    def flags(self, name: str, values: Any, n: int) -> npt.NDArray[np.bool_]:
        """`[n]`, a checked copy of `terminated` or `truncated` of n worlds."""
        array = np.asarray(values)
        if array.shape != (n,) or array.dtype != np.bool_:
            self._refuse(name, values, f"{n} times True or False", None)
        return array.copy()

    def five(self, answer: Any, i: int | None) -> tuple[Any, Any, Any, Any, Any]:
        """What `step` returned, if it is (obs, reward, terminated, truncated, info)."""
        if not isinstance(answer, tuple) or len(answer) != 5:
            got = f"{len(answer)} values" if isinstance(answer, tuple) else type(answer).__name__
            raise EnvContractError(f"{self._place(i)}: step returned {got}, not 5; {MIGRATION}")
        if not isinstance(answer[4], Mapping):
            self._refuse("info", answer[4], "a dict", i)
        return answer

    def two(self, answer: Any, i: int | None) -> Any:
        """The observation that `reset` returned, if it returned (obs, info)."""
        if not isinstance(answer, tuple) or len(answer) != 2:
            raise EnvContractError(
                f"{self._place(i)}: reset returned {type(answer).__name__}, not (obs, info); {MIGRATION}"
            )
        return answer[0]

    def mask(self, info: Mapping[str, Any], n_actions: int, i: int | None, ended: bool) -> Any:
        """The actions that info["action_mask"] allows [n_actions]; all of them where an episode ended."""
        given = info.get("action_mask")
        try:
            mask = np.asarray(given).astype(np.bool_)
        except (TypeError, ValueError):
            mask = np.zeros(0, np.bool_)
        if given is None or mask.shape != (n_actions,):
            self._refuse("info['action_mask']", given, f"one flag for each of {n_actions} actions", i)
        if ended:
            return np.ones(n_actions, np.bool_) if not mask.any() else mask
        if not mask.any():
            self._refuse("info['action_mask']", given, "a mask that allows an action", i)
        return mask

    def _refuse(self, name: str, value: Any, wanted: str, i: int | None) -> NoReturn:
        shape = f" of shape {value.shape} and dtype {value.dtype}" if isinstance(value, np.ndarray) else ""
        raise EnvContractError(
            f"{self._place(i)}: {name} is {one_line(value)} ({type(value).__name__}{shape}), not {wanted}; "
            "return what Gymnasium's interface asks for"
        )
