"""NumPy. Measure how a run in Gymnasium environments spends its time."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from bellmax.contracts import EnvWarning
from bellmax.machine import resident_mb
from bellmax.stderr import warn

SLOW = 3.0  # times the duration of its first steps: such an environment gets a warning


@dataclass
class Profile:
    """The time that the parts of a run took since the last record (seconds); learning runs beside the others."""

    name: str
    whole: float = 0.0
    steps: list[float] = field(default_factory=list)  # of the environment, each
    act: float = 0.0
    wait: float = 0.0
    learn: float = 0.0
    normal: list[float] = field(default_factory=list)  # medians of the first records [3], ms
    slow: int = 0  # records in a row with a median far above those

    def drain(self) -> dict[str, float]:
        """Return the milliseconds per vector step, in total and by part, and the memory in megabytes; start again."""
        if not self.steps:  # a run that was stopped at a record
            return {}
        whole, env = self.whole, sum(self.steps)
        parts = {
            "step": whole, "env": env, "act": self.act, "wait": self.wait, "learn": self.learn,
            "overhead": whole - env - self.act - self.wait,
        }  # fmt: skip
        record = {f"time/{name}_ms": 1e3 * seconds / len(self.steps) for name, seconds in parts.items()}
        self._look(1e3 * float(np.median(self.steps)))
        self.steps, self.whole, self.act, self.wait, self.learn = [], 0.0, 0.0, 0.0, 0.0
        size = resident_mb()
        return {**record, "system/rss_mb": size} if size else record

    def _look(self, median_ms: float) -> None:
        """Warn once if the environment has become slower in two records in a row, so not by chance."""
        if len(self.normal) < 3:
            self.normal.append(median_ms)
            return
        usual = sorted(self.normal)[1]
        self.slow = self.slow + 1 if median_ms > SLOW * usual else 0
        if self.slow == 2:
            warn(
                f"{self.name}: its step takes {median_ms:.3g} ms now, and took {usual:.3g} at the start; the "
                "environment has become slower, or the machine is busy: check whether it accumulates state",
                EnvWarning, stacklevel=2,
            )  # fmt: skip
            self.normal = [math.inf] * 3
