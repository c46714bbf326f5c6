"""NumPy. Where the time of a run on Gymnasium environments goes."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np

from bellmax.contracts import EnvWarning
from bellmax.machine import resident_mb
from bellmax.stderr import warn

SLOW = 3.0  # times its first steps' duration, after which an environment is remarked


@dataclass
class Profile:
    """Where the time of a run goes, in seconds since the last record; learning runs beside the other three."""

    name: str
    whole: float = 0.0
    steps: list[float] = field(default_factory=list)  # what each took of the environment
    act: float = 0.0
    wait: float = 0.0
    learn: float = 0.0
    normal: list[float] = field(default_factory=list)  # medians of the first records [3], ms
    slow: int = 0  # records on end in which the median was far above those

    def drain(self) -> dict[str, float]:
        """Milliseconds a vector step: all of it, and its parts; and megabytes of memory."""
        if not self.steps:  # none since the record, as where a run was stopped at it
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
        """Remark, once, that the environment has become slower: in two records on end, so not by chance."""
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
