"""Numba. Tile coding: numbers as the indices of a few tiles, one in each of several shifted grids.

Sutton and Barto (2018), section 9.5.4. With one grid this is a discretizer: an observation is a cell of a table. How an
environment's observations are cut is planned in `cells.py`.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from bellmax.contracts import FloatArray, IntArray
from bellmax.tabular.kernel import kernel


class Coder(NamedTuple):
    """Where the grids lie.

    Attributes:
        low, high: the range of each dimension; what is beyond counts as its end [k].
        bins: tiles along each dimension, as floats [k].
        shifted: 1.0 where grids are shifted, which then have one tile more, else 0.0 [k].
        width: tiles along each dimension of a grid, their sum [k].
        tilings: grids.
    """

    low: FloatArray
    high: FloatArray
    bins: FloatArray
    shifted: FloatArray
    width: IntArray
    tilings: int

    @property
    def n_tiles(self) -> int:
        """F, the tiles of all grids: the rows of a table."""
        return int(self.tilings * math.prod(self.width.tolist()))


def make_grids(low: npt.ArrayLike, high: npt.ArrayLike, bins: npt.ArrayLike, tilings: int) -> Coder:
    """Grids over real numbers between `low` and `high` [k]; `bins` is one number or [k]."""
    low, high = np.array(low, np.float64), np.array(high, np.float64)
    tiles = np.array(np.broadcast_to(np.asarray(bins, np.int64), low.size))
    return Coder(
        low, high, tiles.astype(np.float64), np.full(low.size, float(tilings > 1)), tiles + (tilings > 1), tilings
    )


@kernel
def tile(coder: Coder, tiling: int, index: int, dimension: int, number: float) -> int:
    """`index` of a tile of one grid, given one dimension more.

    Grid t is shifted in dimension d by t (2d + 1) / T of a tile, modulo 1: the asymmetric displacement of section
    9.5.4, as Miller and Glanz (1996) recommend.
    """
    low, high, bins, width = coder.low[dimension], coder.high[dimension], coder.bins[dimension], coder.width[dimension]
    shift = coder.shifted[dimension] * ((tiling * (2 * dimension + 1)) % coder.tilings / coder.tilings)
    inside = min(number, high) if number > low else low  # also what is not a number
    found: int = index * width + min(np.int64((inside - low) / (high - low) * bins + shift), width - 1)
    return found


@kernel
def encode_rows(coder: Coder, obs: npt.NDArray[np.floating[Any]], out: IntArray) -> None:
    """The tiles `out [B, T]` of observations `obs [B, k]`."""
    for b in range(obs.shape[0]):
        for tiling in range(coder.tilings):
            index = tiling
            for d in range(obs.shape[1]):
                index = tile(coder, tiling, index, d, np.float64(obs[b, d]))
            out[b, tiling] = index


def encode(coder: Coder, obs: npt.NDArray[Any] | tuple[object, ...]) -> IntArray:
    """[B, T] the active tiles of a batch of observations: an array [B, ...], or a tuple of them."""
    parts = [part.reshape(len(part), -1) for part in arrays_of(obs)]
    one = len(parts) == 1 and parts[0].dtype in (np.float32, np.float64)
    rows = np.ascontiguousarray(parts[0]) if one else np.concatenate(parts, axis=1, dtype=np.float64)
    out = np.empty((len(rows), coder.tilings), np.int64)
    encode_rows(coder, rows, out)
    return out


def arrays_of(obs: object) -> list[npt.NDArray[Any]]:
    """The arrays of a batch of observations, in order."""
    return [array for part in obs for array in arrays_of(part)] if isinstance(obs, tuple) else [np.asarray(obs)]
