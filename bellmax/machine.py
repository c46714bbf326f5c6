"""Plain Python. How much memory this process can use and does use, where the system reports it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

UNTOLD = (AttributeError, ValueError, IndexError, OSError)
CGROUPS = Path("/sys/fs/cgroup")


def free_bytes() -> int | None:
    """Memory that this process can still have, within the limits of its control groups; None if unknown."""
    return min((told for told in (_system(), *_of_groups()) if told is not None), default=None)


def _system() -> int | None:
    """What the system has left, with what it would give back when asked."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (*UNTOLD, StopIteration):
        pass
    try:
        return os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except UNTOLD:
        return None


def _of_groups() -> Iterator[int]:
    """What each control group of this process, and each above it, has left: a container's limit is one of these."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except UNTOLD:
        return
    for line in lines:
        _, _, rest = line.partition(":")
        kinds, _, path = rest.partition(":")
        if kinds and "memory" not in kinds.split(","):
            continue
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if kinds else ("memory.max", "memory.current")
        root = CGROUPS / "memory" if kinds else CGROUPS
        place = root / path.strip("/")
        for folder in (place, *place.parents):
            if folder == root.parent:
                break
            try:
                limit, used = (int((folder / name).read_text(encoding="ascii")) for name in names)
                yield max(limit - used + _given_back(folder), 0)
            except UNTOLD:  # "max", or no such file: without a limit
                continue


def _given_back(group: Path) -> int:
    """Files in memory that a group gives back when asked."""
    try:
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
    except UNTOLD:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)


def resident_mb() -> float:
    """Megabytes that this process holds; 0 where the system does not report it."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    except UNTOLD:
        return 0.0
