"""Plain Python. Where and why training was stopped before its last step."""

from __future__ import annotations

from typing import NamedTuple


class EarlyStop(NamedTuple):
    """The step at which a function of `on_record` ended training, and its reason."""

    step: int
    reason: str

    def in_words(self, unit: str) -> str:
        """Return both in words; `unit` is that of the step, such as "steps"."""
        return f"stopped early at {unit.removesuffix('s')} {self.step:,}: {self.reason}"
