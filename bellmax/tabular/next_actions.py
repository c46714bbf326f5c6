"""Numba. Find whether a kernel of your own uses the next action, by what Numba makes of its code."""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterator
from typing import TypeAlias

MISSING = ""  # what this version of Numba does not have; no kernel is then looked at
try:
    from numba.core import ir
    from numba.core.compiler import run_frontend
except ImportError as error:  # these are private, and may be moved by any version
    MISSING = str(error)

Functions: TypeAlias = tuple[Callable[..., object], ...]
COMPARISONS = (operator.lt, operator.le, operator.eq, operator.ne, operator.ge, operator.gt)


def uses_next_action(function: Callable[..., object], step: str, above: Functions = ()) -> bool:
    """Return whether a kernel, or one that it gives its parameter `step` to, uses step.next_action.

    A kernel that compares it with a number knows that it may be -1, and counts as one that does not.

    Args:
        function: the Python function of the kernel.
        step: what it calls its step.
        above: the functions that call it.
    """
    if MISSING or function in above:
        return False
    try:
        blocks = run_frontend(function).blocks.values()  # type: ignore[no-untyped-call]
    except Exception:  # the compiler explains it, when the kernel is first called
        return False
    values = {line.target.name: line.value for block in blocks for line in block.find_insts(ir.Assign)}
    expressions = [value for value in values.values() if isinstance(value, ir.Expr)]
    read = {name for name, value in values.items() if _is_read(value, step)}
    read |= {name for name, value in values.items() if isinstance(value, ir.Var) and value.name in read}
    compared = [each for each in expressions if each.op == "binop" and each.fn in COMPARISONS]
    if read:
        return not any(side.name in read for each in compared for side in (each.lhs, each.rhs))
    return any(
        uses_next_action(*helper, (*above, function)) for each in expressions for helper in _helpers(each, values, step)
    )


def _is_read(value: object, step: str) -> bool:
    """Whether a value is `step.next_action`."""
    if not isinstance(value, ir.Expr) or value.op != "getattr" or value.attr != "next_action":
        return False
    return bool(value.value.name == step)


def _helpers(call: ir.Expr, values: dict[str, object], step: str) -> Iterator[tuple[Callable[..., object], str]]:
    """The kernel that is called with `step`, and what it calls it; nothing if this is not such a call."""
    kernel = getattr(values.get(call.func.name), "value", None) if call.op == "call" else None
    if kernel is None or not hasattr(kernel, "py_func"):
        return
    names = list(inspect.signature(kernel.py_func).parameters)
    given = [*zip(names, call.args, strict=False), *call.kws]
    yield from ((kernel.py_func, name) for name, var in given if var.name == step)
