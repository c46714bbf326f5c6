"""A run that is stopped, also by kill -9, and resumed ends as if it had not been stopped."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from saved import StopError, lose_power, newest, reseal, to_format_1

import bellmax as bx
from bellmax.cli import main
from bellmax.files import manifest
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


def begin(name: str, folder: Path) -> bx.Run:
    world, agent, options = RUNS[name]
    options = {"steps": 600, "records": 6, "final_episodes": 1, "eval_episodes": 2, **options}
    return bx.train(world, agent, seeds=2, out=folder, **options)


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
        lose_power(patch, 300)
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


def test_a_run_of_an_older_version_goes_on_without_what_it_lacks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        lose_power(patch, 300)
        with pytest.raises(StopError):
            begin("table, compiled", tmp_path / "run")
    for name in ("episodes", "visits"):
        (tmp_path / "run" / f"{name}.safetensors").unlink()
    reseal(tmp_path / "run")
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
    manifest = tmp_path / "run" / "manifest.json"
    deadline = time.monotonic() + 60
    while not (manifest.exists() and json.loads(manifest.read_text())["step"]) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    step, _ = newest(tmp_path / "run")
    assert 0 < step < 40_000_000
    run = bx.resume(tmp_path / "run")
    assert run.history["step"][-1] == 40_000_000
    unbroken = bx.train("CliffWalking-v1", "q-learning", steps=40_000_000, seeds=2, final_episodes=1)
    for seed in (0, 1):
        np.testing.assert_array_equal(run.policy(seed).table(), unbroken.policy(seed).table())
    assert_same_kept(run, unbroken)
    assert_same_kept(bx.load(tmp_path / "run"), unbroken)
    assert all(episodes.returns.size > 10_000 for episodes in run.episodes)


def test_a_run_of_format_1_is_resumed_as_format_2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = begin("network, compiled", tmp_path / "whole")
    with monkeypatch.context() as patch:
        lose_power(patch, 300)
        with pytest.raises(StopError):
            begin("network, compiled", tmp_path / "run")
    to_format_1(tmp_path / "run")
    stopped = bx.load(tmp_path / "run")
    assert stopped.history.step == whole.history.step[:3]
    with pytest.raises(bx.ConfigError, match="stopped at step 300 of 600"):
        stopped.summary()
    part = tmp_path / "run" / "checkpoint" / "step-300.group-0.safetensors"
    content = part.read_bytes()
    part.write_bytes(content[:-1])
    with pytest.raises(bx.CorruptCheckpoint, match="group-0"):
        bx.resume(tmp_path / "run")
    part.write_bytes(content)
    with pytest.raises(bx.ConfigError, match="no checkpoint of step 200; it has checkpoints of step 300"):
        bx.resume(tmp_path / "run", step=200)
    run = bx.resume(tmp_path / "run", eval_episodes=1)
    for seed in (0, 1):
        for key, array in whole.policy(seed).arrays.items():
            np.testing.assert_array_equal(run.policy(seed).arrays[key], array)
    assert bx.load(tmp_path / "run").options.eval_episodes == 1
    names = {path.name for path in (tmp_path / "run").iterdir()}
    assert {"manifest.json", "environment.json"} <= names
    assert "checkpoint.json" not in names


def test_an_ended_run_of_format_1_is_only_evaluated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = begin("table, compiled", tmp_path / "whole")
    with monkeypatch.context() as patch:
        lose_power(patch, 600)
        with pytest.raises(StopError):
            begin("table, compiled", tmp_path / "run")
    to_format_1(tmp_path / "run")
    assert bx.resume(tmp_path / "run").scores == whole.scores
    assert bx.load(tmp_path / "run").scores == whole.scores


def test_a_run_of_format_1_without_a_checkpoint_is_not_started_again(tmp_path: Path) -> None:
    begin("table, compiled", tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    card = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps({**card, "format": 1}))
    (tmp_path / "run" / "manifest.json").unlink()
    with pytest.raises(bx.ConfigError, match="stopped before its first checkpoint; train it again"):
        bx.resume(tmp_path / "run")


def test_a_run_that_was_killed_before_its_first_save_is_resumed_from_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = begin("table, host", tmp_path / "whole")
    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "train", lambda *arguments: (_ for _ in ()).throw(StopError))
        with pytest.raises(StopError):
            begin("table, host", tmp_path / "run")
    assert newest(tmp_path / "run") == (0, [])
    said: list[str] = []
    run = bx.resume(tmp_path / "run", say=said.append)
    assert "resumed at step 0 of 600" in said[0]
    np.testing.assert_array_equal(run.policy(1).table(), whole.policy(1).table())
    assert_same_kept(bx.load(tmp_path / "run"), whole)


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content)


@pytest.fixture
def stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A run of two groups with checkpoints of steps 200 and 300."""
    with monkeypatch.context() as patch:
        lose_power(patch, 300)
        with pytest.raises(StopError):
            begin("network, compiled", tmp_path / "run")
    return tmp_path / "run"


