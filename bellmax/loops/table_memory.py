"""NumPy. Check that the tables of a run fit in memory, before they are allocated."""

from __future__ import annotations

from bellmax.contracts import ResourceError
from bellmax.files.checkpoint import leaves
from bellmax.machine import free_bytes
from bellmax.tabular.agent import Shape, TabularConfig
from bellmax.tabular.stepping import init_state

LARGE = 2**24  # values; the policies of larger tables are not copied at every record
SHARE = 0.8  # of the free memory that may be used


def is_large(shape: Shape) -> bool:
    """Return whether copying a table at every record would take longer than learning."""
    return shape.n_states * shape.n_actions > LARGE


def bytes_for(config: TabularConfig, shape: Shape, masked: bool = False) -> int:
    """Return the bytes that one seed needs: values, visits, the learner's memory, and the policies of the run.

    They are computed for few states and scaled: all but a constant part grows with the number of states.
    """

    def state(n_states: int) -> int:
        small = shape._replace(n_states=n_states)
        made = init_state(config.make(small), small, 0.0, 0, masked=masked)
        return sum(leaf.nbytes for _, leaf in leaves(made))

    few = min(max(64, getattr(config, "outcomes", 0)), 1024)
    one, two = state(few), state(2 * few)
    policies = 16 * shape.n_states * shape.n_actions * (1 if is_large(shape) else 3)
    return one + (two - one) * max(shape.n_states - few, 0) // few + policies


def check_room(config: TabularConfig, shape: Shape, name: str, n_seeds: int, masked: bool = False) -> None:
    """Check that the tables of all seeds fit in the free memory.

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
        f"about {rows:,} rows fit; observe fewer states, use fewer bins, or use dqn"
    )
