"""NumPy. The arithmetic of a dense network outside JAX, where XLA would start a thread for it: 50 µs a call.

It begins at the first layer and ends at the last. The features of an observation, and the meaning of the output, are
functions of the network and the agent.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt

from bellmax.contracts import Array, Obs
from bellmax.networks.layers import NORM_EPSILON, Dense, NoisyDense, Norm, SpectralDense, spectral_norm
from bellmax.networks.network import AnyNetwork, Ensemble, Head, TorsoAndHead
from bellmax.networks.torsos import MLP, flat, flat_size

Floats: TypeAlias = npt.NDArray[np.float32]
Function: TypeAlias = Callable[[Floats], Floats]


class Layer(NamedTuple):
    """y = norm(x W + b), with a leading axis [K] for the members of an ensemble.

    Attributes:
        weight: [n_in, n_out].
        bias: [1, n_out].
        norm: scale and shift [1, n_out] of a layer normalization; its mean is already subtracted from weight and bias.
    """

    weight: Floats
    bias: Floats
    norm: tuple[Floats, Floats] | None


def as_numpy(module: AnyNetwork) -> Function | None:
    """Return the module as `f(features [n, F]) -> output`: [n, A] or [n, A, k], and [n, K, A] for an ensemble.

    `module` has NumPy arrays. Returns None if a part of it is not dense: a convolution, a memory cell, implicit
    quantiles, or a torso of your own.
    """
    if type(module) is Ensemble:
        both = jax.tree.map(lambda *parts: np.concatenate(parts), module.members, module.priors)
        function, scale = as_numpy(both), np.float32(module.scale)
        if function is None:
            return None

        def ensemble(x: Floats) -> Floats:
            outputs = function(x)  # [2K, n, A]: the learned networks, then the fixed ones
            k = len(outputs) // 2
            return (outputs[:k] + scale * outputs[k:]).swapaxes(0, 1)

        return ensemble
    if type(module) is not TorsoAndHead or module.cell is not None:
        return None
    if type(module.torso) is not MLP or type(module.head) is not Head:
        return None
    torso, head = dense_layers(module.torso.layers, module.torso.norms), module.head
    advantage = dense_layers(head.advantage.layers, head.advantage.norms)
    value = None if head.value is None else dense_layers(head.value.layers, head.value.norms)
    if torso is None or advantage is None or (head.value is not None and value is None):
        return None
    shape = (head.n_actions, head.n_outputs) if head.n_outputs else (head.n_actions,)

    def dueling(x: Floats) -> Floats:
        x = apply_layers(torso, x, hidden=len(torso))
        q = apply_layers(advantage, x, hidden=len(advantage) - 1)
        q = q.reshape(*q.shape[:-1], head.n_actions, -1)
        v: Floats = apply_layers(value, x, hidden=len(value) - 1)[..., None, :]  # type: ignore[arg-type]
        q = v + q - q.mean(axis=-2, keepdims=True)
        return np.reshape(q, (*q.shape[:-2], *shape))

    if value is not None:
        return dueling
    whole, hidden = [*torso, *advantage], len(torso) + len(advantage) - 1
    if not head.n_outputs:
        return lambda x: apply_layers(whole, x, hidden)

    def several(x: Floats) -> Floats:
        q = apply_layers(whole, x, hidden)
        return q.reshape(*q.shape[:-1], *shape)

    return several


def features_of(module: AnyNetwork) -> Callable[[Obs], Array]:
    """Return the function from ONE observation to the features that a dense module starts from."""
    network = module.members if isinstance(module, Ensemble) else module
    space, standardizer = dense_torso(network).space, network.standardizer
    return lambda obs: flat(space, obs if standardizer is None else standardizer(obs))


def n_inputs(module: AnyNetwork) -> int:
    """Return the number of these features."""
    network = module.members if isinstance(module, Ensemble) else module
    return flat_size(dense_torso(network).space)


def dense_torso(network: TorsoAndHead) -> MLP:
    """Return the torso of a network for which `plain` returns a function."""
    assert isinstance(network.torso, MLP)  # noqa: S101 - the caller checks it
    return network.torso


def dense_layers(dense: Sequence[Any], norms: Sequence[Norm]) -> list[Layer] | None:
    """Return the layers of a torso or a stream; None if one is of another kind."""
    made = []
    for i, layer in enumerate(dense):
        if type(layer) not in (Dense, NoisyDense, SpectralDense):
            return None
        weight, bias = np.asarray(layer.weight), np.asarray(layer.bias)  # [..., n_out, n_in], [..., n_out]
        if type(layer) is SpectralDense:
            norm_of = jax.vmap(spectral_norm) if weight.ndim == 3 else spectral_norm
            weight = weight / np.maximum(1.0, np.asarray(norm_of(jnp.asarray(weight))))[..., None, None]
        norm = None
        if i < len(norms):
            weight, bias = weight - weight.mean(axis=-2, keepdims=True), bias - bias.mean(axis=-1, keepdims=True)
            norm = tuple(np.asarray(part)[..., None, :] for part in (norms[i].scale, norms[i].shift))
        weight = np.ascontiguousarray(np.swapaxes(weight, -1, -2), np.float32)
        made.append(Layer(weight, bias[..., None, :].astype(np.float32), norm))  # type: ignore[arg-type]
    return made


def apply_layers(stack: Sequence[Layer], x: Floats, hidden: int) -> Floats:
    """Return the output of the layers for `x` [n, n_in]; ReLU follows each of the first `hidden` layers."""
    for i, (weight, bias, norm) in enumerate(stack):
        x = np.matmul(x, weight)
        x += bias
        if norm is not None:
            square = np.vecdot(x, x)[..., None]
            square *= np.float32(1.0 / x.shape[-1])
            square += NORM_EPSILON
            np.sqrt(square, out=square)
            x /= square
            x *= norm[0]
            x += norm[1]
        if i < hidden:
            np.maximum(x, ZERO, out=x)
    return x


ZERO = np.float32(0.0)
