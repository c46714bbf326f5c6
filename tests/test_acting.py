"""Acting with a policy: one observation is cheap, whatever the network, and means what the network means."""

import math
import pickle
import re
import warnings
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest

import bellmax as bx
from bellmax.catalog import AGENTS, agent_class, is_tabular
from bellmax.contracts import Box, Discrete, Masked, MultiDiscrete, Named
from bellmax.deep.building import spec_of
from bellmax.keys import make_key
from bellmax.networks.network import make_network
from bellmax.networks.packing import to_named
from bellmax.spaces import leaves_of, map_space, shape_of, visible
from bellmax.training.policy import Policy
from bellmax.training.policy_values import make_look

NETWORKS = [name for name in AGENTS if not is_tabular(agent_class(name)())]
BOX = Box((5,))
SPACES = {
    "box": BOX,
    "matrix": Box((2, 3)),
    "bytes": Box((4,), "uint8"),
    "image": Box((10, 10, 3), "uint8"),
    "flags": Box((3,), "bool"),
    "integer": Discrete(7),
    "integers": MultiDiscrete((3, 2)),
    "parts": Named(("a", "b"), (BOX, Discrete(3))),
    "masked": Masked(BOX, Box((3,), "bool")),
}
SWITCHES: dict[str, dict[str, Any]] = {
    "none": {"normalization": "none"},
    "spectral": {"normalization": "spectral"},
    "dueling": {"dueling": True},
    "noisy": {"noisy": True},
    "standardized": {"normalize_observations": True},
    "squeezed": {"value_rescaling": True},
    "linear": {"net_arch": ()},
    "one layer": {"net_arch": (8,), "dueling": True, "normalization": "none"},
    "lstm": {"recurrent": "lstm", "learning_starts": 10_000},
}
NOT_DENSE = {"iqn", "r2d2"}


def observations(space: Any, n: int = 6) -> Any:
    """A batch that a network can tell apart; of masks, some rows with one action."""
    rng = np.random.default_rng(0)

    def leaf(kind: Any) -> Any:
        if isinstance(kind, Box):
            drawn = rng.normal(size=(n, *shape_of(kind))) * 2
            return (
                (drawn > 0)
                if kind.dtype == "bool"
                else (np.abs(drawn) * 40 if kind.dtype == "uint8" else drawn).astype(kind.dtype)
            )
        limits = kind.n if isinstance(kind, Discrete) else kind.ns
        return rng.integers(0, limits, (n, *shape_of(kind))).astype(np.int32)

    seen = map_space(leaf, visible(space))
    if not isinstance(space, Masked):
        return seen
    mask = rng.random((n, 3)) < 0.5
    mask[np.arange(n), rng.integers(0, 3, n)] = True
    return Masked(seen, mask)


def policy_of(config: Any, space: Any, n_actions: int = 3) -> Policy:
    """One with random parameters, none of them 0, 1 or the same in two places."""
    named = to_named(make_network(space, n_actions, spec_of(config, config.method()), make_key(1)))
    rng = np.random.default_rng(2)
    arrays = {
        name: np.asarray(array + (0.2 * rng.random(array.shape) if "count" not in name else 0.0), np.float32)
        for name, array in named.items()
    }
    return Policy("x", config, space, n_actions, arrays)


def config_of(name: str, **settings: Any) -> Any:
    known = agent_class(name).__dataclass_fields__
    return agent_class(name)(**{key: value for key, value in settings.items() if key in known})


CASES = [
    *((name, "box", "dueling") for name in NETWORKS),
    *((name, "masked", "none") for name in ("dqn", "c51", "bootstrapped-dqn", "bcq")),
    *(("dqn", space, "dueling") for space in SPACES if space not in ("box", "masked")),
    *(("dqn", "box", switch) for switch in SWITCHES if switch != "dueling"),
    ("c51", "box", "squeezed"),
    ("bootstrapped-dqn", "box", "spectral"),
]


@pytest.mark.parametrize(("name", "space", "switch"), CASES)
def test_acting_on_one_computes_what_the_network_computes_of_a_batch(name: str, space: str, switch: str) -> None:
    config = config_of(name, **{"net_arch": (16, 12), **SWITCHES[switch]})
    policy, batch = policy_of(config, SPACES[space]), observations(SPACES[space])
    q, carry = policy.look(None, batch)
    assert carry == () or config.recurrent != "none" or name == "bootstrapped-dqn"
    for i in range(6):
        one = jax.tree.map(lambda x, i=i: x[i], batch)
        np.testing.assert_allclose(policy.look(None, one)[0], q[i], rtol=2e-4, atol=2e-5)
        if config.recurrent == "none":
            assert policy.act(one) == policy.q_values(one).argmax() == policy.act(batch)[i]


