"""In a real terminal, where Ctrl-C reaches every process of the group: what is printed, saved and left behind."""

import os
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from saved import newest
from test_stopping import SLOW

import bellmax as bx

pty = pytest.importorskip("pty")
LAUNCH = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); "
    "os.execv(sys.executable, [sys.executable, '-m', 'bellmax', *sys.argv[1:]])"
)
PATIENCE = 100.0  # seconds, on a busy machine


class Terminal:
    """A command of bellmax in a terminal of its own, and what it showed so far."""

    def __init__(self, folder: Path, *words: str) -> None:
        (folder / "slow_env.py").write_text(SLOW)
        self.end, other = pty.openpty()
        environ = {**os.environ, "TERM": "xterm", "COLUMNS": "200"}
        if "CartPole-v1" in words:  # whose compiling is interrupted
            environ["BELLMAX_CACHE_DIR"] = str(folder / "cache")
        environ["PYTHONPATH"] = f"{folder}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
        self.process = subprocess.Popen(
            [sys.executable, "-c", LAUNCH, *words], stdin=other, stdout=other, stderr=other, cwd=folder, env=environ,
            start_new_session=True,
        )  # fmt: skip
        os.close(other)
        self.shown = ""

    def read(self, seconds: float) -> bool:
        """Read what comes within this time; whether more can come."""
        if not select.select([self.end], [], [], max(seconds, 0.0))[0]:
            return True
        try:
            data = os.read(self.end, 65536)
        except OSError:  # the other end is closed
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)

    def wait_for(self, what: str, seconds: float = 0.0) -> None:
        """Wait until a text was shown, and then a while."""
        deadline = time.monotonic() + PATIENCE
        while not re.search(what, self.shown):
            assert self.read(deadline - time.monotonic()), self.shown
            assert time.monotonic() < deadline, self.shown
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            assert self.read(until - time.monotonic()), self.shown

    def press_ctrl_c(self) -> None:
        os.write(self.end, b"\x03")

    def ended(self) -> int:
        """Its exit code, as a shell sees it; nothing of its group is left, and it showed no traceback."""
        deadline = time.monotonic() + PATIENCE
        while self.read(0.1) and time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
        code = self.process.wait(max(deadline - time.monotonic(), 0.1))
        while self.read(0.1) and select.select([self.end], [], [], 0.1)[0]:
            pass
        os.close(self.end)
        deadline = time.monotonic() + 5.0
        while (left := group(self.process.pid)) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert left == []
        for word in ("Traceback", "KeyboardInterrupt", "Exception ignored", "Error"):
            assert word not in self.shown, self.shown
        return code if code >= 0 else 128 - code


def group(number: int) -> list[int]:
    """Processes of a group that are alive."""
    found = []
    for place in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = place.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == number and fields[0] not in "ZX":
            found.append(int(place.parent.name))
    return found


def slow(*words: str, seconds: float = 0.3, free: int = 0) -> list[str]:
    arguments = ["slow_env:Slow", "--out", "run", "--env", f"seconds={seconds}", "--env", f"free={free}"]
    return ["train", *arguments, "--eval-episodes", "0", *words]


STEP = r"step\r\n"  # which the environment prints
SETTINGS = ["learning_starts=20", "buffer_size=300", "batch_size=8", "net_arch=8"]
LONG = ["--steps", "100000"]
PHASES: dict[str, tuple[list[str], str, float]] = {  # a command, what to wait for, and how long then
    "table": (slow("-a", "q-learning", *LONG), STEP, 0.7),
    "network": (slow("-a", "dqn", *LONG, *SETTINGS), STEP, 0.7),
    "workers": (slow("-a", "q-learning", "--workers", "1", *LONG), STEP, 0.7),
    "final evaluation": (slow("-a", "q-learning", "--steps", "60", seconds=0.1, free=60), STEP, 0.3),
    "compiling": (["train", "CartPole-v1", "-a", "dqn", "--out", "run", *LONG, *SETTINGS], "compiled loop", 0.5),
}


@pytest.mark.parametrize("phase", PHASES)
def test_ctrl_c_once(phase: str, tmp_path: Path) -> None:
    words, marker, seconds = PHASES[phase]
    terminal = Terminal(tmp_path, *words)
    terminal.wait_for(marker, seconds)
    terminal.press_ctrl_c()
    terminal.wait_for("stopping after the present step, with everything saved")
    assert terminal.ended() == 130
    assert "next: bellmax resume run" in terminal.shown
    step = newest(tmp_path / "run")[0]
    assert step == 60 if phase == "final evaluation" else step > 0
    assert bx.load(tmp_path / "run").policies["final"]


@pytest.mark.parametrize("phase", PHASES)
def test_ctrl_c_twice(phase: str, tmp_path: Path) -> None:
    """In steps that take a minute, or while a program is compiled."""
    words, marker, seconds = PHASES[phase]
    words = [re.sub(r"seconds=.*", "seconds=60", word) for word in words]
    terminal = Terminal(tmp_path, *words)
    terminal.wait_for(marker, seconds)
    terminal.press_ctrl_c()
    terminal.wait_for("press Ctrl-C again to stop now", 0.3)
    asked = time.monotonic()
    terminal.press_ctrl_c()
    terminal.process.wait(30)
    assert time.monotonic() - asked < 2.0
    assert terminal.ended() == 130
    assert newest(tmp_path / "run")[0] >= 0


@pytest.mark.parametrize("phase", ["table", "workers", "final evaluation"])
def test_sigterm(phase: str, tmp_path: Path) -> None:
    words, marker, seconds = PHASES[phase]
    terminal = Terminal(tmp_path, *words)
    terminal.wait_for(marker, seconds)
    os.kill(terminal.process.pid, signal.SIGTERM)
    assert terminal.ended() == 143
    assert newest(tmp_path / "run")[0] > 0


def test_the_terminal_is_closed(tmp_path: Path) -> None:
    """Then SIGHUP reaches the run and its workers, and nothing can be shown any more."""
    words, marker, seconds = PHASES["workers"]
    terminal = Terminal(tmp_path, *words)
    terminal.wait_for(marker, seconds)
    os.close(terminal.end)
    assert terminal.process.wait(PATIENCE) == 129
    assert newest(tmp_path / "run")[0] > 0
    assert bx.load(tmp_path / "run").policies["final"]


def test_ctrl_c_in_resume(tmp_path: Path) -> None:
    words, marker, seconds = PHASES["table"]
    first = Terminal(tmp_path, *words)
    first.wait_for(marker, seconds)
    first.press_ctrl_c()
    assert first.ended() == 130
    before = newest(tmp_path / "run")[0]
    again: dict[int, Any] = {}
    for presses in (1, 2):
        terminal = Terminal(tmp_path, "resume", "run", "--world", "slow_env:Slow")
        terminal.wait_for("resumed at step")
        terminal.wait_for(STEP, 0.7)
        terminal.press_ctrl_c()
        if presses == 2:
            terminal.wait_for("press Ctrl-C again", 0.1)
            terminal.press_ctrl_c()
        assert terminal.ended() == 130
        again[presses] = newest(tmp_path / "run")[0]
    assert again[2] >= again[1] > before


@pytest.mark.slow
def test_a_map_is_in_color(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "show", "corridor")
    terminal.wait_for("arrows are greedy actions")
    assert terminal.ended() == 0
    assert len(re.findall(r"\x1b\[[\d;]*4[0-7]m", terminal.shown)) >= 10
