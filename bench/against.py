"""Speed of this checkout against an older revision: python bench/against.py REVISION [WORD ...].

Each row is a measurement of bench/tabular.py, bench/deep.py, bench/host.py or bench/solving.py, made by the script of
that revision with its own package, in a process of its own. The two sides take turns, and the order changes each time;
a ratio is the median over repetitions of new / old speed. A row that is further than 3 % from 1 is measured again, up
to --most repetitions, as a busy machine moves single ones further. WORDs select the rows that contain one of them.
"""

from __future__ import annotations

import argparse
import datetime
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any

import deep
import host
import speed
import tabular

BENCH = Path(__file__).parent
ROOT = BENCH.parent
BAND = 0.03


def rows() -> dict[str, list[str]]:
    """Name -> the script and its words."""
    found = {}
    for name in tabular.NAMES:
        chunk = "1000000" if name in tabular.ONE_STEP else "500000"
        found[f"cliff, {name}"] = ["tabular.py", "--measure", "CliffWalking-v1", name, chunk, "20"]
    for size in tabular.GROWTH:
        key = "-".join(map(str, size))
        found[f"Garnet {key}, q-learning"] = ["tabular.py", "--measure", key, "q-learning", "1000000", "5"]
    for world, agent, settings, seeds in deep.jobs():
        if seeds == 1 and not ("buffer_size" in settings and "prioritized" not in settings):
            chunks = "6" if world == deep.BREAKOUT or agent in ("iqn", "bootstrapped-dqn", "r2d2") else "20"
            name = " ".join(filter(None, [world.removeprefix("gymnax:"), agent, settings]))
            found[name] = ["deep.py", "--measure", world, agent, settings, "1", chunks]
    for name, work in host.WORKS.items():
        found[f"{name}, through Gymnasium"] = ["host.py", "--measure", name, str(work["steps"]), "4"]
    found["solve, 100,000 states"] = ["solving.py", "--ours", "100000", "4", "3"]
    return found


def speed_of(tree: Path, words: list[str]) -> float:
    """One measurement with the package of a tree."""
    script, *rest = words
    answer = speed.call([sys.executable, str(tree / "bench" / script), *rest], PYTHONPATH=str(tree))
    return float(answer["steps_per_second"] if "steps_per_second" in answer else 1.0 / answer["solve_seconds"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("revision", help="the older revision, as git names it")
    parser.add_argument("words", nargs="*", help="only rows whose name contains one of these")
    parser.add_argument("--least", type=int, default=3, help="repetitions of each row")
    parser.add_argument("--most", type=int, default=9, help="repetitions of a row outside the band")
    options = parser.parse_args()
    chosen = {
        name: words
        for name, words in rows().items()
        if not options.words or any(word in name for word in options.words)
    }
    if not chosen:
        parser.error(f"no row contains {' or '.join(options.words)}; rows: {', '.join(rows())}")
    kept = BENCH / "against.json"
    measured: dict[str, Any] = json.loads(kept.read_text())["rows"] if kept.exists() and options.words else {}
    results: dict[str, Any] = {
        "command": " ".join(["python bench/against.py", options.revision, *options.words]),
        "date": datetime.date.today().isoformat(),
        "machine": speed.machine(),
        "old": git("rev-parse", "--short", options.revision),
        "new": git("rev-parse", "--short", "HEAD"),
        "rows": measured,
    }
    with tempfile.TemporaryDirectory() as folder:
        archive = subprocess.run(["git", "archive", options.revision], cwd=ROOT, capture_output=True, check=True)
        subprocess.run(["tar", "-x", "-C", folder], input=archive.stdout, check=True)
        for name, words in chosen.items():
            measured[name] = compare(Path(folder), words, options.least, options.most)
            print(f"{name:60} {ratio(measured[name]):.3f}", file=sys.stderr, flush=True)
            kept.write_text(json.dumps(results, indent=1) + "\n")  # what is measured survives an interruption
            (BENCH / "AGAINST.md").write_text(markdown(results))
    print(markdown(results))


def compare(old: Path, words: list[str], least: int, most: int) -> dict[str, list[float]]:
    """Speeds of both sides, each repetition beside its partner."""
    sides: dict[str, list[float]] = {"old": [], "new": []}
    while len(sides["new"]) < least or (len(sides["new"]) < most and abs(ratio(sides) - 1.0) > BAND):
        order = [("old", old), ("new", ROOT)]
        for side, tree in order if len(sides["new"]) % 2 else reversed(order):
            sides[side].append(speed_of(tree, words))
    return sides


def ratio(sides: dict[str, list[float]]) -> float:
    """The median of new / old."""
    return median(new / old for new, old in zip(sides["new"], sides["old"], strict=True))


def git(*words: str) -> str:
    """What git answers."""
    return subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()


def markdown(results: dict[str, Any]) -> str:
    """The results for people."""
    lines = ["# Speed against an older revision", "", f"Made by `{results['command']}` on {results['date']}: "]
    lines[-1] += f"{results['old']} (old), {results['new']} (new)."
    lines += ["", "| work | old, 1/s | new, 1/s | new / old | repetitions |", "|---|---:|---:|---:|---:|"]
    for name, sides in results["rows"].items():
        speeds = f"{median(sides['old']):,.4g} | {median(sides['new']):,.4g}"
        outside = "" if ratio(sides) >= 1.0 - BAND else " (slower)"
        lines.append(f"| {name} | {speeds} | {ratio(sides):.2f}{outside} | {len(sides['new'])} |")
    every = [ratio(sides) for sides in results["rows"].values()]
    slower = sum(each < 1.0 - BAND for each in every)
    lines += ["", f"{len(every)} rows, {slower} of them more than 3 % slower; the median ratio is {median(every):.2f}."]
    facts = ", ".join(f"{key} {value}" for key, value in results["machine"].items())
    return "\n".join([*lines, "", f"{facts}.", "", *(__doc__ or "").splitlines()[2:], ""])


if __name__ == "__main__":
    main()
