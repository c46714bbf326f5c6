"""Numba. What a compiled function is made of: a hash of all that ends up in its machine code.

A name says nothing: two scripts may each have a `my_q`, and an edited function keeps its name. What is hashed is the
bytecode, its constants and defaults, the contents of its closure, and the globals that it reads: numbers, arrays,
functions and kernels, each of them likewise. So source files are not needed, and an edit anywhere is seen.
"""

from __future__ import annotations

import builtins
import dis
import enum
import hashlib
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from types import BuiltinFunctionType, CellType, CodeType, FunctionType, MethodDescriptorType, MethodType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

import numba
import numpy as np
from numba.core.dispatcher import Dispatcher
from numba.core.registry import cpu_target
from numba.extending import _Intrinsic  # type: ignore[attr-defined]

LIBRARIES = ("numpy", "scipy", "numba", "llvmlite")  # their versions stand for their code
STANDARD = sysconfig.get_paths()["stdlib"]
PLAIN = (type(None), bool, int, float, complex, str, bytes, type(Ellipsis))

_first: WeakKeyDictionary[Dispatcher, tuple[str, list[Dispatcher]]] = WeakKeyDictionary()


class UnknownIdentity(Exception):
    """Something that is compiled in cannot be distinguished from another of its kind in another process."""


def identify(*roots: object) -> tuple[str, list[Dispatcher]]:
    """A hash of kernels and Numba types, and the kernels that they lead to, in an order that only depends on it.

    Raises:
        UnknownIdentity: a value among those compiled in has no content to go by, or a global has changed since its
            kernel was first compiled here: Numba keeps what it compiled, so the content would be another's.
    """
    cpu_target.typing_context.refresh()
    structure, kernels = _Description().of(roots)
    parts, at, i = [structure], {id(kernel): i for i, kernel in enumerate(kernels)}, 0
    parts.append(repr([at[id(kernel)] for kernel in kernels]))
    while i < len(kernels):
        structure, refers = _describe_kernel(kernels[i])
        for kernel in refers:
            if id(kernel) not in at:
                at[id(kernel)] = len(kernels)
                kernels.append(kernel)
        parts += [structure, repr([at[id(kernel)] for kernel in refers])]
        i += 1
    return hashlib.sha256("\n".join(parts).encode()).hexdigest(), kernels


def _describe_kernel(kernel: Dispatcher) -> tuple[str, list[Dispatcher]]:
    """A hash of one kernel, with those that it refers to left open, and these in their order."""
    options = sorted((name, repr(value)) for name, value in kernel.targetoptions.items())
    structure, refers = _Description().of((kernel.py_func, repr(options), repr(kernel.locals)))
    now = hashlib.sha256(structure.encode()).hexdigest(), refers
    before = _first.setdefault(kernel, now)
    if now[0] != before[0] or [id(each) for each in refers] != [id(each) for each in before[1]]:
        raise UnknownIdentity(f"{kernel.py_func.__name__} has changed since it was first compiled in this process")
    return now


