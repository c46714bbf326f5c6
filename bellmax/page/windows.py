"""NumPy. Which steps of a run the explainer of its report shows."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence

import numpy as np

from bellmax.catalog import is_tabular
from bellmax.contracts import BellmaxError, Json
from bellmax.recording.explaining import explain
from bellmax.training.run import Run

TABLE_STEPS, NETWORK_STEPS = 8, 3
SECONDS = 8.0  # of replaying up to a window, as far as the speed of training says
UNKNOWN_SPEED = 2_000.0  # steps per second, where no record has one
MOST_RUNS = 3  # with windows that nobody asked for


def windows_of(runs: Mapping[str, Run], asked: Sequence[int] | None, progress: bool | None) -> list[Mapping[str, Json]]:
    """Return recorded windows of runs as JSON: at the steps `asked` for, or at an early one and a late one.

    Raises:
        BellmaxError: a window that was asked for cannot be recorded; others are left out.
    """
    found: list[Mapping[str, Json]] = []
    for i, run in enumerate(runs.values()):
        steps = TABLE_STEPS if is_tabular(run.config) else NETWORK_STEPS
        if asked is not None:
            found += [explain(run, at=at, steps=steps, progress=progress).to_json() for at in asked]
            continue
        if i == MOST_RUNS:
            break
        for at in chosen_steps(run, steps):
            with contextlib.suppress(BellmaxError):
                found.append(explain(run, at=at, steps=steps, progress=progress).to_json())
    return found


def chosen_steps(run: Run, steps: int) -> list[int]:
    """Return a step at which learning has just begun, and one at the end, as far as replaying them is quick."""
    total = window_length(run)
    begin = int(getattr(run.config, "learning_starts", 0)) if run.options.data is None else 0
    early = begin + max((total - begin) // 50, 1)
    return [at for at in dict.fromkeys((early, total - steps)) if 0 <= at < total and at / speed_of(run) <= SECONDS]


def window_length(run: Run) -> int:
    """Return the length of a run in environment steps, or gradient steps with data, as far as it has come."""
    if not run.history.step:
        return 0
    if run.options.episodes is None:
        return int(run.history.step[-1])
    return int(np.nanmin(run.history["time/total_timesteps"][:, -1]))


def speed_of(run: Run) -> float:
    """Return the steps per second of training."""
    known = run.history["time/fps"] if "time/fps" in run.history.columns else np.zeros(0)
    known = known[np.isfinite(known)]
    return float(np.median(known)) if known.size else UNKNOWN_SPEED
