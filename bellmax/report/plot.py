"""Matplotlib (extra `plot`). Learning curves as PNG or SVG: the seeds, their IQM, and its 95 % interval."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bellmax.arguments import path_of
from bellmax.contracts import ConfigError
from bellmax.summary_statistics import MIN_SEEDS, bootstrap_interval, iqm
from bellmax.training.run import Run

DRAWN_SEEDS = 100  # lines of single seeds; the IQM and its interval are of all


def learning_curve(run: Run, path: str | Path, column: str | None = None, optimum: float | None = None) -> Path:
    """Draw a column of the history over environment steps; the file's ending chooses the format.

    `column` defaults to the evaluation's; `optimum` draws a line at the best possible value.

    Raises:
        ConfigError: Matplotlib is not installed, or the run has no such column.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ConfigError("drawing needs Matplotlib: pip install 'bellmax[plot]'") from error
    columns = run.history.columns
    wanted = [column] if column else ["exact/policy_return", "eval/mean_reward", "rollout/ep_rew_mean"]
    name = next((name for name in wanted if name in columns), None)
    if name is None:
        raise ConfigError(f"the run has no column {wanted[0]!r}; there are: {', '.join(columns)}")
    steps, values = run.history["step"], run.history[name]
    unending = int(np.isinf(values[:, -1]).sum())
    values = np.where(np.isfinite(values), values, np.nan)
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(steps, values[:DRAWN_SEEDS].T, color="#4878a8", alpha=0.25, linewidth=0.8)
    axes.plot(steps, iqm(values, axis=0), color="#1f4e79", linewidth=2, label="IQM")
    if len(run.seeds) >= MIN_SEEDS:
        low, high = np.array([bootstrap_interval(values[:, t], resamples=500) for t in range(len(steps))]).T
        axes.fill_between(steps, low, high, color="#4878a8", alpha=0.3, linewidth=0, label="95 % interval")
    if optimum is not None:
        axes.axhline(optimum, color="#a04030", linestyle="--", linewidth=1, label=f"optimum {optimum:.4g}")
    axes.set_xlabel("environment steps")
    axes.set_ylabel(name)
    many = f"{len(run.seeds)} seed{'s' * (len(run.seeds) != 1)}"
    left_out = f" ({unending} left out at the end: never ending)" if unending else ""
    axes.set_title(f"{run.config.name} on {run.world}, {many}{left_out}", loc="left", fontsize=10)
    axes.legend(frameon=False, fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    target = path_of("path", path)
    figure.savefig(target, dpi=150, metadata={"Date": None} if str(path).endswith(".svg") else None)
    return target
