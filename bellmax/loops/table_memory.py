"""NumPy. Check that the tables of a run fit in memory, before they are allocated."""

from __future__ import annotations

from dataclasses import fields

from bellmax.contracts import counted, listed
from bellmax.files.checkpoint import leaves
from bellmax.machine import check_fits, out_of_memory
from bellmax.tabular.agent import Shape, TabularConfig
from bellmax.tabular.stepping import init_state

LARGE = 2**24  # values; the policies of larger tables are not copied at every record
SMALL = 2**20  # numbers of a model that are made to see how they grow


def is_large(shape: Shape) -> bool:
    """Return whether copying a table at every record would take longer than learning."""
    return shape.n_states * shape.n_actions > LARGE


def bytes_for(config: TabularConfig, shape: Shape, masked: bool = False) -> int:
    """Return the bytes that one seed needs: values, visits, the learner's memory, and the policies of the run.

    They are computed for few states and scaled: all but a constant part grows with the number of states.

    Raises:
        ResourceError: what the learner stores does not fit even for few states.
    """
    outcomes = shape.n_outcomes or min(getattr(config, "outcomes", 0), 2 * shape.n_states)

    def state(n_states: int) -> int:
        small = shape._replace(n_states=n_states, n_outcomes=outcomes)
        made = init_state(config.make(small), small, 0.0, 0, tilings=config.tilings, masked=masked)
        return sum(leaf.nbytes for _, leaf in leaves(made))

    few = max(min(64, SMALL // (shape.n_actions * max(outcomes, 1))), 1)
    with out_of_memory(f"what {config.name} stores for {counted(2 * few, 'state')}", "lower its settings"):
        one, two = state(few), state(2 * few)
    return one + (two - one) * (shape.n_states - few) // few + _of_policies(shape)


def _of_policies(shape: Shape) -> int:
    return 16 * shape.n_states * shape.n_actions * (1 if is_large(shape) else 3)


def check_room(config: TabularConfig, shape: Shape, name: str, n_seeds: int, masked: bool = False) -> None:
    """Check that the tables of all seeds fit in the free memory.

    Raises:
        ResourceError: they do not fit; the message says how many rows do.
    """
    seeds = f" of each of {n_seeds} seeds" if n_seeds > 1 else ""
    what = (
        f"a table of {shape.n_states:,} rows x {shape.n_actions} actions{seeds} for {name}, with its visits, its "
        f"policies and what {config.name} stores,"
    )

    def remedy(share: float) -> str:
        return f"about {int(share * shape.n_states):,} rows fit; observe fewer states, use fewer bins, or use dqn"

    def lower(share: float) -> str:
        changed = [f for f in fields(config) if isinstance(f.default, int) and getattr(config, f.name) > f.default]
        return f"lower {listed(f'{f.name}={getattr(config, f.name)}' for f in changed) or 'its settings'}"

    one = shape._replace(n_states=1)
    check_fits(n_seeds * _of_policies(one), what, remedy)  # of as many actions as fill the memory
    check_fits(n_seeds * bytes_for(config, one, masked), f"what {config.name} stores{seeds} for one state", lower)
    check_fits(n_seeds * bytes_for(config, shape, masked), what, remedy)
