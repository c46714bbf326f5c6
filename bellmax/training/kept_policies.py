"""NumPy. The policies of a run over time: of all seeds at each record, in memory or in the run's files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

from bellmax.agent_config import AgentConfig
from bellmax.catalog import is_tabular
from bellmax.contracts import ArrayDict, ConfigError, Space, counted
from bellmax.files import run_files
from bellmax.files.lock import place_held
from bellmax.files.policy_files import expected_shapes
from bellmax.files.saved_files import files_of
from bellmax.loops.pacing import record_steps
from bellmax.machine import check_fits
from bellmax.training.options import RunOptions
from bellmax.training.policy import Policy

SHOWN = 20  # steps in a message


class KeptPolicies:
    """The arrays of the policies of all seeds at records; those that were loaded stay in the files of the run."""

    def __init__(self, steps: Sequence[int] = ()) -> None:
        """Prepare for policies, of which those at `steps` are in files."""
        self._arrays: dict[int, list[ArrayDict] | None] = dict.fromkeys(steps)
        self._saved = set(steps)

    @property
    def steps(self) -> list[int]:
        """The steps of the records, increasing."""
        return list(self._arrays)

    def add(self, step: int, policies: Sequence[Policy]) -> None:
        """Store the policies of all seeds at a record; a table that is still learning is copied."""
        self._saved.discard(step)
        self._arrays[step] = [policy.owned().arrays for policy in policies]

    def drop_after(self, step: int) -> None:
        """Remove the policies after `step`."""
        for later in [each for each in self._arrays if each > step]:
            del self._arrays[later]
            self._saved.discard(later)

    def copy(self) -> KeptPolicies:
        """Return the same policies, to which others can be added; both know what either has saved."""
        copied = KeptPolicies()
        copied._arrays, copied._saved = dict(self._arrays), self._saved
        return copied

    def at_or_before(self, step: int) -> int:
        """Return the step of the last record at or before `step`.

        Raises:
            ConfigError: there is none.
        """
        if not self._arrays:
            raise ConfigError(
                "the run did not store its policies over time; train with keep_policies=True (--keep-policies)"
            )
        found = [each for each in self._arrays if each <= step]
        if not found:
            steps = ", ".join(f"{each:,}" for each in self.steps[:SHOWN])
            more = f", ... {self.steps[-1]:,}" if len(self._arrays) > SHOWN else ""
            raise ConfigError(
                f"no policy was stored at or before step {step:,}; there are those of steps {steps}{more}"
            )
        return found[-1]

    def read(self, step: int, like: Sequence[Policy], folder: Path | None) -> list[ArrayDict]:
        """Return the arrays of all seeds at the record of `step`; `like` are the final policies.

        Raises:
            CorruptCheckpoint: they are in a file of the run in `folder` that is missing or damaged.
        """
        arrays = self._arrays[step]
        if arrays is not None:
            return arrays
        assert folder is not None  # noqa: S101 - they were loaded from there
        return run_files.read_kept(files_of(place_held(folder)), step, [policy.arrays for policy in like])

    def unsaved(self, *, afresh: bool = False) -> Iterator[tuple[int, list[ArrayDict]]]:
        """Yield the step and the arrays of each record that is not in a file yet; `afresh`: of all in memory."""
        for step, arrays in self._arrays.items():
            if arrays is not None and (afresh or step not in self._saved):
                yield step, arrays

    def note_saved(self) -> None:
        """Note that all are in files."""
        self._saved.update(self._arrays)


def check_room_for_kept(
    options: RunOptions, config: AgentConfig, space: Space, n_actions: int, n_seeds: int, steps: int, stride: int
) -> None:
    """Check that the policies of all records fit in memory, if they are to be stored.

    Args:
        options: of the run.
        config: of the agent.
        space: of one observation.
        n_actions: A.
        n_seeds: seeds of the run.
        steps: of the run.
        stride: steps of a round of the agent.

    Raises:
        ResourceError: they do not fit; the message says how many records do.
    """
    if not options.keep_policies:
        return
    shapes = expected_shapes(config, space, n_actions).values()
    each = (8 if is_tabular(config) else 4) * sum(map(math.prod, shapes))
    n = len(record_steps(steps, stride, options.records, options.record_spacing))
    seeds = f" of each of {n_seeds} seeds" if n_seeds > 1 else ""
    what = f"keep_policies with {counted(n, 'record')}{seeds}"
    check_fits(
        n * n_seeds * each, what,
        lambda share: f"records={fits} fits" if (fits := int(share * n)) else "leave keep_policies out",
    )  # fmt: skip
