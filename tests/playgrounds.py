"""A playground that is served by a process of its own, as `bellmax play` does it, and what it says."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]


@dataclass
class Served:
    """A server: its process, its address with the token, and the lines of its standard error."""

    process: subprocess.Popen[str]
    address: str
    errors: list[str] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(re.findall(r":(\d+)/", self.address)[0])

    @property
    def token(self) -> str:
        return self.address.rstrip("/").rpartition("/")[2]

    def stop(self) -> int:
        """Ctrl-C; the exit code."""
        self.process.send_signal(signal.SIGINT)
        return self.process.wait(30)


@contextmanager
def served(*words: str) -> Iterator[Served]:
    """A playground of these arguments, until the end of the block."""
    command = [sys.executable, "-m", "bellmax", "play", *words, "--no-browser"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, cwd=ROOT
    )
    reader: threading.Thread | None = None
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("Playground: http://127.0.0.1:"), line or process.communicate(timeout=20)
        server = Served(process, line.split()[1])

        def read() -> None:
            assert process.stderr is not None
            server.errors.extend(process.stderr)

        reader = threading.Thread(target=read, daemon=True)
        reader.start()
        yield server
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if reader is not None:
            reader.join()
        for stream in (process.stdout, process.stderr):
            if stream is not None:
                stream.close()
