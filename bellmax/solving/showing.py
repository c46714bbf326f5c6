"""NumPy. An answer of any size in a few lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt


class Fields(Protocol):
    """A NamedTuple."""

    @property
    def _fields(self) -> tuple[str, ...]: ...

    def __iter__(self) -> Iterator[Any]: ...


def show(answer: Fields) -> str:
    """The `repr` of a tuple of numbers and arrays, without its model: numbers, then a line an array."""
    numbers, arrays = [], []
    for name, value in zip(answer._fields, answer, strict=True):
        if name == "mdp":
            continue
        if np.ndim(value) == 0:
            numbers.append(f"{name}={value:.10g}" if isinstance(value, float | np.floating) else f"{name}={value}")
        else:
            arrays.append(f"  {name} {list(np.shape(value))}: {_line(np.asarray(value))}")
    return "\n".join([f"{type(answer).__name__}({', '.join(numbers)})", *arrays])


def _line(array: npt.NDArray[Any]) -> str:
    if array.ndim == 1:
        return np.array2string(array, precision=4, threshold=8, edgeitems=4, max_line_width=1_000)
    finite = array[np.isfinite(array)]
    return f"{finite.min():.4g} to {finite.max():.4g}" if finite.size else "empty"
