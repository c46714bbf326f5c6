"""NumPy. A window of recorded steps: what happened in each, with the numbers, as a page or a file shows it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, TypeAlias

import numpy as np

from bellmax.contracts import Json, Masked
from bellmax.files.storage import finite

MOST_ROWS = 16  # of a batch, or of a list of changes, in full
MOST_NUMBERS = 128  # of one array in full; of a larger one the shape, the mean and the ends of its range
Part: TypeAlias = "str | Term"


class Term(NamedTuple):
    """One symbol of an equation with its number.

    Attributes:
        symbol: as in the equation: "r", "γ", "max Q⁻(s′, a)".
        name: in words: "reward", "discount", "bootstrap value".
        value: its number, or its numbers where the symbol stands for several.
    """

    symbol: str
    name: str
    value: float | list[float]


class Phase(NamedTuple):
    """One thing that happens in a step.

    Attributes:
        name: "observe", "choose", "step", "store", "sample", "target", "loss", "gradient", "update", "sync", ...; those
            of an agent are in `Window.flow`, in order.
        values: the recorded numbers by name, of types that JSON has.
        equation: terms and the operators between them; the first term is the left side. () without one.
        code: the lines that do it, of `examples/` or of the file of the algorithm; "" if there is no such line.
    """

    name: str
    values: dict[str, Json]
    equation: tuple[Part, ...] = ()
    code: str = ""


class RecordedStep(NamedTuple):
    """One step: the clock before it (environment steps, or gradient steps of a run with data), and its phases.

    `episode_step` counts the steps of the episode of the first environment before this one.
    """

    t: int
    episode_step: int
    phases: tuple[Phase, ...]


class Window(NamedTuple):
    """Consecutive steps of a run, replayed and recorded.

    Attributes:
        `world`, `agent`: their names.
        seed: of the run.
        start: the clock before the first recorded step.
        steps: the recorded steps.
        settings: of the agent, by name.
        flow: the order of the phases of this agent.
    """

    world: str
    agent: str
    seed: int
    start: int
    steps: tuple[RecordedStep, ...]
    settings: dict[str, Json]
    flow: tuple[str, ...]

    def to_json(self) -> dict[str, Json]:
        """Return the window as dictionaries, lists, texts and numbers; null for NaN and infinities."""
        steps: list[Json] = [
            {"t": step.t, "episode_step": step.episode_step, "phases": [phase_json(phase) for phase in step.phases]}
            for step in self.steps
        ]
        whole = finite(
            {
                "world": self.world, "agent": self.agent, "seed": self.seed, "start": self.start, "steps": steps,
                "settings": self.settings, "flow": list(self.flow),
            }
        )  # fmt: skip
        assert isinstance(whole, dict)  # noqa: S101 - `finite` keeps dictionaries
        return whole


def phase_json(phase: Phase) -> dict[str, Json]:
    """Return a phase as JSON; an operator of its equation stays a text, and a term becomes a dictionary."""
    equation: list[Json] = [part if isinstance(part, str) else dict(part._asdict()) for part in phase.equation]
    return {"name": phase.name, "values": phase.values, "equation": equation, "code": phase.code}


def shown(value: object) -> Json:
    """Return a number, an array or a tree of them as JSON; a large array by its shape, mean and range.

    Numbers of float32 become the equal numbers of Python, so that nothing is rounded.
    """
    if value is None or isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Masked):
        return {"obs": shown(value.obs), "allowed": shown(value.mask)}
    if isinstance(value, Mapping):
        return {str(name): shown(part) for name, part in value.items()}
    if isinstance(value, tuple | list):
        return [shown(part) for part in value]
    array = np.asarray(value)
    if array.size <= MOST_NUMBERS:
        plain: Json = array.tolist()
        return plain
    ends = {"min": float(array.min()), "max": float(array.max())}
    return {"shape": list(array.shape), "mean": float(array.mean(dtype=np.float64)), **ends}


def first_rows(array: object, most: int = MOST_ROWS) -> list[Json]:
    """Return the first `most` rows of an array [n, ...] or of a tree of them, each as `shown`."""
    if isinstance(array, Masked):
        pairs = zip(first_rows(array.obs, most), first_rows(array.mask, most), strict=True)
        return [{"obs": obs, "allowed": allowed} for obs, allowed in pairs]
    if isinstance(array, tuple):
        return [list(parts) for parts in zip(*(first_rows(part, most) for part in array), strict=True)]
    return [shown(row) for row in np.asarray(array)[:most]]


def term(symbol: str, name: str, value: object) -> Term:
    """Return a term; its value may be a number or an array of any library."""
    array = np.asarray(value, np.float64)
    return Term(symbol, name, float(array) if array.ndim == 0 else [float(each) for each in array.ravel()])
