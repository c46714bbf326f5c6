"""JAX. Split a compiled chunk into pieces, between which a run can stop, and a stacked state into its seeds."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from bellmax.contracts import Array, ArrayDict, Space
from bellmax.deep.building import module_shapes
from bellmax.deep.config import DeepConfig
from bellmax.loops.loop import mean_metrics
from bellmax.networks.images import image_of
from bellmax.networks.packing import to_named
from bellmax.spaces import leaves_of
from bellmax.trees import tree_map


class Keyed(Protocol):
    """A state with a random key; the key has a leading axis if seeds are stacked."""

    @property
    def key(self) -> Array:
        """Return the random key of each seed."""


State = TypeVar("State", bound=Keyed)
Records = TypeVar("Records")


def unstack(state: State) -> list[State]:
    """Return the state of each seed."""
    n = state.key.shape[0] if state.key.ndim else 0
    return [tree_map(lambda x, i=i: x[i], state) for i in range(n)] if n else [state]


def by_seed(state: Keyed, pieces: Sequence[Records]) -> list[list[Records]]:
    """Return what each seed recorded in each piece."""
    if not state.key.ndim:
        return [list(pieces)]
    return [[tree_map(lambda x, i=i: x[i], records) for records in pieces] for i in range(state.key.shape[0])]


def measure_rows(state: object, rows: Sequence[ArrayDict], steps: int) -> list[dict[str, float]]:
    """Return the metrics of each seed over the rounds of a chunk."""
    del state, steps
    return [mean_metrics(each) for each in rows]


def piece_rounds(config: DeepConfig, space: Space, n_actions: int, stride: int) -> int:
    """Return how many rounds to run in one call: about a second, by a rough estimate; nothing can interrupt a call.

    Measured on 2 cores: a call has an overhead of about 0.2 ms, which is negligible in pieces of 50 ms and more.
    """
    network = module_shapes(config, space, n_actions)
    weights = sum(leaf.size for leaf in to_named(network).values())
    used = 32 if any(map(image_of, leaves_of(space))) else 1  # a kernel's weights are used at many places
    batch = getattr(config, "batch_size", stride) * config.gradient_steps
    return max(1, min(2_048, 16_384 // stride, int(2e9 / (weights * used * batch))))


def pieces(rounds: int, most: int) -> list[int]:
    """Split `rounds` into pieces of at most `most`, equal ones if possible: each length is a program to compile."""
    if rounds <= most:
        return [rounds] if rounds > 0 else []
    size = next((size for size in range(most, max(1, most // 2) - 1, -1) if rounds % size == 0), most)
    return [size] * (rounds // size) + [rounds % size] * (rounds % size > 0)


FACTOR = 32  # between the lengths of pieces of uneven chunks


def few_pieces(rounds: int, most: int) -> list[int]:
    """Split `rounds` into pieces of at most `most`, whose lengths are powers of `FACTOR`: few programs for any chunks.

    A chunk of any length has fewer than `FACTOR` pieces of each length but the longest.
    """
    size, sizes = 1, [1]
    while (size := size * FACTOR) <= most:
        sizes.append(size)
    found: list[int] = []
    for size in reversed(sizes):
        found += [size] * (rounds // size)
        rounds %= size
    return found
