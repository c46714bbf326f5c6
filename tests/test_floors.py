"""Imports go down the floors only, files are one sitting, and importing stays light."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1] / "bellmax"
FLOORS = [
    [
        "contracts",
        "arguments",
        "spaces",
        "agent_config",
        "registry",
        "literals",
        "observations",
        "coding",
        "values",
        "stderr",
        "printing",
        "rich_parts",
        "names",
        "words",
        "caching",
        "identity",
        "compiling",
        "machine",
        "version",
        "waiting",
        "dispatch",
        "keys",
        "bellman",
        "distributions",
        "schedules",
        "exploration",
        "trees",
        "summary_statistics",
        "difference_statistics",
    ],
    ["mdp", "solving", "envs", "pictures"],
    ["replay", "networks"],
    ["tabular", "deep"],
    ["catalog", "recipes", "sources"],
    ["files"],
    ["loops"],
    ["training"],
    ["recording"],
    ["report", "watching", "doctor", "extend"],
    ["page", "playground"],
    ["command", "cli", "cli_answers", "cli_views", "__main__"],
]
FLOOR = {name: level for level, names in enumerate(FLOORS) for name in names}
FILES = sorted(ROOT.rglob("*.py"))


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imported_rooms(path: Path) -> set[str]:
    """Rooms of bellmax that a file imports anywhere, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        modules = []
        if isinstance(node, ast.ImportFrom) and node.module:
            modules = [node.module] if node.module != "bellmax" else [f"bellmax.{a.name}" for a in node.names]
        elif isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        found |= {m.split(".")[1] for m in modules if m.startswith("bellmax.")}
    return found


@pytest.mark.parametrize(
    "path", [p for p in FILES if p != ROOT / "__init__.py"], ids=lambda p: str(p.relative_to(ROOT))
)
def test_imports_go_down(path: Path) -> None:
    assert room(path) in FLOOR, f"give {room(path)} a floor"
    upward = {other for other in imported_rooms(path) if other in FLOOR and FLOOR[other] > FLOOR[room(path)]}
    assert not upward, f"{path.name} on floor {FLOOR[room(path)]} imports {upward} from above"


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_is_one_sitting_and_says_its_number_world(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= 330
    if text:
        docstring = ast.get_docstring(ast.parse(text)) or ""
        worlds = ("Numba", "JAX", "NumPy", "Plain", "Rich", "Matplotlib", "Q-learning")
        assert docstring.startswith(worlds), "the first line says Numba, JAX, NumPy or plain Python"


def test_no_circle_of_files_and_no_room_imports_one_that_imports_it() -> None:
    sys.path.insert(0, str(ROOT.parent / "tools"))
    import rooms

    assert rooms.circles({"a": {"b"}, "b": {"c"}, "c": {"b"}, "d": {"a"}}) == [["b", "c"]]
    imports = rooms.graph()
    assert rooms.circles(imports) == []
    assert not any("bellmax" in others for others in imports.values()), "the package's face imports everything"
    level = rooms.floors(rooms.rooms())
    assert level["words"] < level["files"] < level["loops"] < level["training"] < level["command line"]


def test_a_file_has_a_name_of_its_own() -> None:
    names = [path.stem for path in FILES if not path.stem.startswith("__")]
    others = {"gymnasium", "gymnax", "jax", "numba", "numpy", "scipy", "equinox", "optax", "pandas", "rich", "click"}
    assert sorted({name for name in names if names.count(name) > 1}) == []
    assert sorted(set(names) & (sys.stdlib_module_names | others)) == []


def test_only_networks_imports_equinox() -> None:
    users = {room(p) for p in FILES if "import equinox" in p.read_text()}
    assert users == {"networks"}


@pytest.mark.parametrize("statement", ["import bellmax", "import bellmax.cli"])
def test_import_is_light(statement: str) -> None:
    code = f"{statement}; import sys; print([m for m in ('jax', 'numba', 'gymnasium', 'scipy') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_public_names_all_exist() -> None:
    import bellmax

    for name in bellmax.__all__:
        assert getattr(bellmax, name) is not None
    assert set(bellmax.__all__) <= set(dir(bellmax))
