"""Plain Python. Names of agents, networks, models and environments: a registry for each kind, open to your own.

A thing of your own has two names: the one it is registered under in this process, and `module:name`, where it stands.
A saved file holds both, and makes bellmax import neither: see `present`.
"""

from __future__ import annotations

import importlib
import re
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from bellmax.agent_config import fold
from bellmax.arguments import describe
from bellmax.contracts import LONGEST_WORD, ConfigError, IncompatibleCheckpoint, UnsafeFile, listed, nearest, unknown

T = TypeVar("T")


class Registry(MutableMapping[str, T]):
    """Things of one kind by name. A value may be "module:name" and is then imported when it is asked for.

    Args:
        kind: what the things are called in messages, such as "agent".
        known: bellmax's own.
        reserved: names that cannot be given to anything else.
    """

    def __init__(self, kind: str, known: Mapping[str, T | str], reserved: Sequence[str] = ()) -> None:
        self.kind, self._known = kind, dict(known)
        self.built_in = (*reserved, *known)

    def __getitem__(self, name: str) -> T:
        thing = self._known[name]
        if isinstance(thing, str):
            thing = self._known[name] = locate(self.kind, thing)
        return thing

    def __setitem__(self, name: str, thing: T) -> None:
        self._known[name] = thing

    def __delitem__(self, name: str) -> None:
        del self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)

    def place(self, name: str) -> str:
        """Where the thing of this name stands, "module:name"; imports nothing."""
        thing = self._known[name]
        return thing if isinstance(thing, str) else place_of(thing)

    def name_of(self, thing: T) -> str | None:
        """The first name of `thing`, or None; imports nothing."""
        place = place_of(thing)
        return next((name for name, held in self._known.items() if held is thing or held == place), None)

    def find(self, name: str) -> T:
        """The thing of this name, or that which stands at `module:name`.

        Raises:
            ConfigError: there is no such thing; the message offers the nearest.
        """
        if name in self._known:
            return self[name]
        if ":" in name:
            return locate(self.kind, name)  # type: ignore[no-any-return]
        known = {*self.built_in, *self._known}
        more = "" if nearest(name, known) else or_own(self.kind)
        raise ConfigError(f"{unknown(self.kind, name, known)}{more}")

    def register(self, name: str, thing: T) -> None:
        """Let `name` stand for `thing`. What was registered from the same place may be registered again.

        Raises:
            ConfigError: the name is taken, in any spelling, or cannot be written on the command line.
        """
        self.check_name(name, thing)
        self._known[name] = thing

    def check_name(self, name: str, thing: object) -> None:
        """Refuse a name that `register` would refuse. Raises: as `register`."""
        folded = fold(name) if isinstance(name, str) else ""
        if folded in map(fold, self.built_in):
            raise ConfigError(
                f"{name!r} is {article(self.kind)} of bellmax; give yours another name than {listed(self.built_in)}"
            )
        for other, held in self._known.items():
            if fold(other) == folded and held is not None and (other != name or place_of(held) != place_of(thing)):
                raise ConfigError(
                    f"{name!r} is taken: {other!r} is {article(self.kind)} registered from {place_of(held)}; give "
                    "yours another name"
                )
        check_spelling(name)


def check_spelling(name: object, what: str = "`name`") -> None:
    """Refuse a name that cannot be written on the command line; `what` is it in the message.

    Raises:
        ConfigError: it is empty, not a string, or has other characters.
    """
    if not isinstance(name, str) or len(name) > LONGEST_WORD or not fold(name):
        most = f", at most {LONGEST_WORD}" if isinstance(name, str) and name else ""
        raise ConfigError(f"{what} must be a string with letters or digits{most}; got {describe(name)}")
    if not re.fullmatch(r"[^\W_]([\w .-]*\w)?", name):
        raise ConfigError(
            f"{what} must have only letters, digits, '-', '_', '.' and spaces, and begin with a letter or digit; "
            f"got {name!r}"
        )


def article(kind: str) -> str:
    """A kind with its article: "an agent"."""
    return f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def or_own(kind: str) -> str:
    """What else may be written where a name of this kind is not known."""
    return f"; one of your own is module:{'Class' if kind == 'agent' else 'name'}, or registered by bellmax.extend"


