"""Plain Python. Write a window of recorded steps as JSON, to a file or to standard output."""

from __future__ import annotations

import sys

from bellmax.arguments import path_of
from bellmax.files import storage
from bellmax.recording.window import Window


def save_window(window: Window, file: str) -> None:
    """Write a window as JSON to a file; "-" is standard output.

    Raises:
        ResourceError: it cannot be written.
    """
    content = storage.json_bytes(window.to_json())
    if file == "-":
        sys.stdout.write(content.decode())
        return
    storage.write(path_of("json", file), content)
