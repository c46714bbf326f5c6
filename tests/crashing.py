"""Save something while any call that writes fails, or while the process or the power dies there: old state or new.

    python tests/crashing.py MODULE CASE FOLDER killed | power      in a process of its own, since it forks

`CASES` of a module has what is saved.
"""

from __future__ import annotations

import contextlib
import errno
import importlib
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

CALLS = ("open", "write", "fsync", "replace", "unlink", "rmdir", "mkdir", "ftruncate")
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
ORIGINAL = {name: getattr(os, name) for name in CALLS}


class Case(NamedTuple):
    """Something that is saved.

    Attributes:
        begin: makes a folder with the old state.
        go_on: saves the new state, or several one after the other.
        state: what is read from the folder, to be compared.
    """

    begin: Callable[[Path], object]
    go_on: Callable[[Path], object]
    state: Callable[[Path], object]


def watched(before: Callable[[str, tuple[Any, ...]], None], after: Callable[[str, tuple[Any, ...], Any], None]) -> None:
    """Let each call that writes do something before and after it."""
    for name in CALLS:

        def call(*args: Any, name: str = name, **kwargs: Any) -> Any:
            writes = name != "open" or args[1] & WRITING
            if writes:
                before(name, args)
            result = ORIGINAL[name](*args, **kwargs)
            if writes:
                after(name, args, result)
            return result

        setattr(os, name, call)


@contextlib.contextmanager
def restored() -> Iterator[None]:
    """Leave the operating system as it was."""
    try:
        yield
    finally:
        for name, original in ORIGINAL.items():
            setattr(os, name, original)


def nothing(*args: Any) -> None:
    """Do nothing."""


def states_of(case: Case, folder: Path) -> list[object]:
    """Every state that the folder is in while the new one is saved, the old one first."""
    states = [case.state(folder)]

    def look(name: str, args: Any, result: Any) -> None:
        for each, original in ORIGINAL.items():
            setattr(os, each, original)
        if name == "replace" and (now := case.state(folder)) != states[-1]:
            states.append(now)
        watched(nothing, look)

    with restored():
        watched(nothing, look)
        case.go_on(folder)
    assert case.state(folder) == states[-1] != states[0]
    return states


def failing(n: int, code: int) -> list[str]:
    """The nth call that writes fails, and after a read-only disk all others. Returns the calls so far."""
    calls: list[str] = []

    def fail(name: str, args: Any) -> None:
        calls.append(name)
        if len(calls) == n or (code == errno.EROFS and len(calls) > n and name != "fsync"):
            if name == "write" and code == errno.ENOSPC:  # a full disk takes half of it
                ORIGINAL["write"](args[0], args[1][: len(args[1]) // 2])
            raise OSError(code, os.strerror(code), "")

    watched(fail, nothing)
    return calls


def survives_failures(case: Case, place: Path, code: int, stride: int = 1) -> None:
    """Let each `stride`th call fail: the state is one of those between, and a repetition ends well."""
    from bellmax.contracts import BellmaxError

    case.begin(place / "whole")
    states = states_of(case, Path(shutil.copytree(place / "whole", place / "states")))
    outcomes = []
    for n in range(1, 10_000, stride):
        folder = Path(shutil.copytree(place / "whole", place / f"run-{n}"))
        raised = ""
        with restored():
            calls = failing(n, code)
            try:
                case.go_on(folder)
            except BellmaxError as error:
                raised = str(error)
        assert not raised or os.strerror(code) in raised, raised
        found = case.state(folder)
        assert found in states, (n, found)
        assert raised or found == states[-1], n
        outcomes.append((bool(raised), states.index(found)))
        if found != states[-1]:
            case.go_on(folder)
            assert case.state(folder) == states[-1], n
        shutil.rmtree(folder)
        if len(calls) < n:
            break
    assert (True, 0) in outcomes
    assert outcomes[-1] == (False, len(states) - 1)


class Power:
    """What a power failure loses: the content of files, and names in folders, that were not synced."""

    def __init__(self) -> None:
        self.unsynced: set[str] = set()
        self.renamed: list[tuple[str, str, bytes | None]] = []

    def before(self, name: str, args: Any) -> None:
        if name == "replace":
            source, target = map(Path, args[:2])
            self.renamed.append((str(source), str(target), target.read_bytes() if target.exists() else None))

    def after(self, name: str, args: Any, result: Any) -> None:
        if name == "open" and args[1] & os.O_CREAT:
            self.unsynced.add(str(args[0]))
        if name == "fsync":
            where = os.readlink(f"/proc/self/fd/{args[0]}")
            self.unsynced.discard(where)
            lasting = [(source, target) for source, target, _ in self.renamed if os.path.dirname(target) == where]
            self.unsynced = {dict(lasting).get(path, path) for path in self.unsynced}
            self.renamed = [each for each in self.renamed if os.path.dirname(each[1]) != where]

    def fail(self) -> None:
        for source, target, old in reversed(self.renamed):
            if os.path.exists(target):
                shutil.move(target, source)
            if old is not None:
                Path(target).write_bytes(old)
        for path in self.unsynced:
            if os.path.exists(path):
                Path(path).write_bytes(b"")


def die(case: Case, folder: Path, n: int, power: bool) -> None:
    """Save, and end this process before the nth call that writes; code 9, or 0 if there are fewer."""
    calls, lost = [], Power()

    def before(name: str, args: Any) -> None:
        calls.append(name)
        if len(calls) == n:
            if name == "write":
                ORIGINAL["write"](args[0], args[1][: len(args[1]) // 2])
            for each, original in ORIGINAL.items():
                setattr(os, each, original)
            if power:
                lost.fail()
            os._exit(9)
        lost.before(name, args)

    watched(before, lost.after)
    case.go_on(folder)
    if power:  # soon after
        for each, original in ORIGINAL.items():
            setattr(os, each, original)
        lost.fail()
    os._exit(0)


def survives_death(case: Case, place: Path, how: str, stride: int = 1) -> None:
    """Wherever the process or the power dies, the state is the old one until one moment, from then on the new one."""
    case.begin(place / "whole")
    states = states_of(case, Path(shutil.copytree(place / "whole", place / "states")))
    outcomes = []
    for n in range(1, 10_000, stride):
        folder = Path(shutil.copytree(place / "whole", place / f"run-{n}"))
        pid = os.fork()
        if pid == 0:
            try:
                die(case, folder, n, how == "power")
            finally:
                os._exit(70)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert code in (0, 9), (n, code)
        found = case.state(folder)
        assert found in states, (n, found)
        outcomes.append(states.index(found))
        if found != states[-1]:
            case.go_on(folder)
            assert case.state(folder) == states[-1], n
        shutil.rmtree(folder)
        if code == 0:
            break
    assert sorted(outcomes) == outcomes
    assert (outcomes[0], outcomes[-1]) == (0, len(states) - 1)


if __name__ == "__main__":
    module, name, where, how, *strides = sys.argv[1:]
    survives_death(importlib.import_module(module).CASES[name], Path(where), how, *map(int, strides))
