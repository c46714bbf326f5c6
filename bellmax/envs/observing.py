"""NumPy. Observations of a Gymnasium environment: checked part by part against its spaces, and copied on the way in."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any, NoReturn, TypeAlias

import numpy as np
import numpy.typing as npt

from bellmax.contracts import Box, EnvContractError, EnvWarning, HostObs, NonFiniteError
from bellmax.envs.native_spaces import NativePart, Spaces, one_line
from bellmax.observations import LARGEST
from bellmax.spaces import dtype_of, leaf_arrays, limits_of, map_space, shape_of
from bellmax.stderr import warn

Values: TypeAlias = npt.NDArray[Any]
Place: TypeAlias = Callable[[int | None], str]

LOG = logging.getLogger("bellmax.envs")


class Observations:
    """All parts of the observations of one environment; `place(i)` describes the position of i, for messages.

    What comes out is an array, or a tuple of such, as the space in bellmax's words says.
    """

    def __init__(self, spaces: Spaces, place: Place, strict: bool = False) -> None:
        """If `strict`, a number outside its Box is an error, and not only remarked."""
        self._space, self._native, self._place = spaces.observation, spaces.native, place
        self._parts = [(part.path, Leaf(part, place, strict)) for part in spaces.parts]
        if len(self._parts) == 1 and not self._parts[0][0]:  # the common case, without detours
            _, leaf = self._parts[0]
            self.write, self.read = leaf.write, leaf.read  # type: ignore[method-assign, assignment]

    def empty(self, n: int) -> HostObs:
        """Room for n observations."""
        room: HostObs = map_space(lambda leaf: np.zeros((n, *shape_of(leaf)), dtype_of(leaf)), self._space)
        return room

    def write(self, obs: object, out: HostObs, i: int) -> None:
        """Check the observation of environment i and copy it to `out[i]`."""
        arrays = leaf_arrays(out)
        for (path, leaf), array in zip(self._parts, arrays, strict=True):
            leaf.write(self._pluck(obs, path, i), array, i)

    def read(self, obs: object, n: int) -> HostObs:
        """A checked copy of the observations of n environments, [n, ...] in each part."""
        arrays = iter([leaf.read(self._pluck(obs, path, None), n) for path, leaf in self._parts])
        copied: HostObs = map_space(lambda leaf: next(arrays), self._space)
        return copied

    def share_memory(self, obs: object, other: object) -> bool:
        """Whether a part of one observation is in the memory of another's."""
        for path, _ in self._parts:
            try:
                one, two = self._pluck(obs, path, None), self._pluck(other, path, None)
            except EnvContractError:
                return False
            if isinstance(one, np.ndarray) and np.may_share_memory(one, two):
                return True
        return False

    def _pluck(self, obs: object, path: tuple[str | int, ...], i: int | None) -> object:
        part: Any = obs
        try:
            for key in path:
                part = part[key]
        except (KeyError, IndexError, TypeError):
            raise EnvContractError(
                f"{self._place(i)}: observation is {type(part).__name__} without {key!r}, but the observation space is "
                f"{one_line(self._native)}; make the two agree"
            ) from None
        return part


