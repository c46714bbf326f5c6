"""JAX. Check a network and an environment before anything is allocated."""

from __future__ import annotations

import jax

from bellmax.contracts import EnvWarning, ResourceError
from bellmax.deep.building import module_shapes
from bellmax.deep.config import DeepConfig, ReplayConfig
from bellmax.dispatch import in_32_bits
from bellmax.machine import free_bytes
from bellmax.networks.images import remark_far, remarks
from bellmax.networks.packing import to_named
from bellmax.sources import Source
from bellmax.spaces import visible
from bellmax.stderr import warn

COPIES = 6  # at most: parameters, target network, average, gradient and the optimizer's two moments


@in_32_bits
def check_memory(config: DeepConfig, source: Source, steps: int, n_seeds: int) -> None:
    """Check that the networks and replay buffers of all seeds fit in memory, before they are allocated.

    Raises:
        ResourceError: they do not fit; the message suggests a buffer_size that does.
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
            f"for observations of {source.space}, {free / 1e9:.1f} GB are free; use a smaller net_arch, fewer seeds, "
            "or a table of values: agent q-learning"
        )
    if not isinstance(config, ReplayConfig):
        return
    leaves = jax.tree.leaves(jax.eval_shape(config.make(source.space, source.n_actions, steps).memory.init))
    needed = n_seeds * sum(leaf.size * leaf.dtype.itemsize for leaf in leaves)
    if needed > 0.8 * free:
        raise ResourceError(
            f"buffer_size={config.buffer_size}{seeds} needs {needed / 1e9:.1f} GB for observations of "
            f"{source.space}, {free / 1e9:.1f} GB are free; "
            f"buffer_size={int(0.5 * free * config.buffer_size / needed)} fits"
        )


def remark_images(config: DeepConfig, source: Source) -> None:
    """Warn about observations that the network may treat as images, or not, unlike what was meant."""
    seen, normalized = visible(source.space), config.normalize_observations
    for text in remarks(seen, normalized) + remark_far(seen, source.wide_bounds or source.bounds, normalized):
        warn(f"{source.name}: {text}", EnvWarning)
