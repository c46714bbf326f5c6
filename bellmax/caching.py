"""Plain Python. Where compiled code is kept, so that a second run starts at once."""

from __future__ import annotations

import os
import sys
from pathlib import Path


def cache_directory(kind: str) -> Path | None:
    """The folder for compiled code of one kind, created if necessary; None if no folder is writable.

    `BELLMAX_CACHE_DIR`, or else the user's cache folder on this platform.
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


def store_compiled_programs() -> Path | None:
    """Let JAX store the programs that it compiles, so that a second process starts at once; returns the folder.

    This is a setting of the whole process, so nothing in bellmax calls it but the command line: call it at the start of
    a program of your own. Where `jax_compilation_cache_dir` (or `JAX_COMPILATION_CACHE_DIR`) is set already, it stays.
    None: there is nowhere to write. Kernels of tables need no setting, they are always stored.
    """
    folder = cache_directory("jax")
    if folder is None:
        return None
    settings = {"jax_compilation_cache_dir": str(folder), "jax_persistent_cache_min_compile_time_secs": 0.2}
    if (jax := sys.modules.get("jax")) is None:  # it reads these when it is imported
        if "JAX_COMPILATION_CACHE_DIR" in os.environ:
            return Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
        os.environ |= {name.upper(): str(value) for name, value in settings.items()}
        return folder
    if jax.config.jax_compilation_cache_dir is not None:
        return Path(jax.config.jax_compilation_cache_dir)
    for name, value in settings.items():
        jax.config.update(name, value)
    return folder
