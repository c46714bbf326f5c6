"""Plain Python. What this machine's memory holds, where the system tells it."""

from __future__ import annotations

import os
from pathlib import Path

UNTOLD = (AttributeError, ValueError, IndexError, OSError)


def free_bytes() -> int | None:
    """Memory that is free; None where the system does not tell."""
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except UNTOLD:
        return None


def resident_mb() -> float:
    """Megabytes that this process holds; 0 where the system does not tell."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    except UNTOLD:
        return 0.0