class _Description:
    """A value as nested tuples of text; kernels in it are left open and noted in `kernels`."""

    def __init__(self) -> None:
        self.kernels: list[Dispatcher] = []
        self._seen: dict[int, tuple[int, FunctionType]] = {}

    def of(self, value: object) -> tuple[str, list[Dispatcher]]:
        """The description, and the different kernels in it in the order in which they occur."""
        text = repr(self._tell(value))
        return text, self.kernels

    def _tell(self, value: object) -> object:
        if isinstance(value, PLAIN):
            return type(value).__name__, repr(value)
        if isinstance(value, Dispatcher):
            return "kernel", self._kernel(value)
        if isinstance(value, numba.types.Dispatcher):
            return "kernel type", self._kernel(value.dispatcher)
        if isinstance(value, numba.types.Type):
            return type(value).__name__, self._tell(value.key)
        if isinstance(value, np.dtype):
            return "dtype", repr(value.descr if value.names else value.str)
        if isinstance(value, np.ndarray | np.generic):
            return self._array(np.asarray(value), type(value).__name__)
        if isinstance(value, enum.Enum):
            return _named(type(value)), value.name, self._tell(value.value)
        if isinstance(value, tuple | list):
            return _named(type(value)), getattr(value, "_fields", ()), [self._tell(each) for each in value]
        if isinstance(value, set | frozenset):
            return _named(type(value)), sorted(repr(self._tell(each)) for each in value)
        if isinstance(value, Mapping):
            return _named(type(value)), [(self._tell(key), self._tell(each)) for key, each in value.items()]
        if isinstance(value, slice | range):
            return type(value).__name__, repr(value)
        return self._code_like(value)

    def _code_like(self, value: object) -> object:
        """The same of what is called, or holds what is."""
        if isinstance(value, CodeType):
            return self._code(value)
        if isinstance(value, FunctionType):
            return self._function(value)
        if isinstance(value, _Intrinsic):
            return "intrinsic", self._function(value._defn)
        if isinstance(value, ModuleType):
            return "module", value.__name__, _version(value.__name__)
        if isinstance(value, type):
            members = list(value) if issubclass(value, enum.Enum) else ()
            return "class", _named(value), getattr(value, "_fields", ()), [self._tell(each) for each in members]
        if isinstance(value, np.ufunc):
            if isinstance(getattr(np, value.__name__, None), np.ufunc):
                return "ufunc", value.__name__, np.__version__
        elif isinstance(value, BuiltinFunctionType | MethodDescriptorType | type(np.sum)):
            module = getattr(value, "__module__", None) or type(getattr(value, "__self__", None)).__module__
            return "built in", module, value.__qualname__, _version(module)
        elif isinstance(value, MethodType) and isinstance(value.__self__, type):
            return "method", _named(value.__self__), self._tell(value.__func__)
        raise UnknownIdentity(f"nothing distinguishes {value!r} from another {type(value).__name__}")

    def _kernel(self, kernel: Dispatcher) -> int:
        for i, known in enumerate(self.kernels):
            if known is kernel:
                return i
        self.kernels.append(kernel)
        return len(self.kernels) - 1

    def _array(self, array: np.ndarray[Any, Any], kind: str) -> object:
        if array.dtype.hasobject:
            raise UnknownIdentity("an array of objects")
        layout = array.flags.c_contiguous, array.flags.f_contiguous, array.flags.writeable
        content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()
        return kind, self._tell(array.dtype), array.shape, layout, content

    def _code(self, code: CodeType) -> object:
        consts = [self._tell(each) for each in code.co_consts]
        names = code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars
        counts = code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags
        return "code", code.co_code.hex(), consts, names, counts, getattr(code, "co_exceptiontable", b"").hex()

    def _function(self, function: FunctionType) -> object:
        """A function by what it does: moved to another file or line, it is the same."""
        if library := _library_of(function):
            return "function", _named(function), _version(library)
        if id(function) in self._seen:
            return "again", self._seen[id(function)][0]
        self._seen[id(function)] = len(self._seen), function
        cells = [self._cell(cell, function.__code__) for cell in function.__closure__ or ()]
        defaults = self._tell((function.__defaults__, function.__kwdefaults__))
        reads = [(name, self._global(function, name)) for name in _globals_of(function.__code__)]
        overloads = [self._tell(each) for each in _implementations(function)]
        return "function", self._code(function.__code__), cells, defaults, reads, overloads

    def _cell(self, cell: CellType, code: CodeType) -> object:
        try:
            return self._read(cell.cell_contents, code)
        except ValueError:  # empty: filled in later
            return "empty"

    def _global(self, function: FunctionType, name: str) -> object:
        """A global that the function reads; of a module what the function may take from it."""
        if name not in function.__globals__:
            found = getattr(builtins, name, None)
            return "missing" if found is None else self._tell(found)
        return self._read(function.__globals__[name], function.__code__)

    def _read(self, value: object, code: CodeType, within: tuple[ModuleType, ...] = ()) -> object:
        """A value that the code reads; of a module, what the code may take from it and from the modules in it."""
        if not isinstance(value, ModuleType) or _is_library(value.__name__):
            return self._tell(value)
        if value in within:  # modules that hold each other
            return "module", value.__name__
        names = sorted({name for each in _codes(code) for name in _names_in(each) if name in vars(value)})
        inner = [(name, self._read(vars(value)[name], code, (*within, value))) for name in names]
        return "module", value.__name__, inner


def _codes(code: CodeType) -> Iterator[CodeType]:
    """The code of a function and of all functions written inside it."""
    yield code
    for const in code.co_consts:
        if isinstance(const, CodeType):
            yield from _codes(const)


def _names_in(code: CodeType) -> Iterator[str]:
    """Names of attributes in a function, also those given to `getattr` as text."""
    yield from code.co_names
    yield from (each for each in code.co_consts if isinstance(each, str))


def _globals_of(code: CodeType) -> list[str]:
    """Names of the globals that are read, each once, in order."""
    reads = (each for one in _codes(code) for each in dis.get_instructions(one))
    return list(dict.fromkeys(each.argval for each in reads if each.opname in ("LOAD_GLOBAL", "LOAD_NAME")))


def _implementations(function: FunctionType) -> list[FunctionType]:
    """What `numba.extending.overload` was given for a function."""
    found = cpu_target.typing_context._lookup_global(function)
    return [each._overload_func for each in getattr(found, "templates", ()) if hasattr(each, "_overload_func")]


def _named(thing: type | FunctionType) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def _is_library(module: str | None) -> bool:
    root = str(module).partition(".")[0]
    if root in LIBRARIES:
        return True
    if root not in sys.stdlib_module_names:
        return False
    where = getattr(sys.modules.get(root), "__file__", None)
    return where is None or (where.startswith(STANDARD) and "site-packages" not in where)


def _library_of(function: FunctionType) -> str | None:
    """The library that a function is from, judged by the module in which it truly stands; None of anybody else's."""
    module = function.__globals__.get("__name__")
    known = sys.modules.get(module) if isinstance(module, str) else None
    return module if known is not None and vars(known) is function.__globals__ and _is_library(module) else None


def _version(module: str | None) -> str:
    root = str(module).partition(".")[0]
    return str(getattr(sys.modules.get(root), "__version__", sys.version))
