"""Plain Python. Where compiled code is kept, so that a second run starts at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_directory(kind: str) -> Path | None:
    """The folder for compiled code of one kind, made if need be; None if there is nowhere to write.

    `BELLMAX_CACHE_DIR`, else the user's cache folder by the custom of the platform.
    """
    if "BELLMAX_CACHE_DIR" in os.environ:
        base = Path(os.environ["BELLMAX_CACHE_DIR"])
    elif sys.platform == "darwin":
        base = Path("~/Library/Caches/bellmax").expanduser()
    elif sys.platform == "win32":
        base = Path(os.environ.get("LOCALAPPDATA", "~")).expanduser() / "bellmax" / "Cache"
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "bellmax"
    try:
        (base / kind).mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    return base / kind if os.access(base / kind, os.R_OK | os.W_OK | os.X_OK) else None
