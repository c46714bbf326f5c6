"""NumPy and JAX. How well a network can still learn: its effective rank and its dormant neurons, also for `on_record`.

run = bx.train("CartPole-v1", "dqn", on_record=bx.metrics.plasticity())
run.history["plasticity/dormant_neurons"]  # [seeds, T]
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from bellmax import spaces
from bellmax.agent_config import AgentConfig
from bellmax.arguments import describe, integer, real
from bellmax.catalog import is_deep
from bellmax.coding import from_native
from bellmax.contracts import ArrayDict, ConfigError, FloatArray, HostObs, Masked, Obs, Space
from bellmax.dispatch import in_32_bits, near
from bellmax.observations import read_batch
from bellmax.training.policy import Policy
from bellmax.training.record_hooks import OnRecord, Record
from bellmax.waiting import compiling_first


def effective_rank(policy: Policy, obs: object = None, *, delta: float = 0.01) -> float:
    """Return how many directions the features of a batch of observations really have.

    It is the least k whose k largest singular values add up to a share 1 - δ of all: Kumar et al. (2021), "Implicit
    under-parameterization inhibits data-efficient deep reinforcement learning", section 3. Features are what the last
    linear layer reads, and rows the observations; of an ensemble, the mean over its members. Of a table, it is that of
    its values Q [S, A], or of those of the observations, where an action that a state does not have counts as 0.

    Args:
        policy: of a network without a memory cell, or of a table.
        obs: a batch of observations [B, ...], as the environment returns them; a table needs none.
        delta: the share that is left out, δ.

    Raises:
        ConfigError: an argument is not valid, or the network has a memory cell.
    """
    delta = real("delta", delta, 0.0, 1.0)
    _check_policy(policy)
    if not policy.config_is_tabular:
        return _rank_of_network(policy, _read(policy, obs), delta)
    q = np.asarray(policy.arrays["q"] if obs is None else np.atleast_2d(policy.q_values(obs)), np.float64)
    return float(_rank(np.where(np.isfinite(q), q, 0.0), delta))


def dormant_neurons(policy: Policy, obs: object, *, threshold: float = 0.025) -> float:
    """Return the share of hidden neurons that are nearly silent on a batch of observations.

    A neuron is dormant if its mean |activation|, divided by the mean of its layer, is at most the threshold τ: Sokar et
    al. (2023), "The dormant neuron phenomenon in deep reinforcement learning", definition 3.1. A channel of a
    convolution is one neuron. Layers with ReLU count, also those of the head; a torso of another kind than "mlp" or
    convolutions is one layer.

    Args:
        policy: of a network without a memory cell.
        obs: a batch of observations [B, ...], as the environment returns them.
        threshold: τ, from 0 for neurons that are silent on the whole batch.

    Raises:
        ConfigError: an argument is not valid, or the policy has a table or a memory cell.
    """
    threshold = real("threshold", threshold, 0.0)
    _check_policy(policy)
    if policy.config_is_tabular:
        raise ConfigError(
            f"dormant_neurons: a `policy` of {policy.config.name} has a table and no neurons; use dqn, say"
        )
    return _dormant(policy, _read(policy, obs), threshold)


def plasticity(observations: object = None, *, size: int = 1_000) -> OnRecord:
    """Return a function for `on_record`: the columns plasticity/effective_rank and plasticity/dormant_neurons.

    Args:
        observations: a batch of observations [B, ...] of the environment; by default those in each seed's own replay
            buffer, of which each record then makes a copy.
        size: how many of the replay buffer, evenly spaced in time.

    Raises:
        ConfigError: `size` is not a positive integer. When it is called: the agent has a table or a memory cell; or no
            replay buffer, and there are no observations.
    """
    size = integer("size", size)

    def columns(record: Record) -> dict[str, list[float]]:
        if observations is not None:
            batches: list[HostObs | None] = [_read(policy, observations) for policy in record.policies]
        else:
            batches = [_some(data.obs, data.steps, size) for data in record.experience()]
        nan, ranks, dormant = float("nan"), list[float](), list[float]()
        for policy, batch in zip(record.policies, batches, strict=True):
            _check_network(policy)
            ranks.append(nan if batch is None else _rank_of_network(policy, batch, 0.01))
            dormant.append(nan if batch is None else _dormant(policy, batch, 0.025))
        return {"plasticity/effective_rank": ranks, "plasticity/dormant_neurons": dormant}

    return columns


def _some(obs: HostObs, n: int, size: int) -> HostObs | None:
    """At most `size` of n observations; None of none."""
    if isinstance(obs, Masked):
        obs = obs.obs
    rows = np.linspace(0, n - 1, min(n, size)).astype(np.int64)
    if not n:
        return None
    return _rows(obs, rows)


def _rows(obs: HostObs, rows: np.ndarray) -> HostObs:
    return tuple(_rows(part, rows) for part in obs) if isinstance(obs, tuple) else np.asarray(obs)[rows]


def _check_policy(policy: object) -> None:
    if not isinstance(policy, Policy):
        raise ConfigError(f"`policy` must be a Policy, such as run.policy(0); got {describe(policy)}")
    if not policy.config_is_tabular:
        _check_network(policy)


def _check_network(policy: Policy) -> None:
    if not is_deep(policy.config):
        raise ConfigError(f"{policy.config.name} has a table and no neurons; use an agent with a network, such as dqn")
    if policy.config.recurrent != "none":
        raise ConfigError(
            f"{policy.config.name} has a memory cell: its layers depend on earlier observations, and a batch has none"
        )


def _read(policy: Policy, obs: object) -> HostObs:
    """Observations as a network reads them, counted from 0."""
    space = spaces.visible(policy.space)
    if obs is None:
        raise ConfigError("`obs` must be a batch of observations [B, ...] for a network; got None")
    given = obs.obs if isinstance(obs, Masked) else obs
    if "observation_starts" in policy.coding:
        given = from_native(space, given, policy.coding)
    batch: HostObs
    batch, _ = read_batch(space, given)
    if not len(spaces.leaf_arrays(batch)[0]):
        raise ConfigError("`obs` must have at least one observation; got none")
    return batch


def _rank_of_network(policy: Policy, batch: HostObs, delta: float) -> float:
    """The mean effective rank of the members of an ensemble, or of the one network."""
    _, last = _layers(policy, batch)
    return float(np.mean([_rank(features.reshape(-1, features.shape[-1]), delta) for features in last]))


def _dormant(policy: Policy, batch: HostObs, threshold: float) -> float:
    silent = total = 0
    for layer in _layers(policy, batch)[0]:
        score = np.abs(layer.reshape(-1, layer.shape[-1]).astype(np.float64)).mean(axis=0)
        silent += int((score <= threshold * score.mean()).sum())
        total += score.size
    return silent / total if total else 0.0


def _rank(matrix: FloatArray, delta: float) -> int:
    """The least k whose k largest singular values add up to a share 1 - δ of all; 0 of a matrix of zeros."""
    values = np.linalg.svd(matrix.astype(np.float64), compute_uv=False)
    total = values.sum()
    if not total:
        return 0
    reached = np.cumsum(values) / total >= 1.0 - delta - 1e-12  # the last share is 1 but for rounding
    return int(np.argmax(reached)) + 1


def _layers(policy: Policy, batch: HostObs) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The hidden layers [B, ...] of a network, and its features."""
    program = _program(policy.config, policy.space, policy.n_actions)
    layers, last = program(near(dict(policy.arrays)), batch)
    return [np.asarray(layer) for layer in layers], [np.asarray(features) for features in last]


@functools.lru_cache(maxsize=16)
@in_32_bits
def _program(config: AgentConfig, space: Space, n_actions: int) -> Callable[..., tuple[Any, Any]]:
    """`layers(arrays, batch)`, compiled once for each kind of network."""
    import jax

    from bellmax.deep.building import module_shapes
    from bellmax.networks.activations import hidden_layers
    from bellmax.networks.packing import from_named

    assert is_deep(config)  # noqa: S101 - _check_network has looked
    blank = module_shapes(config, space, n_actions)

    def layers(arrays: ArrayDict, batch: Obs) -> tuple[Any, Any]:
        module = from_named(blank, arrays)
        return jax.vmap(functools.partial(hidden_layers, module))(batch)

    return in_32_bits(compiling_first(jax.jit(layers)))
