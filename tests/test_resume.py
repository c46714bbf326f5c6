"""A run that is stopped, also by kill -9, and resumed ends as if it had not been stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import bellmax as bx
from bellmax.files import checkpoint
from bellmax.loops.choosing import make_loop
from bellmax.sources import find_world
from bellmax.training import trainer

SMALL = {"learning_starts": 50, "buffer_size": 300, "batch_size": 8, "net_arch": (8,), "target_update_interval": 100}
RUNS = {
    "table, compiled": ("CliffWalking-v1", bx.QLearning(), {"loop": "compiled"}),
    "table, host": ("CliffWalking-v1", bx.QLearning(), {"loop": "host"}),
    "planner, compiled": ("CliffWalking-v1", bx.PrioritizedSweeping(), {"loop": "compiled"}),
    "window, host": ("CliffWalking-v1", bx.NStepSarsa(), {"loop": "host"}),
    "tiles, compiled": ("MountainCar-v0", bx.SarsaLambda(tilings=4), {"loop": "compiled"}),
    "tiles, host": ("MountainCar-v0", bx.DoubleQ(tilings=4), {"loop": "host"}),
    "network, compiled": ("CartPole-v1", bx.DQN(**SMALL), {"loop": "compiled"}),
    "network, stacked": ("CartPole-v1", bx.DQN(**SMALL), {"loop": "compiled", "vmap": 2}),
    "network, odd rounds": (
        "CartPole-v1",
        bx.DQN(**SMALL, num_envs=2, train_freq=8),
        {"loop": "compiled", "steps": 610},
    ),
    "network, host": ("CartPole-v1", bx.DQN(**SMALL, num_envs=2, train_freq=3), {"loop": "host"}),
}


class StopError(Exception):
    """Stands for the power that goes out."""


def begin(name: str, folder: Path) -> bx.Run:
    world, agent, options = RUNS[name]
    options = {"steps": 600, "records": 6, "final_episodes": 1, "eval_episodes": 2, **options}
    return bx.train(world, agent, seeds=2, out=folder, **options)


def interrupt_after(monkeypatch: pytest.MonkeyPatch, steps: int) -> None:
    """Checkpoint at every record, and lose power at the first one at or after `steps`."""
    monkeypatch.setattr(trainer, "SAVE_SECONDS", -1.0)
    save = checkpoint.save_groups

    def save_and_stop(folder, step, groups):
        save(folder, step, groups)
        if step >= steps:
            raise StopError

    monkeypatch.setattr(checkpoint, "save_groups", save_and_stop)


@pytest.mark.parametrize("name", RUNS)
def test_what_is_dumped_is_restored(name: str) -> None:
    world, agent, options = RUNS[name]
    source = find_world(world)
    loop = make_loop(agent, source, options["loop"], 600, options.get("vmap"))
    seeds = list(range(min(2, loop.group)))
    state, _ = loop.advance(loop.start(seeds), 0, 300)
    dumped, policies = loop.dump(state), loop.snapshot(state)
    loop.close(state)
    restored = loop.restore(seeds, dumped)
    again = loop.dump(restored)
    assert dumped.keys() == again.keys()
    for key, array in dumped.items():
        np.testing.assert_array_equal(again[key], array)
    for policy, other in zip(policies, loop.snapshot(restored), strict=True):
        for key, array in policy.items():
            np.testing.assert_array_equal(other[key], array)
    loop.close(restored)


@pytest.mark.parametrize("name", RUNS)
def test_resumed_run_ends_like_an_unbroken_one(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = begin(name, tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 300)
        with pytest.raises(StopError):
            begin(name, tmp_path / "broken")
    said: list[str] = []
    resumed = bx.resume(tmp_path / "broken", say=said.append)
    assert "resumed at step 3" in said[0]
    assert resumed.history["step"].tolist() == whole.history["step"].tolist()
    for seed in (0, 1):
        for key, array in whole.policy(seed).arrays.items():
            np.testing.assert_array_equal(resumed.policy(seed).arrays[key], array)
    for column in whole.history.columns:
        if not column.startswith(("time/", "system/")):
            np.testing.assert_array_equal(resumed.history[column], whole.history[column])
    assert resumed.scores == whole.scores
    assert_same_kept(resumed, whole)
    assert_same_kept(bx.load(tmp_path / "broken"), whole)
    assert not (tmp_path / "broken" / "checkpoint").exists()
    assert not (tmp_path / "broken" / "checkpoint.json").exists()
    with pytest.raises(bx.ConfigError, match="has ended at step 6"):
        bx.resume(tmp_path / "broken")


def assert_same_kept(run: bx.Run, other: bx.Run) -> None:
    """Every episode and every visit."""
    for a, b in zip(run.episodes, other.episodes, strict=True):
        np.testing.assert_array_equal(a.returns, b.returns)
        np.testing.assert_array_equal(a.lengths, b.lengths)
    assert (run.visits is None) == (other.visits is None)
    if run.visits is not None:
        np.testing.assert_array_equal(run.visits, other.visits)


def test_files_newer_than_the_checkpoint_are_cut_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Power lost between the run's files and the checkpoint that belongs to them."""
    whole = begin("table, host", tmp_path / "whole")
    with monkeypatch.context() as patch:
        interrupt_after(patch, 10**9)
        save, calls = checkpoint.save_groups, []

        def die(folder, step, groups):
            calls.append(step)
            if len(calls) == 3:
                raise StopError
            save(folder, step, groups)

        patch.setattr(checkpoint, "save_groups", die)
        with pytest.raises(StopError):
            begin("table, host", tmp_path / "broken")
    assert bx.load(tmp_path / "broken").visits.shape[0] == 3
    resumed = bx.resume(tmp_path / "broken")
    assert resumed.visits.shape == whole.visits.shape
    np.testing.assert_array_equal(resumed.visits.sum(axis=(2, 3)).T[1], whole.history["step"])
    for i, (returns, _) in enumerate(resumed.episodes):
        assert returns.size == resumed.history["rollout/episodes"][i].sum()


