"""The version is the same wherever it is written, and the lowest versions can be read from pyproject.toml."""

import ast
import importlib
import importlib.util
import re
import runpy
import tomllib
from pathlib import Path

import pytest

import bellmax

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_one_version() -> None:
    cited = re.search(r"^version: (.+)$", (ROOT / "CITATION.cff").read_text(), re.MULTILINE)
    assert cited is not None
    assert cited.group(1) == PROJECT["version"] == bellmax.__version__


def test_every_dependency_has_a_lower_bound_that_is_tested() -> None:
    lowest = runpy.run_path(str(ROOT / ".ci/versions.py"))["lowest_versions"]()
    names = {re.match(r"[\w-]+", line).group() for line in PROJECT["dependencies"]}  # type: ignore[union-attr]
    assert {line.partition("==")[0] for line in lowest} >= names


def test_the_changelog_has_sections_of_short_lines() -> None:
    lines = (ROOT / "CHANGELOG.md").read_text().splitlines()
    sections = {line.removeprefix("### ") for line in lines if line.startswith("### ")}
    assert sections <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}
    assert all(len(line) <= 130 for line in lines)


@pytest.mark.parametrize("folder", ["bench", "baselines", "examples", "tools", "mutants"])
def test_scripts_import_what_there_is(folder: str) -> None:
    """Also what they import within functions; other libraries are not installed."""
    for path in sorted((ROOT / folder).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "bellmax":
                module = importlib.import_module(node.module or "")
                for name in node.names:
                    found = hasattr(module, name.name) or importlib.util.find_spec(f"{node.module}.{name.name}")
                    assert found, f"{path.name} imports {name.name} from {node.module}"
