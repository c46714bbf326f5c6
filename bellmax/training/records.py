"""NumPy. What a loop yields between chunks, and the history that is made of it."""

from __future__ import annotations

import csv
import io
import math
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bellmax.contracts import ConfigError, FloatArray, NonFiniteError, counted
from bellmax.dispatch import in_32_bits
from bellmax.loops.parts import Episodes as Episodes
from bellmax.loops.parts import Part as Part
from bellmax.loops.stopping import never


class Chunk(NamedTuple):
    """What one seed's chunk tells: the episodes that ended, and means of what was learnt, by name."""

    episodes: Episodes
    metrics: dict[str, float]


class Loop(NamedTuple):
    """A way to run a group of seeds, in pieces of any length; the host does the rest between them.

    Attributes:
        kind: "compiled" or "host".
        stride: environment steps go in multiples of this.
        group: seeds that one state holds, stacked; 1 unless seeds share an accelerator.
        parallel: groups may run in threads of one process.
        start: `start(seeds) -> state`.
        go: `go(state, t, steps, pause) -> (state, parts, done)`: `done` environment steps from step `t` on, a Part for
            each seed of the group; fewer than `steps` where `pause()`, asked after each of its own, is true.
        measure: `measure(state, rows, steps) -> [metrics]` of each seed over the `steps` since the last `forget`.
        snapshot: `snapshot(state) -> [arrays]`, by name, of each seed's present policy.
        dump: `dump(state) -> arrays`, by name, of everything that evolves.
        restore: `restore(seeds, arrays, step=0) -> state`, the inverse; a Gymnasium environment starts a new episode,
            of a seed that follows from its own and the step.
        close: `close(state)` frees what the state holds outside memory.
        experience: `experience(state) -> [Dataset]`, of each seed, what its replay memory holds; None without one.
        forget: `forget(state)` begins a new chunk: what `measure` tells of is over.
        clock: `clock(state)`, environment steps so far, also after a failure in `go`; None where there can be none.
        kill: `kill(state)` ends at once what else runs for it, and leaves it unusable.
    """

    kind: str
    stride: int
    group: int
    parallel: bool
    start: Callable[[Sequence[int]], Any]
    go: Callable[[Any, int, int, Callable[[], bool]], tuple[Any, list[Part], int]]
    measure: Callable[[Any, Sequence[dict[str, Any]], int], list[dict[str, float]]]
    snapshot: Callable[[Any], list[dict[str, Any]]]
    dump: Callable[[Any], dict[str, Any]]
    restore: Callable[..., Any]
    close: Callable[[Any], None]
    experience: Callable[[Any], list[Any]] | None = None
    forget: Callable[[Any], None] = lambda state: None
    clock: Callable[[Any], int | None] = lambda state: None
    kill: Callable[[Any], None] = lambda state: None

    def chunks(self, state: Any, parts: Sequence[Part], steps: int) -> list[Chunk]:
        """What each seed tells of a chunk of `steps`, all of whose parts are joined in `parts`."""
        metrics = self.measure(state, [part.rows for part in parts], steps)
        return [Chunk(part.episodes, each) for part, each in zip(parts, metrics, strict=True)]

    def advance(self, state: Any, t: int, steps: int) -> tuple[Any, list[Chunk]]:
        """A whole chunk, from the step `t` on: (state, one Chunk per seed of the group)."""
        state, parts, _ = self.go(state, t, steps, never)
        chunks = self.chunks(state, parts, steps)
        self.forget(state)
        return state, chunks


def guarded(loop: Loop) -> Loop:
    """A loop of JAX programs that run alike whatever the settings of JAX in this process."""
    parts: dict[str, Any] = {name: in_32_bits(part) for name, part in loop._asdict().items() if callable(part)}
    return loop._replace(**parts)


def mean_metrics(metrics: Mapping[str, Any]) -> dict[str, float]:
    """Means over the rounds that learnt (of "max_..." the largest), under their log keys; empty if none did."""
    learnt = np.asarray(metrics["learnt"]) > 0 if metrics else np.zeros(0, bool)
    if not learnt.any():
        return {}
    seen = {k: np.asarray(v)[learnt] for k, v in metrics.items() if k != "learnt"}
    return {f"train/{k}": float(v.max() if k.startswith("max_") else v.mean(dtype=np.float64)) for k, v in seen.items()}


def check_finite(seeds: Sequence[int], chunks: Sequence[Chunk], begin: int, end: int) -> None:
    """Refuse what was learnt between the steps `begin` and `end` if it is not finite.

    Raises:
        NonFiniteError: names the metric and the seed.
    """
    for seed, chunk in zip(seeds, chunks, strict=True):
        for name, value in chunk.metrics.items():
            if not math.isfinite(value):
                raise NonFiniteError(
                    f"{name} of seed {seed} became {value} between steps {begin:,} and {end:,}; "
                    "lower learning_rate, or scale the rewards"
                )


