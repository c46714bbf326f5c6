"""NumPy. Which row of a table an observation is, for any space of integers and numbers, and how it is cut into cells.

An observation is a vector of numbers. Those of Discrete, MultiDiscrete and MultiBinary have a cell for each value, and
so have the integers of a Box, unless `bins` says otherwise or the table would be too large; real numbers are cut into
`bins`, in each of `tilings` grids. All of it is one `Coder`, so that an observation is one row (or one in each grid).
"""

from __future__ import annotations

import math
from collections.abc import Sized
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bellmax import spaces
from bellmax.contracts import (
    BoolArray,
    Box,
    ConfigError,
    Discrete,
    EnvWarning,
    FloatArray,
    HostObs,
    IntArray,
    Leaf,
    ResourceError,
    Space,
    counted,
)
from bellmax.stderr import warn
from bellmax.tabular.agent import TabularConfig
from bellmax.tabular.tiles import Coder, encode

BINS = 8  # along a dimension of real numbers, where nothing else is asked
MOST_CELLS = 2**25  # values of a table in which each integer of a Box has a cell unasked; with its visits 0.5 GB
MOST_TILES = 10**8  # values of any table of cells; with its visits 1.6 GB


class Numbers(NamedTuple):
    """The numbers that one observation consists of, in order.

    Attributes:
        low, high: the first and the last value of an integer; infinite for a real number [k].
        ranged: of a Box, so that `bins`, `obs_low` and `obs_high` speak of it [k].
    """

    low: FloatArray
    high: FloatArray
    ranged: BoolArray


def numbers_of(space: Space) -> Numbers:
    """The numbers of an observation of `space`."""
    lows: list[Any] = []
    highs: list[Any] = []
    ranged: list[Any] = []

    def add(leaf: Leaf) -> None:
        low: npt.NDArray[Any]
        high: npt.NDArray[Any]
        if not isinstance(leaf, Box):
            high = np.atleast_1d(spaces.limits_of(leaf)) - 1
            low = np.zeros_like(high)
        elif leaf.dtype == "bool":
            high = np.ones(math.prod(leaf.shape))
            low = np.zeros_like(high)
        else:
            bounds = spaces.bounds_of(leaf)
            low, high = (
                bounds if bounds is not None else (np.full(math.prod(leaf.shape), end) for end in (-np.inf, np.inf))
            )
        lows.append(low)
        highs.append(high)
        ranged.append(np.full(low.size, isinstance(leaf, Box) and leaf.dtype != "bool"))

    spaces.map_space(add, spaces.visible(space))
    return Numbers(
        np.concatenate(lows, dtype=np.float64), np.concatenate(highs, dtype=np.float64), np.concatenate(ranged)
    )


class Cuts(NamedTuple):
    """How the numbers of a space are cut.

    Attributes:
        values: how many an integer has, 0 for a real number [k].
        bins: tiles along each [k].
        together: how many states fall together in a cell although nobody asked for it; 1 if none.
    """

    values: list[int]
    bins: list[int]
    together: float = 1.0


def plan_cells(config: TabularConfig, space: Space, n_actions: int) -> Cuts:
    """How the observations of `space` are cut, by the settings `bins`, `tilings`, `obs_low` and `obs_high`.

    Raises:
        ConfigError: `bins`, `obs_low` or `obs_high` do not have one number for each number of the Boxes.
        ResourceError: there would be too many rows.
    """
    numbers = numbers_of(space)
    ranged, n = numbers.ranged.tolist(), int(numbers.ranged.sum())
    low, high = numbers.low.copy(), numbers.high.copy()
    if config.obs_low:
        check_length("obs_low and obs_high", config.obs_low, n)
        low[numbers.ranged] = np.where(np.isfinite(low[numbers.ranged]), config.obs_low, -np.inf)
        high[numbers.ranged] = np.where(np.isfinite(high[numbers.ranged]), config.obs_high, np.inf)
    whole = np.isfinite(low) & (low == np.floor(low)) & (high == np.floor(high))
    count = [int(b - a) + 1 if integer else 0 for a, b, integer in zip(low, high, whole, strict=True)]
    if len(config.bins) > 1:
        check_length("bins", config.bins, n)
    asked = iter(config.bins * (n if len(config.bins) == 1 else 1) or (0,) * n)  # 0: nothing was asked
    wanted = [next(asked) if box else values for box, values in zip(ranged, count, strict=True)]
    if config.tilings > 1:
        bins = [each or BINS for each in wanted]
    else:
        bins = [
            min(values, each or values) if values else each or BINS for values, each in zip(count, wanted, strict=True)
        ]
    together = 1.0
    if not config.bins and math.prod(bins) * n_actions > MOST_CELLS:  # then integers are cut like real numbers
        fewer = [min(each, BINS) if box else each for each, box in zip(bins, ranged, strict=True)]
        if math.prod(fewer) * n_actions <= MOST_TILES:
            together = math.prod(each / less for each, less in zip(bins, fewer, strict=True))
            bins = fewer
    plan = Cuts(count, bins, together)
    _check_size(plan, config, n_actions)
    return plan


