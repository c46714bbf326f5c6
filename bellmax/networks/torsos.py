"""JAX and Equinox. Torsos, from ONE observation to features [F]. To add one here, add it to `TORSOS`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp

from bellmax.arguments import describe
from bellmax.contracts import Array, BellmaxError, Box, ConfigError, Discrete, Leaf, MultiDiscrete, Obs, Space
from bellmax.networks.convolution import Conv
from bellmax.networks.images import channels_last, height_axis, image_of, image_shape, scaled
from bellmax.networks.layers import Dense, Norm, SpectralDense
from bellmax.registry import Registry, describe_error
from bellmax.spaces import LEAVES, in_words, leaf_size, leaves_of, map_space, zeros
from bellmax.trees import real_shape, shapes_in_words

Torso: TypeAlias = Callable[[Any], Array]  # an Equinox module from ONE observation to features [F]
Make: TypeAlias = Callable[[Space, Sequence[int], str, Array], Torso]


def flat(space: Space, obs: Obs) -> Array:
    """Return one observation as numbers [F]: integers one-hot, images scaled to 0 to 1, other numbers as they are."""
    parts: list[Array] = []

    def add(leaf: Leaf, value: Array) -> None:
        if isinstance(leaf, Discrete):
            parts.append(jax.nn.one_hot(value, leaf.n, dtype=jnp.float32))
        elif isinstance(leaf, MultiDiscrete):
            parts.extend(jax.nn.one_hot(value[i], n, dtype=jnp.float32) for i, n in enumerate(leaf.ns))
        else:
            parts.append(jnp.ravel(scaled(leaf, value)))

    map_space(add, space, obs)
    return jnp.concatenate(parts) if len(parts) > 1 else parts[0]


def flat_size(space: Space) -> int:
    """Return how many numbers `flat` returns."""
    return sum(map(leaf_size, leaves_of(space)))


class MLP(eqx.Module):
    """Linear layers, each with normalization and ReLU.

    Layer normalization keeps off-policy bootstrapping from diverging (Gallici et al., 2024, "Simplifying deep temporal
    difference learning").
    """

    layers: tuple[Dense | SpectralDense, ...]
    norms: tuple[Norm, ...]
    space: Space = eqx.field(static=True)

    def __init__(self, space: Space, widths: Sequence[int], normalization: str, key: Array) -> None:
        sizes = [flat_size(space), *widths]
        keys = jax.random.split(key, len(widths) or 1)
        kind = SpectralDense if normalization == "spectral" else Dense
        self.layers = tuple(kind(n, m, k) for n, m, k in zip(sizes, sizes[1:], keys, strict=False))
        self.norms = tuple(Norm((n,)) for n in widths) if normalization == "layer" else ()
        self.space = space

    def __call__(self, obs: Obs) -> Array:
        """Map one observation to features [F]."""
        layers = self.hidden(obs)
        return layers[-1] if layers else flat(self.space, obs)

    def hidden(self, obs: Obs) -> list[Array]:
        """Return the output of each layer [F] after ReLU, for one observation; the features are the last."""
        outputs: list[Array] = []
        for i, layer in enumerate(self.layers):
            x = layer(outputs[-1] if outputs else flat(self.space, obs))
            outputs.append(jax.nn.relu(self.norms[i](x) if self.norms else x))
        return outputs


class Convolutions(eqx.Module):
    """Convolutions, each with normalization and ReLU; their output is flattened."""

    layers: tuple[Conv, ...]
    norms: tuple[Norm, ...]
    space: Box = eqx.field(static=True)

    def __init__(self, space: Box, plan: Sequence[tuple[int, int, int]], normalization: str, key: Array) -> None:
        shape: tuple[int, ...] = image_shape(space)
        layers, norms = [], []
        for (width, size, stride), k in zip(plan, jax.random.split(key, len(plan)), strict=True):
            conv = Conv(shape[-1], width, size, stride, k, spectral=normalization == "spectral")
            fits = min(shape[:2]) >= size
            shape = jax.eval_shape(conv, jnp.zeros(shape)).shape if fits else ()
            if not fits:
                raise ConfigError(f"images of {space.shape} are too small for this network; use network='minatar'")
            layers.append(conv)
            norms.append(Norm(shape))
        self.layers, self.space = tuple(layers), space
        self.norms = tuple(norms) if normalization == "layer" else ()

    def __call__(self, obs: Array) -> Array:
        """Map one image to features [F]."""
        return jnp.ravel(self.hidden(obs)[-1])

    def hidden(self, obs: Array) -> list[Array]:
        """Return the output of each layer [H, W, C] after ReLU, for one image."""
        first = self.layers[0]
        frames = self.space.dtype == "uint8" and self.space.low is None and height_axis(self.space) == 1
        x = first.of_frames(obs) if frames else first(channels_last(self.space, obs))
        outputs: list[Array] = []
        for i, layer in enumerate(self.layers):
            x = layer(x) if i else x
            x = jax.nn.relu(self.norms[i](x) if self.norms else x)
            outputs.append(x)
        return outputs


class Impala(eqx.Module):
    """Three stages of a convolution, pooling and two residual blocks. Espeholt et al. (2018), figure 3.

    Differs from the figure in: optional normalization of each convolution, with a learned scale and shift per channel.
    """

    stages: tuple[tuple[Conv, ...], ...]
    norms: tuple[tuple[Norm, ...], ...]
    space: Box = eqx.field(static=True)

    def __init__(self, space: Box, width: int, normalization: str, key: Array) -> None:
        n_in, spectral = min(space.shape[0], space.shape[-1]), normalization == "spectral"
        stages, norms = [], []
        for n_out, k in zip((16 * width, 32 * width, 32 * width), jax.random.split(key, 3), strict=True):
            first, *blocks = jax.random.split(k, 5)
            stage = [Conv(n_in, n_out, 3, 1, first, same=True, spectral=spectral)]
            stage += [Conv(n_out, n_out, 3, 1, b, same=True, spectral=spectral) for b in blocks]
            stages.append(tuple(stage))
            norms.append(tuple(Norm((1, 1, n_out)) for _ in stage))
            n_in = n_out
        self.stages, self.space = tuple(stages), space
        self.norms = tuple(norms) if normalization == "layer" else ()

    def __call__(self, obs: Array) -> Array:
        """Map one image to features [F]."""
        x = channels_last(self.space, obs)
        for i, convolutions in enumerate(self.stages):
            layers: list[Callable[[Array], Array]] = list(convolutions)
            if self.norms:
                layers = [with_norm(c, n) for c, n in zip(convolutions, self.norms[i], strict=True)]
            first, *blocks = layers
            x = jax.lax.reduce_window(first(x), -jnp.inf, jax.lax.max, (3, 3, 1), (2, 2, 1), "SAME")
            for one, two in zip(blocks[::2], blocks[1::2], strict=True):
                x = x + two(jax.nn.relu(one(jax.nn.relu(x))))
        return jnp.ravel(jax.nn.relu(x))


def with_norm(convolution: Conv, norm: Norm) -> Callable[[Array], Array]:
    """Return the composition of both."""
    return lambda x: norm(convolution(x))


class Combined(eqx.Module):
    """A torso for each image among the parts of an observation; the other parts are flat."""

    torsos: tuple[Torso, ...]
    space: Space = eqx.field(static=True)

    def __init__(self, space: Space, widths: Sequence[int], normalization: str, key: Array) -> None:
        images = [leaf for leaf in leaves_of(space) if image_of(leaf)]
        if not images:
            raise ConfigError(f"network='combined' needs images among the observations {space}; use network='mlp'")
        keys = jax.random.split(key, len(images))
        kinds = [TORSOS[choose_torso("auto", image)] for image in images]
        self.torsos = tuple(
            kind(image, widths, normalization, k) for kind, image, k in zip(kinds, images, keys, strict=True)
        )
        self.space = space

    def __call__(self, obs: Obs) -> Array:
        """Map one observation to features [F]."""
        torsos, parts = iter(self.torsos), []
        map_space(
            lambda leaf, value: parts.append(next(torsos)(value) if image_of(leaf) else flat(leaf, value)),
            self.space, obs,
        )  # fmt: skip
        return jnp.concatenate(parts)


def _image(make: Callable[[Box, str, Array], Torso]) -> Make:
    def torso(space: Space, widths: Sequence[int], normalization: str, key: Array) -> Torso:
        image = image_of(space)
        if image is None:
            raise ConfigError(f"this network needs images [H, W, C]; observations are {space}; use network='mlp'")
        return make(image, normalization, key)

    return torso


NATURE = ((32, 8, 4), (64, 4, 2), (64, 3, 1))  # (width, size, stride): Mnih et al. (2015), methods
EFFICIENT = ((32, 5, 5), (64, 5, 5))  # van Hasselt et al. (2019), data-efficient Rainbow: a sixth of the arithmetic
MINATAR = ((16, 3, 1),)  # Young and Tian (2019), section 4

TORSOS: Registry[Make] = Registry(
    "network",
    {
        "mlp": MLP,
        "minatar": _image(lambda space, norm, key: Convolutions(space, MINATAR, norm, key)),
        "nature": _image(lambda space, norm, key: Convolutions(space, NATURE, norm, key)),
        "efficient": _image(lambda space, norm, key: Convolutions(space, EFFICIENT, norm, key)),
        "impala": _image(lambda space, norm, key: Impala(space, 1, norm, key)),
        "combined": Combined,
    },
    reserved=("auto",),
)
BUILT_IN = TORSOS.built_in


def register_network(name: str, make: Make) -> None:
    """Register a network of your own, so that `network=name` uses it.

    `make(space, widths, normalization, key)` returns an Equinox module of arrays that maps ONE observation to features
    [F]. The widths are those of `net_arch` without the last, which belongs to the head.

    Raises:
        ConfigError: the name is empty or taken in any spelling, or `make` is not callable.
    """
    given: object = make
    if not callable(given):
        TORSOS.check_name(name, make)
        raise ConfigError(f"`make` must be a function of (space, widths, normalization, key); got {describe(make)}")
    TORSOS.register(name, make)


def find_torso(name: str) -> Make:
    """Return the function that makes the network of this name, or of `module:name`.

    Raises:
        ConfigError: there is no such network.
    """
    found: Any = TORSOS.find(name)
    if not callable(found):
        raise ConfigError(
            f"network {name!r} is {describe(found)}; give a class or a function of (space, widths, normalization, key)"
        )
    make: Make = found
    return make


def make_torso(
    name: str, space: Space, widths: Sequence[int], normalization: str, key: Array
) -> tuple[Torso, int]:  # fmt: skip
    """Return the network of this name for observations of `space`, and how many features it returns.

    Raises:
        ConfigError: there is no such network, it does not fit the observations, or it is your own and fails or returns
            something else than features [F].
    """
    make = find_torso(name)
    try:
        torso = make(space, widths, normalization, key)
        made: object = jax.eval_shape(torso, zeros(space))
    except Exception as error:  # anybody's code
        if isinstance(error, BellmaxError) or name in BUILT_IN:
            raise
        said = describe_error(error, str(getattr(make, "__module__", "")))
        raise ConfigError(
            f"network {name!r} cannot be made for observations {in_words(space)}: {said}; make(space, widths, "
            "normalization, key) must return an Equinox module that maps one observation to features [F]"
        ) from error
    shape = real_shape(made) or ()
    if len(shape) != 1 or not shape[0]:
        raise ConfigError(
            f"network {name!r} must map one observation, {in_words(space)}, to features: one array of real numbers "
            f"[F]; got {shapes_in_words(made)}"
        )
    return torso, shape[0]


def choose_torso(name: str, space: Space) -> str:
    """Return `name`; for "auto", minatar for small images, nature for large ones, combined for parts, else mlp."""
    if name != "auto":
        return name
    image = image_of(space)
    if image is None:
        return "mlp" if isinstance(space, LEAVES) or not any(map(image_of, leaves_of(space))) else "combined"
    return "nature" if min(image_shape(image)[:2]) >= 36 else "minatar"
