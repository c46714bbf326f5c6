"""One process at a time writes to a run's folder; the operating system frees what a dead one held."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import bellmax as bx
from bellmax.files import lock
from bellmax.files.lock import locked

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
    with pytest.raises(bx.ResourceError, match="cannot create"), locked(tmp_path / "nowhere"):
        pass


def test_a_forked_child_holds_nothing(tmp_path: Path) -> None:
    code = f"""
import os, sys, time
from pathlib import Path
from bellmax.files.lock import locked
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
