"""Plain Python. Write a window of recorded steps as JSON, to a file or to standard output."""

from __future__ import annotations

import sys

from bellmax.arguments import path_of
from bellmax.files import storage
from bellmax.recording.window import Window


def save_window(window: Window, file: str) -> None:
    """Write a window as JSON to a file; "-" is standard output.

    Raises:
        ConfigError, ResourceError: it cannot be written.
    """
    content = storage.json_bytes(window.to_json())
    if file == "-":
        sys.stdout.write(content.decode())
        return
    path = path_of("json", file)
    storage.check_target(path, "--json")
    storage.write(path, content)
