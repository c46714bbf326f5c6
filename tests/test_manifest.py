"""One manifest binds all files of a run: whatever fails, and wherever, they are the old state or the new one."""

import errno
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from saved import StopError, lose_power, newest, reseal

import bellmax as bx
from bellmax.contracts import BellmaxError
from bellmax.files import manifest
from bellmax.files.manifest import commit, is_leftover, is_ours, listing
from bellmax.files.saved_files import files_of
from bellmax.training import saved_runs, saver, trainer

ABOUT = {"seeds": [0], "kind": "host"}
OLD = {"config.json": b"{}", "history.csv": b"old", "policies/seed-0-final.json": b"old", "visits.safetensors": b"same"}
NEW = {**OLD, "history.csv": b"newer", "policies/seed-0-final.json": b"new", "episodes.safetensors": b"e" * 999}
SHARED, *OWN = (f"checkpoint/block-{letter * 64}.bin" for letter in "abc")
CHECKPOINTS: dict[int, dict[str, bytes | None]] = {
    10: {"checkpoint/step-10.group-0.safetensors": b"ten", OWN[0]: b"0" * 99, SHARED: b"shared" * 99,
         "checkpoint/step-10.replay-0.safetensors": b"ten too"},
    20: {"checkpoint/step-20.group-0.safetensors": b"twenty", SHARED: None, OWN[1]: b"1" * 99,
         "checkpoint/step-20.replay-0.safetensors": b"twenty too"},
}  # fmt: skip
NTH = ("open", "write", "fsync", "replace", "unlink", "mkdir")


