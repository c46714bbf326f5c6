"""JAX. Check a network and an environment before anything is allocated."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from bellmax.contracts import EnvWarning
from bellmax.deep.building import module_shapes
from bellmax.deep.config import DeepConfig, ReplayConfig
from bellmax.dispatch import free_on_device, in_32_bits
from bellmax.keys import make_key
from bellmax.machine import check_fits
from bellmax.networks.images import remark_far, remarks
from bellmax.networks.packing import to_named
from bellmax.sources import Source
from bellmax.spaces import visible
from bellmax.stderr import warn

COPIES = 6  # at most: parameters, target network, average, gradient and the optimizer's two moments
AT_ONCE = 2  # arrays of pairs of quantiles: the errors, and their slopes
SPARE = 0.6  # of what fits is suggested


@in_32_bits
def check_memory(config: DeepConfig, source: Source, steps: int, n_seeds: int) -> None:
    """Check that the networks, replay buffers and batches of all seeds fit in memory, before they are allocated.

    The memory is that of the device on which JAX computes, where it reports it; else that of the process.

    Raises:
        ResourceError: they do not fit; the message suggests a size that does.
    """
    free, seeds = free_on_device(), f" of each of {n_seeds} seeds" if n_seeds > 1 else ""
    network = module_shapes(config, source.space, source.n_actions)
    n_parameters = sum(leaf.size for leaf in to_named(network).values())
    networks = n_seeds * n_parameters * COPIES * 4
    check_fits(
        networks,
        f"a network of {n_parameters:,} parameters{seeds} for observations of {source.space}, with its copies and "
        "its optimizer,",
        lambda share: "use a smaller net_arch, fewer seeds, or a table of values: agent q-learning",
        free,
    )
    memory = config.make(source.space, source.n_actions, steps).memory
    held = jax.eval_shape(memory.init)
    name, asked = (
        ("buffer_size", config.buffer_size) if isinstance(config, ReplayConfig) else ("num_envs", config.num_envs)
    )
    stored, seen = n_seeds * bytes_of(held), f"{seeds} for observations of {source.space}"

    def remedy(share: float) -> str:
        left = int(SPARE * (share * (stored + networks) - networks) / stored * asked)
        return f"{name}={left} fits" if left > 0 else "use a smaller net_arch or fewer seeds"

    check_fits(stored + networks, f"{name}={asked}{seen}, with the network,", remedy, free)
    drawn = n_seeds * bytes_of(jax.eval_shape(memory.sample, held, make_key(0), jnp.int32(0)))
    if size := getattr(config, "batch_size", 0):  # other batches are what is stored
        what = f"batch_size={size}{seen}, with the network and the buffer,"
        check_fits(stored + networks + drawn, what, lambda share: f"batch_size={int(SPARE * share * size)} fits", free)
        pairs = config.method().n_pairs
        check_fits(
            stored + networks + n_seeds * AT_ONCE * 4 * size * pairs,
            f"batch_size={size}{seen}, with {pairs:,} pairs of quantiles of each transition,",
            lambda share: f"use fewer quantiles, or a smaller batch_size: {share:.0%} of this fits", free,
        )  # fmt: skip


def bytes_of(tree: object) -> int:
    """Return the bytes of arrays of which only the shapes are known."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def remark_images(config: DeepConfig, source: Source) -> None:
    """Warn about observations that the network may treat as images, or not, unlike what was meant."""
    seen, normalized = visible(source.space), config.normalize_observations
    for text in remarks(seen, normalized) + remark_far(seen, source.wide_bounds or source.bounds, normalized):
        warn(f"{source.name}: {text}", EnvWarning)
