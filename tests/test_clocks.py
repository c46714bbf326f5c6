"""The clock of the machine may be set back: rates and the order of checkpoints do not depend on it."""

import datetime
import re
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from saved import newest

import bellmax as bx
from bellmax.training import trainer

PACKAGE = Path(bx.__file__).parent


class SetBack:
    """A clock that is set back an hour whenever it is read."""

    def __init__(self) -> None:
        self.now = 1e9

    def __call__(self) -> float:
        self.now -= 3600.0
        return self.now


@pytest.mark.parametrize("loop", ["compiled", "host"])
def test_14_a_clock_that_is_set_back(loop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = SetBack()

    class Day(datetime.datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return cls.fromtimestamp(clock(), tz)

    monkeypatch.setattr(time, "time", clock)
    monkeypatch.setattr(time, "time_ns", lambda: int(1e9 * clock()))
    monkeypatch.setattr(datetime, "datetime", Day)
    monkeypatch.setattr(trainer, "SAVE_SECONDS", -1.0)
    folder = tmp_path / "run"
    options: dict[str, Any] = {"steps": 400, "records": 4, "final_episodes": 1, "loop": loop, "progress": False}
    asked: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(trainer, "check_asked", lambda given: asked.append(1) or (len(asked) == 6 and stop()))
        with pytest.raises(KeyboardInterrupt):
            bx.train("CliffWalking-v1", "q-learning", out=folder, **options)
    step = newest(folder)[0]
    run = bx.resume(folder, progress=False)
    assert 0 < step < 400
    assert run.history.step == [100, 200, 300, 400]
    for name in run.history.columns:
        if name.startswith("time/"):
            rates = run.history[name][~np.isnan(run.history[name])]
            assert rates.size
            assert np.isfinite(rates).all(), name
            assert (rates > 0).all(), name


def stop() -> None:
    raise KeyboardInterrupt(15)


def test_14_no_duration_is_measured_by_the_clock_of_the_machine() -> None:
    found = [path for path in PACKAGE.rglob("*.py") if re.search(r"\btime\.time(_ns)?\b", path.read_text("utf-8"))]
    assert found == []