class Scale(NamedTuple):
    """What is known of the size of values so far, kept between records: the largest |reward|, the first value."""

    reward: FloatArray
    first: FloatArray

    @classmethod
    def of(cls, n: int) -> Scale:
        """Of n seeds, before the first record."""
        return cls(np.zeros(n), np.full(n, np.nan))


FAR = 10.0  # times the bound on values is not chance
GROWN = 2.0  # times the first value is not what an untrained network gave
AT_ONCE = 1000.0  # times that again: no need to see it grow


def check_divergence(seeds: Sequence[int], chunks: Sequence[Chunk], scale: Scale, config: Any, end: int) -> None:
    """Refuse values that no sum of rewards could have; `scale` is kept here.

    With rewards of at most R over n steps, no value is above R / (1 - γ^n); ten times that is not chance. But a network
    is not trained when it starts: large observations, random priors or the middle of the atoms make values that have
    nothing to do with rewards. So a value must also have grown, to twice the first one, or be out of all proportion.
    Means over atoms cannot leave them, so categorical heads pass. R counts as 1 if it is less.

    Raises:
        NonFiniteError: names the seed, the value and the bound.
    """
    horizon = 1.0 - config.gamma ** getattr(config, "n_steps", 1)
    for i, (seed, chunk) in enumerate(zip(seeds, chunks, strict=True)):
        scale.reward[i] = max(scale.reward[i], chunk.metrics.get("train/max_reward", 0.0))
        if horizon <= 0 or hasattr(config, "v_max") or (value := abs(chunk.metrics.get("train/q", math.nan))) != value:
            continue
        scale.first[i] = np.fmin(scale.first[i], value)
        reward = max(scale.reward[i], 1.0) + getattr(config, "munchausen", False)
        bound = FAR * reward / horizon
        grown = value > GROWN * scale.first[i] or value > AT_ONCE * bound
        if value > bound and grown:
            raise NonFiniteError(
                f"train/q of seed {seed} is {value:.3g} at step {end:,}, but rewards of at most {reward:.3g} "
                f"add up to {reward / horizon:.3g}: it diverges; lower learning_rate, or give normalization='layer', "
                "double=True or a longer target_update_interval"
            )


CLIPPED = 0.5  # the share of targets outside the atoms above which a head cannot say what it learns


def clipping(chunks: Sequence[Chunk], scale: Scale, config: Any) -> str | None:
    """What to say where most of the targets lie outside the atoms of a categorical head; None where they do not."""
    share = max((chunk.metrics.get("train/clipped_targets", 0.0) for chunk in chunks), default=0.0)
    if share <= CLIPPED:
        return None
    horizon = max(1.0 - config.gamma, 1e-3)
    most = max(float(scale.reward.max()), 1e-9)
    return (
        f"{share:.0%} of the targets are clipped to the atoms, v_min={config.v_min:g} to v_max={config.v_max:g} "
        f"(train/clipped_targets): values outside cannot be learned; give v_min and v_max around all discounted "
        f"returns, which lie within ±{most / horizon:.3g} for rewards of at most {most:.3g}"
    )


def chunk_columns(chunks: Sequence[Chunk]) -> dict[str, FloatArray]:
    """Columns [seeds] of one record: number, mean return and mean length of the episodes, and the metrics."""
    counts = np.array([chunk.episodes.returns.size for chunk in chunks], np.int64)
    columns = {"rollout/episodes": counts.astype(np.float64)}
    for name in dict.fromkeys(name for chunk in chunks for name in chunk.metrics):
        columns[name] = np.array([chunk.metrics.get(name, math.nan) for chunk in chunks])
    if counts.any():
        seed = np.repeat(np.arange(counts.size), counts)
        number = np.where(counts > 0, counts, math.nan)
        for name, i in (("rollout/ep_rew_mean", 0), ("rollout/ep_len_mean", 1)):
            values = np.concatenate([chunk.episodes[i] for chunk in chunks])
            columns[name] = np.bincount(seed, values, counts.size) / number
    return columns


ALIASES = {"return": "rollout/ep_rew_mean", "length": "rollout/ep_len_mean", "loss": "train/loss"}


