"""Saves: a thread writes a snapshot, of large arrays only what is new; a replay buffer may be saved less often."""

import functools
import json
import shutil
import subprocess
import sys
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest
from saved import StopError, lose_power, newest, reseal
from worlds import Filmed

import bellmax as bx
from bellmax import machine
from bellmax.files import blocks, checkpoint, manifest
from bellmax.files.blocks import contents_of, in_blocks, known_blocks, read_pieces
from bellmax.files.manifest import commit
from bellmax.files.saved_files import files_of
from bellmax.loops.choosing import make_loop
from bellmax.sources import find_world
from bellmax.training import saved_runs, trainer

ABOUT = {"seeds": [0], "kind": "host"}
NAME = "checkpoint/step-1.group-0.safetensors"
SMALL = {"learning_starts": 50, "buffer_size": 300, "batch_size": 8, "net_arch": (8,), "target_update_interval": 100}
RUNS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "table, compiled": ("CliffWalking-v1", bx.QLearning(), {"loop": "compiled"}),
    "table, host": ("CliffWalking-v1", bx.QLearning(), {"loop": "host"}),
    "network, compiled": ("CartPole-v1", bx.DQN(**SMALL, prioritized=True, n_steps=3), {"loop": "compiled"}),
    "network, stacked": ("CartPole-v1", bx.DQN(**SMALL), {"loop": "compiled", "vmap": 2}),
    "network, host": ("CartPole-v1", bx.DQN(**SMALL, num_envs=2, train_freq=3), {"loop": "host"}),
    "frames, host": (functools.partial(Filmed, spacing=0), bx.DQN(**SMALL, network="mlp"), {"loop": "host"}),
}


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks so small that the arrays of these runs are cut."""
    monkeypatch.setattr(blocks, "SIZE", 256)


def begin(name: str, folder: Path, **options: Any) -> bx.Run:
    world, agent, own = RUNS[name]
    asked = {"steps": 600, "records": 6, "final_episodes": 1, "eval_episodes": 1, "seeds": 2, **own, **options}
    return bx.train(world, agent, out=folder, **asked)


def go_on(name: str, folder: Path, **options: Any) -> bx.Run:
    world = RUNS[name][0]
    return bx.resume(folder, None if isinstance(world, str) else world, **options)


def stopped(name: str, folder: Path, monkeypatch: pytest.MonkeyPatch, seconds: float = 0.0, **options: Any) -> Path:
    with monkeypatch.context() as patch:
        lose_power(patch, 300, seconds)
        with pytest.raises(StopError):
            begin(name, folder, **options)
    return folder


def same_end(run: bx.Run, other: bx.Run) -> None:
    for which in ("final", "best"):
        for seed in run.seeds:
            for key, array in run.policy(seed, which).arrays.items():
                np.testing.assert_array_equal(other.policy(seed, which).arrays[key], array)
    for column in run.history.columns:
        if not column.startswith(("time/", "system/")):
            np.testing.assert_array_equal(run.history[column], other.history[column])
    assert run.scores == other.scores
    for one, two in zip(run.episodes, other.episodes, strict=True):
        np.testing.assert_array_equal(one.returns, two.returns)


# blocks


def some_arrays() -> dict[str, np.ndarray]:
    dice = np.random.default_rng(0)
    rows = dice.integers(0, 2**32, (100, 11), np.uint32)
    half = np.asarray(jnp.asarray(dice.random((40, 9)), jnp.bfloat16))
    return {
        "rows": rows, "turned": dice.random((30, 20)).T, "flags": dice.random(999) < 0.5, "half": half,
        "empty": np.zeros((900, 3), np.int64), "small": np.arange(3), "scalar": np.array(2.5), "none": np.zeros((0, 4)),
    }  # fmt: skip


def store(folder: Path, arrays: dict[str, np.ndarray], step: int = 1, **how: Any) -> None:
    folder.mkdir(exist_ok=True)
    pieces = in_blocks(arrays, known_blocks(files_of(folder)) if step > 1 else set(), copied=True)
    commit(folder, contents_of(NAME.replace("1", str(step)), pieces), ABOUT, step=step, **how)


def test_arrays_come_back_from_their_blocks(tmp_path: Path) -> None:
    arrays = some_arrays()
    store(tmp_path, arrays)
    found = read_pieces(files_of(tmp_path), NAME)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        assert (found[name].dtype, found[name].shape) == (array.dtype, array.shape)
        assert found[name].tobytes() == array.tobytes()
    empty = [entry for entry in (tmp_path / "checkpoint").iterdir() if not any(entry.read_bytes())]
    assert len(empty) == 2  # of 85 blocks: a whole one, and the rest at the end


def test_only_what_is_new_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arrays = some_arrays()
    store(tmp_path, arrays)
    first = {path.name for path in (tmp_path / "checkpoint").iterdir()}
    written: list[str] = []
    write = manifest.storage.write_new
    monkeypatch.setattr(
        manifest.storage, "write_new", lambda path, data: (written.append(path.name), write(path, data))
    )
    arrays["rows"][50] += 1
    arrays["empty"][7, 1] = 5
    store(tmp_path, arrays, 2, keep=2)
    assert len([name for name in written if name.startswith("block-")]) == 2
    assert {path.name for path in (tmp_path / "checkpoint").iterdir()} >= first
    files = files_of(tmp_path)
    np.testing.assert_array_equal(read_pieces(files, NAME.replace("1", "2"))["rows"], arrays["rows"])
    assert not (read_pieces(files, NAME)["rows"] == arrays["rows"]).all()
    store(tmp_path, arrays, 3, keep=1)  # the blocks that no checkpoint names are removed
    names = files_of(tmp_path).names()
    assert {path.name for path in (tmp_path / "checkpoint").iterdir()} == {name.rpartition("/")[2] for name in names}
    assert len(names) == len(first) + 1  # the block of zeros is still needed elsewhere


def test_a_snapshot_needs_the_memory_of_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocks, "SIZE", 1 << 20)
    rows, known = np.random.default_rng(0).integers(0, 2**32, (16 << 10, 256), np.uint32), set[str]()  # 16 MiB
    in_blocks({"rows": rows}, known, copied=True)
    rows[5] += 1
    tracemalloc.start()
    pieces = in_blocks({"rows": rows}, known, copied=True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 1.2 * (1 << 20)
    rows[:] = 0
    new = [content for _, content in pieces["rows"].blocks if content is not None]  # type: ignore[union-attr]
    assert len(new) == 1
    assert any(new[0])  # not the rows as they are now


HOSTILE: dict[str, Any] = {
    "another shape": ({"rows": np.empty((0, 100, 12), np.uint32)}, None),
    "a negative lead": ({"rows": np.empty((1, 0), np.uint32)}, None),
    "more than any memory": ({"rows": np.empty((0, 2**50), np.uint32)}, None),
    "a block that is not named": ({}, {"rows": ["0" * 64]}),
    "a path": ({}, {"rows": ["../../config"]}),
    "a number": ({}, {"rows": [3]}),
    "an array that does not exist": ({}, {"other": []}),
    "a number of blocks": ({}, {"rows": 5}),
    "a list": ({}, []),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_blocks_that_do_not_fit_are_refused(case: str, tmp_path: Path) -> None:
    store(tmp_path, {"rows": some_arrays()["rows"]})
    changes, lists = HOSTILE[case]
    arrays, about = files_of(tmp_path).tensors(NAME)
    text = about["blocks"] if lists is None else json.dumps(lists)
    (tmp_path / NAME).write_bytes(manifest.storage.to_bytes({**arrays, **changes}, {"blocks": text}))
    reseal(tmp_path)
    with pytest.raises(bx.CorruptCheckpoint, match=r"step-1\.group-0|is missing"):
        read_pieces(files_of(tmp_path), NAME)


def test_more_blocks_than_fit_in_memory_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(tmp_path, {"rows": some_arrays()["rows"]})
    files = files_of(tmp_path)
    monkeypatch.setattr(machine, "NOTHING", 4_000)  # smaller files are read
    monkeypatch.setattr(machine, "free_memory", lambda: machine.Free(5_000))
    with pytest.raises(bx.ResourceError, match=r"an array of a checkpoint in .* needs 4400 bytes, and 5000 bytes are"):
        read_pieces(files, NAME)


# runs


def blocks_of(folder: Path, step: int) -> set[str]:
    found = manifest.read_manifest(folder)
    assert found is not None
    return {name for name in found.checkpoints[step] if name.startswith(manifest.BLOCK)}


def test_a_lost_block_and_exchanged_blocks_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = stopped("table, compiled", tmp_path / "run", monkeypatch)
    own, other = (sorted(blocks_of(folder, a) - blocks_of(folder, b)) for a, b in ((300, 200), (200, 300)))
    shared = sorted(blocks_of(folder, 300) & blocks_of(folder, 200))
    assert own
    assert other
    assert shared
    whole = begin("table, compiled", tmp_path / "whole")
    for fault in ("lost", "exchanged", "shared"):
        copy = Path(shutil.copytree(folder, tmp_path / fault))
        if fault == "lost":
            (copy / own[0]).unlink()
        elif fault == "exchanged":
            content = (copy / own[0]).read_bytes()
            (copy / own[0]).write_bytes((copy / other[0]).read_bytes())
            (copy / other[0]).write_bytes(content)
        else:
            (copy / shared[0]).write_bytes(bytes(256))
        name = (shared if fault == "shared" else own)[0].rpartition("/")[2]
        with pytest.raises(bx.CorruptCheckpoint, match=f"{name}.*the run has checkpoints of steps 200, 300"):
            bx.resume(copy, step=300)
        if fault == "lost":  # the one before is used
            said: list[str] = []
            same_end(bx.resume(copy, say=said.append), whole)
            assert "the checkpoint of step 300 is damaged, and the one before it is used: " in said[0]
            continue
        with pytest.raises(bx.CorruptCheckpoint, match="the run has checkpoints of steps 200, 300"):
            bx.resume(copy)


@pytest.mark.parametrize("name", RUNS)
def test_a_snapshot_stays_as_it_is_while_training_goes_on(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = begin(name, tmp_path / "whole")
    folder = stopped(name, tmp_path / "run", monkeypatch, seconds=0.2)
    assert newest(folder)[0] // 10 == 30
    same_end(go_on(name, folder), whole)


def test_training_goes_on_while_a_thread_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "SAVE_SECONDS", 0.0)
    save, threads, steps = saved_runs.save_run, [], []
    until = threading.Event()
    advance = trainer.SeedGroups.advance

    def save_slowly(run: bx.Run, *arguments: Any, **how: Any) -> None:
        threads.append(threading.current_thread())
        if len(threads) == 1:
            assert until.wait(30.0)  # for two more records
        save(run, *arguments, **how)

    def advanced(self: Any, *arguments: Any) -> None:
        advance(self, *arguments)
        steps.append(min(self.clocks))
        if len(steps) == 2:
            until.set()

    monkeypatch.setattr(saved_runs, "save_run", save_slowly)
    monkeypatch.setattr(trainer.SeedGroups, "advance", advanced)
    run = begin("table, compiled", tmp_path / "run")
    assert threads[0] is not threading.main_thread()
    assert threads[-1] is threading.main_thread()  # the last save is waited for
    assert not [thread for thread in threads[:-1] if thread.is_alive()]
    assert bx.load(tmp_path / "run").scores == run.scores


def test_an_error_that_is_not_of_the_disk_is_raised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saved_runs, "save_run", lambda *arguments, **how: (_ for _ in ()).throw(StopError))
    with pytest.raises(StopError):
        begin("table, compiled", tmp_path / "run")


DYING = """
import os, sys, threading
from pathlib import Path
sys.path.insert(0, sys.argv[2])
import bellmax as bx
from bellmax import machine
from bellmax.files import blocks, manifest
from bellmax.training import trainer
from test_saving import begin, same_end

