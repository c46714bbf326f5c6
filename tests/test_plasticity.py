"""Effective rank and dormant neurons, against the definitions written out in NumPy."""

import math
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import bellmax as bx
from bellmax.catalog import is_deep
from bellmax.deep.building import module_shapes
from bellmax.networks.packing import from_named

SMALL: dict[str, Any] = {"learning_starts": 50, "buffer_size": 200, "batch_size": 8}
QUICK: dict[str, Any] = {"steps": 200, "records": 2, "eval_episodes": 0, "final_episodes": 0, "progress": False}
DRAW = np.random.default_rng(0)
OBS = DRAW.normal(size=(64, 4)).astype(np.float32)


def rank(matrix: np.ndarray, delta: float = 0.01) -> int:
    """Kumar et al. (2021): the least k for which the k largest singular values sum to at least (1 - δ) of all."""
    values = sorted(np.sqrt(np.maximum(np.linalg.eigvalsh(matrix.T @ matrix), 0.0)), reverse=True)
    return next(k for k in range(len(values) + 1) if sum(values[:k]) >= (1 - delta) * sum(values))


def dormant(layers: list[np.ndarray], threshold: float) -> float:
    """Sokar et al. (2023), definition 3.1, neuron by neuron."""
    silent = []
    for layer in layers:
        score = [np.mean([abs(row[i]) for row in layer]) for i in range(layer.shape[1])]
        mean = sum(score) / len(score)
        silent += [each == 0.0 if mean == 0.0 else each / mean <= threshold for each in score]
    return sum(silent) / len(silent)


def mlp(policy: bx.Policy, obs: np.ndarray, names: list[str]) -> list[np.ndarray]:
    """The outputs of dense layers after ReLU, with layer normalization where the policy has it."""
    layers, x, arrays = [], obs.astype(np.float64), {name: a.astype(np.float64) for name, a in policy.arrays.items()}
    for name in names:
        x = x @ arrays[f"{name}.weight"].T + arrays[f"{name}.bias"]
        norm = name.replace("layers", "norms")
        if f"{norm}.scale" in arrays:
            x = (x - x.mean(axis=1, keepdims=True)) / np.sqrt(x.var(axis=1, keepdims=True) + 1e-5)
            x = x * arrays[f"{norm}.scale"] + arrays[f"{norm}.shift"]
        x = np.maximum(x, 0.0)
        layers.append(x)
    return layers


def train(agent: str = "dqn", world: str = "CartPole-v1", **options: Any) -> bx.Run:
    return bx.train(world, agent, **{**QUICK, **SMALL, **options})


@pytest.mark.parametrize("normalization", ["layer", "none"])
def test_of_dense_layers(normalization: str) -> None:
    policy = train(net_arch=(16, 12), normalization=normalization).policy()
    first, last = mlp(policy, OBS, ["torso.layers.0", "head.advantage.layers.0"])
    assert bx.metrics.effective_rank(policy, OBS) == rank(last)
    for delta in (0.05, 0.1, 0.5):
        assert bx.metrics.effective_rank(policy, OBS, delta=delta) == rank(last, delta)
    thresholds = (0.0, 0.025, 0.3, 1.0)
    found = [bx.metrics.dormant_neurons(policy, OBS, threshold=each) for each in thresholds]
    assert found == [dormant([first, last], each) for each in thresholds]
    assert found == sorted(found)
    assert 0.0 < found[-1] < 1.0


def test_of_two_streams_and_an_ensemble() -> None:
    policy = train(net_arch=(16, 12), dueling=True).policy()
    (seen,) = mlp(policy, OBS, ["torso.layers.0"])
    (one,), (two,) = (mlp(policy, seen, [f"head.{stream}.layers.0"]) for stream in ("advantage", "value"))
    assert one.shape == two.shape == (64, 6)
    assert bx.metrics.effective_rank(policy, OBS) == rank(np.concatenate([one, two], axis=1))
    assert bx.metrics.dormant_neurons(policy, OBS, threshold=0.5) == dormant([seen, one, two], 0.5)

    policy = train("bootstrapped-dqn", net_arch=(8, 6), n_members=3).policy()
    ranks, layers = [], []
    for k in range(3):
        member = replace(policy, arrays={name: a[k] for name, a in policy.arrays.items()})
        names = ["members.torso.layers.0", "members.head.advantage.layers.0"]
        layers += mlp(member, OBS, names)
        ranks.append(rank(layers[-1]))
    assert bx.metrics.effective_rank(policy, OBS) == pytest.approx(np.mean(ranks))
    assert bx.metrics.dormant_neurons(policy, OBS, threshold=0.5) == dormant(layers, 0.5)


def test_of_quantiles_at_levels() -> None:
    policy = train("iqn", net_arch=(8, 6), n_cosines=5).policy()
    (features,) = mlp(policy, OBS, ["torso.layers.0"])
    levels = (np.arange(8) + 0.5) / 8
    cosines = np.cos(np.pi * np.arange(1, 6) * levels[:, None])
    weight, bias = (policy.arrays[name].astype(np.float64) for name in ("head.embedding.weight", "head.embedding.bias"))
    embedded = np.maximum(cosines @ weight.T + bias, 0.0)
    seen = (features[:, None] * embedded[None]).reshape(-1, 8)
    (last,) = mlp(policy, seen, ["head.head.advantage.layers.0"])
    assert bx.metrics.effective_rank(policy, OBS) == rank(last)
    assert bx.metrics.dormant_neurons(policy, OBS, threshold=0.4) == dormant([features, embedded, last], 0.4)


