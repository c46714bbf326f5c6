"""Plain Python. Where a replay starts: at the nearest checkpoint that can be used, else at the first step."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

import numpy as np

from bellmax.contracts import ArrayDict, CheckpointError, counted
from bellmax.files import checkpoint, provenance
from bellmax.files.saved_files import files_of
from bellmax.loops.logs import OWN, without_own
from bellmax.recording.table_recorders import Recorder, Saved
from bellmax.training.progress import QUIET_SECONDS, progress
from bellmax.training.run import Run

SCALE = re.compile(rf"{re.escape(OWN)}\d+\.scale")  # an array that a checkpoint has for each seed of a group


def find_saved(run: Run, seed: int, before: int, say: Callable[[str], None]) -> Saved | None:
    """Return the newest saved state of a seed whose clock is at most `before`; None if there is none.

    A checkpoint whose replay buffer is older than the rest is left out: what follows it is another run. `say` is called
    with a line for each that is damaged.
    """
    if run.folder is None or run.options.episodes is not None:
        return None
    try:
        files = files_of(run.folder)
    except CheckpointError:
        return None
    steps = sorted(files.manifest.checkpoints, reverse=True) if files.manifest is not None else []
    for step in steps:
        if not 0 < step <= before:
            continue
        try:
            groups = checkpoint.read_groups(files, step)
        except CheckpointError as error:
            say(f"the checkpoint of step {step:,} cannot be used: {error}")
            continue
        found = group_of(run, seed, groups)
        if found is not None and found.step <= before and checkpoint.REPLAY_STEP not in found.arrays:
            return found
    return None


def group_of(run: Run, seed: int, groups: list[ArrayDict]) -> Saved | None:
    """Return what a checkpoint has of a seed; None if it does not say which seeds a group has."""
    first, place = 0, run.seeds.index(seed)
    for arrays in groups:
        n = sum(1 for name in arrays if SCALE.fullmatch(name))
        if first <= place < first + n and f"{OWN}clock" in arrays:
            clock = int(np.asarray(arrays[f"{OWN}clock"]).ravel()[0])
            return Saved(run.seeds[first : first + n], place - first, without_own(arrays), clock)
        first += n
    return None


def bring(recorder: Recorder, until: int, title: str, wanted: bool | None, say: Callable[[str], None]) -> None:
    """Advance a recorder to the clock `until`, with progress; `say` is called once if that takes long."""
    begin, begun = recorder.clock(), time.monotonic()
    if begin >= until:
        return
    said = False
    with progress(until - begin, title, wanted) as report:

        def tick(clock: int) -> None:
            nonlocal said
            report(clock - begin)
            if not said and time.monotonic() - begun > QUIET_SECONDS and clock < until:
                said = True
                say(f"replaying {counted(until - begin, 'step')}, from step {begin:,} to step {until:,}")

        recorder.forward(until, tick)


def changed_versions(run: Run, step: int, *, network: bool) -> list[str]:
    """Return a line for each reason for which the replay may differ from the run in the last bits."""
    lines = provenance.inexact(run.environment)
    if run.environment:
        changed = provenance.continued(run.environment, step + 1, provenance.environment(network=network))[1]
        lines += [f"the run was made with {'; '.join(changed)}: the last bits may differ"] if changed else []
    if (run.options.vmap or 1) > 1:
        lines.append(
            f"the run stacked {run.options.vmap} seeds in one program: the last bits of a single seed may differ"
        )
    return lines
