"""Tables that learn from data: the optimal policy, for every space, with masks; who cannot, and why."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from gymnasium import spaces as native
from test_table_masks import Trap
from worlds import Cue

import bellmax as bx
from bellmax.catalog import AGENTS, is_tabular
from bellmax.contracts import ConfigError, Masked
from bellmax.loops import choosing
from bellmax.sources import find_world

QUICK: dict[str, Any] = {"eval_episodes": 0, "final_episodes": 4, "records": 2, "progress": False}
OFFLINE = ["q-learning", "double-q", "speedy-q", "dyna-q", "prioritized-sweeping", "r-max", "delayed-q"]
TABULAR = [name for name in AGENTS if AGENTS.place(name).startswith("bellmax.tabular")]


@functools.cache
def cliff() -> bx.Dataset:
    policy = bx.train("cliff", "q-learning", steps=20_000, eval_episodes=0, final_episodes=0).policy()
    return bx.collect(policy, steps=20_000, seed=1, epsilon=0.5)


@pytest.mark.parametrize("agent", OFFLINE)
def test_a_table_learns_the_cliff_from_what_another_did(agent: str) -> None:
    settings: dict[str, Any] = {"gamma": 0.9}
    if agent in ("r-max", "delayed-q"):
        settings["r_max"] = 0.0
    elif agent != "speedy-q":
        settings["learning_rate"] = 0.5
    run = bx.train("cliff", agent, data=cliff(), steps=60_000, **QUICK, **settings)
    assert run.policy().arrays["visits"].sum() == 60_000
    if agent in ("q-learning", "dyna-q", "prioritized-sweeping", "double-q"):
        assert run.history["exact/is_optimal"][0, -1] == 1.0
        assert run.policy().act(36) == 0


@pytest.mark.parametrize("agent", sorted(set(TABULAR) - set(OFFLINE) - {"dyna-q-plus"}))
def test_learners_of_their_own_policy_say_why_not(agent: str) -> None:
    with pytest.raises(ConfigError, match=f"{agent} .* use q-learning, double-q"):
        bx.train("cliff", agent, data=cliff(), steps=100)


def test_seeds_differ_and_the_same_one_does_not(tmp_path: Path) -> None:
    runs = [bx.train("cliff", "q-learning", data=cliff(), steps=2_000, seeds=[0, seed], **QUICK) for seed in (1, 2)]
    q = [[policy.arrays["q"] for policy in run.policies["final"]] for run in runs]
    np.testing.assert_array_equal(q[0][0], q[1][0])
    assert not np.array_equal(q[0][1], q[1][1])


def test_a_checkpoint_of_a_table_from_data_goes_on_bit_for_bit() -> None:
    config, source = bx.QLearning(), find_world("cliff")
    loop = choosing.make_data_loop(
        choosing.prepare_for_data(config, source, cliff()), source, "compiled", 1_000, cliff()
    )
    whole, _ = loop.advance(loop.start([0]), 0, 1_000)
    half, _ = loop.advance(loop.start([0]), 0, 500)
    again, _ = loop.advance(loop.restore([0], {k: v.copy() for k, v in loop.dump(half).items()}), 500, 500)
    np.testing.assert_array_equal(whole.q, again.q)
    assert is_tabular(config)


@pytest.mark.parametrize("tilings", [1, 4])
def test_every_space_and_tiles_from_a_file(tilings: int, tmp_path: Path) -> None:
    space = native.Tuple([native.Discrete(3, start=5), native.Box(-1, 1, (1,))])
    world = functools.partial(Cue, space, ((6, np.array([0.9], "f4")), (6, np.array([-0.9], "f4"))))
    bx.collect(None, world, steps=600).save(tmp_path / "data.safetensors")
    run = bx.train(
        world, "q-learning", data=tmp_path / "data.safetensors", steps=3_000, gamma=0.5, tilings=tilings,
        out=tmp_path / "run", **QUICK,
    )  # fmt: skip
    assert run.scores == [5.0]
    assert bx.evaluate(bx.load(tmp_path / "run").policy(), world, episodes=2).returns.tolist() == [5.0, 5.0]


def test_masks_of_the_data_are_those_of_the_targets() -> None:
    data = bx.collect(None, Trap, steps=200)
    assert isinstance(data.obs, Masked)
    run = bx.train(Trap, "q-learning", data=data, steps=2_000, gamma=0.9, initial_q=10.0, **QUICK)
    assert run.policy().arrays["q"][0, :2] == pytest.approx([0.9, 0.9], abs=0.05)
    assert run.scores == [1.0]


def test_data_that_do_not_fit_are_refused_by_row() -> None:
    wrong = cliff()._replace(action=np.full(20_000, 4))
    with pytest.raises(ConfigError, match="row 0: action is 4, outside 0 to 3"):
        bx.train("cliff", "q-learning", data=wrong, steps=100)
    bias = bx.collect(None, "maximization-bias", steps=200)
    assert bx.train("maximization-bias", "q-learning", data=bias, steps=500, **QUICK).scores
    action = np.array(bias.action)
    action[0] = 9  # the first state has two
    with pytest.raises(ConfigError, match="row 0: action is 9, which state 0 does not have"):
        bx.train("maximization-bias", "q-learning", data=bias._replace(action=action), steps=100)


def test_integers_of_older_files_are_floats_and_others_are_refused() -> None:
    world = functools.partial(Cue, native.Box(0, 9, (2,), np.int64), (np.array([1, 2]), np.array([2, 1])))
    data = bx.collect(None, world, steps=100)
    assert data.obs.dtype == np.int32
    old = data._replace(obs=data.obs.astype("f4"), next_obs=data.next_obs.astype("f4"))
    runs = [bx.train(world, "q-learning", data=each, steps=500, **QUICK) for each in (data, old)]
    np.testing.assert_array_equal(runs[0].policy().arrays["q"], runs[1].policy().arrays["q"])
    with pytest.raises(ConfigError, match=r"obs is float32 \(100, 2\), not int32"):
        bx.train(world, "q-learning", data=old._replace(obs=old.obs + 0.5), steps=500)


def test_states_as_floats_are_those_integers() -> None:
    data = cliff()
    floats = data._replace(obs=data.obs.astype("f4"), next_obs=list(data.next_obs))
    runs = [bx.train("cliff", "q-learning", data=each, steps=500, **QUICK) for each in (data, floats)]
    np.testing.assert_array_equal(runs[0].policy().arrays["q"], runs[1].policy().arrays["q"])


def test_what_is_not_a_data_set_says_how_to_make_one() -> None:
    with pytest.raises(
        ConfigError, match=r"cannot read data from .*; .* bellmax.Dataset\(obs=\.\.\., action=\.\.\., reward="
    ):
        bx.train("cliff", "q-learning", data={"observations": [0]}, steps=10)
    with pytest.raises(ConfigError, match="watkins-q needs the steps after its own actions"):
        bx.train("cliff", "watkins-q", data=cliff(), steps=10)
