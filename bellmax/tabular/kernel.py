"""Numba. How a kernel is compiled, and the random numbers that kernels draw."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias, TypeVar

import numba
import numpy as np
import numpy.typing as npt
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core.base import BaseContext
from numba.core.typing.context import BaseContext as TypingContext
from numba.core.typing.templates import Signature
from numba.extending import intrinsic

from bellmax.compiling import compiled

Generator: TypeAlias = npt.NDArray[np.uint64]  # the state [1] of one SplitMix64
Index: TypeAlias = "int | np.integer[Any]"  # a state, a slot of tiles, an action
F = TypeVar("F", bound=Callable[..., Any])


# No reference counts, always inlined, IEEE division; also for the functions that numba.extending makes.
OPTIONS: Any = {"_nrt": False, "forceinline": True, "error_model": "numpy"}


def kernel(function: F) -> F:
    """Compile for the inner loop: no Python objects, no GIL, no reference counts, IEEE division, kept on disk.

    A kernel is inlined where it is called, always: left to the compiler's judgment, a kernel a few lines longer
    became a call, and the loop a third slower.

    A second process finds it on disk by its content and that of all that it calls (`compiling.py`), so that an edit
    of a kernel of your own is seen.
    """
    return compiled(function, nogil=True, **OPTIONS)


Generate: TypeAlias = Callable[[BaseContext, ir.IRBuilder, Signature, Sequence[ir.Value]], ir.Value]


def _branch(typing_context: TypingContext, value: numba.types.Type) -> tuple[Signature, Generate]:
    """`value` as it is, but the compiler cannot see through it and so keeps the branch in which it stands.

    Worth it where a comparison mostly falls out the same way: the processor then runs ahead on its guess, while
    the conditional move that the compiler prefers makes everything after it wait for the comparison.
    """
    kind: numba.types.Type = numba.types.unliteral(value)  # type: ignore[no-untyped-call]

    def generate(
        context: BaseContext, builder: ir.IRBuilder, signature: Signature, arguments: Sequence[ir.Value]
    ) -> ir.Value:
        shape = ir.FunctionType(arguments[0].type, [arguments[0].type])
        return builder.call(ir.InlineAsm(shape, "", "=r,0", side_effect=True), arguments)  # no instruction at all

    return kind(kind), generate


branch: Any = intrinsic(_branch)


_GOLDEN = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_LOW = np.uint64(0xFFFFFFFF)
_S11, _S27, _S30, _S31, _S32 = (np.uint64(shift) for shift in (11, 27, 30, 31, 32))


def new_generator(seed: int) -> Generator:
    """State of one SplitMix64 generator [1], spread from an integer seed by NumPy's SeedSequence."""
    return np.random.SeedSequence(seed).generate_state(1, np.uint64).astype(np.uint64)


@kernel
def random_bits(generator: Generator) -> np.uint64:
    """64 random bits; advances the generator. SplitMix64: Steele, Lea and Flood (2014), figure 17."""
    state: np.uint64 = generator[0] + _GOLDEN
    generator[0] = state
    z = (state ^ (state >> _S30)) * _MIX_1
    z = (z ^ (z >> _S27)) * _MIX_2
    return z ^ (z >> _S31)


@kernel
def uniform(generator: Generator) -> float:
    """One number in [0, 1), of 53 bits."""
    return np.float64(np.int64(random_bits(generator) >> _S11)) * 2.0**-53


@kernel
def coin_and_choice(generator: Generator, n: int) -> tuple[float, Index]:
    """A number in [0, 1) and an integer in 0..n-1 from the two halves of one draw, 32 bits each."""
    bits = random_bits(generator)
    coin = np.float64(np.int64(bits >> _S32)) * 2.0**-32
    return coin, np.intp(((bits & _LOW) * np.uint64(n)) >> _S32)


@kernel
def gaussian(generator: Generator) -> float:
    """One draw of N(0, 1) from two uniform ones. Box and Muller (1958)."""
    radius = math.sqrt(-2.0 * math.log(1.0 - uniform(generator)))
    return radius * math.cos(2.0 * math.pi * uniform(generator))
