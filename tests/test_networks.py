"""Networks against NumPy: each layer, each torso, the heads, the ensemble, and parameters by name."""

import functools
import math
import os
import re
import subprocess
import sys
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import expit
from scipy.stats import ks_2samp, kstest, norm

from bellmax.contracts import Box, ConfigError, Discrete, Masked, MultiDiscrete
from bellmax.keys import make_key
from bellmax.networks import layers, packing
from bellmax.networks.convolution import Conv, by_products, by_xla, product
from bellmax.networks.network import (
    GRID,
    Ensemble,
    Head,
    ImplicitHead,
    Spec,
    Stream,
    TorsoAndHead,
    make_network,
    skeleton,
    with_noise,
)
from bellmax.networks.packing import from_named, to_named
from bellmax.networks.torsos import BUILT_IN, TORSOS, choose_torso, flat, flat_size, register_network

PLAIN = Spec("auto", (16, 8), "none", False, False, "none", 0, 0, 0, 0.0)
X = jnp.linspace(-1.0, 1.0, 5)


def numbers(seed: int, *shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), jnp.float32)


@eqx.filter_jit
def run(module: Any, *inputs: Any) -> Any:
    """`module(*inputs)`, compiled as a whole: sooner than one operation after the other."""
    return module(*inputs)


@eqx.filter_jit
def noisy_output(module: Any, key: jax.Array, x: jax.Array) -> Any:
    return with_noise(module, key)(x)


def count(module: Any) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(module))


def dense(layer: Any, x: Any) -> np.ndarray:
    """W x + b in float64."""
    return np.asarray(layer.weight, np.float64) @ np.asarray(x, np.float64) + np.asarray(layer.bias, np.float64)


def relu(x: np.ndarray) -> np.ndarray:
    return np.maximum(x, 0.0)


@functools.cache
def fresh(spec: Spec, seed: int = 0) -> Any:
    """A network from 5 numbers to 3 actions."""
    return make_network(Box((5,)), 3, spec, make_key(seed))


# layers


def test_dense_layer_and_its_first_weights() -> None:
    layer = layers.Dense(400, 300, make_key(0))
    x = numbers(0, 400)
    np.testing.assert_allclose(layer(x), dense(layer, x), rtol=1e-4, atol=1e-5)
    scaled = np.asarray(layer.weight).ravel() * math.sqrt(400)
    assert kstest(scaled, "uniform", (-1, 2)).pvalue > 1e-3
    assert kstest(np.asarray(layer.bias) * math.sqrt(400), "uniform", (-1, 2)).pvalue > 1e-3


def test_norm_equals_numpy() -> None:
    layer = layers.Norm((3, 4))
    layer = eqx.tree_at(lambda n: (n.scale, n.shift), layer, (numbers(0, 3, 4), numbers(1, 3, 4)))
    x = 5.0 + 3.0 * np.asarray(numbers(2, 3, 4), np.float64)
    expected = (x - x.mean()) / np.sqrt(x.var() + 1e-5) * np.asarray(layer.scale) + np.asarray(layer.shift)
    np.testing.assert_allclose(run(layer, jnp.asarray(x, jnp.float32)), expected, rtol=1e-4, atol=1e-5)
    assert jnp.isfinite(jax.jit(jax.grad(lambda y: layer(y).sum()))(jnp.ones((3, 4)))).all()  # no spread at all


def test_noisy_layer_without_noise_is_the_dense_one() -> None:
    noisy, plain = layers.NoisyDense(5, 3, make_key(0)), layers.Dense(5, 3, make_key(0))
    np.testing.assert_array_equal(noisy(X), plain(X))
    np.testing.assert_allclose(noisy.weight_sigma, np.full((3, 5), 0.5 / math.sqrt(5)), rtol=1e-6)
    np.testing.assert_allclose(noisy.bias_sigma, np.full(3, 0.5 / math.sqrt(5)), rtol=1e-6)
    np.testing.assert_array_equal(noisy.draw(jnp.zeros(8))(X), plain(X))


