"""Training ends well whatever standard error is: closed, missing, broken, or not a stream at all."""

from __future__ import annotations

import io
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest

import bellmax as bx
from bellmax import stderr
from bellmax.contracts import EnvWarning
from bellmax.training import progress

ROOT = Path(__file__).parents[1]


class Broken(io.StringIO):
    """Says that it is a terminal, and fails with `error` at each write."""

    def __init__(self, error: Exception, *, terminal: bool = True) -> None:
        super().__init__()
        self.error, self.terminal = error, terminal

    def isatty(self) -> bool:
        return self.terminal

    def write(self, text: str) -> int:
        raise self.error

    def flush(self) -> None:
        raise self.error


def closed() -> io.StringIO:
    stream = io.StringIO()
    stream.close()
    return stream


STREAMS: dict[str, Any] = {
    "None": None,
    "closed": closed(),
    "an object": object(),
    "a broken pipe": Broken(BrokenPipeError(32, "Broken pipe")),
    "a broken pipe that is no terminal": Broken(BrokenPipeError(32, "Broken pipe"), terminal=False),
    "a bad descriptor": Broken(OSError(9, "Bad file descriptor")),
    "a writer in use": Broken(RuntimeError("reentrant call")),
}


@pytest.mark.parametrize("wanted", [None, True])
@pytest.mark.parametrize("kind", STREAMS)
def test_a_run_ends_as_it_does_with_a_terminal(kind: str, wanted: bool | None, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr(sys, "stderr", STREAMS[kind])
    monkeypatch.setattr(progress, "QUIET_SECONDS", 0.0)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    run = bx.train("corridor", "q-learning", steps=1_000, final_episodes=2, progress=wanted, say=stderr.say)
    assert len(run.scores) == 1
    assert not capsys.readouterr().out, "standard output is for results"


@pytest.mark.parametrize("kind", STREAMS)
def test_a_warning_that_cannot_be_shown_stops_nothing(kind: str, monkeypatch: Any) -> None:
    def show(message: Any, *about: Any) -> None:
        sys.stderr.write(str(message))

    monkeypatch.setattr(sys, "stderr", STREAMS[kind])
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = show
        stderr.warn("slow", EnvWarning)
        warnings.simplefilter("error")
        with pytest.raises(EnvWarning):
            stderr.warn("slow", EnvWarning)


def test_words_that_the_stream_cannot_encode_are_spelled_out() -> None:
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stderr", stream)
        stderr.say("ε = 0.1")
    assert stream.buffer.getvalue() == b"\\u03b5 = 0.1\n"  # type: ignore[attr-defined]


@pytest.mark.parametrize("how", ["2>/dev/full", "2>&- >&- <&-"])
def test_the_command_line_ends_with_code_0_and_its_files_hold_nothing_of_the_messages(tmp_path: Path, how: str) -> None:
    main = "from bellmax.cli import main; main()"
    words = f"exec {sys.executable} -c '{main}' train corridor --agent q-learning --steps 1000 --out run {how}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", words], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0
    assert bx.load(tmp_path / "run").scores
