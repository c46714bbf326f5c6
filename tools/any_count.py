"""How much of the package a type checker cannot follow: python tools/any_count.py.

Counts parameters and returns that are `Any`, by themselves, under another name for it, or as one of several. What only
contains it (`dict[str, Any]`, `Callable[..., Any]`) is counted apart.
"""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PACKAGE = Path(__file__).parents[1] / "bellmax"
ALIASES = {"Any", "PyTree"}  # names that stand for Any and say nothing about what it is


class Count(NamedTuple):
    """Annotations of one kind: how many, how many are `Any`, and how many others contain it."""

    total: int = 0
    any: int = 0
    inside: int = 0

    def __add__(self, other: object) -> Count:
        if not isinstance(other, Count):
            return NotImplemented
        return Count(*(one + more for one, more in zip(self, other, strict=True)))

    @property
    def share(self) -> float:
        """Percent that are `Any`."""
        return 100.0 * self.any / max(1, self.total)


def is_any(node: ast.expr) -> bool:
    """Whether an annotation is `Any`, or `Any` beside None or anything else."""
    if isinstance(node, ast.BinOp):
        return is_any(node.left) or is_any(node.right)
    return isinstance(node, ast.Name) and node.id in ALIASES


def count(node: ast.expr | None) -> Count:
    """One annotation; nothing where there is none (`self`)."""
    if node is None:
        return Count()
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        node = ast.parse(node.value, mode="eval").body
    inside = any(isinstance(part, ast.Name) and part.id in ALIASES for part in ast.walk(node))
    return Count(1, int(is_any(node)), int(inside and not is_any(node)))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function of a file, also inside classes and functions."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def any_count() -> dict[str, tuple[Count, Count]]:
    """(parameters, returns) of each folder of the package; the files beside the folders are "."."""
    found: dict[str, tuple[Count, Count]] = defaultdict(lambda: (Count(), Count()))
    for path in sorted(PACKAGE.rglob("*.py")):
        folder = path.relative_to(PACKAGE).parts[0] if path.parent != PACKAGE else "."
        for function in functions(path):
            arguments = function.args
            every = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
            every += [more for more in (arguments.vararg, arguments.kwarg) if more is not None]
            parameters, returns = found[folder]
            for argument in every:
                parameters += count(argument.annotation)
            found[folder] = parameters, returns + count(function.returns)
    return dict(found)


def shares(found: dict[str, tuple[Count, Count]]) -> tuple[float, float]:
    """Percent of all parameters, and of all returns, that are `Any`."""
    parameters = sum((pair[0] for pair in found.values()), Count())
    returns = sum((pair[1] for pair in found.values()), Count())
    return parameters.share, returns.share


if __name__ == "__main__":
    print(f"{'':10}{'parameters':>12}{'Any':>7}{'inside':>8}{'returns':>12}{'Any':>7}{'inside':>8}")
    found = any_count()
    for folder, (parameters, returns) in found.items():
        print(
            f"{folder:10}{parameters.total:12,}{parameters.share:6.1f}%{parameters.inside:8}"
            f"{returns.total:12,}{returns.share:6.1f}%{returns.inside:8}"
        )
    print("{:10}{:18.1f}%{:26.1f}%".format("all", *shares(found)))
