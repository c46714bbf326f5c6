"""JAX. What is checked of a network and an environment before anything is allocated."""

from __future__ import annotations

from typing import Any

import jax

from bellmax.contracts import EnvWarning, ResourceError
from bellmax.deep.building import module_shapes
from bellmax.dispatch import in_32_bits
from bellmax.machine import free_bytes
from bellmax.networks.images import remark_far, remarks
from bellmax.networks.packing import to_named
from bellmax.sources import Source
from bellmax.spaces import visible
from bellmax.stderr import warn

COPIES = 6  # of a network's parameters: their frozen copy, average, gradient and the optimizer's two moments, at most


@in_32_bits
def check_memory(config: Any, source: Source, steps: int, n_seeds: int) -> None:
    """Compare the bytes of the networks and replay memories of all seeds with those that are free, before allocating.

    Raises:
        ResourceError: they do not fit; the message names a buffer_size that does.
    """
    free, seeds = free_bytes(), f" of each of {n_seeds} seeds" if n_seeds > 1 else ""
    if free is None:
        return
    network = module_shapes(config, source.space, source.n_actions)
    n_parameters = sum(leaf.size for leaf in to_named(network).values())
    needed = n_seeds * n_parameters * COPIES * 4
    if needed > 0.8 * free:
        raise ResourceError(
            f"a network of {n_parameters:,} parameters{seeds}, its copies and its optimizer need {needed / 1e9:.1f} GB "
            f"for observations of {source.space}, {free / 1e9:.1f} GB are free; give a smaller net_arch, or fewer "
            "seeds, or a table of values: agent q-learning"
        )
    if not hasattr(config, "buffer_size"):
        return
    leaves = jax.tree.leaves(jax.eval_shape(config.make(source.space, source.n_actions, steps).memory.init))
    needed = n_seeds * sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    if needed > 0.8 * free:
        raise ResourceError(
            f"buffer_size={config.buffer_size}{seeds} needs {needed / 1e9:.1f} GB for observations of "
            f"{source.space}, {free / 1e9:.1f} GB are free; "
            f"buffer_size={int(0.5 * free * config.buffer_size / needed)} fits"
        )


def remark_images(config: Any, source: Source) -> None:
    """Say what a network makes of observations that could be images, where that may not be what is meant."""
    seen, normalized = visible(source.space), config.normalize_observations
    for text in remarks(seen, normalized) + remark_far(seen, source.wide_bounds or source.bounds, normalized):
        warn(f"{source.name}: {text}", EnvWarning)
