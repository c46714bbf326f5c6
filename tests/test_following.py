"""What follows a gradient step: each part against its definition, and a target that somebody else states."""

import dataclasses
import sys
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

import bellmax as bx
from bellmax.contracts import Box
from bellmax.deep.averaging import policy_average
from bellmax.deep.building import build_network
from bellmax.deep.following import Follower, chained, copied, polyak
from bellmax.deep.resets import resetting
from bellmax.deep.several import mean_of_copies
from bellmax.envs.probes import PROBES
from bellmax.keys import make_key

sys.path.insert(0, str(Path(__file__).parents[1] / "examples"))
from averaged_dqn import Averaged, AveragedDQN, AveragedIQN

KEY, SPACE = make_key(0), Box((3,))


def followed(part: Follower, steps: int, start: float = 0.0) -> list[Any]:
    """The states of a part while the parameters are 1, 2, 3, ..."""
    state, seen = part.init(jnp.full(2, start)), []
    for k in range(1, steps + 1):
        state, params = part.update(state, jnp.full(2, float(k)), jnp.int32(k), KEY, ())
        assert float(params[0]) == k
        seen.append(state)
    return seen


def test_targets_follow_as_they_say() -> None:
    assert [float(x[0]) for x in followed(copied(3), 7)] == [0, 0, 3, 3, 3, 6, 6]
    assert [float(x[0]) for x in followed(polyak(2, 0.5), 4)] == [0, 1, 1, 2.5]
    last = followed(mean_of_copies(3, 2), 9)[-1]
    np.testing.assert_array_equal(last[:, 0], [4, 6, 8])


def test_parts_in_a_chain_keep_their_own_states_and_those_of_others() -> None:
    chain = chained(target=copied(1), average=policy_average())
    states = {**chain.init(jnp.zeros(2)), "other": 7}
    states, _ = chain.update(states, jnp.ones(2), jnp.int32(1), KEY, ())
    assert states["other"] == 7
    np.testing.assert_array_equal(states["target"], [1, 1])
    np.testing.assert_array_equal(states["average"], [1, 1])


def test_a_reset_reaches_every_copy() -> None:
    part = resetting(mean_of_copies(2, 1), 3, 10.0, lambda key: jnp.full(2, 100.0), jnp.array([1.0, 0.5]))
    state = part.init(jnp.zeros(2))
    for k in (1, 2, 3):
        state, params = part.update(state, jnp.full(2, float(k)), jnp.int32(k), KEY, ())
    np.testing.assert_array_equal(params, [100.0, 51.5])
    np.testing.assert_array_equal(state, [[100.0, 51.0], [100.0, 51.5]])


def averaged(cls: type) -> type:
    """The averaged form of an agent."""
    made = dataclasses.dataclass(frozen=True, kw_only=True)
    return made(type(f"Averaged{cls.__name__}", (Averaged, cls), {"__module__": __name__}))  # type: ignore[no-any-return]


def test_the_target_says_the_mean_of_what_the_copies_say() -> None:
    config = AveragedDQN(copies=3, net_arch=(8,))
    built, part = build_network(config, config.method(), SPACE, 2), config.target()
    copies = [built.fresh(make_key(k)) for k in range(3)]
    target = part.network(jnp.stack(copies), lambda params: built.network(params, None))
    obs = jnp.array([0.3, -1.0, 2.0])
    expected = np.mean([built.network(params, None)(obs).mean() for params in copies], axis=0)
    np.testing.assert_allclose(target(obs).mean(), expected, rtol=1e-6)


HEADS = [
    (bx.C51, {"v_min": -2.0, "v_max": 3.0}),
    (bx.QRDQN, {"n_quantiles": 8}),
    (bx.BootstrappedDQN, {"n_members": 3, "prior_scale": 1.0}),
    (bx.MunchausenDQN, {}),
    (bx.DQN, {"double": True, "noisy": True, "prioritized": True, "reset_interval": 400}),
]


@pytest.mark.parametrize(
    ("cls", "options"),
    [(AveragedDQN, {}), (AveragedIQN, {"n_policy_samples": 8}),
     *(pytest.param(averaged(cls), options, marks=pytest.mark.slow) for cls, options in HEADS)],
)  # fmt: skip
def test_a_mean_of_copies_is_a_target_for_every_head(cls: Any, options: dict[str, Any]) -> None:
    settings = {"gamma": 0.8, "learning_rate": 3e-3, "learning_starts": 100, "net_arch": (32,), "copies": 3}
    run = bx.train("probe:mask", cls(**{**settings, **options}), steps=5_000, records=1, eval_episodes=0)
    probe = PROBES["probe:mask"]()
    learned, truth = run.policy(0).q_values(probe.observations), probe.q(0.8)
    if not options.get("reset_interval") and "Munchausen" not in cls.__name__:
        np.testing.assert_allclose(np.nanmax(learned, axis=1), truth.max(axis=1), atol=0.15)
    assert (np.isneginf(learned) == np.isneginf(truth)).all()


def test_a_mean_of_copies_has_a_memory_cell_each() -> None:
    settings = {
        "gamma": 0.9, "learning_rate": 3e-3, "learning_starts": 200, "buffer_size": 4_000, "batch_size": 16,
        "sequence_length": 6, "burn_in": 2, "num_envs": 4, "net_arch": (32,), "target_update_interval": 40,
        "exploration_final_eps": 0.3, "recurrent": "gru", "copies": 2,
    }  # fmt: skip
    agent = AveragedDQN(**settings)
    run = bx.train("probe:recall", agent, steps=12_000, records=1, eval_episodes=0, final_episodes=200)
    assert run.scores == [1.0]


@pytest.mark.parametrize("optimizer", ["lamb", "muon"])
def test_optimizers_that_go_by_layers_learn(optimizer: str) -> None:
    agent = bx.DQN(optimizer=optimizer, learning_rate=1e-2, gamma=0.8, net_arch=(32, 32), learning_starts=100)
    run = bx.train("probe:delay", agent, steps=4_000, records=1, eval_episodes=0, final_episodes=1)
    probe = PROBES["probe:delay"]()
    np.testing.assert_allclose(run.policy(0).q_values(probe.observations), probe.q(0.8), atol=0.12)
