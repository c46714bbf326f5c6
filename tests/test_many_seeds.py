"""Thousands of seeds in one call: as quick as it is said, and each one as if it had been alone."""

import time
from pathlib import Path

import numpy as np
import pytest

import bellmax as bx
from bellmax.files import run_files
from bellmax.training import grading

MANY = {"steps": 600, "records": 1, "final_episodes": 0}


def test_ten_thousand_seeds_take_seconds() -> None:
    bx.train("FrozenLake-v1", "q-learning", seeds=2, **MANY)  # compile
    begin = time.perf_counter()
    run = bx.train("FrozenLake-v1", "q-learning", seeds=10_000, **MANY)
    seconds = time.perf_counter() - begin
    learning = 600 * 10_000 / run.history["time/fps"][0, 0]
    assert seconds - learning < 5.0  # measured: 1
    assert len(run.scores) == run.summary().n == 10_000
    assert run.history["exact/q_error"].shape == (10_000, 1)
    assert run.visits.shape == (1, 10_000, 16, 4)
    alone = bx.train("FrozenLake-v1", "q-learning", seeds=[4_321], **MANY)
    for name in run.history.columns:
        if name != "time/fps":
            np.testing.assert_array_equal(run.history[name][4_321], alone.history[name][0])
    np.testing.assert_array_equal(run.policy(4_321).table(), alone.policy(4_321).table())
    np.testing.assert_array_equal(run.episodes[4_321].returns, alone.episodes[0].returns)


def test_blocks_of_seeds_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {**MANY, "records": 3, "seeds": 7}
    whole = bx.train("CliffWalking-v1", "q-learning", **options)
    monkeypatch.setattr(grading, "BLOCK", 2 * 48 * 4)
    parts = bx.train("CliffWalking-v1", "q-learning", **options)
    for name in whole.history.columns:
        if name != "time/fps":
            np.testing.assert_array_equal(parts.history[name], whole.history[name])


def test_groups_of_seeds_are_saved_and_loaded(tmp_path: Path) -> None:
    run = bx.train("corridor", "q-learning", seeds=21, **MANY, out=tmp_path / "run")  # the last group is shorter
    loaded = bx.load(tmp_path / "run")
    assert loaded.scores == run.scores
    assert loaded.history.to_csv() == run.history.to_csv()
    np.testing.assert_array_equal(loaded.policy(20).table(), run.policy(20).table())


@pytest.mark.parametrize(
    "agent", [bx.QLearning(), bx.DQN(learning_starts=10, net_arch=(4,), buffer_size=50, batch_size=8)]
)
def test_policies_of_many_seeds_share_two_files(agent, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run_files, "SINGLE_FILES", 2)
    run = bx.train("corridor", agent, seeds=3, steps=40, records=2, final_episodes=0, out=tmp_path / "run")
    place = tmp_path / "run" / "policies"
    assert sorted(path.name for path in place.iterdir()) == [
        f"all-{which}.{kind}" for which in ("best", "final") for kind in ("json", "safetensors")
    ]
    loaded = bx.load(tmp_path / "run")
    for which in ("final", "best"):
        for seed in range(3):
            policy, other = run.policy(seed, which), loaded.policy(seed, which)
            assert (policy.config, policy.space, policy.n_actions) == (other.config, other.space, other.n_actions)
            assert policy.arrays.keys() == other.arrays.keys()
            np.testing.assert_array_equal(policy.table(), other.table())
    whole = (place / "all-best.safetensors").read_bytes()
    for damaged in (whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b""):
        (place / "all-best.safetensors").write_bytes(damaged)
        with pytest.raises(bx.CorruptCheckpoint, match="all-best"):
            bx.load(tmp_path / "run")
    (place / "all-best.safetensors").unlink()
    with pytest.raises(bx.CorruptCheckpoint, match="all-best"):
        bx.load(tmp_path / "run")


def test_a_thousand_seeds_are_saved_and_loaded_in_a_moment(tmp_path: Path) -> None:
    bx.train("corridor", "q-learning", seeds=2, **MANY)  # compile
    begin = time.perf_counter()
    run = bx.train("corridor", "q-learning", seeds=1_000, **MANY, out=tmp_path / "run")
    assert bx.load(tmp_path / "run").scores == run.scores
    assert time.perf_counter() - begin < 5.0  # measured: 1


def test_an_unknown_seed_of_many_is_said_in_few_words() -> None:
    run = bx.train("corridor", "q-learning", seeds=300, **MANY)
    with pytest.raises(bx.ConfigError, match=r"no 'final' policy of seed 300; seeds: .* and more") as caught:
        run.policy(300)
    assert len(str(caught.value)) < 200