def check_length(name: str, given: Sized, n: int) -> None:
    """Refuse a setting that does not have one number for each number of the Boxes.

    Raises:
        ConfigError: there are more or fewer.
    """
    if len(given) != n:
        raise ConfigError(f"{name}: got {counted(len(given), 'number')}, but the Boxes of an observation have {n}")


def _shifted(plan: Cuts, config: TabularConfig) -> list[int]:
    """1 for each number whose grids are shifted: of several, but not where a tile is one integer."""
    return [int(config.tilings > 1 and values != bins) for values, bins in zip(plan.values, plan.bins, strict=True)]


def _check_size(plan: Cuts, config: TabularConfig, n_actions: int) -> None:
    width = [bins + more for bins, more in zip(plan.bins, _shifted(plan, config), strict=True)]
    if config.tilings * math.prod(width) * n_actions <= MOST_TILES:
        return
    size = sum(map(math.log10, width)) + math.log10(config.tilings)
    rows = f"{config.tilings * math.prod(width):,}" if size < 15 else f"about 10^{size:.0f}"
    bins = (
        plan.bins[0]
        if len({*plan.bins}) == 1
        else f"({', '.join(map(str, plan.bins[:6]))}{', ...' * (len(width) > 6)})"
    )
    raise ResourceError(
        f"bins={bins} along {counted(len(width), 'dimension')} in tilings={config.tilings} make {rows} "
        "rows of a table for "
        f"each of {n_actions} actions, and {MOST_TILES:,} values are the most; give fewer bins, or use dqn"
    )


def make_coder(config: TabularConfig, space: Space, low: FloatArray, high: FloatArray, n_actions: int) -> Coder:
    """The coder of observations of `space`; `low`, `high` are the ranges of all numbers of Boxes in it.

    Raises: as `plan_cells`.
    """
    numbers, plan = numbers_of(space), plan_cells(config, space, n_actions)
    first, last = numbers.low.copy(), numbers.high.copy()
    first[numbers.ranged], last[numbers.ranged] = low, high
    half = np.where(np.array(plan.values) == plan.bins, 0.5, 0.0)  # an integer is the middle of its cell
    shifted, bins = np.array(_shifted(plan, config), np.int64), np.array(plan.bins, np.int64)
    return Coder(
        first - half, last + half, bins.astype(np.float64), shifted.astype(np.float64), bins + shifted, config.tilings
    )


def rows_of(coder: Coder | None, obs: npt.NDArray[Any] | tuple[object, ...]) -> IntArray:
    """[B, T] the rows of a table that a batch of observations [B, ...] is; a state is its own row."""
    return np.asarray(obs, np.int64)[:, None] if coder is None else encode(coder, obs)


def states_of(space: Space) -> HostObs:
    """All observations of a space of integers as one batch, in the order of the rows of its table.

    Raises:
        ConfigError: there are real numbers in it.
    """
    space = spaces.visible(space)
    numbers = numbers_of(space)
    if not np.isfinite(numbers.low).all():
        raise ConfigError(f"observations of {space} are not a finite list of states; use q_values(obs) instead")
    count = (numbers.high - numbers.low).astype(np.int64) + 1
    columns = iter(
        np.stack(np.unravel_index(np.arange(math.prod(count.tolist())), count), axis=1).T + numbers.low[:, None]
    )

    def leaf(kind: Leaf) -> npt.NDArray[Any]:
        shape = spaces.shape_of(kind)
        values = np.stack([next(columns) for _ in range(math.prod(shape))], axis=-1)
        states: npt.NDArray[Any] = values.reshape(-1, *shape).astype(spaces.dtype_of(kind))
        return states

    states: HostObs = spaces.map_space(leaf, space)
    return states


def check_used(config: TabularConfig, space: Space, name: str) -> None:
    """Refuse settings that cut Boxes where there is none.

    Raises:
        ConfigError: `bins`, `tilings`, `obs_low` or `obs_high` would have no effect.
    """
    given = [
        f"{setting}={getattr(config, setting)}"
        for setting, default in (("bins", ()), ("tilings", 1), ("obs_low", ()))
        if getattr(config, setting) != default
    ]
    if given and not numbers_of(space).ranged.any():
        what = f"states 0 to {space.n - 1}" if isinstance(space, Discrete) else f"integers, {space}"
        raise ConfigError(f"{', '.join(given)} would cut a Box, and observations of {name} are {what}; leave it out")


def warn_together(config: TabularConfig, space: Space, n_actions: int, name: str) -> None:
    """Remark where states fall together that nobody asked to put together."""
    plan = plan_cells(config, space, n_actions)
    if plan.together > 1.0:
        size = sum(math.log10(n) for n in plan.values if n)
        states = f"{math.prod(n for n in plan.values if n):,}" if size < 15 else f"about 10^{size:.0f}"
        warn(
            f"{name}: observations are integers with {states} combinations, too many for a cell each with {n_actions} "
            f"actions; they are cut into {BINS} bins along each dimension, so that {plan.together:,.0f} states fall "
            "together in each cell; give bins for each dimension, or use dqn",
            EnvWarning,
            stacklevel=2,
        )