def test_a_run_of_an_older_version_goes_on_without_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        interrupt_after(patch, 300)
        with pytest.raises(StopError):
            begin("table, compiled", tmp_path / "run")
    for name in ("episodes", "visits"):
        (tmp_path / "run" / f"{name}.safetensors").unlink()
    run = bx.resume(tmp_path / "run")
    assert run.scores
    assert (run.episodes, run.visits) == ([], None)


def test_kill_9_then_resume(tmp_path: Path) -> None:
    code = (
        "import bellmax as bx; from bellmax.training import trainer; trainer.SAVE_SECONDS = 0.0; "
        f"bx.train('CliffWalking-v1', 'q-learning', steps=40_000_000, seeds=2, out={str(tmp_path / 'run')!r}, "
        "final_episodes=1)"
    )
    process = subprocess.Popen([sys.executable, "-c", code])
    manifest = tmp_path / "run" / "checkpoint.json"
    deadline = time.monotonic() + 60
    while not manifest.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    step, _ = checkpoint.load_groups(tmp_path / "run")
    assert 0 < step < 40_000_000
    run = bx.resume(tmp_path / "run")
    assert run.history["step"][-1] == 40_000_000
    unbroken = bx.train("CliffWalking-v1", "q-learning", steps=40_000_000, seeds=2, final_episodes=1)
    for seed in (0, 1):
        np.testing.assert_array_equal(run.policy(seed).table(), unbroken.policy(seed).table())
    assert_same_kept(run, unbroken)
    assert_same_kept(bx.load(tmp_path / "run"), unbroken)
    assert all(episodes.returns.size > 10_000 for episodes in run.episodes)


def test_damaged_and_foreign_checkpoints_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        interrupt_after(patch, 100)
        with pytest.raises(StopError):
            begin("table, compiled", tmp_path / "run")
    (part,) = (tmp_path / "run" / "checkpoint").glob("*group-0*")
    whole = part.read_bytes()
    for damaged in (whole[:-1], whole[: len(whole) // 2], b"", whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:]):
        part.write_bytes(damaged)
        with pytest.raises(bx.CorruptCheckpoint, match="group-0"):
            bx.resume(tmp_path / "run")
    part.unlink()
    with pytest.raises(bx.CorruptCheckpoint, match="cannot read"):
        bx.resume(tmp_path / "run")
    part.write_bytes(whole)
    with pytest.raises(
        bx.IncompatibleCheckpoint, match=r"state.q is float64 \(48, 4\); this run needs float64 \(6, 2\)"
    ):
        bx.resume(tmp_path / "run", world="corridor")
    assert bx.resume(tmp_path / "run").scores


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(bx.ConfigError, match="no run in"):
        bx.resume(tmp_path)
