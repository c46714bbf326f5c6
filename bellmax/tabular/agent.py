"""Numba. What every tabular learner shares: its hyper-parameters, the moment in which it learns, its schedules."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias, get_args

import numba
import numpy as np
from numba.extending import typeof_impl

from bellmax import schedules
from bellmax.agent_config import AgentConfig, setting
from bellmax.contracts import ConfigError, IntArray
from bellmax.tabular.kernel import Generator, Index, kernel
from bellmax.tabular.representation import Representation

_linear = kernel(schedules.linear)
_exponential = kernel(schedules.exponential)
_inverse = kernel(schedules.inverse)

NO_LIMIT = np.iinfo(np.int64).max
Fall: TypeAlias = Literal["linear", "exponential", "inverse", "per-episode"]
FALLS = get_args(Fall)


class Step(NamedTuple):
    """One transition, as an update kernel sees it.

    Attributes:
        obs, action, reward, next_obs: S, A, R and S', the last also where the world then reset.
        discount: γ, or 0 where the world terminated.
        next_action: A', already chosen, for learners that look ahead; else -1.
        over: the episode ended here, by termination or by its time limit.
        step_size: α of this visit of the pair.
    """

    obs: Index
    action: Index
    reward: float
    discount: float
    next_obs: Index
    next_action: Index
    over: bool
    step_size: float


class Now(NamedTuple):
    """The moment: level of exploration of the next action, visits of each pair [F, A], schedules, randomness."""

    level: float
    visits: IntArray
    rates: Rates
    generator: Generator


class Rates(NamedTuple):
    """The schedules of a run, as plain numbers.

    From the step `settled` on the level of exploration is constant; with `by_episode` its clock counts the episodes
    that ended, and it changes only between episodes. The loop stops after the episode number `last`.
    """

    gamma: float
    fall: int
    initial_level: float
    final_level: float
    duration: float
    settled: int
    learning_rate: float
    learning_rate_decay: float
    learning_rate_power: float
    by_episode: bool = False
    decay: float = 1.0
    last: int = NO_LIMIT


class Behavior(NamedTuple):
    """How it acts: four kernels, see `behavior.py`."""

    act: Callable[[Representation, Index, Now], int]
    best: Callable[[Representation, Index, Now], int]
    probability: Callable[[Representation, Index, Index, Now], float]
    expected: Callable[[Representation, Index, Now], float]


# update(q, memory, options, step, behavior, now) -> td_error, in place
Update: TypeAlias = Callable[[Representation, Any, Any, Step, Behavior, Now], float]


class Learner(NamedTuple):
    """What the loop runs: an agent's kernels and options, and the schedules of a run."""

    update: Update
    behavior: Behavior
    look_ahead: bool
    options: tuple[Any, ...]
    rates: Rates


_known_types: dict[int, tuple[Learner, numba.types.Type]] = {}


@typeof_impl.register(Learner)
def _type_of(learner: Learner, context: object) -> numba.types.Type:
    """Numba works out the type of a tuple with kernels in it at each call, which takes longer than a host step."""
    known = _known_types.get(id(learner))
    if known is None:
        if len(_known_types) >= 64:
            _known_types.clear()
        known = _known_types[id(learner)] = learner, typeof_impl.dispatch(tuple)(learner, context)
    return known[1]


class Shape(NamedTuple):
    """What a learner needs to know of its world.

    Attributes:
        n_states: states of a table, or tiles of all tilings.
        n_actions: A.
        is_table: whether one feature is active at a time.
        n_outcomes: the most that can follow a pair, or 0 if that is not known.
    """

    n_states: int
    n_actions: int
    is_table: bool = True
    n_outcomes: int = 0