def locate(kind: str, path: str) -> Any:
    """Import the module of "module:name" and return what stands there.

    Raises:
        ConfigError: there is no such module, or nothing of this name in it.
    """
    module, _, name = path.partition(":")
    found = _imported(module)
    if found is None:
        found = import_named(
            module, f"{kind} {path!r}", "; check the spelling, and that its folder is on Python's path (the command "
            "line also looks in the current folder)",
        )  # fmt: skip
    try:
        thing: Any = found
        for part in name.split("."):
            thing = getattr(thing, part)
    except AttributeError as error:
        near = nearest(name, [each for each in vars(found) if not each.startswith("_")])
        remedy = f"; did you mean '{module}:{near}'?" if near else ""
        raise ConfigError(f"{kind} {path!r}: module {module!r} has no {name!r}{remedy}") from error
    return thing


def import_named(module: str, what: str, remedy: str = "") -> ModuleType:
    """Import the module that is named in `what`; `remedy` ends the message if there is none of this name.

    Raises:
        ConfigError: there is no such module, or it raises an error; the message says where.
    """
    if module[:1] in ("", "."):
        raise ConfigError(
            f"{what}: {module!r} is not an absolute module name; write {module.strip('.') or 'mymodule'!r}, and start "
            "in the folder that holds it"
        )
    try:
        return importlib.import_module(module)
    except (Exception, SystemExit) as error:
        missing = isinstance(error, ModuleNotFoundError) and f"{module}.".startswith(f"{error.name}.")
        said = f"{error}{remedy}" if missing else describe_error(error, module)
        raise ConfigError(f"{what}: cannot import {module!r}: {said}") from error


def describe_error(error: BaseException, module: str) -> str:
    """An error that the code of a module raised, with the file and line of that code."""
    if isinstance(error, SyntaxError):
        return f"{type(error).__name__}: {error.msg}, at {error.filename}:{error.lineno}"
    frames, package = list(traceback.walk_tb(error.__traceback__)), module.partition(".")[0]
    own = [each for each in frames if str(each[0].f_globals.get("__name__")).partition(".")[0] == package]
    frame, line = (own or frames)[-1]
    return f"{type(error).__name__}: {error}, at {frame.f_code.co_filename}:{line}"


def place_of(thing: object) -> str:
    """Where a class or function stands, as "module:name"; of a script that was run, by the name of its file."""
    if isinstance(thing, str):
        return thing
    kind = thing if hasattr(thing, "__qualname__") and hasattr(thing, "__module__") else type(thing)
    return f"{_module_name(kind.__module__)}:{kind.__qualname__}"


def is_own(cls: type) -> bool:
    """Whether a class is somebody's own."""
    return not cls.__module__.startswith("bellmax.")


def present(kind: str, path: str, suits: Callable[[Any], bool]) -> Any:
    """What stands at "module:name", which only a file says; imports nothing and runs no code of the module.

    Raises:
        UnsafeFile: the module is not imported; the message says how to allow it.
        IncompatibleCheckpoint: the module has no such thing.
    """
    module, _, name = path.partition(":")
    found = _imported(module)
    if found is None:
        raise UnsafeFile(
            f"refusing to import {module!r}, because only the saved file names it, for its {kind} {path!r}; to allow "
            f"it, import {module} before you load the file (on the command line: --import {module})"
        )
    if module.partition(".")[0] in sys.stdlib_module_names:
        raise UnsafeFile(f"the saved file says that its {kind} is {path!r}, of Python's own library; it is not used")
    thing = _standing(found, name)
    if thing is None or not suits(thing):
        what = f"has no {name!r}" if thing is None else f"has a {name!r} that is not {article(kind)}"
        raise IncompatibleCheckpoint(
            f"the file was saved with the {kind} {path!r}, and module {module!r} {what}; restore it there"
        )
    return thing


def is_found(path: str) -> bool:
    """Whether something stands at "module:name" that `present` would find."""
    module, _, name = path.partition(":")
    return _standing(_imported(module), name) is not None


def _standing(found: ModuleType | None, name: str) -> Any:
    thing: Any = found
    for part in name.split("."):
        thing = vars(thing).get(part) if isinstance(thing, ModuleType | type) else None
    return thing


def _imported(module: str) -> ModuleType | None:
    """A module that is imported already; also the script that runs, by the name of its file."""
    if module not in sys.modules and module == _module_name("__main__"):
        return sys.modules.get("__main__")
    return sys.modules.get(module)


def _module_name(module: str) -> str:
    if module != "__main__":
        return module
    main = sys.modules.get("__main__")
    spec, file = getattr(main, "__spec__", None), getattr(main, "__file__", None)
    return str(spec.name) if spec is not None else Path(file).stem if file else module


WORLDS: Registry[Callable[..., Any]] = Registry("environment", {})
"""Environments of your own: functions that return a FiniteMDP, a compiled World or a Gymnasium environment."""
