"""JAX and Equinox. Layers for ONE input; initial weights are those of PyTorch, uniform in ±1/√(fan in)."""

from __future__ import annotations

import math
from typing import Any, Protocol

import equinox as eqx
import jax
import jax.numpy as jnp

from bellmax.contracts import Array, Box, Leaf, Obs, Space
from bellmax.networks.images import image_of
from bellmax.spaces import leaves_of, map_space, shape_of

NORM_EPSILON = 1e-5  # added to a variance before its square root


def apply_weight(weight: Array, x: Array) -> Array:
    """Return W x, of [n_out, n_in] and [..., n_in]; for `x @ weight.T`, XLA would transpose a large W for each x."""
    return jax.lax.dot_general(x, weight, (((x.ndim - 1,), (1,)), ((), ())))


class Dense(eqx.Module):
    """y = W x + b."""

    weight: Array
    bias: Array

    def __init__(self, n_in: int, n_out: int, key: Array) -> None:
        k_weight, k_bias = jax.random.split(key)
        bound = 1.0 / math.sqrt(n_in)
        self.weight = jax.random.uniform(k_weight, (n_out, n_in), minval=-bound, maxval=bound)
        self.bias = jax.random.uniform(k_bias, (n_out,), minval=-bound, maxval=bound)

    def __call__(self, x: Array) -> Array:
        """Map [n_in] to [n_out]."""
        return apply_weight(self.weight, x) + self.bias


class NoisyDense(eqx.Module):
    """y = (W + σ ⊙ ε) x + b + σ' ⊙ ε', with ε = f(ε_out) f(ε_in)ᵀ. Fortunato et al. (2018), equations 9 to 11.

    By itself it is the layer without noise; `draw` returns the noisy one.
    """

    weight: Array
    bias: Array
    weight_sigma: Array
    bias_sigma: Array

    def __init__(self, n_in: int, n_out: int, key: Array, sigma: float = 0.5) -> None:
        mean = Dense(n_in, n_out, key)
        self.weight, self.bias = mean.weight, mean.bias
        self.weight_sigma = jnp.full((n_out, n_in), sigma / math.sqrt(n_in))
        self.bias_sigma = jnp.full(n_out, sigma / math.sqrt(n_in))

    def __call__(self, x: Array) -> Array:
        """Map [n_in] to [n_out]."""
        return apply_weight(self.weight, x) + self.bias

    def draw(self, noise: Array) -> NoisyDense:
        """Return the layer with f(noise) added; `noise` [n_in + n_out] is standard normal."""
        scaled = jnp.sign(noise) * jnp.sqrt(jnp.abs(noise))
        n_in = self.weight.shape[1]
        inner, outer = scaled[:n_in], scaled[n_in:]
        weight = self.weight + self.weight_sigma * (outer[:, None] * inner[None, :])
        bias = self.bias + self.bias_sigma * outer
        drawn: NoisyDense = eqx.tree_at(lambda layer: (layer.weight, layer.bias), self, (weight, bias))
        return drawn


class SpectralDense(eqx.Module):
    """y = W x / max(1, σ(W)) + b, where σ is the largest singular value. Miyato et al. (2018).

    Differs from the paper in: σ is computed each time, so that the layer has no state; layers whose norm is below 1 are
    unchanged, as in Gogianu et al. (2021).
    """

    weight: Array
    bias: Array

    def __init__(self, n_in: int, n_out: int, key: Array) -> None:
        dense = Dense(n_in, n_out, key)
        self.weight, self.bias = dense.weight, dense.bias

    def __call__(self, x: Array) -> Array:
        """Map [n_in] to [n_out]."""
        return apply_weight(self.weight, x) / at_least_1(self.weight) + self.bias


def at_least_1(weight: Array) -> Array:
    """Return the divisor of the weight [n_out, n_in] of a spectral layer: the larger of 1 and its spectral norm."""
    return jnp.maximum(1.0, spectral_norm(weight))


def spectral_norm(weight: Array, steps: int = 16) -> Array:
    """Return the largest singular value of [n_out, n_in]; its gradient is only with respect to W: u Wᵀ v.

    It is the best direction in the span of `steps` products with WᵀW: Golub and Kahan (1965). The singular values of a
    fresh layer are close together, and a power iteration of as many steps would be up to 5 % too small.
    """
    fixed = jax.lax.stop_gradient(weight)
    steps = min(steps, weight.shape[0] + 1, weight.shape[1])  # more would not enlarge the span
    start = jnp.cos(
        jnp.arange(weight.shape[1], dtype=weight.dtype)
    )  # without symmetries, so it is unlikely to be orthogonal to the direction

    def extend(basis: Array, k: Array) -> tuple[Array, None]:
        onward = fixed.T @ (fixed @ basis[k])
        fresh = onward
        for _ in range(2):  # twice, because of rounding
            fresh = fresh - basis.T @ (basis @ fresh)
        size = jnp.linalg.norm(fresh)
        new = size > 1e-5 * jnp.linalg.norm(onward)  # else only rounding errors are left
        return basis.at[k + 1].set(jnp.where(new, fresh / jnp.where(new, size, 1.0), 0.0)), None

    first = jnp.zeros((steps, start.size), weight.dtype).at[0].set(start / jnp.linalg.norm(start))
    basis = jax.lax.scan(extend, first, jnp.arange(steps - 1))[0]
    images = fixed @ basis.T  # [n_out, steps]
    v = basis.T @ jnp.linalg.eigh(images.T @ images)[1][:, -1]
    u = fixed @ v
    return jnp.vdot(u / (jnp.linalg.norm(u) + 1e-12), weight @ v)


