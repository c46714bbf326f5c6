"""The rooms of the package, from its imports.

python tools/rooms.py           prints the counts; `tools/step_files.py` counts what a reader of one DQN step opens
python tools/rooms.py --draw    also draws docs/rooms.svg (needs Matplotlib: pip install 'bellmax[plot]')
"""

from __future__ import annotations

import argparse
import ast
from collections import defaultdict
from collections.abc import Iterator, Mapping, Set
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "bellmax"
SCREEN = 60  # lines
# names that are one contract, which several files implement
CONTRACTS = {
    **dict.fromkeys(("begin", "step"), "the two kernels of a compiled environment for tables"),
    "as_world": "a model, or an environment of gymnax, as a compiled World",
    **dict.fromkeys(("boltzmann", "epsilon_greedy"), "how to act, by Numba for a table and by JAX for a network"),
    "find_faults": "every breach of a contract, as a list",
    **dict.fromkeys(
        ("check_env", "evaluate", "resume", "solve", "train", "watch"), "a command and the function that it calls"
    ),
}


def modules() -> dict[str, Path]:
    """Every file of the package by the name of its module."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(path: Path, known: Set[str]) -> set[str]:
    """Files of the package that a file imports anywhere, also inside functions and for types alone."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (names & known) or {node.module}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & known


def graph() -> dict[str, set[str]]:
    """Of every file but the package's face, which hands names on, the files that it imports."""
    known = modules()
    return {name: imports(path, known.keys()) - {name} for name, path in known.items() if name != "bellmax"}


def circles(edges: Mapping[str, Set[str]]) -> list[list[str]]:
    """Sets of files that reach each other, found by taking away, again and again, what imports nothing that is left."""
    left = {name: set(others) & edges.keys() for name, others in edges.items()}
    for direction in range(2):
        while free := {name for name, others in left.items() if not others}:
            left = {name: others - free for name, others in left.items() if name not in free}
        if direction == 0:  # the same from above, so that only circles and what lies between them stay
            turned: dict[str, set[str]] = {name: set() for name in left}
            for name, others in left.items():
                for other in others:
                    turned[other].add(name)
            left = turned
    groups: list[list[str]] = []
    while left:
        reach, front = set(), {min(left)}
        while front:
            reach |= front
            front = {other for name in front for other in left[name]} - reach
        groups.append(sorted(reach))
        left = {name: others - reach for name, others in left.items() if name not in reach}
    return groups


def functions() -> Iterator[tuple[str, str, int]]:
    """Yield (file, name, lines of code) of every function, also in classes and functions; a docstring is not code."""
    for path in modules().values():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                words = (node.body[0].end_lineno or 0) - node.body[0].lineno + 1 if ast.get_docstring(node) else 0
                yield str(path.relative_to(PACKAGE)), node.name, (node.end_lineno or 0) - node.lineno + 1 - words


def duplicates() -> dict[str, list[str]]:
    """Public functions and classes of one name in several files, by name, except those of a contract."""
    homes = defaultdict(list)
    for name, path in modules().items():
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(name.removeprefix("bellmax."))
    several = {name: sorted(set(where)) for name, where in sorted(homes.items()) if len(set(where)) > 1}
    return {name: where for name, where in several.items() if name not in CONTRACTS}


def rooms() -> dict[str, set[str]]:
    """Of every folder, and of the files beside them as one, the others that it imports."""
    known = modules()
    folders = {path.parent.name for path in known.values() if path.parent.parent == PACKAGE}

    def room(name: str) -> str:
        part = name.split(".")[1]
        return (
            part
            if part in folders
            else {"catalog": "catalog", "recipes": "catalog", "sources": "catalog", "extend": "extend"}.get(
                part,
                "command line"
                if part in ("cli", "cli_answers", "cli_views", "command", "doctor", "__main__")
                else "words",
            )
        )

    found: dict[str, set[str]] = defaultdict(set)
    for name, others in graph().items():
        found[room(name)] |= {room(other) for other in others} - {room(name)}
    return dict(found)


def floors(edges: Mapping[str, Set[str]]) -> dict[str, int]:
    """Each room above all that it imports."""
    level: dict[str, int] = {}
    while len(level) < len(edges):
        free = [name for name, others in edges.items() if name not in level and others <= level.keys()]
        if not free:
            raise SystemExit(f"rooms import each other: {sorted(edges.keys() - level.keys())}")
        for name in free:
            level[name] = 1 + max((level[other] for other in edges[name]), default=-1)
    return level


def draw(path: Path) -> None:
    """The rooms on their floors, an arrow to each room that another one imports and none between them does."""
    import matplotlib as mpl

    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "rooms"
    import matplotlib.pyplot as plt

    edges = rooms()
    level = floors(edges)
    place = {}
    for floor in range(max(level.values()) + 1):
        row = sorted(name for name in level if level[name] == floor)
        place |= {name: (i - (len(row) - 1) / 2, floor) for i, name in enumerate(row)}
    figure, axes = plt.subplots(figsize=(7, 1 + 0.8 * len(set(level.values()))))
    for name, others in edges.items():
        for other in others - {far for near in others for far in edges[near]}:
            arrow = {"arrowstyle": "->", "color": "0.6", "shrinkA": 12, "shrinkB": 12}
            axes.annotate("", place[other], place[name], arrowprops=arrow)
    for name, (x, y) in place.items():
        axes.text(x, y, name, ha="center", va="center", bbox={"boxstyle": "round", "fc": "white", "ec": "0.3"})
    axes.set_xlim(-1.6, 1.6)
    axes.set_ylim(-0.5, max(level.values()) + 0.5)
    axes.axis("off")
    figure.savefig(path, metadata={"Date": None}, bbox_inches="tight")


def main() -> None:
    """Print the counts, and draw where that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draw", action="store_true", help="also draw docs/rooms.svg")
    wanted = parser.parse_args()
    found, long, twice = circles(graph()), [row for row in functions() if row[2] > SCREEN], duplicates()
    print(f"{len(modules())} files, {len(found)} circles of files")
    for circle in found:
        print(f"    {', '.join(circle)}")
    print(f"{len(long)} functions over {SCREEN} lines")
    for file, name, lines in long:
        print(f"    {file}: {name}, {lines} lines")
    print(f"{len(twice)} public names in several files")
    for name, files in twice.items():
        print(f"    {name}: {', '.join(files)}")
    if wanted.draw:
        draw(ROOT / "docs" / "rooms.svg")


if __name__ == "__main__":
    main()
