"""Plain Python. `RunOptions`: the settings of a run other than its agent and environment."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Self, TypeAlias, TypedDict, get_args

import numpy as np

from bellmax.agent_config import build, choices, setting
from bellmax.arguments import HIGHEST, describe, integer, is_number, one_of, real
from bellmax.contracts import ConfigError, unknown
from bellmax.envs.host_steps import Handling, NonFinite
from bellmax.loops.pacing import MAX_CHUNK
from bellmax.training.play import check_results

RECORD_BYTES = 1_000  # of the columns of one seed in a record
MOST_MARKS = 100_000  # steps that `records` may list
Spacing: TypeAlias = Literal["even", "log", "episodes"]
SPACINGS: tuple[str, ...] = get_args(Spacing)


@dataclass(frozen=True, kw_only=True)
class DataCard:
    """The data set of an offline run: its source, how many steps it has, and the hash of its content."""

    source: str = setting("", "a folder, a file, minari:NAME, or <dataset> for an object")
    steps: int = setting(0, "transitions", low=0)
    sha256: str = setting("", "of its content")


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """The arguments of `train` that change a run and belong neither to its agent nor to its environment.

    Each field is written to config.json, read by `load`, and used again by `resume`.
    """

    episodes: int | None = setting(None, "the run's length in episodes, instead of steps", low=1)
    records: int | tuple[int, ...] = setting(20, "how many times to log and evaluate, or at which steps", low=1)
    record_spacing: Spacing = setting("even", "steps between records: even, growing (log), or one record an episode")
    keep_policies: bool = setting(False, "store the policy of each seed at every record")
    eval_episodes: int = setting(10, "greedy episodes per seed at each record", low=0)
    final_episodes: int = setting(100, "greedy episodes per seed at the end", low=0)
    keep_episodes: int = setting(2_000_000, "training episodes to store, over all seeds", low=0)
    keep_experience: bool = setting(False, "store the replay buffer of each seed at the end")
    keep_checkpoints: int = setting(2, "checkpoints in the run's folder, the newest ones", low=1)
    save_replay_every: float | None = setting(
        None, "seconds between saves of a replay buffer; None: at each save", low=0.001, high=1e9
    )
    vmap: int | None = setting(None, "seeds stacked in one program", low=1)
    workers: int = setting(0, "processes for the environments of a seed", low=0, high=100_000)
    env_timeout: float = setting(
        60.0, "seconds after which a worker that does not answer is stopped", low=0.001, high=1e6
    )
    env_restarts: int = setting(0, "how many times a failed environment is recreated", low=0)
    on_nonfinite: NonFinite = setting("raise", "what to do at a NaN or an infinity from the environment")
    strict: bool = setting(False, "stop at an observation outside its Box")
    data: DataCard | None = setting(None, "the data set of an offline run")

    if not TYPE_CHECKING:  # a type checker knows the names

        def __new__(cls, *values: object, **options: object) -> Self:  # noqa: D102 - before __init__, which only accepts names
            names = [field.name for field in dataclasses.fields(cls)]
            problems = [f"RunOptions accepts only named options; got {describe(value)}" for value in values[:1]]
            problems += [unknown("option", name, names) for name in options if name not in names]
            if problems:
                raise ConfigError("; ".join(problems))
            return super().__new__(cls)

    def __post_init__(self) -> None:
        problems = []
        for field in dataclasses.fields(self):
            try:
                object.__setattr__(self, field.name, _read(field, getattr(self, field.name)))
            except ConfigError as error:
                problems.append(str(error))
        if not problems:
            problems += _find_conflicts(self)
        if problems:
            raise ConfigError("; ".join(problems))

    @property
    def handling(self) -> Handling:
        """The options that only Gymnasium environments have."""
        return Handling(self.workers, self.env_timeout, self.env_restarts, self.on_nonfinite, self.strict)

    @property
    def uneven(self) -> bool:
        """Whether the steps between records differ, beyond a shorter last chunk."""
        return not isinstance(self.records, int) or self.record_spacing == "log"


def _find_conflicts(options: RunOptions) -> list[str]:
    """A line for each pair of options that contradict each other."""
    if options.record_spacing == "even":
        return []
    if not isinstance(options.records, int):
        steps = f"records={describe(list(options.records))}"
        return [f"{steps} lists the steps, so that record_spacing={options.record_spacing!r} has no meaning; pass one"]
    return []


def check_records(options: RunOptions, length: int, *, by_episode: bool) -> None:
    """Check that a run of `length` steps, or with `by_episode` episodes, can make its records.

    Raises:
        ConfigError: one is after the end, or each episode shall have one in a run of steps.
    """
    if options.record_spacing == "episodes" and not by_episode:
        raise ConfigError(
            "record_spacing='episodes' needs a run of so many episodes, since seeds end theirs at different steps: "
            "pass episodes=... in place of steps, or records=[...] with the steps"
        )
    if not isinstance(options.records, int) and (last := options.records[-1]) > length:
        unit = "episodes" if by_episode else "steps"
        raise ConfigError(f"records has {last:,}, and the run has {length:,} {unit}; leave out what is after its end")


def check_room_for(options: RunOptions, n_seeds: int, steps: int) -> None:
    """Check that the results of a run of `steps` on each seed fit in memory.

    Raises:
        ResourceError: they do not; the message says how many do.
    """
    check_results("final_episodes", options.final_episodes, n_seeds)
    check_results("eval_episodes", options.eval_episodes, n_seeds)
    asked = options.records if isinstance(options.records, int) else len(options.records)
    asked = steps if options.record_spacing == "episodes" else min(asked, steps)
    check_results("records", max(asked, steps // MAX_CHUNK), n_seeds, RECORD_BYTES)


class Changes(TypedDict, total=False):
    """The options that `resume` may change; for type checkers."""

    eval_episodes: int
    final_episodes: int
    keep_experience: bool
    keep_checkpoints: int
    save_replay_every: float | None
    workers: int
    env_timeout: float
    env_restarts: int
    on_nonfinite: NonFinite
    strict: bool


def _read(field: dataclasses.Field[Any], value: object) -> object:
    """The value of one field as Python's own type.

    Raises:
        ConfigError: it has the wrong type or range.
    """
    name, kind, meta = field.name, str(field.type), field.metadata
    if "None" in kind and value is None:
        return None
    if name == "records":
        return _read_records(value)
    if kind.startswith("int"):
        return integer(name, value, meta["low"], int(min(meta["high"], HIGHEST)))
    if kind.startswith("float"):
        return real(name, value, meta["low"], meta["high"])
    if kind == "bool" and not isinstance(value, bool):
        raise ConfigError(f"{name}={describe(value)} is not True or False")
    if kind.startswith("DataCard") and not isinstance(value, DataCard):
        raise ConfigError(f"`{name}` must be the DataCard of a saved run, or None; got {describe(value)}")
    valid = choices(RunOptions)[name]
    return one_of(name, value, valid) if valid else value


def _read_records(value: object) -> int | tuple[int, ...]:
    """How many records, or their steps as increasing integers.

    Raises:
        ConfigError: it is neither.
    """
    if isinstance(value, np.ndarray) and value.ndim == 1:
        value = value.tolist()
    if is_number(value) or not isinstance(value, Sequence) or isinstance(value, str | bytes):
        if isinstance(value, str) and value in SPACINGS:
            raise ConfigError(f"records={value!r} is a spacing; write record_spacing={value!r}")
        return integer("records", value)
    if not value or len(value) > MOST_MARKS:
        raise ConfigError(f"`records` must list from 1 to {MOST_MARKS:,} steps; got {len(value):,}")
    steps = tuple(integer("records", step) for step in value)
    if any(step <= before for before, step in itertools.pairwise(steps)):
        raise ConfigError(
            f"`records` must list increasing steps, such as [100, 200, 1000]; got {describe(list(steps))}"
        )
    return steps


# what cannot change when a run is resumed, and why
FIXED = {
    "episodes": "the exploration schedules span the episodes of the whole run",
    "records": "it determines the steps at which a run logs and evaluates",
    "record_spacing": "it determines the steps at which a run logs and evaluates",
    "keep_policies": "the policies of the records so far would be missing",
    "keep_episodes": "episodes that were not stored are lost",
    "vmap": "the checkpoint holds the seeds in groups of this size",
    "steps": "the schedules of exploration and learning rate span the steps of the whole run",
    "seeds": "the checkpoint holds the original seeds",
    "loop": "the checkpoint belongs to the original loop",
    "agent": "the checkpoint belongs to the original agent",
    "if_exists": "a run is resumed in its own folder",
    "out": "a run is resumed in its own folder",
    "wrappers": "they are part of env_kwargs; pass env_kwargs={'wrappers': [...]}",
}


def read_options(card: Mapping[str, Any]) -> RunOptions:
    """Read the options in a run's config.json; those that an older version did not write have their defaults.

    Raises:
        ConfigError: a value has the wrong type or range.
    """
    names = [field.name for field in dataclasses.fields(RunOptions)]
    card = {**card.get("handling", {}), **card}  # older versions wrote some of them there
    values = {name: card[name] for name in names if name in card}
    if (data := values.get("data")) is not None:
        if not (isinstance(data, Mapping) and isinstance(data.get("source"), str) and data["source"]):
            raise ConfigError(f"data={data!r} does not describe a data set by its source, steps and sha256")
        values["data"] = build(DataCard, data, "entry of data")
    return RunOptions(**values)


def change_options(options: RunOptions, given: Mapping[str, Any]) -> tuple[RunOptions, list[str]]:
    """Return the options of a resumed run, updated with the `given` ones, and a line for each that differs.

    Raises:
        ConfigError: an option is unknown, cannot change, or has the wrong type or range; one message reports
            everything.
    """
    free = [field.name for field in dataclasses.fields(RunOptions) if field.name not in (*FIXED, "data")]
    problems = [f"`{name}` cannot change on resume: {FIXED[name]}" for name in given if name in FIXED]
    problems += [unknown("option", name, free) for name in given if name not in FIXED and name not in free]
    try:
        changed = dataclasses.replace(options, **{name: given[name] for name in given if name in free})
    except ConfigError as error:
        problems.append(str(error))
    if problems:
        raise ConfigError("; ".join(problems))
    differing = [name for name in free if getattr(changed, name) != getattr(options, name)]
    return changed, [f"{name}={getattr(changed, name)!r} (before: {getattr(options, name)!r})" for name in differing]
