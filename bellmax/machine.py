"""Plain Python. How much memory this process can still have, and whether something fits, before it is allocated."""

from __future__ import annotations

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from bellmax.contracts import ResourceError

UNTOLD = (AttributeError, ImportError, ValueError, IndexError, OSError)
ROOT = Path("/")
SHARE = 0.8  # of the free memory that may be used
NOTHING = 2**20  # bytes that are not worth asking the system for


class Free(NamedTuple):
    """Memory that can still be allocated: how many bytes, and by which limit, empty for the system's memory."""

    size: int
    limit: str = ""


def free_memory(root: Path = ROOT) -> Free | None:
    """Return what this process can still allocate: the least that the system and each limit leave; None if unknown.

    Limits are those of its control groups (a container's, a Slurm job's) and of the process (`ulimit -v`, `ulimit -d`).

    Args:
        root: where /proc and /sys/fs/cgroup are.
    """
    known = (_of_system(root), *_of_groups(root), *_of_process(root))
    return min((free for free in known if free is not None), default=None)


def check_fits(needed: int, what: str, remedy: Callable[[float], str], free: Free | None = None) -> None:
    """Check that something fits in memory, before it is allocated.

    Args:
        needed: its bytes.
        what: its name, the subject of the message.
        remedy: `remedy(share)` says what to do, where at most this share of it fits.
        free: the memory of the device that it is for; by default `free_memory()`.

    Raises:
        ResourceError: it does not fit.
    """
    if needed < NOTHING:
        return
    free = free or free_memory()
    if free is None or needed <= SHARE * free.size:
        return
    limit = f" ({free.limit})" if free.limit else ""
    fits = SHARE * free.size / needed
    raise ResourceError(f"{what} needs {in_bytes(needed)}, and {in_bytes(free.size)} are free{limit}; {remedy(fits)}")


@contextlib.contextmanager
def out_of_memory(what: str, remedy: str) -> Iterator[None]:
    """A context in which running out of memory, of NumPy's arrays or of JAX's, is a `ResourceError` about `what`.

    Raises:
        ResourceError: the memory does not suffice.
    """
    try:
        yield
    except Exception as error:
        said = str(error)[:200]
        if isinstance(error, MemoryError) or ("RESOURCE_EXHAUSTED" in said and not isinstance(error, ResourceError)):
            raise ResourceError(f"{what} does not fit in memory{said and f' ({said})'}; {remedy}") from error
        raise


def in_bytes(size: float) -> str:
    """A size as people write it: 1.5 GB, 12.0 MB, 800 bytes."""
    if size >= 1e15:
        return f"{size / 1e9:.0e} GB"
    for unit, scale in (("GB", 1e9), ("MB", 1e6)):
        if size >= 0.1 * scale:
            return f"{size / scale:.1f} {unit}"
    return f"{size:.0f} bytes"


def _of_system(root: Path) -> Free | None:
    """What the system has left, with what it would give back when asked."""
    try:
        lines = (root / "proc/meminfo").read_text(encoding="ascii").splitlines()
        return Free(next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")))
    except (*UNTOLD, StopIteration):
        pass
    try:
        return Free(os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
    except UNTOLD:
        return None


def _of_groups(root: Path) -> Iterator[Free]:
    """What each control group of this process, and each above it, has left: a container's limit is one of these."""
    try:
        lines = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except UNTOLD:
        return
    groups = root / "sys/fs/cgroup"
    for line in lines:
        _, _, rest = line.partition(":")
        kinds, _, path = rest.partition(":")
        if kinds and "memory" not in kinds.split(","):
            continue
        names = ("memory.limit_in_bytes", "memory.usage_in_bytes") if kinds else ("memory.max", "memory.current")
        top = groups / "memory" if kinds else groups
        place = top / path.strip("/")
        for folder in (place, *place.parents):
            if folder == top.parent:
                break
            try:
                limit, used = (int((folder / name).read_text(encoding="ascii")) for name in names)
            except UNTOLD:  # "max", or no such file: without a limit
                continue
            yield Free(max(limit - used + _given_back(folder), 0), f"limit of {folder / names[0]}")


def _given_back(group: Path) -> int:
    """Files in memory that a group gives back when asked."""
    try:
        lines = (group / "memory.stat").read_text(encoding="ascii").splitlines()
    except UNTOLD:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("inactive_file ")), 0)


def _of_process(root: Path) -> Iterator[Free]:
    """What the limits of this process leave of its address space and of its data."""
    try:
        import resource

        lines = (root / "proc/self/status").read_text(encoding="utf-8").splitlines()
        used = {line.split()[0]: 1024 * int(line.split()[1]) for line in lines if line.startswith(("VmSize", "VmData"))}
        for name, kind, option in (
            ("VmSize:", resource.RLIMIT_AS, "ulimit -v"),
            ("VmData:", resource.RLIMIT_DATA, "ulimit -d"),
        ):
            limit, _ = resource.getrlimit(kind)
            if limit != resource.RLIM_INFINITY and name in used:
                yield Free(max(limit - used[name], 0), option)
    except UNTOLD:  # not Linux
        return


def return_free_memory() -> None:
    """Return to the system what the C library keeps for later, where it can (glibc): what is taken then is seen."""
    with contextlib.suppress(OSError, TypeError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)


def resident_mb() -> float:
    """Megabytes that this process holds; 0 where the system does not report it."""
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6
    except UNTOLD:
        return 0.0