class Leaf:
    """One array or integer of the observations."""

    def __init__(self, part: NativePart, place: Place, strict: bool) -> None:
        self._native, self._place, self._strict = part.native, place, strict
        self.name = "observation" + "".join(f"[{key!r}]" for key in part.path)
        self.shape, self.dtype = shape_of(part.leaf), np.dtype(dtype_of(part.leaf))
        self._low = part.low
        self._limits: Any = None if isinstance(part.leaf, Box) else limits_of(part.leaf)
        self._last = int(self._limits) - 1 if self._limits is not None and not self.shape else None
        # the dtype of observations that has passed the check; none has yet (None would count as float64)
        self._accepted: np.dtype[Any] = np.dtype(object)
        self._check_finite, self._told_cast = True, False
        self._short = False  # a plain sum is the faster one; in float32 only, where no sum hides a large number
        self._bounds = _bounds(part)
        self._lows, self._highs = ([], []) if self._bounds is None else (b.ravel().tolist() for b in self._bounds)
        self.outside = 0  # observations so far that were outside their Box

    def write(self, obs: object, out: Values, i: int) -> None:
        """Check the part of environment i and copy it to `out[i]`."""
        if self._last is not None:
            if type(obs) is not int and type(obs) is not np.int64:
                obs = int(self._array(obs, (), i))
            index = obs - self._low
            if not 0 <= index <= self._last:
                self._refuse_index(obs, i)
            out[i] = index
            return
        if type(obs) is not np.ndarray or obs.dtype != self._accepted or obs.shape != self.shape:
            obs = self._array(obs, self.shape, i)
        if self._limits is not None:
            obs = self._indices(obs[np.newaxis], i)[0]
        elif self._short:
            self._check_short(obs, i)
        else:
            # a finite sum proves that all are finite, faster than np.isfinite and without NumPy's warnings
            if self._check_finite and not np.vdot(obs, obs) < LARGEST:
                self._refuse_nonfinite(obs[np.newaxis], i)
            if self._bounds is not None and ((obs < self._bounds[0]) | (obs > self._bounds[1])).any():
                self._remark(obs[np.newaxis], i)
        out[i] = obs

    def _check_short(self, obs: Values, i: int) -> None:
        """The same of a few float32, which is faster number by number."""
        numbers = obs.tolist()
        if not -LARGEST < sum(numbers) < LARGEST:
            self._refuse_nonfinite(obs[np.newaxis], i)
        for low, number, high in zip(self._lows, numbers, self._highs, strict=False):  # none, without bounds
            if not low <= number <= high:
                self._remark(obs[np.newaxis], i)
                break

    def read(self, obs: object, n: int) -> Values:
        """`[n, ...]`, a checked copy of this part of n environments."""
        if type(obs) is not np.ndarray or obs.dtype != self._accepted or obs.shape != (n, *self.shape):
            obs = self._array(obs, (n, *self.shape), None)
        if self._limits is not None:
            return np.array(self._indices(obs, 0), np.int32)
        if self._check_finite and not np.vdot(obs, obs) < LARGEST:
            self._refuse_nonfinite(obs, 0)
        if self._bounds is not None and ((obs < self._bounds[0]) | (obs > self._bounds[1])).any():
            self._remark(obs, 0)
        return np.array(obs, self.dtype)

    def _array(self, obs: object, shape: tuple[int, ...], i: int | None) -> Values:
        """`obs` as an array of this shape, of a dtype that the space can hold; remembers the dtype."""
        got = type(obs).__name__
        try:
            array = np.asarray(obs)
            got = f"{got} of shape {array.shape} and dtype {array.dtype}"
            kind, wanted = array.dtype.kind, np.dtype(self._native.dtype)
            held = np.can_cast(array.dtype, wanted, "same_kind") or (kind in "iu" and wanted.kind in "iu")
            held = held or (kind == "b" and self.dtype == np.bool_)
            fits = held and array.shape == shape and kind in ("biuf" if self._limits is None else "iu")
            if self._limits is None and kind == "f" and self.dtype == np.int32 and array.shape == shape:
                return self._whole(array, i)
        except ValueError:  # rows of different lengths
            fits = False
        if not fits:
            each = " for each environment" if i is None else ""
            raise EnvContractError(
                f"{self._place(i)}: {self.name} is {got}, but the {self._what} is "
                f"{one_line(self._native)}{each}; make the two agree"
            )
        if array.dtype != wanted and not self._told_cast:
            self._told_cast = True
            LOG.info("%s: %s is %s, kept as %s (said once)", self._place(i), self.name, array.dtype, self.dtype)
        if array.dtype == np.float16:  # its sums of squares would overflow
            array = array.astype(np.float32)
        if self.dtype.kind in "ub" and array.dtype != self.dtype:  # other integers for bytes: only where none is lost
            highest = 255 if self.dtype == np.uint8 else 1
            bad = np.argwhere((array < 0) | (array > highest))
            if len(bad):
                value = array[tuple(bad[0])]
                raise EnvContractError(
                    f"{self._place(i)}: {self.name} holds {value}, but the {self._what} is "
                    f"{one_line(self._native)}; return numbers from 0 to {highest}"
                )
            return array.astype(self.dtype)
        self._accepted, self._check_finite = array.dtype, array.dtype.kind == "f"
        self._short = array.dtype == np.float32 and len(self.shape) == 1 and self.shape[0] <= 16
        return array

    def _whole(self, array: Values, i: int | None) -> Values:
        """Floats for a Box of integers, looked at each time: whole numbers, of which none is lost."""
        bad = np.argwhere(~((array == np.floor(array)) & (np.abs(array) < 2.0**53)))
        if len(bad):
            raise EnvContractError(
                f"{self._place(i)}: {self.name} holds {array[tuple(bad[0])]}, but the {self._what} is "
                f"{one_line(self._native)}; return whole numbers, or declare a space of real ones"
            )
        return self._array(array.astype(np.int64), array.shape, i)

    @property
    def _what(self) -> str:
        return "observation space" if self.name == "observation" else "space of this part"

    def _indices(self, obs: Values, first: int) -> Values:
        """Integers from 0, of the environments from `first`."""
        index: Values = obs.astype(np.int64) - self._low
        bad = np.argwhere((index < 0) | (index >= self._limits))
        if len(bad):
            row = int(bad[0][0])
            self._refuse_index(obs[row], first + row)
        return index

    def _refuse_index(self, obs: object, i: int) -> NoReturn:
        last = self._low + (self._last if self._last is not None else self._limits - 1)
        raise EnvContractError(
            f"{self._place(i)}: {self.name} {obs} is outside {one_line(self._native)}; return "
            f"{self._low} to {last}, or declare a larger space"
        )

    def _refuse_nonfinite(self, obs: Values, first: int) -> None:
        """`obs [N, ...]` of the environments from `first`; returns if all is finite (but large) after all."""
        bad = np.argwhere(~(np.abs(obs) <= LARGEST))
        if len(bad):
            row, *where = (int(index) for index in bad[0])
            value, entry = obs[(row, *where)], "".join(f"[{index}]" for index in where)
            raise NonFiniteError(
                f"{self._place(first + row)}: {self.name}{entry} is {value}, not a finite float32; repair "
                "the environment, or bound the observation in a wrapper"
            )

    def _remark(self, obs: Values, first: int) -> None:
        """Handle numbers outside the Box, in environments from `first`: an error if strict, else one warning."""
        assert self._bounds is not None  # noqa: S101 - the caller has looked
        low, high = self._bounds
        row, *where = (int(index) for index in np.argwhere((obs < low) | (obs > high))[0])
        self.outside += 1
        if not self._strict and self.outside > 1:
            return
        entry = "".join(f"[{index}]" for index in where)
        native: Any = self._native
        least, most = native.low[tuple(where)], native.high[tuple(where)]  # without the slack
        if self.dtype == np.int32 and not abs(int(obs[(row, *where)])) < 2**31:
            raise EnvContractError(
                f"{self._place(first + row)}: {self.name}{entry} is {obs[(row, *where)]}, outside {least} to {most} "
                "and too large for int32; declare a larger space"
            )
        message = (
            f"{self._place(first + row)}: {self.name}{entry} is {obs[(row, *where)]:g}, outside "
            f"{least:g} to {most:g}; declare a larger space, or clip in a wrapper"
        )
        if self._strict:
            raise EnvContractError(message)
        warn(f"{message} (said once)", EnvWarning, stacklevel=2)


