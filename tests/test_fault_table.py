"""Each row of docs/faults.md has a test, which exists and is not skipped."""

import ast
import functools
import re
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROWS = re.findall(r"^\| \d.*$", (HERE.parent / "docs" / "faults.md").read_text(encoding="utf-8"), re.MULTILINE)
NAMED = re.compile(r"`(test_\w+\.py)::(test_\w+)`")


@functools.cache
def functions_of(file: str) -> dict[str, ast.FunctionDef]:
    tree = ast.parse((HERE / file).read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def test_the_rows_are_in_order() -> None:
    numbers = [int(row.split("|")[1]) for row in ROWS]
    assert len(numbers) > 40
    assert numbers == sorted(set(numbers))


@pytest.mark.parametrize("row", ROWS, ids=[row.split("|")[1].strip() for row in ROWS])
def test_each_row_has_a_test(row: str) -> None:
    *cells, _ = row.split("|")
    assert len(cells) == 5
    assert all(cells[1:])
    named = NAMED.findall(cells[-1])
    assert named
    assert re.sub(NAMED, "", cells[-1]).strip() == ""
    for file, name in named:
        marks = [ast.unparse(mark) for mark in functions_of(file)[name].decorator_list]
        assert not any("skip" in mark or "xfail" in mark for mark in marks), (file, name)
