"""JAX. A compiled chunk in pieces, between which a run can stop, and what the seeds of a stacked piece tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax

from bellmax.deep.building import module_shapes
from bellmax.loops.loop import mean_metrics
from bellmax.networks.images import image_of
from bellmax.networks.packing import to_named
from bellmax.spaces import leaves_of


def unstack(state: Any) -> list[Any]:
    """The state of each seed; `state.key` has a leading axis where they are stacked."""
    n = state.key.shape[0] if state.key.ndim else 0
    return [jax.tree.map(lambda x, i=i: x[i], state) for i in range(n)] if n else [state]


def by_seed(state: Any, told: Sequence[Any]) -> list[list[Any]]:
    """What each seed of a state told in each piece."""
    if not state.key.ndim:
        return [list(told)]
    return [[jax.tree.map(lambda x, i=i: x[i], records) for records in told] for i in range(state.key.shape[0])]


def measure_rows(state: Any, rows: Sequence[dict[str, Any]], steps: int) -> list[dict[str, float]]:
    """The metrics of each seed over the rounds of a chunk."""
    del state, steps
    return [mean_metrics(each) for each in rows]


def piece_rounds(config: Any, space: Any, n_actions: int, stride: int) -> int:
    """Rounds of a compiled network in one call, which nothing can interrupt: about a second, by a rough count of work.

    Measured on 2 cores: a call costs about 0.2 ms, so that pieces of 50 ms and more cost nothing that is noticed.
    """
    network = module_shapes(config, space, n_actions)
    weights = sum(leaf.size for leaf in to_named(network).values())
    used = 32 if any(map(image_of, leaves_of(space))) else 1  # a kernel's weights are used at many places
    batch = getattr(config, "batch_size", stride) * config.gradient_steps
    return max(1, min(2_048, 16_384 // stride, int(2e9 / (weights * used * batch))))


def pieces(rounds: int, most: int) -> list[int]:
    """`rounds` in pieces of at most `most`, equal if they can be: each length is one program to compile."""
    if rounds <= most:
        return [rounds] if rounds > 0 else []
    size = next((size for size in range(most, max(1, most // 2) - 1, -1) if rounds % size == 0), most)
    return [size] * (rounds // size) + [rounds % size] * (rounds % size > 0)