class Norm(eqx.Module):
    """Layer normalization over all of its input, with a learned scale and shift. Ba et al. (2016)."""

    scale: Array
    shift: Array

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.scale, self.shift = jnp.ones(shape), jnp.zeros(shape)

    def __call__(self, x: Array) -> Array:
        """Any shape to the same."""
        centered = x - jnp.mean(x)
        return centered * jax.lax.rsqrt(jnp.mean(jnp.square(centered)) + NORM_EPSILON) * self.scale + self.shift


class MemoryCell(Protocol):
    """A memory cell between torso and head; each has its own type of carry."""

    size: int

    def begin(self) -> Any:
        """Return the carry at the start of an episode."""

    def __call__(self, carry: Any, x: Array, /) -> tuple[Any, Array]:
        """Take one step; return (carry, output [size])."""


class LSTM(eqx.Module):
    """Hochreiter and Schmidhuber (1997), with a forget gate that is initially open; the carry is (h, c)."""

    kernel: Dense
    size: int = eqx.field(static=True)

    def __init__(self, n_in: int, size: int, key: Array) -> None:
        kernel = Dense(n_in + size, 4 * size, key)
        self.kernel = eqx.tree_at(lambda k: k.bias, kernel, kernel.bias.at[size : 2 * size].set(1.0))
        self.size = size

    def begin(self) -> tuple[Array, Array]:
        """Return the carry at the start of an episode."""
        return jnp.zeros(self.size), jnp.zeros(self.size)

    def __call__(self, carry: tuple[Array, Array], x: Array) -> tuple[tuple[Array, Array], Array]:
        """Take one step; return (carry, output [size])."""
        h, c = carry
        i, f, g, o = jnp.split(self.kernel(jnp.concatenate([x, h])), 4)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = jax.nn.sigmoid(o) * jnp.tanh(c)
        return (h, c), h


class GRU(eqx.Module):
    """Cho et al. (2014); the carry is h."""

    gates: Dense
    candidate_x: Dense
    candidate_h: Dense
    size: int = eqx.field(static=True)

    def __init__(self, n_in: int, size: int, key: Array) -> None:
        k_gates, k_x, k_h = jax.random.split(key, 3)
        self.gates = Dense(n_in + size, 2 * size, k_gates)
        self.candidate_x, self.candidate_h = Dense(n_in, size, k_x), Dense(size, size, k_h)
        self.size = size

    def begin(self) -> Array:
        """Return the carry at the start of an episode."""
        return jnp.zeros(self.size)

    def __call__(self, carry: Array, x: Array) -> tuple[Array, Array]:
        """Take one step; return (carry, output [size])."""
        update, reset = jnp.split(jax.nn.sigmoid(self.gates(jnp.concatenate([x, carry]))), 2)
        candidate = jnp.tanh(self.candidate_x(x) + reset * self.candidate_h(carry))
        h = update * carry + (1.0 - update) * candidate
        return h, h


class Standardizer(eqx.Module):
    """Running mean and variance of the observations learned from, for every Box of numbers in them.

    Images and flags, which are already scaled, and integers, which are one-hot, stay as they are. The arrays are
    parameters without a gradient, so a saved policy includes them.
    """

    means: tuple[Array, ...]
    variances: tuple[Array, ...]
    count: Array
    space: Space = eqx.field(static=True)

    def __init__(self, space: Space) -> None:
        shapes = [shape_of(leaf) for leaf in leaves_of(space) if is_numbers(leaf)]
        self.means = tuple(jnp.zeros(shape) for shape in shapes)
        self.variances = tuple(jnp.ones(shape) for shape in shapes)
        self.count, self.space = jnp.zeros(()), space

    def __call__(self, obs: Obs) -> Obs:
        """Return one observation with its numbers standardized and clipped to ±10."""
        known = iter(jax.lax.stop_gradient(list(zip(self.means, self.variances, strict=True))))

        def leaf(kind: Leaf, value: Array) -> Array:
            if not is_numbers(kind):
                return value
            mean, variance = next(known)
            return jnp.clip((value - mean) / jnp.sqrt(variance + 1e-8), -10.0, 10.0)

        standardized: Obs = map_space(leaf, self.space, obs)
        return standardized

    def seen(self, obs: Obs) -> Standardizer:
        """Return the statistics after one more batch of observations [B, ...]. Chan et al. (1979), equation 2.1."""
        boxes: list[Array] = []
        map_space(lambda kind, x: boxes.append(x.astype(jnp.float32)) if is_numbers(kind) else None, self.space, obs)
        if not boxes:
            return self
        n, (means, variances) = boxes[0].shape[0], ([], [])
        total = self.count + n
        for mean, variance, x in zip(self.means, self.variances, boxes, strict=True):
            gap = jnp.mean(x, axis=0) - mean
            squares = variance * self.count + jnp.var(x, axis=0) * n + jnp.square(gap) * self.count * n / total
            means.append(mean + gap * n / total)
            variances.append(squares / total)
        arrays = tuple(means), tuple(variances), jnp.minimum(total, 1e7)  # float32 cannot count much further
        new: Standardizer = eqx.tree_at(lambda s: (s.means, s.variances, s.count), self, arrays)
        return new


def is_numbers(leaf: Leaf) -> bool:
    """Whether a leaf is a Box of unbounded numbers; bytes are too, except in an image."""
    return isinstance(leaf, Box) and (leaf.dtype == "float32" or (leaf.dtype != "bool" and not image_of(leaf)))
