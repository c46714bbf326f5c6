"""Plain Python. One process at a time writes to a run's folder: the operating system holds the lock, and frees it."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from bellmax.contracts import ResourceError, RunLocked
from bellmax.files import storage

LOCK = "run.lock"
LONGEST = 4096  # bytes of a lock file that are read


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder of a run until the block ends; a process that dies frees it.

    Raises:
        RunLocked: another run, in this process or in another one, holds it.
        ResourceError: the lock file cannot be created.
        UnsafeFile: the lock file is a link.
    """
    path = folder / LOCK
    descriptor = _take(path)
    try:
        holder = {"pid": os.getpid(), "host": socket.gethostname(), "started": _now()}
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, (json.dumps(holder) + "\n").encode(), 0)
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink()  # while it is still held, so that nobody else's is removed
        os.close(descriptor)


def _take(path: Path) -> int:
    """An open and locked file at `path`."""
    while True:
        storage.refuse_link(path)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
        except OSError as error:
            raise ResourceError(f"cannot create {path}: {error.strerror}") from error
        try:
            if not _lock(descriptor):
                raise RunLocked(_who(descriptor, path))
            if _is_at(descriptor, path):
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its holder removed it in between


def _lock(descriptor: int) -> bool:
    """Whether this process has the lock now; also on a file system without locks, where none can be had."""
    if sys.platform == "win32":
        import msvcrt

        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return True
    return True


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _who(descriptor: int, path: Path) -> str:
    """The message of `RunLocked`."""
    holder = "another run"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError):
        found = json.loads(os.pread(descriptor, LONGEST, 0))
        holder = f"process {int(found['pid'])} on {str(found['host'])[:64]!r}, started {str(found['started'])[:40]!r}"
    return f"{path.parent} is in use by {holder}; wait for it or stop it, or name another folder"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
