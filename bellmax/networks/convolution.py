"""JAX and Equinox. Convolutions of ONE image; on a CPU they are matrix products (decision 15)."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from bellmax.contracts import Array
from bellmax.networks.layers import at_least_1

WORD = 4  # bytes


class Conv(eqx.Module):
    """A convolution of an image [H, W, C], without padding unless `same`: then H' = ⌈H / stride⌉.

    If `spectral`, the weight, as a matrix [C', size² C], is divided by its spectral norm where that is above 1. Miyato
    et al. (2018), section 2.1.
    """

    weight: Array
    bias: Array
    stride: int = eqx.field(static=True)
    same: bool = eqx.field(static=True)
    spectral: bool = eqx.field(static=True)

    def __init__(
        self, n_in: int, n_out: int, size: int, stride: int, key: Array, same: bool = False, spectral: bool = False
    ) -> None:
        k_weight, k_bias = jax.random.split(key)
        bound = 1.0 / math.sqrt(n_in * size * size)
        self.weight = jax.random.uniform(k_weight, (size, size, n_in, n_out), minval=-bound, maxval=bound)
        self.bias = jax.random.uniform(k_bias, (n_out,), minval=-bound, maxval=bound)
        self.stride, self.same, self.spectral = stride, same, spectral

    @property
    def kernel(self) -> Array:
        """The weight [size, size, C, C'] that is applied to images."""
        if not self.spectral:
            return self.weight
        return self.weight / at_least_1(self.weight.reshape(-1, self.weight.shape[-1]).T)

    def __call__(self, image: Array) -> Array:
        """Map [H, W, C] to [H', W', C']."""
        size = self.weight.shape[0]
        if self.same:
            missing = [max((-(-n // self.stride) - 1) * self.stride + size - n, 0) for n in image.shape[:2]]
            image = jnp.pad(image, [*((n // 2, n - n // 2) for n in missing), (0, 0)])
        by = by_products if jax.default_backend() == "cpu" else by_xla
        return by(image, self.kernel, self.stride) + self.bias[None, None, :]

    def of_frames(self, frames: Array) -> Array:
        """Return the convolution of frames [C, H, W] of bytes, scaled to 0 to 1."""
        fits = self.stride == WORD and self.weight.shape[0] % WORD == 0 and not self.same
        if not fits or jax.default_backend() != "cpu":
            return self(jnp.moveaxis(frames, 0, -1).astype(jnp.float32) / 255.0)
        image, weight = coarser_by_words(frames, self.kernel)
        return by_products(image.astype(jnp.float32) / 255.0, weight, 1) + self.bias[None, None, :]


def by_xla(image: Array, weight: Array, stride: int) -> Array:
    """Return the convolution of [H, W, C] with [size, size, C, C'], by XLA."""
    numbers = ("NHWC", "HWIO", "NHWC")
    out = jax.lax.conv_general_dilated(image[None], weight, (stride, stride), "VALID", dimension_numbers=numbers)
    return out[0]


def by_products(image: Array, weight: Array, stride: int) -> Array:
    """Return the same by matrix products: of gathered patches, or nine for size 2, to which a stride often reduces."""
    if weight.shape[0] % stride == 0:
        image, weight, stride = coarser(image, weight, stride)
    size = weight.shape[0]
    if (size, stride) == (2, 1):
        return by_nine_products(image, weight)
    height, width = ((n - size) // stride + 1 for n in image.shape[:2])
    patches = [
        image[i : i + (height - 1) * stride + 1 : stride, j : j + (width - 1) * stride + 1 : stride]
        for i in range(size)
        for j in range(size)
    ]
    return times(jnp.concatenate(patches, axis=-1), weight.reshape(-1, weight.shape[-1]))


def by_nine_products(image: Array, weight: Array) -> Array:
    """Return the same for size 2 and stride 1, with 9 products for a square of 4 places instead of 16.

    After Lavin and Gray (2016), "Fast algorithms for convolutional neural networks", with tiles of 2 x 2.
    """
    dtype = jnp.result_type(image, weight)  # differences of bytes would overflow
    along_rows = jax.vmap(lambda row, weight: by_three_products(row, weight, times), (0, None))
    return by_three_products(image.astype(dtype), weight.astype(dtype), along_rows)


def by_three_products(x: Array, weight: Array, multiply: Callable[[Array, Array], Array]) -> Array:
    """Return y[i] = x[i] w[0] + x[i + 1] w[1] along the first axis, with 3 products for 2 places instead of 4.

    y[0] = (x[0] - x[1]) w[0] + x[1] (w[0] + w[1]) and y[1] = x[1] (w[0] + w[1]) + (x[2] - x[1]) w[1].
    """
    n = len(x) - 1
    x = jnp.pad(x, [(0, n % 2)] + [(0, 0)] * (x.ndim - 1))
    even, odd = x[::2], x[1::2]
    first, both = multiply(even[:-1] - odd, weight[0]), multiply(odd, weight[0] + weight[1])
    second = multiply(even[1:] - odd, weight[1])
    pairs = jnp.stack([first + both, both + second], axis=1)
    return pairs.reshape(n + n % 2, *first.shape[1:])[:n]


def coarser(image: Array, weight: Array, stride: int) -> tuple[Array, Array, int]:
    """Return the same convolution with stride 1, in which `stride` by `stride` pixels become the channels of one."""
    size, _, n_in, n_out = weight.shape
    height, width = ((n - size) // stride + size // stride for n in image.shape[:2])
    image = image[: height * stride, : width * stride].reshape(height, stride, width, stride, n_in)
    weight = weight.reshape(size // stride, stride, size // stride, stride, n_in, n_out)
    image, weight = jnp.moveaxis(image, 1, 2), jnp.moveaxis(weight, 1, 2)
    return image.reshape(height, width, -1), weight.reshape(*weight.shape[:2], -1, n_out), 1


def coarser_by_words(frames: Array, weight: Array) -> tuple[Array, Array]:
    """Return `coarser` for frames [C, H, W] of bytes and stride 4, moving four pixels of a row as one word."""
    size, _, n_in, n_out = weight.shape
    height, width = ((n - size) // WORD + size // WORD for n in frames.shape[1:])
    frames = frames[:, : height * WORD, : width * WORD].reshape(n_in, height, WORD, width, WORD)
    words = jax.lax.bitcast_convert_type(frames, jnp.uint32)  # [C, h, 4, w]
    image = jax.lax.bitcast_convert_type(words.transpose(1, 3, 2, 0), jnp.uint8)
    weight = weight.reshape(size // WORD, WORD, size // WORD, WORD, n_in, n_out).transpose(0, 2, 1, 4, 3, 5)
    return image.reshape(height, width, -1), weight.reshape(*weight.shape[:2], -1, n_out)


def times(image: Array, matrix: Array) -> Array:
    """Return the product of [..., n] and [n, m], by `product`."""
    rows = image.reshape(math.prod(image.shape[:-1]), image.shape[-1])
    return product(rows, matrix).reshape(*image.shape[:-1], matrix.shape[-1])


def product(x: Array, y: Array) -> Array:
    """Return [n, m] times [m, k]. For a batch of x it is one product of all rows, and so is its gradient.

    `vmap` of an ordinary product has three axes, and for its gradient XLA first transposes both operands.
    """
    dtype = jnp.result_type(x, y)
    x, y = x.astype(dtype), y.astype(dtype)
    return jax.lax.dot(x, y) if PRODUCT is None else PRODUCT.bind(x, y)


def product_of_columns(x: Array, y: Array) -> Array:
    """Return xᵀ y of [n, m] and [n, k]. XLA is up to 1.5 times faster if the result's first axis is the shorter one."""
    if x.shape[1] <= y.shape[1]:
        return jax.lax.dot(x.T, y)
    turned: Array = jax.lax.optimization_barrier(jax.lax.dot(y.T, x))  # type: ignore[no-untyped-call]
    return turned.T  # without the barrier XLA would undo the transposition


def _batched(
    axis: object, operands: tuple[Array, Array], axes: tuple[int | None, int | None]
) -> tuple[Array, int | None]:
    (x, y), (x_axis, y_axis) = operands, axes
    del axis
    if y_axis is not None:
        return jax.vmap(jax.lax.dot, axes)(x, y), 0
    if x_axis is None:
        return product(x, y), None
    x = jnp.moveaxis(x, x_axis, 0)
    return product(x.reshape(math.prod(x.shape[:2]), x.shape[2]), y).reshape(*x.shape[:2], y.shape[1]), 0


def _primitive() -> Any:
    """Return the primitive of `product`: how JAX runs, lowers, batches and differentiates it."""
    from jax.extend.core import Primitive
    from jax.interpreters import ad, batching, mlir

    primitive: Any = Primitive("product")
    primitive.def_impl(jax.jit(jax.lax.dot))
    primitive.def_abstract_eval(lambda x, y: jax.core.ShapedArray((x.shape[0], y.shape[1]), x.dtype))
    mlir.register_lowering(primitive, mlir.lower_fun(jax.lax.dot, multiple_results=False))
    batching.fancy_primitive_batchers[primitive] = _batched
    ad.defbilinear(  # type: ignore[no-untyped-call]
        primitive, lambda ct, x, y: product(ct, y.T), lambda ct, x, y: product_of_columns(x, ct)
    )
    return primitive


try:
    PRODUCT = _primitive()
except (ImportError, AttributeError):  # this version of JAX lacks these internals: the same numbers, more slowly
    PRODUCT = None
