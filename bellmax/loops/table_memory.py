"""NumPy. Whether the tables of a run fit in memory, asked before anything is made."""

from __future__ import annotations

from typing import Any

from bellmax.contracts import ResourceError
from bellmax.files.checkpoint import leaves
from bellmax.machine import free_bytes
from bellmax.tabular.agent import Shape
from bellmax.tabular.stepping import init_state

LARGE = 2**24  # values; the policies of larger tables are not copied at every record
SHARE = 0.8  # of the free memory that may be filled


def is_large(shape: Shape) -> bool:
    """Whether a copy at every record would take longer than the learning."""
    return shape.n_states * shape.n_actions > LARGE


def bytes_for(config: Any, shape: Shape, masked: bool = False) -> int:
    """What one seed needs: values, visits, what the learner remembers, and the policies that a run keeps of it.

    The state is made for few states, and scaled: all of it but a constant grows with their number.
    """

    def state(n_states: int) -> int:
        small = shape._replace(n_states=n_states)
        made = init_state(config.make(small), small, 0.0, 0, masked=masked)
        return sum(leaf.nbytes for _, leaf in leaves(made))

    few = min(max(64, getattr(config, "outcomes", 0)), 1024)
    one, two = state(few), state(2 * few)
    policies = 16 * shape.n_states * shape.n_actions * (1 if is_large(shape) else 3)
    return one + (two - one) * max(shape.n_states - few, 0) // few + policies


def check_room(config: Any, shape: Shape, name: str, n_seeds: int, masked: bool = False) -> None:
    """Compare what the tables of all seeds need with what is free.

    Raises:
        ResourceError: they do not fit; the message says how many rows do.
    """
    free = free_bytes()
    needed = n_seeds * bytes_for(config, shape, masked)
    if free is None or needed <= SHARE * free:
        return
    seeds = f" of each of {n_seeds} seeds" if n_seeds > 1 else ""
    rows = int(SHARE * free * shape.n_states / needed)
    raise ResourceError(
        f"a table of {shape.n_states:,} rows x {shape.n_actions} actions{seeds} for {name}, with its visits, its "
        f"policies and what {config.name} stores, needs {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free: "
        f"about {rows:,} rows fit; observe fewer states, cut them into fewer bins, or use dqn"
    )
