"""Numba. Tile coding: real numbers as the indices of a few tiles, one in each of several shifted grids.

Sutton and Barto (2018), section 9.5.4. With one grid this is a discretiser: an observation is a cell of a table.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from bellmax.tabular.kernel import kernel
from bellmax.types import FloatArray, IntArray


class Coder(NamedTuple):
    """Where the grids lie.

    Attributes:
        low, high: the range of each dimension; what is beyond counts as its end [k].
        bins: tiles along a dimension; a shifted grid has one more.
        tilings: grids.
    """

    low: FloatArray
    high: FloatArray
    bins: int
    tilings: int

    @property
    def width(self) -> int:
        """Tiles along a dimension of a grid."""
        return self.bins + (self.tilings > 1)

    @property
    def n_tiles(self) -> int:
        """F, the tiles of all grids."""
        return int(self.tilings * self.width**self.low.size)


@kernel
def tile(coder: Any, tiling: Any, index: Any, dimension: Any, number: Any) -> Any:
    """`index` of a tile of one grid, given one dimension more.

    Grid t is shifted in dimension d by t (2d + 1) / T of a tile, modulo 1: the asymmetric displacement of section
    9.5.4, as Miller and Glanz (1996) recommend.
    """
    low, high, bins = coder.low[dimension], coder.high[dimension], coder.bins
    width = bins + 1 * (coder.tilings > 1)
    shift = (tiling * (2 * dimension + 1)) % coder.tilings / coder.tilings
    inside = min(number, high) if number > low else low  # also what is not a number
    return index * width + min(np.int64((inside - low) / (high - low) * bins + shift), width - 1)


@kernel
def encode_rows(coder: Any, obs: Any, out: Any) -> Any:
    """The tiles `out [B, T]` of observations `obs [B, k]`."""
    for b in range(obs.shape[0]):
        for tiling in range(coder.tilings):
            index = tiling
            for d in range(obs.shape[1]):
                index = tile(coder, tiling, index, d, np.float64(obs[b, d]))
            out[b, tiling] = index
    return 0


def encode(coder: Coder, obs: Any) -> IntArray:
    """[B, T] the active tiles of observations [B, ...]."""
    rows = np.ascontiguousarray(np.asarray(obs).reshape(len(obs), -1))
    out = np.empty((len(rows), coder.tilings), np.int64)
    encode_rows(coder, rows, out)
    return out
