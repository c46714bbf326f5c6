"""One process at a time writes to a run's folder; the operating system frees what a dead one held."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bellmax as bx
from bellmax.files import lock
from bellmax.files.lock import locked
from bellmax.training import trainer
from bellmax.training.saver import Saver

RUN = """
import sys
import bellmax as bx
from bellmax.training import saved_runs, trainer

trainer.SAVE_SECONDS = -1.0
save = saved_runs.save_run

def save_and_say(*arguments, **how):
    save(*arguments, **how)
    print("saved", flush=True)
    if len(sys.argv) > 2:
        sys.stdin.readline()  # held until it is told to go on

saved_runs.save_run = save_and_say
"""
TRAIN = RUN + "bx.train('corridor', 'q-learning', steps=600, records=6, final_episodes=1, out=sys.argv[1])"
RESUME = RUN + "bx.resume(sys.argv[1])"


@contextlib.contextmanager
def living(program: str, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that has saved the run once and waits for a line on its standard input."""
    command = [sys.executable, "-c", program, str(folder), "hold"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdin is not None
    assert process.stdout is not None
    with process:
        try:
            assert process.stdout.readline() == "saved\n"
            yield process
        finally:
            process.kill()


def killed(folder: Path) -> Path:
    """The folder of a run that was killed after its first save."""
    with living(TRAIN, folder) as process:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    return folder


def listing(folder: Path) -> dict[str, tuple[bytes, int]]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {str(path.relative_to(folder)): (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


def test_a_lock_is_said_by_whom_it_is_held(tmp_path: Path) -> None:
    with locked(tmp_path):
        held = json.loads((tmp_path / "run.lock").read_text())
        with pytest.raises(bx.RunLocked, match=f"in use by process {os.getpid()} on ") as caught, locked(tmp_path):
            pass
    assert f"started '{held['started']}'; wait for it or stop it" in str(caught.value)
    assert not list(tmp_path.iterdir())
    with locked(tmp_path):
        pass


@pytest.mark.parametrize("text", [b"", b"{", b"[" * 4000, b'{"pid": 1e999, "host": 1, "started": 2}', b"\xff" * 9000])
def test_what_stands_in_a_lock_file_does_not_matter(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "run.lock").write_bytes(text)
    with locked(tmp_path):
        (tmp_path / "run.lock").write_bytes(text)
        with pytest.raises(bx.RunLocked, match="in use by another run; wait for it or stop it"), locked(tmp_path):
            pass


def test_a_lock_that_is_no_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run.lock").symlink_to(tmp_path / "thesis.txt")
    with pytest.raises(bx.UnsafeFile, match=r"run\.lock is a link"), locked(tmp_path):
        pass
    (tmp_path / "run.lock").unlink()
    os.mkfifo(tmp_path / "run.lock")
    with pytest.raises(bx.UnsafeFile, match="not a regular file"), locked(tmp_path):
        pass
    with pytest.raises(bx.ResourceError, match=r"cannot create .* so use one"), locked(tmp_path / "nowhere"):
        pass


def test_a_forked_child_holds_nothing(tmp_path: Path) -> None:
    code = f"""
import os, sys, time
from pathlib import Path
from bellmax.files.lock import locked
from bellmax.training import trainer
from bellmax.training.saver import Saver
with locked(Path({str(tmp_path)!r})):
    if os.fork() == 0:
        print(flush=True)
        time.sleep(60)
        os._exit(0)
    time.sleep(60)
"""
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    process.wait()
    with locked(tmp_path):
        pass
    os.killpg(process.pid, signal.SIGKILL)  # the child
    process.stdout.close()


def test_nobody_writes_beside_a_living_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    with living(TRAIN, folder) as process:
        before = listing(folder)
        for if_exists in ("resume", "replace"):
            with pytest.raises(bx.RunLocked, match=f"in use by process {process.pid} on"):
                bx.train(
                    "corridor", "q-learning", steps=600, records=6, final_episodes=1, out=folder, if_exists=if_exists
                )
        with pytest.raises(bx.RunLocked):
            bx.resume(folder)
        with pytest.raises(bx.ConfigError, match="exists already"):
            bx.train("corridor", "q-learning", steps=600, out=folder)
        assert listing(folder) == before
        assert not bx.load(folder).scores  # reading is free
        second = subprocess.run(
            [sys.executable, "-m", "bellmax", "resume", str(folder)], capture_output=True, text=True, check=False
        )
        assert second.returncode == bx.RunLocked.exit_code
        assert second.stderr.startswith(f"error: {folder} is in use by process {process.pid}")
        assert listing(folder) == before
        process.communicate("\n" * 9, timeout=60)
        assert process.returncode == 0
    assert bx.load(folder).scores == [1.0]


def test_two_resumes(tmp_path: Path) -> None:
    folder = killed(tmp_path / "run")
    with living(RESUME, folder) as first:
        before = listing(folder)
        second = subprocess.run(
            [sys.executable, "-c", RESUME, str(folder)], capture_output=True, text=True, check=False
        )
        assert "RunLocked" in second.stderr
        assert listing(folder) == before
        first.communicate("\n" * 9, timeout=60)
        assert first.returncode == 0
    assert bx.load(folder).scores == [1.0]


def test_a_killed_holder_frees_its_lock(tmp_path: Path) -> None:
    folder = killed(tmp_path / "run")
    assert (folder / lock.LOCK).is_file()
    run = bx.resume(folder)
    assert run.scores == [1.0]
    assert not (folder / lock.LOCK).exists()
    alone = bx.train("corridor", "q-learning", steps=600, records=6, final_episodes=1)
    np.testing.assert_array_equal(run.policy().table(), alone.policy().table())


def test_a_folder_with_nothing_but_a_lock_is_free(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "run.lock").write_text("{}\n")  # of a process that was killed before its first file
    assert bx.train("corridor", "q-learning", steps=100, final_episodes=1, out=tmp_path / "run").scores


def test_fifty_starts_at_once_get_fifty_folders(tmp_path: Path) -> None:
    code = """
import os, sys
import bellmax as bx

def train(out=None):
    options = {} if out is None else {"out": out, "if_exists": "number"}
    return bx.train("corridor", "q-learning", steps=100, final_episodes=1, seeds=2, progress=False, **options)

train()  # compiled once
reading, writing = os.pipe()
children = []
for _ in range(50):
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)  # until all are there
        os._exit(0 if train("runs/x").scores else 1)
    children.append(child)
os.close(writing)
assert all(os.waitpid(child, 0)[1] == 0 for child in children)
"""
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True, timeout=300)
    folders = list((tmp_path / "runs").iterdir())
    assert {path.name for path in folders} == {"x", *(f"x-{k}" for k in range(2, 51))}
    assert all(len(bx.load(folder).scores) == 2 for folder in folders)


@contextlib.contextmanager
def before_the_save(number: int, act: Callable[[], object]) -> Iterator[None]:
    """Save at every record; do something before the save of this number, from 1, begins."""
    begin, calls = Saver.begin, list[int]()

    def act_and_begin(saver: Saver, step: int, dumped: Any) -> None:
        saver.settle()
        calls.append(step)
        if len(calls) == number:
            act()
        begin(saver, step, dumped)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "SAVE_SECONDS", -1.0)
        patch.setattr(Saver, "begin", act_and_begin)
        yield


def trained(folder: Path, agent: str = "q-learning") -> bx.Run:
    return bx.train("corridor", agent, steps=600, records=6, final_episodes=1, out=folder)


@pytest.mark.parametrize("instead", ["another run", "an empty folder", "nothing"])
def test_what_took_the_place_of_a_folder_that_was_moved_is_not_written_to(instead: str, tmp_path: Path) -> None:
    other, folder = trained(tmp_path / "other", "sarsa").folder, tmp_path / "run"
    assert other is not None
    place = {"another run": lambda: shutil.copytree(other, folder), "an empty folder": folder.mkdir}

    def move() -> None:
        folder.rename(tmp_path / "moved")
        place.get(instead, lambda: None)()

    moved = "is not the folder of this run: it was moved, removed or replaced"
    with (
        before_the_save(3, move),
        pytest.warns(bx.RunWarning, match=f"{moved}; restore it; training continues"),
        pytest.raises(bx.ResourceError, match=moved),
    ):
        trained(folder)
    if instead == "another run":
        assert listing(folder) == listing(other)
    else:
        assert not folder.exists() or not listing(folder)
    assert not bx.load(tmp_path / "moved").scores
    assert bx.resume(tmp_path / "moved").scores == trained(tmp_path / "whole").scores


def test_a_folder_that_comes_back_is_saved_to_again(tmp_path: Path) -> None:
    folder, away = tmp_path / "run", tmp_path / "away"
    with (
        before_the_save(3, lambda: folder.rename(away)),
        before_the_save(5, lambda: away.rename(folder)),
        pytest.warns(bx.RunWarning, match=r"training continues \(failure [12] of 3"),
    ):
        run = trained(folder)
    assert bx.load(folder).history.to_csv() == run.history.to_csv()


def test_a_lock_file_that_somebody_removes_is_created_again(tmp_path: Path) -> None:
    locks = []

    def remove() -> None:
        (tmp_path / "run" / lock.LOCK).unlink()
        locks.append("removed")

    with (
        before_the_save(3, remove),
        before_the_save(5, lambda: locks.append((tmp_path / "run" / lock.LOCK).read_text())),
    ):
        assert trained(tmp_path / "run").scores
    assert str(os.getpid()) in locks[-1]
    assert not (tmp_path / "run" / lock.LOCK).exists()


def test_who_removes_a_lock_file_to_resume_stops_the_first_run(tmp_path: Path) -> None:
    folder = tmp_path / "run"

    def resume_beside() -> None:
        held = lock._HELD.pop(folder)  # as in another process
        (folder / lock.LOCK).unlink()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(trainer, "SAVE_SECONDS", 30.0)
            stack.enter_context(locked(folder))
        lock._HELD[folder] = held

    with contextlib.ExitStack() as stack, before_the_save(3, resume_beside):
        with pytest.raises(bx.RunLocked, match="in use by process"):
            trained(folder)
        assert (folder / lock.LOCK).exists()  # that of the second


def test_a_run_is_saved_in_its_folder_though_the_working_directory_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with before_the_save(3, lambda: os.chdir("elsewhere")):
        run = trained(Path("run"))
    assert not list((tmp_path / "elsewhere").iterdir())
    assert bx.load(tmp_path / "run").scores == run.scores
    assert not (tmp_path / "run" / lock.LOCK).exists()