def test_a_damaged_checkpoint_is_passed_over_and_the_run_ends_the_same(stopped: Path, tmp_path: Path) -> None:
    whole = begin("network, compiled", tmp_path / "whole")
    damage(stopped / "checkpoint" / "step-300.group-1.safetensors")
    said: list[str] = []
    run = bx.resume(stopped, say=said.append)
    assert re.match(
        r"the checkpoint of step 300 is damaged, and the one before it is used: .*step-300\.group-1", said[0]
    )
    assert "resumed at step 200 of 600" in said[1]
    assert run.history.step == whole.history.step
    for which in ("final", "best"):
        for seed in (0, 1):
            for key, array in whole.policy(seed, which).arrays.items():
                np.testing.assert_array_equal(run.policy(seed, which).arrays[key], array)
    for column in whole.history.columns:
        if not column.startswith(("time/", "system/")):
            np.testing.assert_array_equal(run.history[column], whole.history[column])
    assert_same_kept(run, whole)
    assert_same_kept(bx.load(stopped), whole)


def test_a_step_that_is_named_is_the_one_that_is_used(stopped: Path, tmp_path: Path) -> None:
    with pytest.raises(bx.ConfigError, match=r"no checkpoint of step 100; it has checkpoints of steps 200, 300"):
        bx.resume(stopped, step=100)
    shutil.copytree(stopped, tmp_path / "copy")
    damage(tmp_path / "copy" / "checkpoint" / "step-300.group-0.safetensors")
    with pytest.raises(bx.CorruptCheckpoint, match=r"step-300\.group-0.*; the run has checkpoints of steps 200, 300"):
        bx.resume(tmp_path / "copy", step=300)
    damage(stopped / "policies" / "seed-0-best.safetensors")  # the checkpoint has the best policies too
    with pytest.raises(bx.CorruptCheckpoint, match=r"seed-0-best.* --from STEP` needs only .* checkpoint: 200, 300"):
        bx.resume(stopped)
    done = CliRunner().invoke(main, ["resume", str(stopped), "--from", "200", "--quiet", "--json"])
    assert done.exit_code == 0, done.output
    assert "the run continues from step 200, so its checkpoint of step 300 is dropped" in done.stderr
    assert "resumed at step 200 of 600" in done.stderr
    whole = begin("network, compiled", tmp_path / "whole")
    assert bx.load(stopped).scores == whole.scores
    np.testing.assert_array_equal(*(run.policy(0, "best").q_values(np.zeros(4)) for run in (whole, bx.load(stopped))))


def test_a_run_that_falls_back_is_saved_at_once(stopped: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    damage(stopped / "checkpoint" / "step-300.group-0.safetensors")
    with monkeypatch.context() as patch:
        patch.setattr(trainer.Trainer, "reach", lambda *arguments: (_ for _ in ()).throw(StopError))
        with pytest.raises(StopError):
            bx.resume(stopped)
    assert newest(stopped)[0] == 200
    assert bx.load(stopped).history.step == [100, 200]
    assert bx.resume(stopped).history.step[-1] == 600


def test_how_many_checkpoints_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for keep, steps in ((1, [400]), (3, [200, 300, 400])):
        with monkeypatch.context() as patch:
            lose_power(patch, 400)
            with pytest.raises(StopError):
                bx.train(
                    "corridor", "q-learning", steps=600, records=6, keep_checkpoints=keep, out=tmp_path / f"run-{keep}"
                )
        saved = manifest.read_manifest(tmp_path / f"run-{keep}")
        assert saved is not None
        assert list(saved.checkpoints) == steps
        found = {path.name for path in (tmp_path / f"run-{keep}" / "checkpoint").iterdir()}
        assert found == {f"step-{step}.group-0.safetensors" for step in steps}
    with pytest.raises(bx.ConfigError, match="keep_checkpoints"):
        bx.train("corridor", "q-learning", steps=600, keep_checkpoints=0)


def test_damaged_and_foreign_checkpoints_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        lose_power(patch, 100)
        with pytest.raises(StopError):
            begin("table, compiled", tmp_path / "run")
    part = tmp_path / "run" / "checkpoint" / "step-100.group-0.safetensors"
    whole = part.read_bytes()
    for damaged in (whole[:-1], whole[: len(whole) // 2], b"", whole[:-3] + bytes([whole[-3] ^ 1]) + whole[-2:]):
        part.write_bytes(damaged)
        with pytest.raises(bx.CorruptCheckpoint, match="group-0"):
            bx.resume(tmp_path / "run", step=100)
    part.unlink()
    with pytest.raises(bx.CorruptCheckpoint, match=r"group-0\.safetensors is missing"):
        bx.resume(tmp_path / "run", step=100)
    part.write_bytes(whole)
    with pytest.raises(
        bx.IncompatibleCheckpoint, match=r"state.q is float64 \(48, 4\); this run needs float64 \(6, 2\)"
    ):
        bx.resume(tmp_path / "run", world="corridor")
    assert bx.resume(tmp_path / "run").scores


def test_nothing_to_resume(tmp_path: Path) -> None:
    with pytest.raises(bx.ConfigError, match="no run in"):
        bx.resume(tmp_path)
