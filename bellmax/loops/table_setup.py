"""NumPy. Set up a tabular learner for an environment, and copy the arrays of its policy."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from bellmax.contracts import ArrayDict, ConfigError, Discrete, FloatArray, IntArray, Masked
from bellmax.loops.table_memory import is_large
from bellmax.machine import out_of_memory
from bellmax.mdp.successors import in_front
from bellmax.sources import Source
from bellmax.spaces import visible
from bellmax.tabular import stepping
from bellmax.tabular.agent import Shape, TabularAgent, TabularConfig
from bellmax.tabular.cells import BINS, check_length, check_used, make_coder, numbers_of, warn_together
from bellmax.tabular.classic_kernels import CLASSIC, RANGES
from bellmax.tabular.own_kernels import make_table_agent
from bellmax.tabular.representation import sizes_of, table_of
from bellmax.tabular.soundness import find_undeclared
from bellmax.tabular.tiles import Coder


class Setup(NamedTuple):
    """A learner in an environment.

    Attributes:
        agent: the kernels.
        shape: of its table.
        coder: its tiles or cells; None without.
        n_allowed: [S] how many actions each state of a model has.
        ranges: the lowest and highest number of each dimension of the Boxes, with a coder.
        order: [S, A] the action of the model for each column of the table; None: the same. The first `n_allowed`
            columns are the actions that the state has.
        masked: whether observations have action masks.
    """

    agent: TabularAgent
    shape: Shape
    coder: Coder | None = None
    n_allowed: IntArray | None = None
    ranges: tuple[FloatArray, FloatArray] | None = None
    order: IntArray | None = None
    masked: bool = False

    def init(self, config: TabularConfig, seed: int, place: int = 0, worlds: int = 1) -> stepping.TabularState:
        """Return the state of one seed before its first step.

        Raises:
            ResourceError: there is not enough memory.
        """
        tilings = 1 if self.coder is None else self.coder.tilings
        with out_of_memory(f"a table of {self.shape.n_states:,} rows", "observe fewer states, or use dqn"):
            return stepping.init_state(
                self.agent, self.shape, config.initial_q, seed, tilings=tilings, place=place, worlds=worlds,
                n_allowed=self.n_allowed, masked=self.masked,
            )  # fmt: skip


def set_up(config: TabularConfig, source: Source, n_outcomes: int = 0) -> Setup:
    """Set up a learner in an environment; `n_outcomes` is the largest number of outcomes of a pair, if known.

    Raises:
        ConfigError: the environment has real numbers without bounds, or the learner cannot use tiles.
        ResourceError: there are too many tiles.
    """
    if source.mdp is not None and hasattr(config, "r_max") and source.mdp.reward.max() > config.r_max:
        raise ConfigError(
            f"{config.name} assumes that no reward is above r_max={config.r_max:g}, but rewards of {source.name} are "
            f"up to {source.mdp.reward.max():g}; use r_max={source.mdp.reward.max():g}"
        )
    space, masked = visible(source.space), isinstance(source.space, Masked)
    check_used(config, space, source.name)
    if isinstance(space, Discrete):
        shape = Shape(space.n, source.n_actions, True, n_outcomes)
        if source.mdp is None:
            return Setup(make_table_agent(config, shape), shape, masked=masked)
        order = in_front(source.mdp)[1]
        return Setup(make_table_agent(config, shape), shape, n_allowed=source.mdp.n_allowed, order=order)
    low, high = find_range(config, source)
    coder = make_coder(config, space, low, high, source.n_actions)
    warn_together(config, space, source.n_actions, source.name)
    shape = Shape(coder.n_tiles, source.n_actions, config.tilings == 1)
    return Setup(make_table_agent(config, shape), shape, coder, ranges=(low, high), masked=masked)


def check_declared(config: TabularConfig, n_actions: int) -> None:
    """Check that a saved state of this learner can be checked when a run resumes: its integers declare their ranges.

    Raises:
        ConfigError: some do not; the message names them and says what to write.
    """
    few = Shape(64, n_actions)
    state = stepping.init_state(make_table_agent(config, few), few, 0.0, 0)
    if lacking := list(find_undeclared(state, sizes_of(state.q))):
        raise ConfigError(f"{config.name} could not be resumed from `out`: {'; '.join(lacking)}; or leave out `out`")


def find_range(config: TabularConfig, source: Source) -> tuple[FloatArray, FloatArray]:
    """Return (low, high) [k] of the Boxes of an observation: as configured, else known, else those of the space."""
    numbers = numbers_of(source.space)
    size = int(numbers.ranged.sum())
    if config.obs_low:
        check_length("obs_low and obs_high", config.obs_low, size)
        low, high = np.array(config.obs_low, np.float64), np.array(config.obs_high, np.float64)
    elif (name := source.name.removeprefix("gymnasium:")) in RANGES:
        low, high = (np.array(end) for end in RANGES[name])
    else:
        low, high = source.bounds or (numbers.low[numbers.ranged], numbers.high[numbers.ranged])
    if open_ := np.flatnonzero(~(np.abs(low) < 1e30) | ~(np.abs(high) < 1e30)).tolist():
        raise ConfigError(
            f"{config.name} divides observations into tiles, and those of {source.name} have no bounds in dimensions "
            f"{open_[:20]}{' and more' * (len(open_) > 20)}; pass obs_low and obs_high, tuples of {size} numbers "
            "(integers beyond int32 count as unbounded: they are too many states)"
        )
    real = ~np.isfinite(numbers.low[numbers.ranged])
    step = np.spacing(np.maximum(np.abs(low), np.abs(high)).astype(np.float32)).astype(np.float64)
    if merged := np.flatnonzero(real & (low < high) & ((high - low) / BINS < step)).tolist():
        first = merged[0]
        raise ConfigError(
            f"{config.name} divides observations into cells, and in dimensions {merged[:20]} of {source.name} they go "
            f"from {low[first]:.16g} to {high[first]:.16g}, where the resolution of float32 is {step[first]:g}; "
            "subtract the lower bound in a wrapper"
        )
    return low, high


def snapshot(state: stepping.TabularState, setup: Setup, rows: IntArray | None = None) -> ArrayDict:
    """Return the arrays of a policy: values and visits [S, A], and with a coder the ranges of the Boxes.

    Of a large table, only the `rows` that are not zero are copied; if those are not known, the arrays are views, which
    change as it continues to learn.
    """
    arrays = {"q": table_of(state.q), "visits": state.visits}
    for name, array in arrays.items():
        if rows is not None:
            arrays[name] = np.zeros(array.shape, array.dtype)  # costs nothing where nothing is written
            arrays[name][rows] = array[rows]
        else:
            arrays[name] = array.view() if is_large(setup.shape) else array.copy()
    if setup.order is not None:
        for name, array in arrays.items():
            arrays[name] = np.empty_like(array)
            np.put_along_axis(arrays[name], setup.order, array, axis=1)
    return arrays if setup.ranges is None else {**arrays, "low": setup.ranges[0], "high": setup.ranges[1]}


def is_compiled(source: Source) -> bool:
    """Return whether a table can learn in a compiled loop: the environment has a model, or is classic control."""
    return source.mdp is not None or (source.compiled is not None and source.name in CLASSIC)
