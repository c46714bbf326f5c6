"""How much of the package a type checker cannot follow, and that it does not grow."""

import ast
import runpy
from pathlib import Path

TOOL = runpy.run_path(str(Path(__file__).parents[1] / "tools" / "any_count.py"))
MOST = (1.0, 1.5)  # percent of parameters and of returns on 29 November 2026; lower them with the figures


def test_the_share_of_any_does_not_rise() -> None:
    parameters, returns = TOOL["shares"](TOOL["any_count"]())
    assert parameters <= MOST[0], "python tools/any_count.py says in which folder"
    assert returns <= MOST[1]


def test_what_counts_as_any() -> None:
    def kind(text: str) -> tuple[int, int]:
        counted = TOOL["count"](ast.parse(text, mode="eval").body)
        return counted.any, counted.inside

    assert kind("Any") == kind("PyTree") == kind("Any | None") == kind("'Any'") == (1, 0)
    assert kind("dict[str, Any]") == kind("Callable[..., Any]") == (0, 1)
    assert kind("int") == kind("Literal['Any', 'other']") == (0, 0)
