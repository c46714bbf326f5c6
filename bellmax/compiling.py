"""Numba. Compiled functions that a second process finds on disk, and never finds wrong.

Numba's own cache goes by a file's time and a function's name. Here a file is named by the content of everything that
is compiled in (`identity.py`), so that an edited kernel, or another's of the same name, is another file. A file that
is damaged is dropped and the function compiled again.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import io
import os
import pickle
import secrets
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeAlias, TypeVar, cast

import numba

from bellmax.caching import cache_directory
from bellmax.stderr import say

MISSING = ""  # what this version of Numba does not have; kernels are then compiled in each process
_Cache: Any = object
_Pickler: Any = object
try:
    from numba.core.caching import _Cache
    from numba.core.compiler import CompileResult
    from numba.core.dispatcher import Dispatcher
    from numba.core.serialize import NumbaPickler as _Pickler
    from numba.core.typing.templates import Signature

    from bellmax.identity import UnknownIdentity, identify
except ImportError as error:  # these are private, and may be moved by any version
    MISSING = str(error)

Signed: TypeAlias = "Signature | tuple[numba.types.Type, ...]"
F = TypeVar("F", bound=Callable[..., Any])
VERSIONS = repr((sys.version, *(importlib.metadata.version(name) for name in ("numba", "llvmlite", "numpy"))))


def compiled(function: F, **options: Any) -> F:
    """`numba.njit(**options)(function)`, stored on disk."""
    made: Any = numba.njit(**options)(function)
    if hasattr(made, "py_func") and not MISSING:  # it is the function itself where NUMBA_DISABLE_JIT is set
        made._cache = KernelCache(made)
    return cast(F, made)


class KernelCache(_Cache):  # type: ignore[misc]
    """What Numba asks for the compiled code of one kernel: a file for each signature."""

    def __init__(self, kernel: Dispatcher) -> None:
        self._kernel, self._enabled = kernel, True

    @property
    def cache_path(self) -> str | None:
        """The folder, None where there is nowhere to write."""
        folder = _folder()
        return None if folder is None else str(folder)

    def enable(self) -> None:
        """Use the files."""
        self._enabled = True

    def disable(self) -> None:
        """Do not use the files."""
        self._enabled = False

    def flush(self) -> None:
        """Nothing is held back."""

    def load_overload(self, sig: Signed, target_context: Any) -> CompileResult | None:
        """The compiled code for a signature; None if it is to be compiled."""
        target_context.refresh()
        found = self._find(sig, target_context.codegen())
        if found is None:
            return None
        path, kernels = found
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            _say_once(f"cannot read compiled code in {path.parent} ({error.strerror}): compiling again")
            return None
        try:
            payload = _Loader(_verified(content), kernels).load()
            rebuild: Callable[..., CompileResult] = CompileResult._rebuild
            return rebuild(target_context, *payload)
        except Exception:  # whatever a damaged file makes of pickle, of Numba and of LLVM
            with contextlib.suppress(OSError):
                path.unlink()
            _say_once(f"dropped damaged compiled code in {path.parent}: compiling again")
            return None

    def save_overload(self, sig: Signed, cres: Any) -> None:
        """Keep it; what cannot be kept is compiled in each process."""
        if cres.library.has_dynamic_globals or any(not each.can_cache for each in cres.lifted):
            return
        if cres.fndesc.modname not in sys.modules:  # it could not be loaded again
            return
        found = self._find(sig, cres.library.codegen)
        if found is None:
            return
        path, kernels = found
        try:
            buffer = io.BytesIO()
            saver: Any = _Saver(buffer, kernels)
            saver.dump(cres._reduce())
        except Exception:  # whatever the constants of a user's kernel raise when they are pickled
            return
        with contextlib.suppress(OSError):  # a full disk, a folder that went away
            _write(path, buffer.getvalue())

    def _find(self, sig: Signed, codegen: Any) -> tuple[Path, list[Dispatcher]] | None:
        """The file of a signature, and the kernels that are compiled into it; None if it cannot have one."""
        folder = _folder() if self._enabled else None
        if folder is None:
            return None
        arguments = sig if isinstance(sig, tuple) else (*sig.args, sig.return_type)
        try:
            content, kernels = identify(self._kernel, *arguments)
        except UnknownIdentity:
            return None
        places = [(kernel.py_func.__module__, kernel.py_func.__qualname__) for kernel in kernels]  # the file names them
        about = repr((content, codegen.magic_tuple(), places, VERSIONS))
        name = f"{self._kernel.py_func.__name__}-{hashlib.sha256(about.encode()).hexdigest()[:32]}.nbc"
        return folder / name, kernels


_say_once = functools.cache(say)  # of a damaged folder every file is damaged


@functools.cache
def _folder() -> Path | None:
    folder = cache_directory("numba")
    if folder is None:
        _say_once(
            "no folder to keep compiled code in: each process compiles again; set BELLMAX_CACHE_DIR to a writable one"
        )
    return folder


class _Saver(_Pickler):  # type: ignore[misc]
    """Pickles the kernels in a signature by their place in the identity: they are there when it is loaded."""

    def __init__(self, file: io.BytesIO, kernels: list[Dispatcher]) -> None:
        super().__init__(file, protocol=4)
        self._at = {id(kernel): i for i, kernel in enumerate(kernels)}

    def persistent_id(self, thing: object) -> int | None:
        """The place of a kernel."""
        return self._at.get(id(thing)) if isinstance(thing, Dispatcher) else None


class _Loader(pickle.Unpickler):
    """The inverse of `_Saver`."""

    def __init__(self, content: bytes, kernels: list[Dispatcher]) -> None:
        super().__init__(io.BytesIO(content))
        self._kernels = kernels

    def persistent_load(self, place: int) -> Dispatcher:
        """The kernel at a place."""
        return self._kernels[place]


def _verified(content: bytes) -> bytes:
    """A file without the hash in front of it.

    Raises:
        ValueError: it is not what was written.
    """
    if len(content) < 32 or hashlib.sha256(content[32:]).digest() != content[:32]:
        raise ValueError("damaged")
    return content[32:]


def _write(path: Path, content: bytes) -> None:
    """The whole file or none of it: other processes may read meanwhile. Its permissions follow the umask."""
    name = path.with_name(f"{path.name}.{secrets.token_hex(4)}.part")
    try:
        with open(name, "xb") as file:
            file.write(hashlib.sha256(content).digest() + content)
        os.replace(name, path)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name)
        raise
