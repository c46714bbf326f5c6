"""Speed of this checkout against an older revision: python bench/against.py REVISION [WORD ...].

Each row is a measurement of bench/tabular.py, bench/deep.py, bench/host.py or bench/solving.py, made by the script of
that revision with its own package. Two processes, one of each revision, compile first and then take turns, a chunk of
steps each: what slows the machine down slows both. A ratio is the median over turns of
new / old speed, with a 95 % bootstrap interval. Each row has up to --turns of them, fewer if these take longer than
--seconds. WORDs select the rows that contain one of them.
"""

from __future__ import annotations

import argparse
import datetime
import importlib
import json
import os
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from typing import Any

import deep
import host
import numpy as np
import speed
import tabular

BENCH = Path(__file__).parent
ROOT = BENCH.parent
BAND, LEAST = 0.03, 10  # of a ratio, turns


def rows(turns: int) -> dict[str, list[str]]:
    """Name -> the script and its words, for so many turns."""
    found = {}
    for name in tabular.NAMES:
        chunk = "1000000" if name in tabular.ONE_STEP else "500000"
        found[f"cliff, {name}"] = ["tabular", "--measure", "CliffWalking-v1", name, chunk, str(turns)]
    for size in tabular.GROWTH:
        key = "-".join(map(str, size))
        found[f"Garnet {key}, q-learning"] = ["tabular", "--measure", key, "q-learning", "1000000", str(turns)]
    for world, agent, settings, seeds in deep.jobs():
        if seeds == 1 and not ("buffer_size" in settings and "prioritized" not in settings):
            name = " ".join(filter(None, [world.removeprefix("gymnax:"), agent, settings]))
            found[name] = ["deep", "--measure", world, agent, settings, "1", str(turns)]
    for name, work in host.WORKS.items():
        chunk = str(max(work["steps"] // 8, 200 * work["num_envs"]) * turns)
        found[f"{name}, through Gymnasium"] = ["host", "--measure", name, chunk, str(turns)]
    found["solve, 100,000 states"] = ["solving", "--ours", "100000", "4", "3"]
    return found


def take_turns(script: str, words: list[str]) -> None:
    """In a child process: run a script whose chunks, after the first, each wait for a line and report their speed."""
    count = 0

    def turn(function: Callable[..., Any], steps: int, *arguments: Any, **options: Any) -> Any:
        nonlocal count
        if count and not sys.stdin.readline():
            os._exit(0)
        begin = time.perf_counter()
        result = function(*arguments, **options)
        print(steps / (time.perf_counter() - begin), flush=True)
        count += 1
        return result

    class Turns:
        """A loop whose chunks are turns."""

        def __init__(self, loop: Any) -> None:
            self.loop = loop

        def __getattr__(self, name: str) -> Any:
            return getattr(self.loop, name)

        def advance(self, state: Any, t: int, steps: int) -> Any:
            return turn(self.loop.advance, steps, state, t, steps)

    def in_turns(make: Callable[..., Any]) -> Callable[..., Any]:
        return lambda *given, **options: Turns(make(*given, **options))

    for name in ("bellmax.loops.choosing", "bellmax.training.loops"):  # older revisions have the second
        with suppress(ImportError):
            module: Any = importlib.import_module(name)
            module.make_loop = in_turns(module.make_loop)
            break
    solving: Any = importlib.import_module("bellmax.solving.solve")
    solve = solving.solve

    def solve_in_turns(*arguments: Any, **options: Any) -> None:
        while True:
            turn(solve, 1, *arguments, **options)

    solving.solve = solve_in_turns
    sys.argv = [script, *words]
    importlib.import_module(script).main()


@contextmanager
def started(tree: Path, words: list[str]) -> Iterator[subprocess.Popen[str]]:
    """A child process with the package and the scripts of a tree."""
    command = [sys.executable, "-P", __file__, "--child", str(tree), *words]
    variables = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [tree, tree / "bench"]))}
    with tempfile.TemporaryFile("w+") as errors:
        child = subprocess.Popen(
            command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors, text=True
        )
        try:
            yield child
        except Exception:
            errors.seek(0)
            print(errors.read()[-3000:], file=sys.stderr)
            raise
        finally:
            child.kill()
            child.wait()


def speed_of(child: subprocess.Popen[str], *, ask: bool = True) -> float:
    """The speed of the next chunk."""
    if ask and child.stdin:
        child.stdin.write("\n")
        child.stdin.flush()
    return float(child.stdout.readline() if child.stdout else "")