def test_a_channel_is_a_neuron() -> None:
    policy = bx.train(
        "gymnax:Breakout-MinAtar", "dqn", normalization="none", **{**QUICK, **SMALL, "steps": 60}
    ).policy()
    obs = (DRAW.random((16, 10, 10, 4)) < 0.5).astype(np.float32)
    assert is_deep(policy.config)
    blank = module_shapes(policy.config, policy.space, policy.n_actions)
    module = from_named(blank, {name: jnp.asarray(array) for name, array in policy.arrays.items()})
    features = np.stack([np.asarray(module.features(image)) for image in obs])  # type: ignore[union-attr]
    channels = features.reshape(-1, 16)  # [B, H W C]
    (last,) = mlp(policy, features, ["head.advantage.layers.0"])
    found = [bx.metrics.dormant_neurons(policy, obs, threshold=each) for each in (0.0, 0.5, 0.9)]
    assert found == [dormant([channels, last], each) for each in (0.0, 0.5, 0.9)]
    assert 0.0 < found[-1] < 1.0
    assert bx.metrics.effective_rank(policy, obs) == rank(last)


def test_of_a_table() -> None:
    policy = bx.train("FrozenLake-v1", "q-learning", steps=20_000, progress=False, final_episodes=0).policy()
    assert bx.metrics.effective_rank(policy) == rank(policy.table())
    assert bx.metrics.effective_rank(policy, np.arange(3)) == rank(policy.table()[:3])
    assert bx.metrics.effective_rank(replace(policy, arrays={"q": np.zeros((16, 4))})) == 0
    assert bx.metrics.effective_rank(replace(policy, arrays={"q": np.ones((16, 4))})) == 1
    assert bx.metrics.effective_rank(replace(policy, arrays={"q": np.eye(16)[:, :4]})) == 4
    with pytest.raises(bx.ConfigError, match="q-learning has a table and no neurons"):
        bx.metrics.dormant_neurons(policy, np.arange(3))


@pytest.mark.parametrize("loop", ["compiled", "host"])
def test_after_each_record_on_the_replay_buffer_or_on_observations(loop: str) -> None:
    own: list[list[float]] = []

    def check(record: bx.Record) -> None:
        batches = [data.obs for data in record.experience()]
        own.append([bx.metrics.dormant_neurons(*pair) for pair in zip(record.policies, batches, strict=True)])

    run = train(net_arch=(16, 12), seeds=2, loop=loop, on_record=[bx.metrics.plasticity(), check])
    np.testing.assert_allclose(run.history["plasticity/dormant_neurons"], np.array(own).T)
    some = train(net_arch=(16, 12), seeds=2, loop=loop, on_record=bx.metrics.plasticity(OBS))
    for seed in (0, 1):
        expected = bx.metrics.effective_rank(some.policy(seed), OBS)
        assert some.history["plasticity/effective_rank"][seed, -1] == expected
    few = train(net_arch=(16, 12), loop=loop, on_record=bx.metrics.plasticity(size=3))
    assert (few.history["plasticity/effective_rank"] <= 3).all()
    nothing = train(net_arch=(16, 12), loop=loop, on_record=bx.metrics.plasticity(np.zeros((1, 4), np.float32)))
    assert (nothing.history["plasticity/effective_rank"] <= 1).all()


def test_what_cannot_be_measured_is_refused() -> None:
    network = train(net_arch=(8,)).policy()
    recurrent = train("r2d2", net_arch=(8,), steps=400, learning_starts=224, sequence_length=4, n_steps=2).policy()
    for call, message in (
        (lambda: bx.metrics.effective_rank(network), "`obs` must be a batch of observations"),
        (lambda: bx.metrics.effective_rank(network, OBS, delta=2.0), "delta=2.0 is outside"),
        (lambda: bx.metrics.dormant_neurons(network, OBS, threshold=-1), "threshold=-1 is outside"),
        (lambda: bx.metrics.dormant_neurons(network, OBS[:, :3]), "observation"),
        (lambda: bx.metrics.dormant_neurons(network, OBS[:0]), "at least one observation"),
        (lambda: bx.metrics.dormant_neurons("dqn", OBS), "`policy` must be a Policy, such as run.policy"),
        (lambda: bx.metrics.effective_rank(recurrent, OBS), "r2d2 has a memory cell: its layers depend on earlier"),
        (lambda: bx.metrics.plasticity(size=0), "`size` must be a positive integer; got 0"),
        (lambda: bx.train("corridor", "q-learning", steps=50, on_record=bx.metrics.plasticity()), "replay buffer"),
    ):  # fmt: skip
        with pytest.raises(bx.ConfigError, match=message):
            call()
    with pytest.raises(bx.NonFiniteError):
        bx.metrics.effective_rank(network, np.full((2, 4), math.nan))