class History:
    """Columns over the records of a run: `step` [T] (environment steps), all others [seeds, T].

    Columns bear the log keys of Stable-Baselines3; "return", "length" and "loss" are short for theirs. A
    value that does not exist (no episode ended yet) is NaN.
    """

    def __init__(self, seeds: Sequence[int]) -> None:
        self.seeds = list(seeds)
        self.step: list[int] = []
        self._records: list[dict[str, FloatArray]] = []

    def append(self, step: int, values: Mapping[str, Any] | Sequence[Mapping[str, float]]) -> None:
        """One record, the same moment in every seed: `{name: [seeds] or one number for all}`, or a row per seed."""
        if not isinstance(values, Mapping):
            names = dict.fromkeys(name for row in values for name in row)
            values = {name: [row.get(name, math.nan) for row in values] for name in names}
        shape = (len(self.seeds),)
        self.step.append(step)
        self._records.append({name: np.broadcast_to(np.asarray(v, np.float64), shape) for name, v in values.items()})

    def drop_after(self, step: int) -> None:
        """Forget the records later than `step`."""
        kept = sum(s <= step for s in self.step)
        del self.step[kept:], self._records[kept:]

    @property
    def columns(self) -> list[str]:
        """Names of all columns but `seed` and `step`, in order of appearance."""
        return list(dict.fromkeys(name for record in self._records for name in record))

    def __getitem__(self, name: str) -> Any:
        name = ALIASES.get(name, name)
        if name == "step":
            return np.array(self.step)
        if not any(name in record for record in self._records):
            raise KeyError(f"no column {name!r}; there are: step, {', '.join(self.columns)}")
        missing = np.full(len(self.seeds), np.nan)
        return np.array([record.get(name, missing) for record in self._records]).T

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Rows, one for each seed and record: `pandas.DataFrame(history)` is a table of them."""
        columns = self.columns
        table = np.array([self[name] for name in columns]).reshape(len(columns), len(self.seeds), len(self))
        for i, seed in enumerate(self.seeds):
            for t, step in enumerate(self.step):
                yield {"seed": seed, "step": step, **dict(zip(columns, table[:, i, t].tolist(), strict=True))}

    def keys(self) -> list[str]:
        """The names of all columns: `dict(history)` has `step` [T] and the others [seeds, T]."""
        return ["step", *self.columns]

    def to_pandas(self) -> Any:
        """A pandas DataFrame with one row for each seed and record: `seed`, `step`, and all columns.

        Raises:
            ConfigError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise ConfigError("to_pandas needs pandas: pip install 'bellmax[pandas]'") from error
        n, records = len(self.seeds), len(self)
        seed, step = np.repeat(np.array(self.seeds, np.int64), records), np.tile(np.array(self.step, np.int64), n)
        return pandas.DataFrame({"seed": seed, "step": step, **{name: self[name].ravel() for name in self.columns}})

    def __repr__(self) -> str:
        columns = self.columns
        more = f" and {len(columns) - 12} more" if len(columns) > 12 else ""
        steps = f", steps {self.step[0]:,} to {self.step[-1]:,}" if self.step else ""
        names = textwrap.fill(
            f"columns: {', '.join(columns[:12])}{more}", 100, initial_indent="  ", subsequent_indent="  "
        )
        seeds = counted(len(self.seeds), "seed")
        return f"History({len(self)} records of {seeds}{steps})\n{names if columns else '  no columns'}"

    def __contains__(self, name: object) -> bool:
        return name in ("step", *ALIASES, *self.columns)

    def __len__(self) -> int:
        return len(self.step)

    def to_csv(self) -> str:
        """One line per seed and record; opens in pandas and in a spreadsheet."""
        columns = self.columns
        out = io.StringIO()
        csv.writer(out, lineterminator="\n").writerow(["seed", "step", *columns])
        table = np.array([self[name] for name in columns]).reshape(len(columns), len(self.seeds), len(self))
        for seed, records in zip(self.seeds, np.moveaxis(table, 0, -1), strict=True):
            for step, values in zip(self.step, records.tolist(), strict=True):
                out.write(",".join([str(seed), str(step), *("" if v != v else repr(v) for v in values)]) + "\n")
        return out.getvalue()

    @classmethod
    def from_csv(cls, text: str, seeds: Sequence[int] | None = None) -> History:
        """The inverse of `to_csv`; a torn last line is skipped. `seeds` are by default those of the lines."""
        names, *lines = csv.reader(io.StringIO(text))
        lines = [line for line in lines if len(line) == len(names)]
        history = cls(list(dict.fromkeys(int(line[0]) for line in lines)) if seeds is None else seeds)
        row = {seed: i for i, seed in enumerate(history.seeds)}
        steps = {step: t for t, step in enumerate(sorted({int(line[1]) for line in lines}))}
        table = np.full((len(steps), len(names) - 2, len(history.seeds)), np.nan)
        for line in lines:
            table[steps[int(line[1])], :, row[int(line[0])]] = [float(cell or "nan") for cell in line[2:]]
        for step, record in zip(steps, table, strict=True):
            known = zip(names[2:], record, strict=True)
            history.append(step, {name: values for name, values in known if not np.isnan(values).all()})
        return history
