"""Plain Python. One process at a time writes to a run's folder: the operating system holds the lock, and frees it."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import socket
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from bellmax.contracts import ResourceError, RunLocked, UnsafeFile
from bellmax.files import storage

LOCK = "run.lock"
SAFELY = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
LONGEST = 4096  # bytes of a lock file that are read


@dataclass
class Held:
    """A folder that this process holds.

    Attributes:
        descriptor: of its lock file.
        place: its absolute path, which stays valid if the process changes its working directory.
        folder: what the system says of it, by which another folder at this path is recognized.
    """

    descriptor: int
    place: Path
    folder: os.stat_result


_HELD: dict[Path, Held] = {}  # by the path that its run was given


def _let_go() -> None:
    """In a forked child: a lock that it inherited would outlive the run."""
    for held in _HELD.values():
        with contextlib.suppress(OSError):
            os.close(held.descriptor)
        held.descriptor = -1
    _HELD.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_let_go)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder of a run until the block ends; a process that dies frees it.

    Raises:
        RunLocked: another run, in this process or in another one, holds it.
        ResourceError: the lock file cannot be created.
        UnsafeFile: the lock file is a link or a device.
    """
    place = folder.absolute()
    held = Held(_take(folder / LOCK), place, os.stat(place))
    _HELD[folder] = held
    try:
        yield
    finally:
        if held.descriptor >= 0:  # not in a forked child
            with contextlib.suppress(OSError):
                if _is_at(held.descriptor, place / LOCK):  # while it is still held, so that nobody else's is removed
                    (place / LOCK).unlink()
            if _HELD.get(folder) is held:
                del _HELD[folder]
            os.close(held.descriptor)


def place_held(folder: Path) -> Path:
    """Return where a folder is that this process holds, also after the working directory has changed."""
    return _HELD[folder].place if folder in _HELD else folder


def check_held(folder: Path) -> None:
    """Check that a folder which this process holds, if it does, is still the one that it locked.

    A lock file that somebody removed is created again.

    Raises:
        ResourceError: the folder is not there, or another one is in its place.
        RunLocked: another run uses it now.
    """
    held = _HELD.get(folder)
    if held is None or _is_at(held.descriptor, held.place / LOCK):
        return
    same = False
    with contextlib.suppress(OSError):
        same = os.path.samestat(held.folder, os.stat(held.place))
    if not same:
        raise ResourceError(
            f"{held.place} is not the folder of this run: it was moved, removed or replaced; restore it"
        )
    lost, held.descriptor = held.descriptor, _take(held.place / LOCK)
    os.close(lost)


def _take(path: Path) -> int:
    """An open and locked file at `path`."""
    while True:
        storage.refuse_link(path)
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | SAFELY, 0o666)
        except OSError as error:
            raise ResourceError(
                f"cannot create {path}: {error.strerror}; a run is written to its folder, so use one that can be "
                "written to"
            ) from error
        try:
            if not stat.S_ISREG(os.fstat(descriptor).st_mode):
                raise UnsafeFile(f"{path} is not a regular file; remove it")
            if not _lock(descriptor):
                raise RunLocked(_who(descriptor, path))
            if _is_at(descriptor, path):
                _name_holder(descriptor)
                return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # its holder removed it in between


def _name_holder(descriptor: int) -> None:
    """Write to a lock file who holds it; on a full disk, the lock holds without a name."""
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "started": _now()}
    with contextlib.suppress(OSError):
        os.ftruncate(descriptor, 0)
        os.lseek(descriptor, 0, os.SEEK_SET)
        os.write(descriptor, (json.dumps(holder) + "\n").encode())


def _lock(descriptor: int) -> bool:
    """Whether this process has the lock now; also on a file system without locks, where none can be had."""
    if sys.platform == "win32":
        import msvcrt

        try:
            os.lseek(descriptor, LONGEST, os.SEEK_SET)  # what is locked cannot be read
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
    except (FileNotFoundError, NotADirectoryError):
        return False


def _who(descriptor: int, path: Path) -> str:
    """The message of `RunLocked`."""
    holder = "another run"
    with contextlib.suppress(OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        os.lseek(descriptor, 0, os.SEEK_SET)
        found = json.loads(os.read(descriptor, LONGEST))
        holder = f"process {int(found['pid'])} on {str(found['host'])[:64]!r}, started {str(found['started'])[:40]!r}"
    return f"{path.parent} is in use by {holder}; wait for it or stop it, or name another folder"


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
