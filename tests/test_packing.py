"""Any module of Equinox trains, whatever its leaves; only arrays of real numbers are parameters."""

from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bellmax as bx
from bellmax.contracts import Box
from bellmax.deep.building import build_network, module_shapes
from bellmax.envs.probes import PROBES
from bellmax.keys import make_key
from bellmax.networks import packing
from bellmax.networks.torsos import TORSOS
from bellmax.spaces import leaf_size


class Everything(eqx.Module):
    """A torso with leaves of all kinds."""

    mlp: eqx.nn.MLP
    stack: eqx.nn.Sequential
    order: jax.Array  # integers, a buffer
    gain: float
    times: int
    squash: Any

    def __init__(self, n: int, key: jax.Array) -> None:
        k1, k2 = jax.random.split(key)
        self.mlp = eqx.nn.MLP(n, 16, 16, 1, key=k1)
        layers = [eqx.nn.Linear(16, 16, key=k2), eqx.nn.Lambda(jax.nn.relu), eqx.nn.LayerNorm(16)]
        self.stack = eqx.nn.Sequential(layers)
        self.order, self.gain, self.times, self.squash = jnp.arange(16)[::-1], 0.5, 2, lambda x: x * jnp.tanh(x)

    def __call__(self, x: jax.Array) -> jax.Array:
        x = self.stack(self.mlp(x))[self.order] * self.gain * self.times
        return self.squash(x)  # type: ignore[no-any-return]


@pytest.fixture
def torso() -> Any:
    bx.extend.register_network(
        "everything", lambda space, widths, normalization, key: Everything(leaf_size(space), key)
    )
    yield "everything"
    del TORSOS["everything"]


@pytest.mark.parametrize("kind", [packing.by_vector, packing.by_layers])
def test_packing_and_back_is_the_same_module(kind: Any) -> None:
    module = Everything(3, make_key(0))
    pack, unpack = kind(module)
    params = pack(module)
    assert all(jnp.issubdtype(leaf.dtype, jnp.floating) for leaf in jax.tree.leaves(params))
    assert sum(leaf.size for leaf in jax.tree.leaves(params)) == (3 * 16 + 16) + 2 * (16 * 16 + 16) + 2 * 16
    back = unpack(jax.tree.map(lambda x: x + 0.0, params))
    assert eqx.tree_equal(back, module)
    moved = unpack(jax.tree.map(lambda x: x + 1.0, params))
    assert (moved.times, moved.gain, moved.squash) == (2, 0.5, module.squash)
    np.testing.assert_array_equal(moved.order, module.order)


def test_names_are_of_parameters_only() -> None:
    module = Everything(3, make_key(0))
    named = packing.to_named(module)
    assert sorted(named)[:2] == ["mlp.layers.0.bias", "mlp.layers.0.weight"]
    assert not {"order", "gain", "times"} & set(named)
    back = packing.from_named(packing.outline(lambda: Everything(3, make_key(1))), named)
    assert eqx.tree_equal(back.mlp, module.mlp)
    np.testing.assert_array_equal(back.order, module.order)


@pytest.mark.parametrize("optimizer", ["adam", "lamb"])
def test_any_module_trains_saves_and_loads(torso: str, optimizer: str, tmp_path: Path) -> None:
    settings = {"gamma": 0.8, "learning_rate": 5e-3, "learning_starts": 100, "net_arch": (16,), "network": torso}
    run = bx.train(
        "probe:delay", bx.DQN(**settings, optimizer=optimizer), steps=3_000, records=1, eval_episodes=0,
        final_episodes=1, out=tmp_path / "run",
    )  # fmt: skip
    probe = PROBES["probe:delay"]()
    learned = run.policy(0).q_values(probe.observations)
    np.testing.assert_allclose(learned, probe.q(0.8), atol=0.12)
    loaded = bx.load(tmp_path / "run").policy(0).q_values(probe.observations)
    np.testing.assert_array_equal(loaded, learned)


def test_packing_goes_by_layers_where_the_optimizer_does() -> None:
    counts = []
    for optimizer in ("adam", "lamb"):
        config = bx.DQN(net_arch=(8, 8), optimizer=optimizer)
        counts.append(len(jax.tree.leaves(build_network(config, config.method(), Box((3,)), 2).fresh(make_key(0)))))
        shapes = packing.to_named(module_shapes(config, Box((3,)), 2))
        assert all(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in shapes.values())
    assert counts == [1, len(shapes)]
