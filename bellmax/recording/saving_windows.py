"""Plain Python. Write a window of recorded steps as JSON, to a file or to standard output."""

from __future__ import annotations

import sys

from bellmax.arguments import path_of
from bellmax.contracts import ConfigError
from bellmax.files import storage
from bellmax.recording.window import Window


def save_window(window: Window, file: str) -> None:
    """Write a window as JSON to a file; "-" is standard output.

    Raises:
        ConfigError: the file is in a folder that does not exist.
        ResourceError: it cannot be written.
    """
    content = storage.json_bytes(window.to_json())
    if file == "-":
        sys.stdout.write(content.decode())
        return
    path = path_of("json", file)
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"--json {file}: there is no folder {path.parent}; create it first")
    storage.write(path, content)