def compare(old: Path, words: list[str], turns: int, seconds: float) -> dict[str, list[float]]:
    """Speeds of both sides, each turn beside its partner; the first is not counted, it compiles."""
    sides: dict[str, list[float]] = {"old": [], "new": []}
    with started(old, words) as one, started(ROOT, words) as two:
        children = {"old": one, "new": two}
        for child in children.values():
            speed_of(child, ask=False)
        begin = time.monotonic()
        while len(sides["new"]) < turns and (len(sides["new"]) < LEAST or time.monotonic() - begin < seconds):
            for side in ("old", "new") if len(sides["new"]) % 2 else ("new", "old"):
                sides[side].append(speed_of(children[side]))
    return sides


def ratios(sides: dict[str, list[float]]) -> np.ndarray:
    """New / old, turn by turn."""
    return np.array(sides["new"]) / np.array(sides["old"])


def ratio(sides: dict[str, list[float]]) -> float:
    """The median of new / old."""
    return float(np.median(ratios(sides)))


def interval(sides: dict[str, list[float]]) -> tuple[float, float]:
    """The 95 % bootstrap interval of the median."""
    each = ratios(sides)
    drawn = np.random.default_rng(0).choice(each, (2_000, each.size))
    low, high = np.quantile(np.median(drawn, axis=1), [0.025, 0.975])
    return float(low), float(high)


def main() -> None:
    if sys.argv[1:2] == ["--child"]:
        _, _, _, script, *words = sys.argv
        take_turns(script, words)
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", help="the older revision, as git names it")
    parser.add_argument("words", nargs="*", help="only rows whose name contains one of these")
    parser.add_argument("--turns", type=int, default=60, help="of each row")
    parser.add_argument("--seconds", type=float, default=25.0, help="of a row, after which it has no more turns")
    options = parser.parse_args()
    every = rows(options.turns)
    chosen = {n: words for n, words in every.items() if not options.words or any(word in n for word in options.words)}
    if not chosen:
        parser.error(f"no row contains {' or '.join(options.words)}; rows: {', '.join(every)}")
    kept = BENCH / "against.json"
    old = git("rev-parse", "--short", options.revision)
    everything: dict[str, dict[str, Any]] = json.loads(kept.read_text()) if kept.exists() else {}
    measured: dict[str, Any] = everything[old]["rows"] if old in everything and options.words else {}
    everything[old] = {
        "command": shlex.join(["python", "bench/against.py", options.revision, *options.words]),
        "date": datetime.date.today().isoformat(),
        "machine": speed.machine(),
        "old": old,
        "new": git("rev-parse", "--short", "HEAD"),
        "rows": measured,
    }
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", options.revision], cwd=ROOT, capture_output=True, check=True)
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        for name, words in chosen.items():
            measured[name] = compare(Path(folder), words, options.turns, options.seconds)
            print(f"{name:60} {ratio(measured[name]):.3f}", file=sys.stderr, flush=True)
            kept.write_text(json.dumps(everything, indent=1) + "\n")  # what is measured survives an interruption
            (BENCH / "AGAINST.md").write_text(markdown(everything))
    print(section(everything[old]))


def git(*words: str) -> str:
    """What git answers."""
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def markdown(everything: dict[str, dict[str, Any]]) -> str:
    """The results for people: a section for each older revision, the latest measured first."""
    sections = [section(results) for results in sorted(everything.values(), key=lambda r: r["date"], reverse=True)]
    return "\n".join(["# Speed against older revisions", "", *sections, *(__doc__ or "").splitlines()[2:], ""])


def section(results: dict[str, Any]) -> str:
    """The results against one revision."""
    lines = [f"## {results['old']}", "", f"Made by `{results['command']}`, last on {results['date']}: "]
    lines[-1] += f"{results['old']} (old), {results['new']} (new). Rows may be of earlier calls with the same revision."
    lines += ["", "| work | old, 1/s | new, 1/s | new / old | 95 % | turns |", "|---|---:|---:|---:|---:|---:|"]
    for name, sides in results["rows"].items():
        speeds = f"{median(sides['old']):,.4g} | {median(sides['new']):,.4g}"
        outside = "" if ratio(sides) >= 1.0 - BAND else " (slower)"
        low, high = interval(sides)
        lines.append(
            f"| {name} | {speeds} | {ratio(sides):.2f}{outside} | {low:.2f} to {high:.2f} | {len(sides['new'])} |"
        )
    every = [ratio(sides) for sides in results["rows"].values()]
    slower = sum(each < 1.0 - BAND for each in every)
    lines += ["", f"{len(every)} rows, {slower} of them more than 3 % slower; the median ratio is {median(every):.2f}."]
    facts = ", ".join(f"{key} {value}" for key, value in results["machine"].items())
    return "\n".join([*lines, "", f"{facts}.", ""])


if __name__ == "__main__":
    main()