trainer.SAVE_SECONDS, blocks.SIZE = -1.0, 256
place, outcomes = Path(sys.argv[1]), []
whole = begin("table, compiled", place / "whole", final_episodes=0)

def child(folder, n):
    calls = []
    for name in ("open", "write", "fsync", "replace", "unlink"):
        def call(*args, original=getattr(os, name), name=name, **kwargs):
            if threading.current_thread() is not threading.main_thread():
                calls.append(name)
                if len(calls) == n:
                    if name == "write":
                        original(args[0], args[1][: len(args[1]) // 2])
                    os._exit(9)
            return original(*args, **kwargs)
        setattr(os, name, call)
    begin("table, compiled", folder, final_episodes=0)
    os._exit(0)

for n in range(1, 10_000, 13):
    folder = place / f"run-{n}"
    pid = os.fork()
    if pid == 0:
        child(folder, n)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, 9), code
    if code == 0:
        break
    outcomes.append(manifest.read_manifest(folder).step)
    same_end(bx.resume(folder, progress=False), whole)
assert len(outcomes) > 20, outcomes
assert outcomes == sorted(outcomes) and len(set(outcomes)) > 4, outcomes
"""


def test_wherever_the_thread_is_killed_the_run_is_resumed_and_ends_the_same(tmp_path: Path) -> None:
    here = str(Path(__file__).parent)
    subprocess.run([sys.executable, "-c", DYING, str(tmp_path), here], check=True, timeout=300)


# a replay buffer that is saved less often


def newest_steps(rows: np.ndarray, position: np.ndarray) -> np.ndarray:
    """The newest row of each environment, of each seed that is stacked."""
    rows, position = rows.reshape(-1, *rows.shape[-2:]), position.reshape(-1, position.shape[-1])
    n = position.shape[1]
    slots = (position - 1) % (rows.shape[1] // n) * n + np.arange(n)
    found: np.ndarray = rows[np.arange(len(rows))[:, None], slots]
    return found


@pytest.mark.parametrize("name", ["network, compiled", "network, stacked", "network, host", "frames, host"])
def test_a_replay_buffer_may_be_older_than_the_rest(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    folder = stopped(name, tmp_path / "run", monkeypatch, save_replay_every=1e6, say=said.append)
    assert (
        "the replay buffer is saved every 1e+06 s, and when the run stops; after a crash, the run resumes with"
        in said[1]
    )
    step, groups = newest(folder)
    (held,) = {int(arrays[checkpoint.REPLAY_STEP][0]) for arrays in groups}
    assert 0 < held <= 102 < step
    files = files_of(folder)
    assert files.manifest is not None
    saved = [name for name in files.manifest.checkpoints[step] if ".replay-" in name]
    assert saved == [f"checkpoint/step-{held}.replay-{g}.safetensors" for g in range(len(groups))]

    world, agent, own = RUNS[name]
    loop = make_loop(agent, find_world(world), own["loop"], 600, own.get("vmap"))
    (position,) = {key for key in groups[0] if key.startswith(loop.replay) and key.endswith("ring.position")}
    (rows,) = {key for key in groups[0] if key.startswith(loop.replay) and key.endswith("ring.rows")}
    state = loop.restore(list(range(min(2, loop.group))), groups[0], step)
    restored = loop.dump(state)
    np.testing.assert_array_equal(restored[position], groups[0][position])
    newest_rows = newest_steps(restored[rows], restored[position])
    assert (newest_rows[..., -1] == 1).all()  # the newest step of each environment ends its episode
    changed = (restored[rows] != groups[0][rows]).sum()
    assert (
        changed == (newest_steps(groups[0][rows], restored[position])[..., -1] == 0).sum()
    )  # and nothing else differs
    loop.close(state)

    said.clear()
    run = go_on(name, folder, say=said.append)
    assert f"the replay buffer in the checkpoint is of step {held}, not {step} (save_replay_every)" in said[0]
    assert "the run continues with it, so not bit for bit" in said[0]
    assert run.history.step[-1] == 600
    assert bx.load(folder).scores == run.scores


def test_a_run_that_stops_in_order_has_its_whole_replay_buffer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = begin("network, compiled", tmp_path / "whole")
    record = trainer.Trainer.record

    def stop(self: Any, groups: Any, report: Any) -> None:
        record(self, groups, report)
        if groups.clocks[0] == 300:
            raise KeyboardInterrupt(2)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "SAVE_SECONDS", -1.0)
        patch.setattr(trainer.Trainer, "record", stop)
        with pytest.raises(KeyboardInterrupt):
            begin("network, compiled", tmp_path / "run", save_replay_every=1e6)
    said: list[str] = []
    same_end(bx.resume(tmp_path / "run", say=said.append), whole)
    assert len(said) == 1


def test_a_replay_buffer_that_is_saved_less_often_must_exist() -> None:
    for agent, options in (("q-learning", {}), ("pqn", {})):
        with pytest.raises(
            bx.ConfigError, match=f"save_replay_every: the checkpoints of {agent} have no replay buffer"
        ):
            bx.train("CartPole-v1", agent, steps=100, save_replay_every=10, **options)
    for wrong in (0, -1.0, float("nan"), "often"):
        with pytest.raises(bx.ConfigError, match="save_replay_every"):
            bx.train("CartPole-v1", "dqn", steps=100, save_replay_every=wrong)  # type: ignore[arg-type]
