"""What the tests of recorded steps share."""

from __future__ import annotations

import numpy as np

from bellmax.recording.table_recorders import Recorder
from bellmax.recording.window import RecordedStep


def recorded(recorder: Recorder, at: int, count: int) -> list[RecordedStep]:
    """The steps from `at` on, as `explain` records them."""
    recorder.start(0)
    recorder.forward(max(0, at // recorder.block * recorder.block - recorder.lead), lambda clock: None)
    steps = []
    while recorder.clock() < at + count:
        steps += recorder.record()
    return [step for step in steps if step.t >= at]


def same_bits(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    """All arrays are equal."""
    assert one.keys() == other.keys()
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name], err_msg=name)
