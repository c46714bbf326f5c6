"""Matplotlib (extra `plot`). Pictures of one run or several: curves, performance profiles, who beats whom, Q-values."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import TYPE_CHECKING, Literal, TypeAlias, get_args

import numpy as np

from bellmax.arguments import describe, one_of, real
from bellmax.contracts import LONGEST_WORD, ConfigError, FloatArray, counted, listed
from bellmax.difference_statistics import improvement
from bellmax.pictures.curve_data import RESAMPLES, curve_of
from bellmax.printing import plain
from bellmax.report.named_runs import Runs, check_one_environment, common_column, named_runs
from bellmax.summary_statistics import MIN_SEEDS, percentiles_of_columns, performance_profile
from bellmax.training.history import SCORES
from bellmax.training.run import Run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PlotKind: TypeAlias = Literal["curve", "profile", "improvement", "q"]
KINDS: tuple[PlotKind, ...] = get_args(PlotKind)
Q_COLUMNS = ("train/q", "exact/q_error")  # of a network, the mean value of the actions in its batches
COLORS = ("#1f4e79", "#c2651a", "#2b8a53", "#8a4bab", "#b03a36", "#1f7a88")
DASHES = ("-", "--", "-.", ":")
SIZE = (7.0, 3.6)  # inches
MOST_SEEDS = 1_000  # of a profile's interval, above which it is narrower than its line


def plot(
    runs: Runs,
    column: str | None = None,
    kind: PlotKind = "curve",
    axes: Axes | None = None,
    *,
    optimum: float | None = None,
    confidence: float = 0.95,
) -> Axes:
    """Draw one run or several with Matplotlib.

    Intervals are bootstrapped over seeds; a run with fewer than 5 seeds has none.

    Args:
        runs: a run, the folder of one, a list of these, or a dictionary {name: run or folder}.
        column: of the history; by default the most exact one that shows how good the policies are, or with "q" their
            values. With "profile" and "improvement", its last known values instead of the scores.
        kind: "curve": the column over steps, each seed, their interquartile mean and its interval. "q": the same of
            Q-values: of networks the mean value in their batches, of tables the distance to the exact answer.
            "profile": the share of seeds whose score is above each number. "improvement": of each two runs, the
            probability that a seed of the later one has the higher score.
        axes: draw into these Matplotlib axes; None: into new ones.
        optimum: draw a line at the best possible value; not with "improvement", which draws probabilities.
        confidence: nominal coverage of all intervals.

    Returns:
        The axes: `axes.figure.savefig("curve.png")` writes them to a file.

    Raises:
        ConfigError: Matplotlib is not installed; a run does not have the column; "improvement" of one run or with
            `optimum`; or "profile" or "improvement" of runs in different environments, or of one that has not ended.
    """
    found = named_runs(runs)
    kind = one_of("kind", kind, KINDS)
    confidence = real("confidence", confidence, 1e-6, 1 - 1e-6)
    optimum = None if optimum is None else real("optimum", optimum)
    if optimum is not None and kind == "improvement":
        raise ConfigError("`optimum` is a score, and kind='improvement' draws probabilities; leave it out")
    left_out = ""
    if kind in ("curve", "q"):
        usual, what = (SCORES, "scores") if kind == "curve" else (Q_COLUMNS, "Q-values")
        name = common_column(found, column, usual, what)
        drawn = _open(axes)
        left_out = _draw_curves(drawn, found, name, confidence)
    else:
        check_one_environment(found)
        scores, name = _scores_of(found, column)
        if kind == "improvement" and len(found) < 2:
            raise ConfigError(f"`kind` 'improvement' compares runs; got {counted(len(found), 'run')}")
        drawn = _open(axes)
        draw = _draw_profiles if kind == "profile" else _draw_improvements
        draw(drawn, scores, name, confidence)
    if optimum is not None:
        line = drawn.axvline if kind == "profile" else drawn.axhline
        line(optimum, color="#a04030", linestyle="--", linewidth=1, label=f"optimum {optimum:.4g}")
    drawn.set_title(f"{_title(found)}{left_out}", loc="left", fontsize=10)
    if drawn.get_legend_handles_labels()[0]:
        drawn.legend(frameon=False, fontsize=8)
    drawn.spines[["top", "right"]].set_visible(False)
    return drawn


def _open(axes: object) -> Axes:
    """The axes that were given, or new ones.

    Raises:
        ConfigError: Matplotlib is not installed, or `axes` is something else.
    """
    try:
        from matplotlib import pyplot
        from matplotlib.axes import Axes
    except ImportError as error:
        raise ConfigError("drawing needs Matplotlib: pip install 'bellmax[plot]'") from error
    if axes is None:
        return pyplot.subplots(figsize=SIZE, layout="constrained")[1]
    if not isinstance(axes, Axes):
        raise ConfigError(f"`axes` must be Matplotlib axes, such as those of pyplot.subplots(), or None; "
                          f"got {describe(axes)}")  # fmt: skip
    return axes


def _draw_curves(axes: Axes, runs: Mapping[str, Run], name: str, confidence: float) -> str:
    """Draw a column of each run; return in words how many seeds no line can show at the end."""
    left_out = []
    for i, (label, run) in enumerate(runs.items()):
        curve = curve_of(label, run.history["step"], run.history[name], confidence=confidence)
        color, single = COLORS[i % len(COLORS)], len(runs) == 1
        faint = 0.25 if single else 0.12
        axes.plot(curve.steps, curve.seeds.T, color=color, alpha=faint, linewidth=0.8)
        if curve.band_steps.size:
            percent = f"{100 * confidence:g} % interval" if single else None
            axes.fill_between(
                curve.band_steps, curve.low, curve.high, color=color, alpha=0.25, linewidth=0, label=percent
            )
        known = np.isfinite(curve.middle)
        words = "IQM" if single else _label(label)
        dash = DASHES[i % len(DASHES)]
        axes.plot(curve.steps[known], curve.middle[known], dash, color=color, linewidth=2, label=words)
        if curve.unending:
            left_out.append(f"{curve.unending:,}{'' if single else f' of {_label(label)}'}")
    axes.set_xlabel(" or ".join(dict.fromkeys(run.axis for run in runs.values())))
    axes.set_ylabel(_label(name))
    return f" ({listed(left_out)} left out at the end: never ending)" if left_out else ""


def _draw_profiles(axes: Axes, scores: Mapping[str, FloatArray], name: str, confidence: float) -> None:
    known = np.concatenate([each[np.isfinite(each)] for each in scores.values()])
    low, high = (known.min(), known.max()) if known.size else (0.0, 1.0)
    margin = 0.05 * (high - low) or 0.5
    thresholds = np.concatenate([[low - margin], np.unique(known), [high + margin]])
    for i, (label, each) in enumerate(scores.items()):
        color, dash = COLORS[i % len(COLORS)], DASHES[i % len(DASHES)]
        above = performance_profile(each, thresholds)
        words = f"{_label(label)}, {counted(each.size, 'seed')}"
        axes.plot(thresholds, above, dash, color=color, drawstyle="steps-post", linewidth=2, label=words)
        if MIN_SEEDS <= each.size <= MOST_SEEDS:
            ends = profile_interval(each, thresholds, confidence)
            axes.fill_between(thresholds, *ends, color=color, alpha=0.2, linewidth=0, step="post")
    axes.set_xlabel(_label(name))
    axes.set_ylabel("share of seeds above")
    axes.set_ylim(-0.02, 1.02)


def profile_interval(scores: FloatArray, thresholds: FloatArray, confidence: float) -> tuple[FloatArray, FloatArray]:
    """Return the percentile bootstrap interval (low [K], high [K]) of a performance profile of `scores` [seeds]."""
    rng = np.random.default_rng(0)
    drawn = scores[rng.integers(scores.size, size=(RESAMPLES, scores.size))]
    shares = np.array([performance_profile(each, thresholds) for each in drawn])
    return percentiles_of_columns(shares, confidence)


def _draw_improvements(axes: Axes, scores: Mapping[str, FloatArray], name: str, confidence: float) -> None:
    pairs = list(combinations(scores, 2))
    for y, (earlier, later) in enumerate(pairs):
        value, low, high = improvement(scores[later], scores[earlier], confidence)
        if np.isfinite(low):
            axes.plot([low, high], [y, y], color=COLORS[0], linewidth=6, alpha=0.35, solid_capstyle="butt")
        axes.plot([value], [y], "o", color=COLORS[0])
    axes.axvline(0.5, color="#808080", linewidth=1)
    axes.set_yticks(range(len(pairs)), [f"{_label(later)} > {_label(earlier)}" for earlier, later in pairs])
    axes.set_ylim(len(pairs) - 0.5, -0.5)
    axes.set_xlim(-0.02, 1.02)
    axes.set_xlabel(f"probability of a higher {_label(name)}")


def _scores_of(runs: Mapping[str, Run], column: str | None) -> tuple[dict[str, FloatArray], str]:
    """One number for each seed of each run, and what it is."""
    if column is not None:
        name = common_column(runs, column, (), "scores")
        return {key: run.history.last(name) for key, run in runs.items()}, name
    return {key: run.summary().scores for key, run in runs.items()}, "score"


def _title(runs: Mapping[str, Run]) -> str:
    """What was run, as far as all runs have it in common."""
    worlds = {run.world for run in runs.values()}
    where = f" on {_label(next(iter(worlds)))}" if len(worlds) == 1 else ""
    sizes = {len(run.seeds) for run in runs.values()}
    many = counted(sizes.pop(), "seed") if len(sizes) == 1 else f"{min(sizes):,} to {max(sizes):,} seeds"
    agents = {run.config.name for run in runs.values()}
    who = next(iter(agents)) if len(agents) == 1 else f"{counted(len(runs), 'run')}"
    return f"{_label(who)}{where}, {many}"


def _label(text: str) -> str:
    """A name as Matplotlib shows it: without mathematics, and not longer than a line."""
    short = text if len(text) <= LONGEST_WORD else f"{text[: LONGEST_WORD - 3]}..."
    escaped = plain(short).replace("$", r"\$")
    return f" {escaped}" if escaped.startswith("_") else escaped  # a legend leaves out what begins so
