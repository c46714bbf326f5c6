"""JAX and Equinox. A network is a torso, an optional memory cell, and a head; it maps ONE observation to its output."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from bellmax.contracts import Array, Arrays, Obs, Space
from bellmax.keys import drawn, make_key
from bellmax.networks.layers import GRU, LSTM, Dense, MemoryCell, NoisyDense, Norm, SpectralDense, Standardizer
from bellmax.networks.packing import is_real, outline
from bellmax.networks.torsos import Torso, choose_torso, make_torso
from bellmax.spaces import visible

Cell: TypeAlias = Literal["none", "lstm", "gru"]
CELLS: dict[Cell, Callable[[int, int, Array], MemoryCell] | None] = {"none": None, "lstm": LSTM, "gru": GRU}

GRID = 1024  # levels τ are rounded to 1/1024: their cosines are a table, because a cosine costs as much as ten products


class Spec(NamedTuple):
    """What a network consists of; `Spec`, the space and the number of actions determine its shapes.

    Attributes:
        torso: a name in `TORSOS`, or "auto".
        widths: of the hidden layers; the last one is in the head.
        normalization: "layer", "spectral" or "none".
        dueling, noisy: whether the head is.
        cell: a name in `CELLS`.
        n_outputs: numbers per action; 0 means one, without an axis of its own.
        n_cosines: features of a level τ, for implicit quantiles; 0 for none.
        n_members: networks of an ensemble, each with a fixed prior network; 0 for a single network.
        prior_scale: factor of the priors.
        standardize: whether to standardize observations by their running mean and variance.
    """

    torso: str
    widths: tuple[int, ...]
    normalization: str
    dueling: bool
    noisy: bool
    cell: Cell
    n_outputs: int
    n_cosines: int
    n_members: int
    prior_scale: float
    standardize: bool = False


class Stream(eqx.Module):
    """Hidden layers with ReLU, if any, and a linear layer."""

    layers: tuple[Dense | NoisyDense | SpectralDense, ...]
    norms: tuple[Norm, ...]

    def __init__(self, n_in: int, hidden: Sequence[int], n_out: int, spec: Spec, key: Array) -> None:
        sizes = [n_in, *hidden, n_out]
        keys = jax.random.split(key, len(sizes) - 1)
        inner = SpectralDense if spec.normalization == "spectral" else Dense
        kinds: list[type[Dense | NoisyDense | SpectralDense]] = [*[inner] * len(hidden), Dense]
        kinds = [NoisyDense] * len(kinds) if spec.noisy else kinds
        self.layers = tuple(kind(n, m, k) for kind, n, m, k in zip(kinds, sizes, sizes[1:], keys, strict=False))
        self.norms = tuple(Norm((n,)) for n in hidden) if spec.normalization == "layer" else ()

    def __call__(self, x: Array) -> Array:
        """Map features [F] to [n_out]."""
        return self.layers[-1]([x, *self.hidden(x)][-1])

    def hidden(self, x: Array) -> list[Array]:
        """Return the output of each hidden layer after ReLU, for features [F]."""
        outputs: list[Array] = []
        for i, layer in enumerate(self.layers[:-1]):
            x = layer(x)
            x = jax.nn.relu(self.norms[i](x) if self.norms else x)
            outputs.append(x)
        return outputs


class Head(eqx.Module):
    """From features [F] to values [A] or [A, n].

    Dueling: Q = V + A - mean of A over actions; Wang et al. (2016), equation 9. The two streams divide the hidden width
    between them, so dueling is no more expensive than one stream.
    """

    advantage: Stream
    value: Stream | None
    n_actions: int = eqx.field(static=True)
    n_outputs: int = eqx.field(static=True)

    def __init__(self, n_in: int, n_actions: int, spec: Spec, key: Array) -> None:
        k_advantage, k_value = jax.random.split(key)
        each, hidden = max(1, spec.n_outputs), spec.widths[-1:]
        if spec.dueling:
            hidden = tuple(max(1, width // 2) for width in hidden)
        self.advantage = Stream(n_in, hidden, n_actions * each, spec, k_advantage)
        self.value = Stream(n_in, hidden, each, spec, k_value) if spec.dueling else None
        self.n_actions, self.n_outputs = n_actions, spec.n_outputs

    def __call__(self, features: Array) -> Array:
        """Map [F] to [A] or [A, n]."""
        q = self.advantage(features).reshape(self.n_actions, -1)
        if self.value is not None:
            q = self.value(features)[None] + q - jnp.mean(q, axis=0, keepdims=True)
        return q if self.n_outputs else q[:, 0]


class ImplicitHead(eqx.Module):
    """From features [F] to a quantile function. Dabney et al. (2018b), equation 4."""

    embedding: Dense
    head: Head
    n_cosines: int = eqx.field(static=True)

    def __init__(self, n_in: int, n_actions: int, spec: Spec, key: Array) -> None:
        k_embedding, k_head = jax.random.split(key)
        self.embedding = Dense(spec.n_cosines, n_in, k_embedding)
        self.head = Head(n_in, n_actions, spec, k_head)
        self.n_cosines = spec.n_cosines

    def __call__(self, features: Array) -> QuantileFunction:
        """Map [F] to a function from [K] to [A, K]."""
        return QuantileFunction(self, features)


class QuantileFunction(NamedTuple):
    """The quantiles of an implicit head at any levels, for the features [F] of one observation."""

    head: ImplicitHead
    features: Array

    def __call__(self, levels: Array) -> Array:
        """Map levels τ [K] to quantiles [A, K]."""
        middles = (np.arange(GRID)[:, None] + 0.5) / GRID
        table = jnp.asarray(np.cos(np.pi * np.arange(1, self.head.n_cosines + 1) * middles), jnp.float32)

        def at(tau: Array) -> Array:
            cosines = table[jnp.clip(tau * GRID, 0, GRID - 1).astype(jnp.int32)]
            return self.head.head(self.features * jax.nn.relu(self.head.embedding(cosines)))

        return jax.vmap(at, out_axes=1)(levels)


class TorsoAndHead(eqx.Module):
    """Torso, cell and head; `features` and `head` are separate so that a sequence can be unrolled between them."""

    standardizer: Standardizer | None
    torso: Torso
    cell: MemoryCell | None
    head: Head | ImplicitHead

    def __init__(self, space: Space, n_actions: int, spec: Spec, key: Array) -> None:
        k_torso, k_cell, k_head = jax.random.split(key, 3)
        seen = visible(space)
        name = choose_torso(spec.torso, seen)
        self.standardizer = Standardizer(seen) if spec.standardize else None
        self.torso, n = make_torso(name, seen, spec.widths[:-1], spec.normalization, k_torso)
        cell = CELLS[spec.cell]
        self.cell = None if cell is None else cell(n, (spec.widths or (n,))[-1], k_cell)
        head = ImplicitHead if spec.n_cosines else Head
        self.head = head(n if self.cell is None else self.cell.size, n_actions, spec, k_head)

    def features(self, obs: Obs) -> Array:
        """Return the features of ONE observation."""
        return self.torso(obs if self.standardizer is None else self.standardizer(obs))

    def begin(self) -> Arrays:
        """Return the state of the cell at the start of an episode; () without one."""
        return () if self.cell is None else self.cell.begin()

    def remember(self, carry: Arrays, features: Array) -> tuple[Arrays, Array]:
        """Take one step of the cell; return (carry, input of the head)."""
        return (carry, features) if self.cell is None else self.cell(carry, features)

    def __call__(self, obs: Obs) -> Array | QuantileFunction:
        """Return the output for ONE observation, of a network without a cell."""
        return self.head(self.features(obs))


class Ensemble(eqx.Module):
    """K networks, each a learned plus a fixed random one; output [K, A]. Osband et al. (2018), section 3."""

    members: TorsoAndHead
    priors: TorsoAndHead
    scale: float = eqx.field(static=True)

    def __init__(self, space: Space, n_actions: int, spec: Spec, key: Array) -> None:
        keys = jax.random.split(key, 2)
        make: Any = eqx.filter_vmap(lambda k: TorsoAndHead(space, n_actions, spec, k))
        self.members, self.priors = (make(jax.random.split(k, spec.n_members)) for k in keys)
        self.scale = spec.prior_scale

    def __call__(self, obs: Obs) -> Array:
        """Map one observation to values [K, A]."""
        outputs = eqx.filter_vmap(lambda module: module(obs))
        return outputs(self.members) + self.scale * jax.lax.stop_gradient(outputs(self.priors))  # type: ignore[no-any-return]


AnyNetwork: TypeAlias = TorsoAndHead | Ensemble
Module = TypeVar("Module")


def make_network(space: Space, n_actions: int, spec: Spec, key: Array) -> AnyNetwork:
    """Return a fresh network for observations of `space`.

    Raises:
        ConfigError: no torso has this name, it does not fit the observations, or it does not return features.
    """
    kind: type[AnyNetwork] = Ensemble if spec.n_members else TorsoAndHead
    return kind(space, n_actions, spec, key)


def standardizer_of(module: TorsoAndHead) -> Standardizer:
    """Return the running mean and variance of observations, of a network that has them."""
    assert module.standardizer is not None  # noqa: S101 - the caller checks the settings
    return module.standardizer


def with_standardizer(module: TorsoAndHead, standardizer: Standardizer) -> TorsoAndHead:
    """Return the module with another running mean and variance of observations."""
    new: TorsoAndHead = eqx.tree_at(lambda m: m.standardizer, module, standardizer)
    return new


def with_noise(module: Module, key: Array) -> Module:
    """Return the module with fresh noise in every noisy layer, all from one draw."""

    def is_noisy(node: object) -> bool:
        return isinstance(node, NoisyDense)

    layers = [node for node in jax.tree.leaves(module, is_leaf=is_noisy) if is_noisy(node)]
    if not layers:
        return module
    sizes = [sum(layer.weight.shape[-2:]) for layer in layers]
    noise = iter(jnp.split(drawn(jax.random.normal, key, (sum(sizes),)), list(itertools.accumulate(sizes[:-1]))))
    drawn_on: Module = jax.tree.map(
        lambda node: node.draw(next(noise)) if is_noisy(node) else node, module, is_leaf=is_noisy
    )
    return drawn_on


def skeleton(space: Space, n_actions: int, spec: Spec) -> AnyNetwork:
    """Return a network of the right shapes."""
    return make_network(space, n_actions, spec, make_key(0))


def shapes(space: Space, n_actions: int, spec: Spec) -> AnyNetwork:
    """Return the same with shapes in place of its parameters, which are not computed."""
    return outline(lambda: skeleton(space, n_actions, spec))


def share_of_fresh(module: Module, share: float) -> Module:
    """Return the share of a fresh value in each parameter at a reset: 1 in the head, 0 if not learned, else `share`.

    D'Oro et al. (2023) reset everything; Schwarzer et al. (2023), section 3, shrink and perturb the torso.
    """

    def of(path: tuple[Any, ...], leaf: Any) -> Any:
        if not is_real(leaf):
            return leaf
        part = jax.tree_util.keystr(path, simple=True, separator=".").split(".")
        return jnp.full_like(leaf, 0.0 if {"priors", "standardizer"} & set(part) else 1.0 if "head" in part else share)

    shares: Module = jax.tree_util.tree_map_with_path(of, module)
    return shares


def single_network(module: AnyNetwork) -> TorsoAndHead:
    """Return the module as a single network; an ensemble is an error."""
    if not isinstance(module, TorsoAndHead):
        raise TypeError(f"an ensemble has no features of its own; got {type(module).__name__}")
    return module