def _bounds(part: NativePart) -> tuple[Values, Values] | None:
    """Lowest and highest numbers of a Box with a finite one among them; None if there is nothing to break.

    Float32 rounding does not count as outside.
    """
    native: Any = part.native
    if not isinstance(part.leaf, Box):
        return None
    if part.leaf.low is not None:  # integers
        return np.asarray(native.low, np.int64), np.asarray(native.high, np.int64)
    if part.leaf.dtype != "float32":
        return None
    low, high = np.asarray(native.low, np.float64), np.asarray(native.high, np.float64)
    if not (np.isfinite(low) | np.isfinite(high)).any() or not native.shape:
        return None
    with np.errstate(over="ignore", invalid="ignore"):
        slack = 1e-5 * np.maximum(1.0, np.where(np.isfinite(high - low), high - low, 1.0))
        steps = np.spacing(np.maximum(np.abs(low), np.abs(high)).astype(np.float32))
        slack = np.maximum(slack, np.where(np.isfinite(steps), steps, 0.0))  # of float32 where numbers are large
    return (low - slack).astype(np.float32), (high + slack).astype(np.float32)


def each(function: Callable[..., Values], tree: HostObs, *others: HostObs) -> HostObs:
    """`function(array, *arrays)` at every array of a tuple of tuples."""
    if isinstance(tree, tuple):
        return tuple(each(function, part, *parts) for part, *parts in zip(tree, *others, strict=True))
    return function(tree, *others)