class TabularAgent(NamedTuple):
    """A tabular learner: two kernels, what they remember, what they need.

    Attributes:
        update: `update(q, memory, options, step, behavior, now) -> td_error`, in place.
        behavior: how it acts.
        memory: `memory(q) -> arrays`, a NamedTuple of what it stores besides `q`; () for nothing.
        options: plain numbers for `update`, a NamedTuple.
        look_ahead: the next action is chosen before the update, with the values that were there before it, and is
            then taken: what on-policy learners need. The others choose it after the update, as the textbook does.
        window: earlier observations that it keeps; 0 for a learner that forgets all but the present one.
        episodic: `memory` belongs to one running episode, so that one table serves one world.
        forget: `forget(memory)` drops the running episode, where one was lost with its world.
        initial_q: value of every pair before its first visit, None for the configuration's.
    """

    update: Update
    behavior: Behavior
    memory: Callable[[Representation], tuple[Any, ...]] = lambda q: ()
    options: tuple[Any, ...] = ()
    look_ahead: bool = False
    window: int = 0
    episodic: bool = False
    forget: Callable[[Any], None] = lambda memory: None
    initial_q: float | None = None

    def learner(self, rates: Rates) -> Learner:
        """What the loop runs, on these schedules."""
        return Learner(self.update, self.behavior, self.look_ahead, self.options, rates)


@dataclass(frozen=True, kw_only=True)
class TabularConfig(AgentConfig):
    """What every learner with a table, or with tile-coded weights, has."""

    family: ClassVar[Literal["table", "network", ""]] = "table"

    exploration: Literal["epsilon-greedy", "boltzmann", "ucb"] = setting(
        "epsilon-greedy",
        "how it acts; boltzmann and ucb scale exploration_scale with the schedule that is ε for epsilon-greedy",
        group="exploration",
    )
    exploration_scale: float = setting(
        1.0,
        "temperature (boltzmann) or width of the confidence bound (ucb) where the schedule is 1",
        low=0.0,
        needs=("exploration", "boltzmann", "ucb"),
        group="exploration",
    )
    exploration_schedule: Fall = setting(  # type: ignore[assignment]
        "linear", "how ε falls from its initial to its final value", group="exploration"
    )
    exploration_fraction: float = setting(
        0.5, "share of the steps of the run over which ε falls", low=0.0, high=1.0, group="exploration"
    )
    exploration_decay: float = setting(
        1.0, "factor of ε after each episode, with exploration_schedule='per-episode'", low=0.0, high=1.0,
        group="exploration",
    )  # fmt: skip
    random_ties: bool = setting(
        False, "choose at random among actions of equal value, not the first of them", group="exploration"
    )
    initial_q: float = setting(0.0, "value of every pair before its first visit", group="table")
    bins: tuple[int, ...] = setting(
        (),
        "of a Box: tiles along each dimension, one number or one for each; by default 8 for real numbers, and a cell "
        "for each integer",
        low=1,
        high=1_000_000,
        group="table",
    )
    tilings: int = setting(
        1, "grids of tiles, each shifted; 1 makes a table of cells, more a linear Q", low=1, high=64, group="table"
    )
    obs_low: tuple[float, ...] = setting(
        (), "lower end of each dimension, where the environment's own is open or wide", group="table"
    )
    obs_high: tuple[float, ...] = setting(
        (), "upper end of each dimension, where the environment's own is open or wide", group="table"
    )

    def __post_init__(self) -> None:
        bins: Any = self.bins
        if isinstance(bins, int | np.integer) and not isinstance(bins, bool):
            object.__setattr__(self, "bins", (int(bins),))  # one number for all
        super().__post_init__()

    def make(self, shape: Shape) -> TabularAgent:
        """The learner for a world of this shape."""
        raise ConfigError(
            f"{type(self).__name__} does not define `make`; write in it: def make(self, shape): return "
            "TabularAgent(update, find_behavior(self)), with your kernel as update"
        )

    def epsilon(self, t: Any, steps: int) -> Any:
        """ε, or the share of `exploration_scale`, at environment step `t` of a run of `steps`.

        Where the run counts episodes, or the schedule is per-episode, `t` is the number of episodes that ended.
        """
        if self.exploration_schedule == "per-episode":
            return np.maximum(self.exploration_final_eps, self.exploration_initial_eps * self.exploration_decay**t)
        if self.exploration_schedule != "inverse":
            return super().epsilon(t, steps)
        fall = self.exploration_initial_eps - self.exploration_final_eps
        return self.exploration_final_eps + schedules.inverse(t, fall, 1.0 / self.exploration_duration(steps))

    def conflicts(self) -> list[str]:
        """Grids that would not be shifted in each dimension; ranges or schedules that do not belong together."""
        per_episode = self.exploration_schedule == "per-episode"
        if self.exploration_decay != 1.0 and not per_episode:
            return [
                f"exploration_decay={self.exploration_decay} acts after each episode; give "
                "exploration_schedule='per-episode' with it"
            ]
        if per_episode and self.exploration_decay == 1.0 and self.exploration_initial_eps != self.exploration_final_eps:
            return ["exploration_schedule='per-episode' leaves ε at its initial value; give exploration_decay below 1"]
        if self.tilings & (self.tilings - 1):
            return [f"tilings={self.tilings} is not a power of two, which grids need to lie apart in every dimension"]
        if len(self.obs_low) != len(self.obs_high):
            return [f"obs_low has {len(self.obs_low)} and obs_high {len(self.obs_high)} numbers; give as many of each"]
        if not all(low < high for low, high in zip(self.obs_low, self.obs_high, strict=True)):
            return [f"obs_low={self.obs_low} is not below obs_high={self.obs_high} in every dimension"]
        return []