@pytest.mark.parametrize("name", NETWORKS)
def test_one_observation_of_a_dense_network_leaves_jax_alone(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    policy, obs = policy_of(config_of(name), BOX), observations(BOX)[0]
    used = []
    monkeypatch.setattr(
        "bellmax.training.policy_values._network", lambda *given: used.append(given) or (lambda c, b: (b, c))
    )
    make_look(policy.config, policy.space, policy.n_actions, policy.arrays)((), obs[None])
    assert bool(used) == (name in NOT_DENSE)


def test_a_network_with_its_own_meaning_is_left_to_jax() -> None:
    class Halved(bx.DQN):
        def make(self, *given: Any) -> Any:
            agent = super().make(*given)

            def q_values(state: Any, carry: Any, obs: Any) -> Any:
                q, carry = agent.q_values(state, carry, obs)
                return 0.5 * q, carry

            return agent._replace(q_values=q_values, values=None)

    obs, usual = observations(BOX)[0], policy_of(bx.DQN(), BOX)
    halved = Policy("x", Halved(), BOX, 3, usual.arrays)
    np.testing.assert_allclose(halved.q_values(obs), 0.5 * usual.q_values(obs), rtol=1e-4)


def test_what_was_prepared_is_no_part_of_a_policy() -> None:
    policy, obs = policy_of(bx.DQN(), BOX), observations(BOX)[0]
    before = policy.q_values(obs)
    again = pickle.loads(pickle.dumps(policy))  # noqa: S301 - our own
    np.testing.assert_array_equal(again.q_values(obs), before)


def test_huge_observations_raise_no_warning() -> None:
    policy_of(bx.DQN(), BOX).act(np.full(5, 1e30, np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_observations_that_are_not_finite_are_refused(value: float) -> None:
    policy, obs = policy_of(bx.DQN(), BOX), np.zeros((3, 5), np.float32)
    obs[1, 2] = value
    for ask in (policy.act, policy.q_values):
        for seen in (obs, obs[1], obs[1].astype(np.float64)):
            where = "observation[1][2]" if seen.ndim == 2 else "observation[2]"
            with pytest.raises(bx.NonFiniteError, match=re.escape(f"{where} is {value:g}, for which nothing")):
                ask(seen)


def test_where_an_observation_is_not_finite() -> None:
    """By the name of the part; also if a number is too large for float32, or stands where an integer does."""
    inner: Any = (Discrete(3), Box((2, 2)))
    policy = policy_of(bx.DQN(), Named(("a", "b"), (Box((1,)), inner)))
    for obs, where in (
        ({"a": [np.nan], "b": (0, np.zeros((2, 2)))}, "observation['a'][0] is nan"),
        ({"a": [0.0], "b": (0, [[0.0, 1.0], [2.0, 1e39]])}, "observation['b'][1][1][1] is 1e+39"),
        ({"a": [0.0], "b": (np.nan, np.zeros((2, 2)))}, "observation['b'][0] is nan"),
        ({"a": [0.0], "b": (0, np.full((2, 2), np.inf, np.float16))}, "observation['b'][1][0][0] is inf"),
    ):
        for ask in (policy.act, policy.q_values):
            with pytest.raises(bx.NonFiniteError, match=re.escape(where)):
                ask(obs)
    policy.act({"a": [1e38], "b": (0, np.full((2, 2), 6e4, np.float16))})
    table = bx.train("corridor", "q-learning", steps=20, final_episodes=0, progress=False).policy()
    tiles = bx.train(
        "CartPole-v1", "q-learning", tilings=2, steps=20, final_episodes=0, eval_episodes=0, progress=False
    ).policy()
    for policy, obs, where in (
        (table, math.nan, "observation is nan"),
        (table, [1.0, -math.inf], "observation[1] is -inf"),
        (tiles, [0.0, 0.0, math.nan, 0.0], "observation[2] is nan"),
        (tiles, [[0.0] * 4, [0.0, math.inf, 0.0, 0.0]], "observation[1][1] is inf"),
    ):
        with pytest.raises(bx.NonFiniteError, match=re.escape(where)):
            policy.act(obs)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_without_a_largest_one_are_refused(value: float) -> None:
    policy = policy_of(bx.DQN(normalization="none"), BOX)
    name = next(name for name in policy.arrays if name.endswith("bias") and policy.arrays[name].shape == (3,))
    broken = replace(policy, arrays={**policy.arrays, name: np.array([0.0, value, 0.0], np.float32)})
    with pytest.raises(bx.NonFiniteError, match="the values of observation are"):
        broken.act(np.zeros(5))
    with pytest.raises(bx.NonFiniteError, match="the values of observation 0 of the batch are"):
        broken.act(np.zeros((2, 5)))


def test_a_policy_that_learned_with_masks_warns_once_where_there_is_none() -> None:
    run = bx.train("Taxi-v4", "q-learning", steps=50, loop="host", eval_episodes=0, final_episodes=0)
    policy, mask = run.policy(0), np.arange(6) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert policy.act(252, mask) == 1
        policy.table()
    with pytest.warns(bx.RunWarning, match=r"learned with masks.*act\(obs, mask=info\['action_mask'\]\)"):
        policy.act(252)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        policy.act(252)


def test_there_are_spaces_of_every_kind() -> None:
    assert {type(leaf) for space in SPACES.values() for leaf in leaves_of(space)} == {Box, Discrete, MultiDiscrete}
