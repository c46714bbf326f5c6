"""NumPy. A column of a run over its records, as lines to draw: single seeds, their IQM, and its interval."""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

from bellmax.contracts import FloatArray
from bellmax.summary_statistics import MIN_SEEDS, bootstrap_interval, iqm

DRAWN_SEEDS = 100  # lines of single seeds; the IQM and its interval are of all
RESAMPLES = 500
_MOST_BANDS, _FEWEST_BANDS = 200, 12  # records at which the interval is computed
_WORK = 6_000_000  # resampled values in all, from which on the interval is computed at fewer records

Kind = TypeVar("Kind", bound=np.generic)


class Curve(NamedTuple):
    """Lines over records. A value that is missing or infinite is NaN.

    Attributes:
        label: what it is a curve of, for the legend; "" needs none.
        steps: [T] where the records are.
        seeds: [n, T] of the first seeds, at most 100.
        middle: [T] the IQM over all seeds; NaN at records in which a seed has no value.
        band_steps, low, high: [B] the interval of the IQM, at some of the records; B = 0 below 5 seeds.
        n: how many seeds there are.
        unending: in how many seeds the last value is infinite, which no line can show.
        confidence: nominal coverage of the interval.
    """

    label: str
    steps: FloatArray
    seeds: FloatArray
    middle: FloatArray
    band_steps: FloatArray
    low: FloatArray
    high: FloatArray
    n: int
    unending: int
    confidence: float


def curve_of(
    label: str, steps: npt.ArrayLike, values: npt.ArrayLike, *, confidence: float = 0.95, most_bands: int = _MOST_BANDS
) -> Curve:
    """Return the lines of `values` [seeds, T] at `steps` [T]: at most `most_bands` records have an interval.

    The IQM and its interval count an infinite value as the largest or the smallest; where they are infinite themselves,
    nothing is drawn.

    Raises:
        ValueError: the shapes do not fit.
    """
    at, table = np.asarray(steps, np.float64), np.asarray(values, np.float64)
    if table.ndim != 2 or at.shape != table.shape[1:] or not len(table):
        raise ValueError(f"steps must be [T] and values [seeds, T]; got shapes {at.shape} and {table.shape}")
    whole = np.flatnonzero(~np.isnan(table).any(axis=0))
    few = min(most_bands, max(_FEWEST_BANDS, _WORK // (RESAMPLES * len(table))))
    chosen = thinned(whole, few) if len(table) >= MIN_SEEDS else whole[:0]
    with np.errstate(invalid="ignore"):  # both infinities have no mean
        middle = np.full(at.size, np.nan)
        if whole.size:
            middle[whole] = iqm(table[:, whole], axis=0)
        ends = [bootstrap_interval(table[:, t], confidence=confidence, resamples=RESAMPLES) for t in chosen]
    low, high = _finite(np.array(ends, np.float64).reshape(-1, 2)).T
    drawn, unending = _finite(table[:DRAWN_SEEDS]), int(np.isinf(table[:, -1:]).sum())
    return Curve(label, at, drawn, _finite(middle), at[chosen], low, high, len(table), unending, confidence)


def thinned(values: npt.NDArray[Kind], most: int) -> npt.NDArray[Kind]:
    """Return at most `most` of the values [T], evenly spaced, always with the first and the last."""
    if len(values) <= most:
        return values
    return values[np.linspace(0, len(values) - 1, most).round().astype(np.int64)]


def _finite(values: FloatArray) -> FloatArray:
    return np.where(np.isfinite(values), values, np.nan)
