"""JAX. Random keys for compiled loops: the numbers of JAX's own Threefry, drawn several times faster inside a `scan`.

On a CPU, JAX lowers Threefry to a loop of small kernels, which takes about 6 µs a draw in the body of a `scan`. Here
its 20 rounds are unrolled, so XLA fuses a draw with the code that uses it. The numbers are the same, bit for bit, as
those of `jax.random.key`; a test compares them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bellmax.contracts import Array
from bellmax.dispatch import refuse_fork

_ROTATIONS = ((13, 15, 26, 6), (17, 29, 16, 24))
_PARITY = 0x1BD11BDA

# `fold_in(key, APART)` differs from all keys of a split of `key`; `fold_in(key, 1)` would be one of them
APART = 2**31 - 1


def _threefry(key: Array, high: Array, low: Array) -> tuple[Array, Array]:
    """Threefry-2x32 with 20 rounds of the counter (high, low). Salmon et al. (2011), "As easy as 1, 2, 3"."""
    words = (key[0], key[1], key[0] ^ key[1] ^ jnp.uint32(_PARITY))
    x, y = high + words[0], low + words[1]
    for group in range(5):
        for distance in _ROTATIONS[group % 2]:
            x = x + y
            y = ((y << jnp.uint32(distance)) | (y >> jnp.uint32(32 - distance))) ^ x
        x = x + words[(group + 1) % 3]
        y = y + words[(group + 2) % 3] + jnp.uint32(group + 1)
    return x, y


def _counters(shape: tuple[int, ...]) -> tuple[Array, Array]:
    count = jax.lax.iota(jnp.uint32, math.prod(shape))
    return jnp.zeros_like(count), count


def _seed(seed: Array) -> Array:
    """Return the two words of an integer seed, the high one first."""
    high = (seed >> 32).astype(jnp.uint32) if seed.dtype.itemsize > 4 else jnp.zeros_like(seed, jnp.uint32)
    return jnp.stack([high, seed.astype(jnp.uint32)])


def _split(key: Array, shape: tuple[int, ...]) -> Array:
    return jnp.stack(_threefry(key, *_counters(shape)), axis=-1).reshape(*shape, 2)


def _random_bits(key: Array, bit_width: int, shape: tuple[int, ...]) -> Array:
    x, y = _threefry(key, *_counters(shape))
    if bit_width == 64:
        return ((x.astype(jnp.uint64) << 32) | y.astype(jnp.uint64)).reshape(shape)
    return (x ^ y).astype(jnp.dtype(f"uint{bit_width}")).reshape(shape)


def _fold_in(key: Array, data: Array) -> Array:
    return jnp.stack(_threefry(key, *_seed(jnp.asarray(data))))


MISSING = ""  # what this version of JAX lacks; its own keys then draw the same numbers, several times slower
_IMPLEMENTATION: Any = "threefry2x32"
try:
    from jax.extend.random import define_prng_impl

    _IMPLEMENTATION = define_prng_impl(
        key_shape=(2,),
        seed=_seed,
        split=_split,
        random_bits=_random_bits,
        fold_in=_fold_in,  # type: ignore[arg-type]
        name="bellmax_threefry",
        tag="bmf",
    )
except ImportError as error:  # JAX may change what is in jax.extend at any time
    MISSING = str(error)


def make_key(seed: int) -> Array:
    """Return the root key of a run with this seed; raises as `refuse_fork`."""
    refuse_fork()
    return jax.random.key(seed, impl=_IMPLEMENTATION)


def drawn(draw: Callable[[Array, tuple[int, ...]], Array], key: Array, shape: tuple[int, ...]) -> Array:
    """Return `draw(key, shape)`, computed once and stored, for numbers that are used many times.

    On a CPU, XLA would compute each number again in every product that uses it. It cannot do so with the output of a
    loop, so the two halves of the numbers are two iterations of a loop.
    """
    half = -(-math.prod(shape) // 2)
    _, halves = jax.lax.scan(lambda _, k: (None, draw(k, (half,))), None, jax.random.split(key))
    return halves.reshape(-1)[: math.prod(shape)].reshape(shape)