def begin(folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    commit(folder, [("environment.json", b"here")], ABOUT, step=0)
    commit(folder, {**OLD, **CHECKPOINTS[10]}.items(), ABOUT, step=10)


def go_on(folder: Path) -> None:
    commit(folder, {**NEW, **CHECKPOINTS[20]}.items(), ABOUT, step=20)


def state(folder: Path) -> dict[str, bytes]:
    files = files_of(folder)
    return {name: bytes(files.read(name)) for name in files.names()}


def expected(contents: dict[str, bytes], step: int) -> dict[str, bytes]:
    saved = {name: CHECKPOINTS[10][name] if data is None else data for name, data in CHECKPOINTS[step].items()}
    return {"environment.json": b"here", **contents, **{name: data for name, data in saved.items() if data}}


BEFORE, AFTER = expected(OLD, 10), expected(NEW, 20)


def on_disk(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file() and path.name != manifest.NAME]
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def test_a_commit(tmp_path: Path) -> None:
    begin(tmp_path)
    assert state(tmp_path) == on_disk(tmp_path) == BEFORE
    first = manifest.read_manifest(tmp_path)
    assert first is not None
    assert (first.step, list(first.checkpoints)) == (10, [10])
    go_on(tmp_path)
    assert state(tmp_path) == on_disk(tmp_path) == AFTER
    second = manifest.read_manifest(tmp_path)
    assert second is not None
    assert second.about == first.about == {**ABOUT, "run": first.about["run"]}
    assert len(first.about["run"]) == 16
    commit(tmp_path, [("result.json", b"{}")], ABOUT, step=30, keep=0)
    assert state(tmp_path) == on_disk(tmp_path) == {"environment.json": b"here", **NEW, "result.json": b"{}"}
    assert not (tmp_path / "checkpoint").exists()


def test_what_has_not_changed_is_not_written_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(tmp_path)
    written: list[str] = []
    write = manifest.storage.write_new
    monkeypatch.setattr(
        manifest.storage, "write_new", lambda path, data: (written.append(path.name), write(path, data))
    )
    commit(tmp_path, NEW.items(), ABOUT)
    assert sorted(name for name in written if not name.startswith(".manifest")) == [
        "episodes.safetensors.next", "history.csv.next", "seed-0-final.json.next",
    ]  # fmt: skip
    written.clear()
    commit(tmp_path, NEW.items(), ABOUT, afresh=True)
    assert len(written) == len(NEW) + 1
    (tmp_path / "visits.safetensors").unlink()
    commit(tmp_path, NEW.items(), ABOUT)
    assert state(tmp_path)["visits.safetensors"] == b"same"


def test_one_file_is_in_memory_at_a_time(tmp_path: Path) -> None:
    def contents() -> Iterator[tuple[str, bytes]]:
        for i in range(3):
            assert len(list((tmp_path / "checkpoint").glob("*.next")) if i else []) == i  # the others are on disk
            yield f"checkpoint/step-1.group-{i}.safetensors", b"group"

    commit(tmp_path, contents(), ABOUT, step=1)


def break_nth(patch: pytest.MonkeyPatch, n: int, code: int) -> list[str]:
    """The nth call of the OS raises; a full disk takes half of what is written. Returns the calls so far."""
    calls: list[str] = []

    def broken(name: str) -> Any:
        original = getattr(os, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append(name)
            if len(calls) == n:
                if name == "write":
                    original(args[0], args[1][: len(args[1]) // 2])
                raise OSError(code, os.strerror(code))
            return original(*args, **kwargs)

        return call

    for name in NTH:
        patch.setattr(os, name, broken(name))
    return calls


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EIO])
def test_whatever_call_fails_the_state_is_the_old_or_the_new_one(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(tmp_path / "whole")
    outcomes = []
    for n in range(1, 1000):
        folder = Path(shutil.copytree(tmp_path / "whole", tmp_path / f"run-{n}"))
        raised = ""
        with monkeypatch.context() as patch:
            calls = break_nth(patch, n, code)
            try:
                go_on(folder)
            except BellmaxError as error:
                raised = str(error)
        assert not raised or os.strerror(code) in raised
        if "saved state is unchanged" in raised:
            assert raised.endswith("; free space there") == (code == errno.ENOSPC)
        found = state(folder)
        assert found in (BEFORE, AFTER)
        assert raised or found == AFTER
        outcomes.append((bool(raised), found == AFTER))
        go_on(folder)
        assert state(folder) == on_disk(folder) == AFTER
        if len(calls) < n:
            break
    assert len(outcomes) > 20
    assert {(True, False), (False, True)} <= set(outcomes)


DYING = """
import os, shutil, sys
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_manifest import AFTER, BEFORE, NTH, begin, go_on, on_disk, state

place, power = Path(sys.argv[1]), sys.argv[3] == "power"
begin(place / "whole")
unsynced, renamed, opening = {}, [], os.open

def lose():
    "What a power failure loses: what was not synced, and names in folders that were not synced."
    for source, target, old in reversed(renamed):
        shutil.move(target, source)
        if old is not None:
            Path(target).write_bytes(old)
    for path in unsynced.values():
        if Path(path).exists():
            Path(path).write_bytes(b"")

def note(name, args, result):
    if name == "open" and args[1] & os.O_CREAT:
        unsynced[result] = str(args[0])
    if name == "fsync":
        unsynced.pop(args[0], None)
        if os.path.isdir(f"/proc/self/fd/{args[0]}"):
            where = os.readlink(f"/proc/self/fd/{args[0]}")
            renamed[:] = [each for each in renamed if os.path.dirname(each[1]) != where]

def child(folder, n):
    calls = []
    for name in NTH:
        def call(*args, original=getattr(os, name), name=name, **kwargs):
            calls.append(name)
            if len(calls) == n:
                if name == "write":
                    original(args[0], args[1][: len(args[1]) // 2])
                if power:
                    for each in NTH:
                        setattr(os, each, originals[each])
                    lose()
                os._exit(9)
            if name == "replace":
                target = Path(args[1])
                renamed.append((str(args[0]), str(target), target.read_bytes() if target.exists() else None))
            result = original(*args, **kwargs)
            note(name, args, result)
            return result
        originals[name] = getattr(os, name)
        setattr(os, name, call)
    go_on(folder)
    os._exit(0)

originals, outcomes = {}, []
for n in range(1, 1000):
    folder = Path(shutil.copytree(place / "whole", place / f"run-{n}"))
    pid = os.fork()
    if pid == 0:
        child(folder, n)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert code in (0, 9), code
    found = state(folder)
    assert found in (BEFORE, AFTER), (n, found)
    outcomes.append(found == AFTER)
    go_on(folder)
    assert state(folder) == on_disk(folder) == AFTER, n
    if code == 0:
        break
assert len(outcomes) > 20
assert sorted(outcomes) == outcomes  # the old one until one moment, from then on the new one
"""


@pytest.mark.parametrize("how", ["killed", "power"])
def test_wherever_the_process_dies_the_state_is_the_old_or_the_new_one(how: str, tmp_path: Path) -> None:
    here = str(Path(__file__).parent)
    subprocess.run([sys.executable, "-c", DYING, str(tmp_path.resolve()), here, how], check=True, timeout=300)


def test_leftovers_go_and_one_line_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begin(tmp_path)
    leftovers = ("history.csv.next", ".config.json.0a1b2c3d", "checkpoint/.step-7.group-0.safetensors.abc_1234")
    for name in leftovers:
        (tmp_path / name).write_bytes(b"half")
    mine = ("notes.txt", ".DS_Store", "checkpoint/step-1.group-0.safetensors.bak", "policies/mine.next")
    for name in mine:
        (tmp_path / name).write_bytes(b"mine")
    assert state(tmp_path) == BEFORE
    go_on(tmp_path)
    assert on_disk(tmp_path) == {**AFTER, **dict.fromkeys(mine, b"mine")}
    assert capsys.readouterr().err == f"{tmp_path}: removed 3 files of a save that was interrupted\n"
    go_on(tmp_path)
    assert capsys.readouterr().err == ""


def test_a_leftover_of_the_right_size_is_not_taken(tmp_path: Path) -> None:
    begin(tmp_path)
    (tmp_path / "history.csv.next").write_bytes(b"OLD")
    commit(tmp_path, [], ABOUT)
    assert state(tmp_path) == on_disk(tmp_path) == BEFORE


def test_a_checkpoint_takes_the_place_of_later_ones(tmp_path: Path) -> None:
    """As where a run resumed from an earlier one."""
    begin(tmp_path)
    commit(tmp_path, CHECKPOINTS[20].items(), ABOUT, step=20, keep=2)
    commit(tmp_path, [("checkpoint/step-15.group-0.safetensors", b"15")], ABOUT, step=15, keep=3)
    found = manifest.read_manifest(tmp_path)
    assert found is not None
    assert (found.step, list(found.checkpoints)) == (15, [10, 15])


def test_names() -> None:
    ours = [
        "config.json",
        "manifest.json",
        "policies/all-best.json",
        "experience/seed-3.safetensors",
        "checkpoint.json",
        SHARED,
        "checkpoint/step-20.replay-0.safetensors",
    ]
    for name in ours:
        assert is_ours(name)
        assert not is_leftover(name)
        place, slash, last = name.rpartition("/")
        for half in (f"{name}.next", f"{place}{slash}.{last}.1a2b3c4d"):
            assert is_ours(half)
            assert is_leftover(half)
    for name in ("config", "../config.json", "other/config.json", "policies/config.json", "seed-0-final.json", ".next",
                 "policies/seed-x-final.json", "config.json.bak", ".config.json", "config.json\n", f"{SHARED[:-5]}.bin",
                 SHARED.replace("a", "A")):  # fmt: skip
        assert not is_ours(name)


def forge(folder: Path, **changes: object) -> None:
    """A manifest with other entries, hash and all."""
    card = {**json.loads((folder / manifest.NAME).read_text()), **changes}
    del card["sha256"]
    (folder / manifest.NAME).write_text(json.dumps({**card, "sha256": manifest._hash(card)}))


@pytest.mark.parametrize(
    "changes",
    [
        {"files": {"../config.json": {"size": 1, "sha256": ""}}}, {"files": []}, {"files": {"config.json": 3}},
        {"files": {"config.json": {"size": "1", "sha256": ""}}}, {"step": "5"}, {"step": -1}, {"step": None},
        {"checkpoints": [{"step": 1, "files": ["checkpoint/step-1.group-0.safetensors"]}]}, {"checkpoints": {}},
        {"checkpoints": [{"step": 2, "files": []}, {"step": 1, "files": []}]}, {"format": 1},
    ],
    ids=str,
)  # fmt: skip
def test_a_manifest_that_names_what_a_run_does_not_have_is_refused(changes: dict, tmp_path: Path) -> None:
    begin(tmp_path)
    forge(tmp_path, **changes)
    if changes == {"checkpoints": {}}:
        assert manifest.read_manifest(tmp_path) is not None  # no checkpoints
        return
    with pytest.raises(bx.CorruptCheckpoint, match=r"manifest\.json is not the manifest of a run"):
        files_of(tmp_path)


def test_a_manifest_of_a_newer_version_says_so(tmp_path: Path) -> None:
    begin(tmp_path)
    forge(tmp_path, format=4)
    with pytest.raises(bx.IncompatibleCheckpoint, match="has format 4, and this version reads 3; update bellmax"):
        files_of(tmp_path)


def test_every_flipped_bit_of_a_manifest_is_found(tmp_path: Path) -> None:
    begin(tmp_path)
    path = tmp_path / manifest.NAME
    whole = path.read_bytes()
    good = json.loads(whole)
    for position in range(len(whole)):
        flipped = bytearray(whole)
        flipped[position] ^= 1 << position % 8
        path.write_bytes(flipped)
        try:
            if json.loads(flipped) == good:
                continue
        except ValueError:
            pass
        with pytest.raises(bx.CheckpointError):
            files_of(tmp_path)


# runs

ASKED = {"steps": 600, "seeds": 2, "records": 6, "final_episodes": 2}


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    with pytest.MonkeyPatch.context() as patch:
        lose_power(patch, 300)
        with pytest.raises(StopError):
            bx.train("corridor", "q-learning", out=folder, **ASKED)
    return folder


def test_files_of_another_step_are_found(stopped: Path, tmp_path: Path) -> None:
    """Each file of an earlier state, and each of another run, in the place of the present one."""
    whole = bx.train("corridor", "q-learning", out=tmp_path / "other", gamma=0.5, **ASKED)
    assert whole.folder is not None
    for name in listing(stopped):
        if name in ("environment.json", manifest.NAME) or name.startswith("checkpoint"):
            continue
        folder = Path(shutil.copytree(stopped, tmp_path / "run", dirs_exist_ok=True))
        shutil.copy(whole.folder / name, folder / name)
        if (folder / name).read_bytes() == (stopped / name).read_bytes():
            continue
        for enter in (bx.load, bx.resume, lambda folder: bx.evaluate(folder, episodes=1)):
            with pytest.raises(bx.CorruptCheckpoint, match=f"{name}.* (is not what was saved|were saved)"):
                enter(folder)
        (folder / name).unlink()
        with pytest.raises(bx.CorruptCheckpoint, match=f"{name} is missing"):
            bx.load(folder)
        shutil.copy(stopped / name, folder / name)
    assert bx.resume(folder).scores


def test_what_can_still_be_used_is_said(stopped: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(stopped, tmp_path / "run"))
    (folder / "policies" / "seed-0-final.safetensors").write_bytes(b"")
    with pytest.raises(bx.CorruptCheckpoint) as caught:
        bx.load(folder)
    said = str(caught.value)
    assert "seed-0-final.safetensors has 0 bytes; " in said
    assert f"`bellmax resume {folder} --from STEP` needs only the files of a checkpoint: 200, 300" in said
    assert "bellmax.load_policy can still read" in said
    assert bx.load_policy(folder / "policies" / "seed-1-final").table().shape == (6, 2)
    (folder / "history.csv").write_bytes(b"")  # of which every checkpoint needs the beginning
    with pytest.raises(
        bx.CorruptCheckpoint, match=r"history\.csv has 0 bytes; [\d,]+ were saved; bellmax\.load_policy"
    ):
        bx.resume(folder)
    (folder / manifest.NAME).unlink()
    with pytest.raises(bx.CorruptCheckpoint, match=r"manifest\.json is missing, without which .* single policies"):
        bx.load(folder)
    with pytest.raises(bx.CorruptCheckpoint):
        bx.resume(folder)


def test_a_folder_with_data_and_no_checkpoint_is_never_started_from_scratch(stopped: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(stopped, tmp_path / "run"))
    reseal(folder, checkpoints={})
    for enter in (
        bx.resume,
        lambda folder: bx.train("corridor", "q-learning", out=folder, if_exists="resume", **ASKED),
    ):
        with pytest.raises(bx.CorruptCheckpoint, match="has no checkpoint; train it again"):
            enter(folder)


def test_a_start_that_was_killed_before_its_manifest_leaves_a_free_folder(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json.next").write_text("{")
    (tmp_path / "run" / ".manifest.json.00ff00ff").write_text("{")
    run = bx.train("corridor", "q-learning", out=tmp_path / "run", **ASKED)
    assert bx.load(tmp_path / "run").scores == run.scores
    assert not [name for name in listing(tmp_path / "run") if is_leftover(name)]


def test_a_run_is_read_while_it_is_saved(stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(stopped, tmp_path / "run"))
    read, times = saved_runs.read_run, []

    def read_slowly(files, **how):
        if not times:
            times.append(1)
            bx.resume(folder)  # the run ends meanwhile
        return read(files, **how)

    monkeypatch.setattr(saved_runs, "read_run", read_slowly)
    times.clear()
    assert len(bx.load(folder).scores) == 2


def test_options_that_change_are_bound_too(stopped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(shutil.copytree(stopped, tmp_path / "run"))
    monkeypatch.setattr(trainer.Trainer, "go", lambda *arguments: (_ for _ in ()).throw(StopError))
    with pytest.raises(StopError):
        bx.resume(folder, eval_episodes=3)
    assert bx.load(folder).options.eval_episodes == 3
    assert newest(folder)[0] == 300


# disk faults while training goes on


def failing(monkeypatch: pytest.MonkeyPatch, times: range, code: int = errno.ENOSPC) -> list[int]:
    """The commits of these numbers fail as on a full disk."""
    write, saves = saved_runs.manifest.storage.write, []

    def fail(path, data):
        if path.name == manifest.NAME:
            saves.append(len(saves))
            if saves[-1] in times:
                raise bx.ResourceError(f"cannot write {path}: {os.strerror(code)}")
        return write(path, data)

    monkeypatch.setattr(manifest.storage, "write", fail)
    return saves


def test_a_full_disk_does_not_stop_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = bx.train("corridor", "q-learning", **ASKED)
    monkeypatch.setattr(trainer, "SAVE_SECONDS", -1.0)
    with monkeypatch.context() as patch:
        failing(patch, range(2, 4))  # the two after the one at the start and the first
        with pytest.warns(bx.RunWarning, match=r"No space left on device; training continues \(failure [12] of 3"):
            run = bx.train("corridor", "q-learning", out=tmp_path / "run", **ASKED)
    assert run.scores == whole.scores
    assert bx.load(tmp_path / "run").history.to_csv() == run.history.to_csv()


def test_a_disk_that_cannot_be_read_does_not_stop_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before a thread writes, the manifest and the names of the blocks are read."""
    read, reads = saver.files_of, list[int]()

    def fail(folder: Path) -> Any:
        reads.append(len(reads))
        if len(reads) == 3:
            raise bx.ResourceError(f"cannot read the folder {folder}: Stale file handle")
        return read(folder)

    monkeypatch.setattr(trainer, "SAVE_SECONDS", -1.0)
    monkeypatch.setattr(saver, "files_of", fail)
    with pytest.warns(bx.RunWarning, match=r"Stale file handle; training continues \(failure 1 of 3 in a row\)"):
        run = bx.train("corridor", "q-learning", out=tmp_path / "run", **ASKED)
    assert bx.load(tmp_path / "run").scores == run.scores


def test_a_disk_that_stays_full_stops_training_with_what_was_saved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainer, "SAVE_SECONDS", -1.0)
    with monkeypatch.context() as patch:
        failing(patch, range(2, 100))
        with pytest.warns(bx.RunWarning, match="training continues"), pytest.raises(bx.ResourceError, match="No space"):
            bx.train("corridor", "q-learning", out=tmp_path / "run", **ASKED)
    assert newest(tmp_path / "run")[0] == 100
    assert bx.load(tmp_path / "run").history.step == [100]
    whole = bx.train("corridor", "q-learning", **ASKED)
    assert bx.resume(tmp_path / "run").scores == whole.scores


def test_a_last_save_that_fails_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        failing(patch, range(2, 100))  # after the first chunk
        with pytest.raises(bx.ResourceError, match="No space"):
            bx.train("corridor", "q-learning", out=tmp_path / "run", **ASKED)
    assert newest(tmp_path / "run")[0] == 100
    assert bx.resume(tmp_path / "run").scores
    np.testing.assert_array_equal(bx.load(tmp_path / "run").history.step, [100, 200, 300, 400, 500, 600])