@dataclass(frozen=True, kw_only=True)
class LearningConfig(TabularConfig):
    """What learners have that move a value by a step size."""

    learning_rate: float = setting(0.1, "step size α at a pair's first visit", low=1e-12, high=1.0,
                                   zero="nothing would be learned", group="step size")  # fmt: skip
    learning_rate_decay: float = setting(
        0.0, "α = learning_rate / (1 + decay * visits of the pair) ^ power; 0 keeps it constant", low=0.0,
        group="step size",
    )  # fmt: skip
    learning_rate_power: float = setting(
        1.0,
        "1 with decay 1 is the mean of the targets; 0.5 to 1 falls polynomially",
        low=0.0,
        high=1.0,
        needs=("learning_rate_decay",),
        group="step size",
    )


def build_rates(config: TabularConfig, steps: int, *, episodes: bool = False) -> Rates:
    """The schedules of `config` over a run of `steps` environment steps, or of so many `episodes`."""
    scale = 1.0 if config.exploration == "epsilon-greedy" else float(config.exploration_scale)
    duration = float(config.exploration_duration(steps))
    constant = config.exploration_initial_eps == config.exploration_final_eps
    linear = config.exploration_schedule == "linear"
    by_episode = episodes or config.exploration_schedule == "per-episode"
    return Rates(
        gamma=float(config.gamma),
        fall=FALLS.index(config.exploration_schedule),
        initial_level=scale * float(config.exploration_initial_eps),
        final_level=scale * float(config.exploration_final_eps),
        duration=duration,
        settled=0 if constant or by_episode else math.ceil(duration) if linear else NO_LIMIT,
        learning_rate=float(getattr(config, "learning_rate", 0.0)),
        learning_rate_decay=float(getattr(config, "learning_rate_decay", 0.0)),
        learning_rate_power=float(getattr(config, "learning_rate_power", 1.0)),
        by_episode=by_episode,
        decay=float(config.exploration_decay),
    )


@kernel
def level_at(t: float, rates: Rates) -> float:
    """The level of exploration at step t of its clock: ε, a temperature, or the width of a bound.

    The clock counts environment steps, or with `rates.by_episode` the episodes that ended.
    """
    if rates.fall == 0:
        return _linear(t, rates.initial_level, rates.final_level, rates.duration)
    if rates.fall == 1:
        return _exponential(t, rates.initial_level, rates.final_level, rates.duration)
    if rates.fall == 3:
        left: float = rates.decay**t
        return max(rates.final_level, rates.initial_level * left)
    return rates.final_level + _inverse(t, rates.initial_level - rates.final_level, 1.0 / rates.duration)


@kernel
def step_size_after(visits: float, rates: Rates) -> float:
    """α for a pair that was visited `visits` times before."""
    if rates.learning_rate_decay > 0.0:
        if rates.learning_rate_power == 1.0:
            return _inverse(visits, rates.learning_rate, rates.learning_rate_decay)
        share: float = (1.0 + rates.learning_rate_decay * visits) ** -rates.learning_rate_power
        return rates.learning_rate * share
    return rates.learning_rate


def counts(n: int = 1) -> IntArray:
    """[n] zeros: counters that a kernel keeps."""
    return np.zeros(n, np.int64)