def test_noise_is_factorised() -> None:
    """ε = f(outer) f(inner)ᵀ with f(x) = sgn(x) √|x|, and the bias has f(outer)."""
    layer, noise = layers.NoisyDense(5, 3, make_key(0)), numbers(1, 8)
    f = np.sign(noise) * np.sqrt(np.abs(noise))
    drawn = layer.draw(noise)
    sigma = 0.5 / math.sqrt(5)
    np.testing.assert_allclose(drawn.weight, layer.weight + sigma * np.outer(f[5:], f[:5]), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(drawn.bias, layer.bias + sigma * f[5:], rtol=1e-5, atol=1e-6)
    gradient = jax.grad(lambda layer: layer.draw(noise)(X).sum(), allow_int=True)(layer)
    expected = np.outer(f[5:], f[:5] * np.asarray(X))
    np.testing.assert_allclose(gradient.weight_sigma, expected, rtol=1e-5, atol=1e-6)


def draws_of_noise(n: int) -> tuple[np.ndarray, np.ndarray]:
    """ε of both layers of a noisy head, with n keys: of the weights [n, 2], and of a bias [n, 2]."""
    spec = PLAIN._replace(noisy=True)
    head = Head(5, 2, spec, make_key(0))

    def noise(key):
        drawn = with_noise(head, key)
        pairs = list(zip(head.advantage.layers, drawn.advantage.layers, strict=True))
        weights = [((after.weight - before.weight) / before.weight_sigma)[1, 3] for before, after in pairs]
        biases = [((after.bias - before.bias) / before.bias_sigma)[0] for before, after in pairs]
        return jnp.stack(weights), jnp.stack(biases)

    weights, biases = jax.jit(jax.vmap(noise))(jax.random.split(make_key(7), n))
    return np.asarray(weights), np.asarray(biases)


def test_noise_has_the_distribution_of_products() -> None:
    weights, biases = draws_of_noise(5_000)
    x, y = np.random.default_rng(0).normal(size=(2, 50_000))
    products = np.sign(x * y) * np.sqrt(np.abs(x * y))
    for layer in range(2):
        assert kstest(biases[:, layer], lambda f: norm.cdf(np.sign(f) * f**2)).pvalue > 1e-3
        assert ks_2samp(weights[:, layer], products).pvalue > 1e-3
    assert np.abs(weights.mean(axis=0)).max() < 4 / np.sqrt(5_000)  # its standard deviation is 0.8
    for one, other in ((weights[:, 0], weights[:, 1]), (biases[:, 0], biases[:, 1]), (weights[:, 0], biases[:, 0])):
        assert abs(np.corrcoef(one, other)[0, 1]) < 4 / np.sqrt(5_000)


def test_noise_follows_its_key() -> None:
    network = make_network(Box((5,)), 3, PLAIN._replace(noisy=True, dueling=True), make_key(0))
    one, same, other = (noisy_output(network, make_key(k), X) for k in (1, 1, 2))
    np.testing.assert_array_equal(one, same)
    assert (one != other).all()
    assert (one != run(network, X)).all()
    plain = fresh(PLAIN)
    assert with_noise(plain, make_key(1)) is plain


def with_singular_values(values: list[float], shape: tuple[int, int], seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    u, v = (np.linalg.qr(rng.normal(size=(n, n)))[0] for n in shape)
    k = len(values)
    return (u[:, :k] * values) @ v[:, :k].T


norm_and_gradient = jax.jit(jax.value_and_grad(layers.spectral_norm))


@pytest.mark.parametrize("shape", [(2, 7), (20, 4), (64, 64)])
def test_spectral_norm_equals_numpy_where_there_is_a_gap(shape: tuple[int, int]) -> None:
    for seed in range(3):
        weight = with_singular_values([5.0, 1.0], shape, seed)
        ours, gradient = norm_and_gradient(jnp.asarray(weight, jnp.float32))
        assert float(ours) == pytest.approx(np.linalg.norm(weight, 2), rel=1e-5)
        u, _, v = np.linalg.svd(weight)
        np.testing.assert_allclose(gradient, np.outer(u[:, 0], v[0]), atol=1e-4)


@pytest.mark.parametrize("shape", [(64, 4), (64, 64), (8, 64), (64, 576), (3, 1)])
def test_spectral_norm_of_fresh_layers_is_within_1_percent_and_never_above(shape: tuple[int, int]) -> None:
    """Their singular values lie close together, where a power iteration would come only so far."""
    for seed in range(5):
        weight = layers.Dense(shape[1], shape[0], make_key(seed)).weight
        exact = np.linalg.norm(np.asarray(weight, np.float64), 2)
        assert 0.99 * exact < float(norm_and_gradient(weight)[0]) < exact * (1 + 1e-5)


def test_spectral_norm_of_few_directions() -> None:
    """Where the products soon span nothing new: no direction is made of rounding."""
    for rank in (0, 1, 3):
        weight = with_singular_values([float(k + 1) for k in range(rank)], (20, 30), 0)
        ours, gradient = norm_and_gradient(jnp.asarray(weight, jnp.float32))
        assert float(ours) == pytest.approx(rank, rel=1e-5, abs=1e-6)
        assert jnp.isfinite(gradient).all()


def test_spectral_layer_divides_by_norms_above_1_only() -> None:
    layer = layers.SpectralDense(5, 5, make_key(0))
    large, small = (with_singular_values([s, 0.1], (5, 5), 0) for s in (4.0, 0.5))
    for weight, divisor in ((large, 4.0), (small, 1.0)):
        layer = eqx.tree_at(lambda n: n.weight, layer, jnp.asarray(weight, jnp.float32))
        expected = weight @ np.asarray(X) / divisor + np.asarray(layer.bias)
        np.testing.assert_allclose(run(layer, X), expected, rtol=1e-4, atol=1e-5)
    layer = eqx.tree_at(lambda n: n.weight, layer, jnp.zeros((5, 5)))
    np.testing.assert_array_equal(layer(X), layer.bias)
    assert all(jnp.isfinite(g).all() for g in jax.tree.leaves(jax.jit(jax.grad(lambda n: n(X).sum()))(layer)))


def convolve(conv: Conv, image: np.ndarray) -> np.ndarray:
    """One output at a time; if `same`, padded so that ceil(size / stride) come out, the odd one at the end."""
    weight, size, stride = np.asarray(conv.weight, np.float64), conv.weight.shape[0], conv.stride
    if conv.same:
        image = pad_same(image, size, stride, 0.0)
    rows, columns = ((n - size) // stride + 1 for n in image.shape[:2])
    out = np.empty((rows, columns, weight.shape[-1]))
    for i in range(rows):
        for j in range(columns):
            patch = image[i * stride : i * stride + size, j * stride : j * stride + size]
            out[i, j] = np.tensordot(patch, weight, 3) + np.asarray(conv.bias)
    return out


def pad_same(image: np.ndarray, size: int, stride: int, value: float) -> np.ndarray:
    pads = []
    for n in image.shape[:2]:
        total = max((-(-n // stride) - 1) * stride + size - n, 0)
        pads.append((total // 2, total - total // 2))
    return np.pad(image, [*pads, (0, 0)], constant_values=value)


@pytest.mark.parametrize(("size", "stride", "same"), [(3, 1, False), (4, 2, False), (3, 1, True), (3, 2, True)])
def test_convolution_equals_numpy(size: int, stride: int, same: bool) -> None:
    conv = Conv(2, 3, size, stride, make_key(0), same)
    image = numbers(0, 7, 6, 2)
    np.testing.assert_allclose(conv(image), convolve(conv, np.asarray(image, np.float64)), rtol=1e-4, atol=1e-5)
    assert float(jnp.abs(conv.weight).max()) < 1 / math.sqrt(2 * size * size)


def lstm(kernel: Any, carry: Any, x: np.ndarray, size: int) -> Any:
    h, c = carry
    z = dense(kernel, np.concatenate([x, h]))
    i, f, o = (expit(z[k * size : (k + 1) * size]) for k in (0, 1, 3))
    c = f * c + i * np.tanh(z[2 * size : 3 * size])
    h = o * np.tanh(c)
    return (h, c), h


def test_lstm_equals_numpy_over_time() -> None:
    cell = layers.LSTM(5, 4, make_key(0))
    assert cell.kernel.bias[4:8].tolist() == [1.0] * 4
    assert all((part == 0).all() and part.shape == (4,) for part in cell.begin())
    carry, expected = cell.begin(), (np.zeros(4), np.zeros(4))
    for t in range(6):
        carry, out = cell(carry, 2.0 * numbers(t, 5))
        expected, out_np = lstm(cell.kernel, expected, 2.0 * np.asarray(numbers(t, 5), np.float64), 4)
        np.testing.assert_allclose(out, out_np, rtol=1e-4, atol=1e-5)
        for one, other in zip(carry, expected, strict=True):
            np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


def test_gru_equals_numpy_over_time() -> None:
    cell = layers.GRU(5, 4, make_key(0))
    carry, h = cell.begin(), np.zeros(4)
    assert carry.tolist() == [0.0] * 4
    for t in range(6):
        carry, out = cell(carry, 2.0 * numbers(t, 5))
        x = 2.0 * np.asarray(numbers(t, 5), np.float64)
        update, reset = np.split(expit(dense(cell.gates, np.concatenate([x, h]))), 2)
        candidate = np.tanh(dense(cell.candidate_x, x) + reset * dense(cell.candidate_h, h))
        h = update * h + (1 - update) * candidate
        np.testing.assert_allclose(out, h, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(out, carry)


# torsos


def test_flat_observations() -> None:
    space = (Discrete(3), Box((2, 2)), Box((2,), "uint8"), Box((1, 1, 2), "uint8"), MultiDiscrete((2, 3)))
    matrix, image = jnp.array([[1.0, 2.0], [3.0, 4.0]]), jnp.array([[[0, 51]]], jnp.uint8)
    obs = (jnp.int32(1), matrix, jnp.array([0, 51], jnp.uint8), image, jnp.array([1, 0]))
    expected = [0, 1, 0, 1, 2, 3, 4, 0, 51, 0, 0.2, 0, 1, 1, 0, 0]  # bytes are from 0 to 1 in images alone
    np.testing.assert_allclose(flat(space, obs), expected, rtol=1e-6)
    assert flat_size(space) == 16
    assert flat(Discrete(4), jnp.int32(3)).tolist() == [0, 0, 0, 1]


@pytest.mark.parametrize("normalization", ["none", "layer", "spectral"])
def test_mlp_equals_numpy(normalization: str) -> None:
    torso = TORSOS["mlp"](Box((5,)), (7, 6), normalization, make_key(0))
    x = np.asarray(X, np.float64)
    for k, layer in enumerate(torso.layers):
        if normalization == "spectral":
            above = max(1.0, np.linalg.norm(np.asarray(layer.weight, np.float64), 2))
            x = (dense(layer, x) - np.asarray(layer.bias)) / above + np.asarray(layer.bias)
        else:
            x = dense(layer, x)
        x = relu(np.asarray(torso.norms[k](jnp.asarray(x, jnp.float32))) if normalization == "layer" else x)
    np.testing.assert_allclose(torso(X), x, rtol=1e-4, atol=1e-5)
    assert len(torso.norms) == (2 if normalization == "layer" else 0)


STAGES = [(4, 16), (16, 32), (32, 32)]
IMPALA = sum(9 * n * m + m + 4 * (9 * m * m + m) for n, m in STAGES)


@pytest.mark.parametrize(
    ("name", "space", "normalization", "parameters", "features"),
    [
        ("mlp", Box((4,)), "none", 4 * 16 + 16 + 16 * 8 + 8, 8),
        ("mlp", Box((4,)), "spectral", 4 * 16 + 16 + 16 * 8 + 8, 8),
        ("mlp", (Box((4,)), Discrete(3)), "layer", 7 * 16 + 16 + 16 * 8 + 8 + 2 * (16 + 8), 8),
        ("minatar", Box((10, 10, 4), "bool"), "none", 9 * 4 * 16 + 16, 8 * 8 * 16),
        ("minatar", Box((10, 10, 4), "bool"), "layer", 9 * 4 * 16 + 16 + 2 * 8 * 8 * 16, 8 * 8 * 16),
        ("nature", Box((84, 84, 4), "uint8"), "none", 77_984, 3136),  # 1,687,206 with 512 units and 6 actions
        ("efficient", Box((84, 84, 4), "uint8"), "none", 54_496, 576),
        ("impala", Box((64, 64, 4), "uint8"), "none", IMPALA, 8 * 8 * 32),
        ("impala", Box((64, 64, 4), "uint8"), "spectral", IMPALA, 8 * 8 * 32),
        ("impala", Box((64, 64, 4), "uint8"), "layer", IMPALA + 2 * 5 * (16 + 32 + 32), 8 * 8 * 32),
    ],
)
def test_parameters_and_features_of_each_torso(name, space, normalization, parameters, features) -> None:
    torso = jax.eval_shape(lambda key: TORSOS[name](space, (16, 8), normalization, key), make_key(0))
    assert count(torso) == parameters
    obs = (jnp.zeros(4), jnp.int32(0)) if name == "mlp" and normalization == "layer" else jnp.zeros(space.shape)
    assert jax.eval_shape(lambda module, x: module(x), torso, obs).shape == (features,)


def test_the_nature_network_has_the_size_of_the_paper() -> None:
    """1,685,667 weights and biases with 3 actions; the torso, 512 units, and a linear layer."""
    network = jax.eval_shape(lambda: make_network(Box((84, 84, 4)), 3, PLAIN._replace(widths=(512,)), make_key(0)))
    assert count(network) == 77_984 + (3136 * 512 + 512) + (512 * 3 + 3)


@pytest.mark.parametrize(("name", "side"), [("minatar", 10), ("nature", 36), ("efficient", 25), ("impala", 6)])
def test_channels_first_are_channels_last(name: str, side: int) -> None:
    """With the same weights, and bytes as shares of 255."""
    image = np.random.default_rng(0).integers(0, 256, (side, side + 1, 3), np.uint8)
    last = TORSOS[name](Box(image.shape, "uint8"), (), "layer", make_key(0))
    moved = np.moveaxis(image, -1, 0)
    first = TORSOS[name](Box(moved.shape, "uint8"), (), "layer", make_key(0))
    seen = run(last, jnp.asarray(image))
    np.testing.assert_allclose(seen, run(first, jnp.asarray(moved)), rtol=1e-4, atol=1e-5)
    floats = TORSOS[name](Box(image.shape), (), "layer", make_key(0))
    np.testing.assert_allclose(seen, run(floats, jnp.asarray(image / 255.0, jnp.float32)), atol=1e-5)
    assert float(jnp.abs(seen).max()) > 0


def loud(torso: Any) -> Any:
    """The torso with weights of a norm above 1, and scales and shifts that are not those of the start."""
    moved = {name: leaf * (5.0 if "weight" in name else 1.5) + 0.1 for name, leaf in to_named(torso).items()}
    return from_named(torso, moved)


def normalized(conv: Conv, norm_layer: Any, image: np.ndarray) -> np.ndarray:
    """A convolution under its normalization: over all of its output, or of its weight as a matrix, or none."""
    if conv.spectral:
        matrix = np.asarray(conv.weight, np.float64).reshape(-1, conv.weight.shape[-1])
        conv = eqx.tree_at(lambda c: c.weight, conv, conv.weight / max(1.0, np.linalg.norm(matrix, 2)))
    out = convolve(conv, image)
    if norm_layer is None:
        return out
    scale, shift = (np.asarray(part, np.float64) for part in (norm_layer.scale, norm_layer.shift))
    return (out - out.mean()) / np.sqrt(out.var() + 1e-5) * scale + shift


@pytest.mark.parametrize("normalization", ["none", "layer", "spectral"])
def test_convolutional_torso_equals_numpy(normalization: str) -> None:
    torso = loud(TORSOS["nature"](Box((40, 36, 2)), (), normalization, make_key(0)))
    image = numbers(0, 40, 36, 2)
    x = np.asarray(image, np.float64)
    for conv, layer in zip(torso.layers, torso.norms or (None,) * 3, strict=True):
        x = relu(normalized(conv, layer, x))
    seen, size = run(torso, image), np.abs(x).max()
    np.testing.assert_allclose(seen, x.ravel(), rtol=1e-3, atol=1e-2 * size if normalization == "spectral" else 1e-4)
    assert size > 0.1


@pytest.mark.parametrize("normalization", ["none", "layer", "spectral"])
def test_impala_equals_numpy(normalization: str) -> None:
    torso = loud(TORSOS["impala"](Box((6, 5, 2)), (), normalization, make_key(0)))
    image = numbers(0, 6, 5, 2)
    x = np.asarray(image, np.float64)
    for stage, norms in zip(torso.stages, torso.norms or ((None,) * 5,) * 3, strict=True):
        x = pad_same(normalized(stage[0], norms[0], x), 3, 2, -np.inf)
        rows, columns = ((n - 3) // 2 + 1 for n in x.shape[:2])
        x = np.array(
            [[x[2 * i : 2 * i + 3, 2 * j : 2 * j + 3].max((0, 1)) for j in range(columns)] for i in range(rows)]
        )
        for k in (1, 3):
            inner = normalized(stage[k], norms[k], relu(x))
            x = x + normalized(stage[k + 1], norms[k + 1], relu(inner))
    seen, size = run(torso, image), np.abs(x).max()
    wide = 2e-2 * size if normalization == "spectral" else 1e-4 * size  # spectral norms are within 1 %
    np.testing.assert_allclose(seen, relu(x).ravel(), rtol=1e-3, atol=wide)


def test_auto_chooses_by_the_observation() -> None:
    assert choose_torso("auto", Box((4,))) == "mlp"
    assert choose_torso("auto", (Box((10, 10, 4)), Discrete(2))) == "combined"
    assert choose_torso("auto", (Box((10,)), Discrete(2))) == "mlp"
    assert choose_torso("auto", Box((10, 10, 4), "bool")) == "minatar"
    assert (
        choose_torso("auto", Box((84, 84, 4), "uint8")) == choose_torso("auto", Box((4, 84, 84), "uint8")) == "nature"
    )
    assert choose_torso("impala", Box((4,))) == "impala"


def test_torsos_that_do_not_fit_say_so() -> None:
    with pytest.raises(ConfigError, match="did you mean 'impala'"):
        make_network(Box((4,)), 2, PLAIN._replace(torso="impalla"), make_key(0))
    with pytest.raises(ConfigError, match="use network='mlp'"):
        make_network(Box((4,)), 2, PLAIN._replace(torso="nature"), make_key(0))
    with pytest.raises(ConfigError, match=r"images of \(20, 20, 3\) are too small .* network='minatar'"):
        make_network(Box((20, 20, 3)), 2, PLAIN._replace(torso="nature"), make_key(0))


class Twice(eqx.Module):
    """A torso of one's own: observations times a learned factor."""

    factor: jax.Array

    def __call__(self, obs: jax.Array) -> jax.Array:
        return obs * self.factor


def test_a_torso_of_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TORSOS, "twice", None)  # so that it is gone afterwards
    asked = []

    def make(space, widths, normalization, key):
        asked.append((space, widths, normalization))
        return Twice(jnp.float32(2.0))

    register_network("twice", make)
    network = make_network(Box((5,)), 3, PLAIN._replace(torso="twice"), make_key(0))
    assert asked == [(Box((5,)), (16,), "none")]
    np.testing.assert_array_equal(network(X), network.head(2.0 * X))
    assert "torso.factor" in to_named(network)


@pytest.mark.parametrize(
    ("name", "make", "said"),
    [
        *[(name, Twice, f"'{name}' is a network of bellmax") for name in (*BUILT_IN, "MLP", "m-l-p")],
        (None, Twice, "`name` must be a string with letters or digits; got None"),
        ([], Twice, "`name` must be a string"),
        ("", Twice, "`name` must be a string"),
        (" ", Twice, "`name` must be a string"),
        ("mine", 3, "`make` must be a function of"),
        ("mine", None, "`make` must be a function of"),
        ("mine", [], "`make` must be a function of"),
    ],
)
def test_what_cannot_be_a_torso_of_ones_own(name: Any, make: Any, said: str) -> None:
    before = dict(TORSOS)
    with pytest.raises(ConfigError, match=re.escape(said)):
        register_network(name, make)
    assert before == TORSOS


class Answering(eqx.Module):
    """A layer that answers in a way of its own."""

    weight: jax.Array
    answer: Any = eqx.field(static=True)

    def __call__(self, obs: Any) -> Any:
        return self.answer(self.weight @ obs)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (lambda x: x[None], "must map one observation, Box(shape=(5,), dtype='float32'), to features: one array of "
         "real numbers [F]; got float32 [1, 4]"),
        (lambda x: x[0], "[F]; got float32 []"),
        (lambda x: x[:0], "[F]; got float32 [0]"),
        (lambda x: (x, x), "[F]; got (float32 [4], float32 [4])"),
        (lambda x: {"x": x}, "[F]; got {'x': float32 [4]}"),
        (lambda x: x.astype(int), "[F]; got int32 [4]"),
        (lambda x: None, "[F]; got None"),
        (lambda x: x @ X, "cannot be made for observations Box(shape=(5,), dtype='float32'): TypeError: "),
        (lambda x: "x", "must return an Equinox module that maps one observation to features [F]"),
    ],
)  # fmt: skip
def test_a_network_of_ones_own_that_does_not_return_features(
    answer: Any, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TORSOS, "own", lambda space, widths, normalization, key: Answering(jnp.ones((4, 5)), answer))
    with pytest.raises(ConfigError, match=re.escape(said)) as error:
        make_network(Box((5,)), 3, PLAIN._replace(torso="own"), make_key(0))
    assert str(error.value).startswith("network 'own' ")
    assert ("dot_general" in str(error.value)) == (f"at {__file__}:" in str(error.value))


@pytest.mark.parametrize("make", [lambda space, key: None, lambda space, widths, normalization, key: None])
def test_a_function_that_does_not_make_a_network(make: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TORSOS, "own", make)
    said = r"^network 'own' cannot be made .*; make\(space, widths, normalization, key\) must return an Equinox module"
    with pytest.raises(ConfigError, match=said):
        make_network(Box((5,)), 3, PLAIN._replace(torso="own"), make_key(0))


# heads


def stream(module: Stream, x: Any) -> np.ndarray:
    *hidden, last = module.layers
    for layer in hidden:
        x = relu(dense(layer, x))
    return dense(last, x)


@pytest.mark.parametrize("n_outputs", [0, 1, 6])
def test_plain_head_equals_numpy(n_outputs: int) -> None:
    head = Head(5, 3, PLAIN._replace(n_outputs=n_outputs), make_key(0))
    expected = stream(head.advantage, X).reshape((3, n_outputs) if n_outputs else (3,))
    np.testing.assert_allclose(head(X), expected, rtol=1e-4, atol=1e-6)
    assert [layer.weight.shape for layer in head.advantage.layers] == [(8, 5), (3 * max(1, n_outputs), 8)]
    assert head.value is None


@pytest.mark.parametrize("n_outputs", [0, 6])
def test_dueling_head_is_value_plus_centered_advantage(n_outputs: int) -> None:
    """So the mean over actions is the value, whatever the advantages are; each stream has half of the width."""
    head = Head(5, 3, PLAIN._replace(n_outputs=n_outputs, dueling=True), make_key(0))
    advantage, value = stream(head.advantage, X).reshape(3, -1), stream(head.value, X)
    expected = value + advantage - advantage.mean(axis=0)
    np.testing.assert_allclose(head(X), expected if n_outputs else expected[:, 0], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(head(X).mean(axis=0), value if n_outputs else value[0], rtol=1e-4, atol=1e-6)
    assert head.advantage.layers[0].weight.shape == head.value.layers[0].weight.shape == (4, 5)


def test_noise_and_norms_are_where_the_spec_says() -> None:
    def kinds(**options: Any) -> list[type]:
        return [type(layer) for layer in Stream(5, (8,), 3, PLAIN._replace(**options), make_key(0)).layers]

    assert kinds() == kinds(normalization="layer") == [layers.Dense, layers.Dense]
    assert kinds(normalization="spectral") == [layers.SpectralDense, layers.Dense]
    assert kinds(noisy=True) == [layers.NoisyDense, layers.NoisyDense]
    module = Stream(5, (8,), 3, PLAIN._replace(normalization="layer"), make_key(0))
    first, last = module.layers
    hidden = relu(np.asarray(module.norms[0](first(X))))
    np.testing.assert_allclose(module(X), dense(last, hidden), rtol=1e-4, atol=1e-6)
    assert [type(layer) for layer in Stream(5, (), 3, PLAIN, make_key(0)).layers] == [layers.Dense]


IMPLICIT = PLAIN._replace(n_cosines=7)


def levels_of(head: ImplicitHead) -> Any:
    """The function of levels that the head gives for X, compiled."""
    return jax.jit(lambda taus: head(X)(taus))


@pytest.mark.parametrize("dueling", [False, True])
def test_implicit_head_equals_its_formula_at_the_middle_of_each_cell(dueling: bool) -> None:
    """Q_τ = head(ψ(x) ⊙ relu(W cos(π i τ) + b)), i from 1; a level is worth the middle of its cell of 1/1024."""
    head = ImplicitHead(5, 3, IMPLICIT._replace(dueling=dueling), make_key(0))
    taus = (np.array([0, 1, 300, GRID - 1]) + 0.5) / GRID
    expected = []
    for tau in taus:
        cosines = np.cos(np.pi * np.arange(1, 8) * tau)
        x = np.asarray(X) * relu(dense(head.embedding, cosines))
        q = stream(head.head.advantage, x)
        expected.append(stream(head.head.value, x) + q - q.mean() if dueling else q)
    np.testing.assert_allclose(
        levels_of(head)(jnp.asarray(taus, jnp.float32)), np.stack(expected, 1), rtol=1e-4, atol=1e-6
    )


def test_levels_of_one_cell_are_alike_and_of_another_not() -> None:
    at = levels_of(ImplicitHead(5, 3, IMPLICIT, make_key(0)))
    edges = np.arange(0, GRID, 100)
    low, middle, high = (at(jnp.asarray((edges + share) / GRID, jnp.float32)) for share in (0.0, 0.5, 0.99))
    np.testing.assert_array_equal(low, middle)
    np.testing.assert_array_equal(high, middle)
    assert (middle[:, 1:] != middle[:, :-1]).all()
    np.testing.assert_array_equal(at(jnp.array([1.0])), at(jnp.array([(GRID - 0.5) / GRID])))  # the last cell is closed


@pytest.mark.parametrize("n_levels", [1, 2, 32])
def test_implicit_head_gives_a_column_for_each_level(n_levels: int) -> None:
    at = levels_of(ImplicitHead(5, 3, IMPLICIT, make_key(0)))
    taus = jnp.linspace(0.05, 0.95, n_levels)
    assert at(taus).shape == (3, n_levels)
    np.testing.assert_allclose(at(taus)[:, -1:], at(taus[-1:]), rtol=1e-5, atol=1e-6)


# networks


def test_a_network_is_its_torso_and_its_head() -> None:
    network = fresh(PLAIN)
    assert isinstance(network, TorsoAndHead)
    assert count(network) == (5 * 16 + 16) + (16 * 8 + 8) + (8 * 3 + 3)
    np.testing.assert_array_equal(network(X), network.head(network.torso(X)))
    assert network.begin() == ()
    assert network.remember((), X) == ((), X)
    other = fresh(PLAIN, 1)
    assert (network(X) != other(X)).all()


@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_a_recurrent_network_remembers(cell: str) -> None:
    """What the head sees depends on what came before; the cell is as wide as the last hidden layer."""
    network = make_network(Box((5,)), 3, PLAIN._replace(cell=cell), make_key(0))
    features = network.torso(X)
    carry, first = network.remember(network.begin(), features)
    _, second = network.remember(carry, features)
    assert first.shape == (8,)
    assert (first != second).all()
    assert network.head(first).shape == (3,)
    np.testing.assert_array_equal(network.remember(network.begin(), features)[1], first)


def test_networks_do_not_see_masks() -> None:
    masked = make_network(Masked(Box((5,)), Box((3,), "bool")), 3, PLAIN, make_key(0))
    np.testing.assert_array_equal(masked(X), fresh(PLAIN)(X))


# the ensemble

MANY = PLAIN._replace(n_members=4, prior_scale=3.0)


@functools.cache
def ensemble() -> Ensemble:
    return fresh(MANY)


def one_of(stacked: TorsoAndHead, k: int) -> TorsoAndHead:
    return jax.tree.map(lambda leaf: np.asarray(leaf)[k], stacked)


def test_each_member_is_a_network_and_its_prior() -> None:
    """Learned plus β times fixed, member by member, all of them different."""
    module = ensemble()
    output = run(module, X)
    assert output.shape == (4, 3)
    for k in range(4):
        member, prior = (one_of(part, k) for part in (module.members, module.priors))
        np.testing.assert_allclose(output[k], run(member, X) + 3.0 * run(prior, X), rtol=1e-5, atol=1e-6)
    weights = [module.members.head.advantage.layers[0].weight, module.priors.head.advantage.layers[0].weight]
    assert len({np.asarray(one).tobytes() for weight in weights for one in weight}) == 8


def test_priors_have_no_gradient() -> None:
    gradient = jax.jit(jax.grad(lambda module: module(X)[1].sum()))(ensemble())
    assert all((leaf == 0.0).all() for leaf in jax.tree.leaves(gradient.priors))
    for leaf in jax.tree.leaves(gradient.members):
        assert (np.asarray(leaf)[[0, 2, 3]] == 0.0).all()
        assert (np.asarray(leaf)[1] != 0.0).any()


# parameters

SPECS = {
    "plain": PLAIN,
    "everything": Spec("auto", (16, 8), "layer", True, True, "lstm", 6, 0, 0, 0.0),
    "implicit": IMPLICIT,
    "ensemble": MANY,
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_parameters_go_by_name_and_come_back(spec: Spec) -> None:
    network = fresh(spec)
    blank = jax.tree.map(jnp.zeros_like, network)
    named = to_named(network)
    assert all(name.replace(".", "_").isidentifier() for name in named)
    assert sum(leaf.size for leaf in named.values()) == count(network)
    back = from_named(blank, {name: np.asarray(named[name]) for name in sorted(named)})
    assert jax.tree.structure(back) == jax.tree.structure(network)
    for one, other in zip(jax.tree.leaves(network), jax.tree.leaves(back), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_parameters_are_one_vector_and_come_back(spec: Spec) -> None:
    network = fresh(spec)
    pack, unpack = packing.by_vector(network)
    vector = pack(network)
    assert vector.shape == (count(network),)
    for one, other in zip(jax.tree.leaves(network), jax.tree.leaves(unpack(vector)), strict=True):
        np.testing.assert_array_equal(one, other)
    shapes = [leaf.shape for leaf in jax.tree.leaves(jax.eval_shape(lambda: skeleton(Box((5,)), 3, spec)))]
    assert shapes == [leaf.shape for leaf in jax.tree.leaves(network)]


def test_large_arrays_stay_beside_the_vector_of_the_others() -> None:
    network = make_network(Box((4, 84, 84), dtype="uint8"), 6, PLAIN._replace(widths=(512,)), make_key(3))
    pack, unpack = packing.by_vector(network)
    vector, *large = pack(network)
    assert [leaf.shape for leaf in large] == [(512, 3136)]
    assert vector.shape == (count(network) - 512 * 3136,)
    for one, other in zip(jax.tree.leaves(network), jax.tree.leaves(unpack((vector, *large))), strict=True):
        np.testing.assert_array_equal(one, other)


def test_names_are_paths() -> None:
    assert list(to_named(fresh(PLAIN))) == [
        f"{part}.{k}.{array}"
        for part, k in (("torso.layers", 0), ("head.advantage.layers", 0), ("head.advantage.layers", 1))
        for array in ("weight", "bias")
    ]


def test_parameters_that_do_not_fit_are_refused() -> None:
    network = fresh(PLAIN)
    named = to_named(network)
    missing = {name: leaf for name, leaf in named.items() if name != "torso.layers.0.bias"}
    wrong_shape = {**named, "torso.layers.0.bias": jnp.zeros(17)}
    for arrays in (missing, wrong_shape, {**named, "extra": jnp.zeros(1)}, {}):
        with pytest.raises(ValueError, match="do not fit a network of"):
            from_named(network, arrays)


CONVOLUTIONS = [((10, 10, 4), 3, 1, 16), ((84, 84, 4), 8, 4, 32), ((20, 20, 32), 4, 2, 64), ((9, 9, 64), 3, 1, 64)]
ODD = [((9, 12, 3), 4, 2, 5), ((9, 12, 3), 3, 2, 5), ((7, 7, 2), 5, 5, 3), ((6, 5, 8), 2, 1, 2), ((8, 8, 2), 2, 3, 4)]
ODD += [((2, 2, 3), 2, 1, 2), ((2, 5, 3), 2, 1, 2)]


@pytest.mark.parametrize(("shape", "size", "stride", "n_out"), CONVOLUTIONS + ODD)
def test_products_are_the_convolution_of_xla(shape: tuple[int, ...], size: int, stride: int, n_out: int) -> None:
    weight = numbers(1, size, size, shape[-1], n_out) / (size * math.sqrt(shape[-1]))
    images = numbers(2, 3, *shape)

    def loss(by: Any, weight: Any, images: Any) -> Any:
        return jnp.sum(jnp.sin(jax.vmap(lambda image: by(image, weight, stride))(images)))

    out = by_products(images[0], weight, stride)
    np.testing.assert_allclose(out, by_xla(images[0], weight, stride), atol=1e-4)
    ours, xla = (jax.jit(jax.grad(functools.partial(loss, by), (0, 1)))(weight, images) for by in (by_products, by_xla))
    for a, b in zip(ours, xla, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)


def test_size_2_of_a_batch_is_nine_products_of_matrices() -> None:
    weight, images = numbers(1, 2, 2, 3, 4), numbers(2, 5, 8, 7, 3)

    def batch(weight: Any, images: Any) -> Any:
        return jax.vmap(lambda image: by_products(image, weight, 1))(images)

    made = [e for e in jax.make_jaxpr(batch)(weight, images).eqns if e.primitive.name == "product"]
    assert [[v.aval.shape for v in e.invars] for e in made] == [[(5 * 4 * 3, 3), (3, 4)]] * 9


def test_seeds_side_by_side_have_convolutions_of_their_own() -> None:
    weights, images = numbers(1, 3, 2, 2, 3, 4), numbers(2, 3, 5, 8, 7, 3)

    def loss(by: Any, weight: Any, images: Any) -> Any:
        return jnp.sum(jnp.sin(jax.vmap(lambda image: by(image, weight, 1))(images)))

    ours, xla = (
        jax.vmap(jax.grad(functools.partial(loss, by), (0, 1)))(weights, images) for by in (by_products, by_xla)
    )
    for a, b in zip(ours, xla, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-3)


@pytest.mark.parametrize("shape", [(4, 84, 84), (3, 50, 45), (1, 8, 8)])
@pytest.mark.parametrize(("size", "stride"), [(8, 4), (4, 4), (5, 4), (4, 2)])
def test_frames_of_bytes_are_images_from_0_to_1(shape: tuple[int, ...], size: int, stride: int) -> None:
    conv = Conv(shape[0], 6, size, stride, make_key(1))
    frames = jnp.asarray(np.random.default_rng(0).integers(0, 256, shape), jnp.uint8)
    image = jnp.moveaxis(frames, 0, -1).astype(jnp.float32) / 255.0
    expected = by_xla(image, conv.weight, stride) + conv.bias[None, None, :]
    np.testing.assert_allclose(conv.of_frames(frames), expected, atol=1e-5)
    np.testing.assert_allclose(jax.jit(jax.vmap(conv.of_frames))(frames[None])[0], expected, atol=1e-5)


def test_a_product_goes_through_every_order_of_batches_and_gradients() -> None:
    x, y = numbers(3, 5, 7, 3), numbers(4, 3, 2)

    def one(times: Any, y: Any, x: Any) -> Any:
        return jnp.sum(jnp.sin(times(x, y)))

    def of_batch(times: Any, y: Any, x: Any) -> Any:
        return jnp.sum(jax.vmap(functools.partial(one, times, y))(x))

    ways = {
        "one": lambda f: f(x[0], y),
        "jit": lambda f: jax.jit(f)(x[0], y),
        "batch": lambda f: jax.vmap(f, (0, None))(x, y),
        "second axis": lambda f: jax.vmap(f, (1, None))(x, y),
        "batch of both": lambda f: jax.vmap(f)(x, jnp.stack([y] * 5)),
        "batch of the second": lambda f: jax.vmap(f, (None, 2))(x[0], jnp.stack([y] * 5, axis=2)),
        "batches of batches": lambda f: jax.vmap(jax.vmap(f, (0, None)), (0, None))(jnp.stack([x, 2 * x]), y),
        "gradient": lambda f: jax.grad(functools.partial(one, f), (0, 1))(y, x[0]),
        "gradient of a batch": lambda f: jax.grad(functools.partial(of_batch, f), (0, 1))(y, x),
        "batch of gradients": lambda f: jax.vmap(jax.grad(functools.partial(one, f), (0, 1)), (None, 0))(y, x),
        "seeds": lambda f: jax.vmap(jax.grad(functools.partial(of_batch, f), (0, 1)))(
            jnp.stack([y, -y]), jnp.stack([x, 2 * x])
        ),
        "second gradient": lambda f: jax.hessian(functools.partial(one, f))(y, x[0]),
    }
    for name, way in ways.items():
        for a, b in zip(jax.tree.leaves(way(product)), jax.tree.leaves(way(jnp.matmul)), strict=True):
            np.testing.assert_allclose(a, b, atol=1e-5, err_msg=name)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool", "bfloat16", "float16", "float32"])
@pytest.mark.parametrize("size", [2, 3])
def test_a_product_is_of_the_wider_kind(dtype: str, size: int) -> None:
    image, weight = (jnp.arange(144).reshape(6, 6, 4) % 5).astype(dtype), numbers(7, size, size, 4, 5)

    def total(weight: Any) -> Any:
        return jnp.sum(by_products(image, weight, 1))

    narrow = by_products(jnp.float32(image), weight.astype(jnp.bfloat16), 1)
    np.testing.assert_allclose(
        narrow, by_xla(jnp.float32(image), jnp.float32(weight.astype(jnp.bfloat16)), 1), atol=1e-4
    )
    out = jax.jit(lambda weight: by_products(image, weight, 1))(weight)
    assert (out.dtype, jax.jit(jax.grad(total))(weight).dtype) == (jnp.float32, jnp.float32)
    np.testing.assert_allclose(out, by_xla(jnp.float32(image), weight, 1), atol=1e-5)


@pytest.mark.parametrize("size", [2, 3])
def test_a_product_of_nothing_is_empty(size: int) -> None:
    weight, n = numbers(8, size, size, 4, 5), 7 - size
    assert jax.vmap(lambda image: by_products(image, weight, 1))(jnp.ones((0, 6, 6, 4))).shape == (0, n, n, 5)
    assert by_products(jnp.ones((size - 1, 6, 4)), weight, 1).shape == (0, n, 5)


UNUSUAL = """
import sys
import jax
if sys.argv[1] == "moved":
    import jax.interpreters.batching
    del jax.interpreters.batching.fancy_primitive_batchers
import gymnasium as gym
import numpy as np
from bellmax.networks import convolution
assert (convolution.PRODUCT is None) == (sys.argv[1] == "moved")
import bellmax as bx
image, weight = np.random.default_rng(0).normal(size=(6, 5, 3)), np.random.default_rng(1).normal(size=(2, 2, 3, 4))
def total(by, weight):
    return (by(image, weight, 1) ** 2).sum()
for of in (lambda by: by(image, weight, 1), lambda by: jax.grad(total, 1)(by, weight)):
    np.testing.assert_allclose(of(convolution.by_products), of(convolution.by_xla), rtol=1e-3, atol=1e-3)

class Dots(gym.Env):
    observation_space, action_space = gym.spaces.Box(0, 255, (10, 10, 4), np.uint8), gym.spaces.Discrete(2)
    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return self.observation_space.sample(), {}
    def step(self, action):
        self.t += 1
        return self.observation_space.sample(), float(action), self.t == 5, False, {}

run = bx.train(Dots, bx.DQN(net_arch=(16,), learning_starts=16, batch_size=8), steps=200, seeds=1, final_episodes=2)
assert np.isfinite(run.history["train/loss"]).any()
"""


@pytest.mark.slow
@pytest.mark.parametrize("case", ["moved", "x64"])
def test_images_are_learned_from_without_the_primitive_and_with_64_bits(case: str) -> None:
    env = {**os.environ, **({"JAX_ENABLE_X64": "1"} if case == "x64" else {})}
    done = subprocess.run([sys.executable, "-c", UNUSUAL, case], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_gradient_of_a_batch_is_one_product() -> None:
    x, y = numbers(5, 4, 7, 3), numbers(6, 3, 2)
    gradient = jax.make_jaxpr(jax.grad(lambda y: jnp.sum(jax.vmap(lambda x: product(x, y))(x))))(y)
    (dot,) = [e for e in gradient.jaxpr.eqns if e.primitive.name == "dot_general"]
    assert [v.aval.shape for v in dot.invars] == [(2, 28), (28, 3)]  # the shorter axis first
