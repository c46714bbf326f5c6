"""Exact solving, side by side with QuantEcon's DiscreteDP: `make bench`, or `python bench/solving.py --peers PYTHON`.

Random Garnets, γ = 0.99, both sides to 1e-6, from the same arrays: ours as a `FiniteMDP` and `solve`, theirs in the
sparse state-action pair form with the faster of modified policy and value iteration. Every measurement is a process of
its own, compiled code is warm, the two sides take turns; seconds are the median of three. Peak memory is of the whole
process, arrays and building included. Our 1e-6 is a proven bound on every value; theirs is a rule for stopping.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from peers.quantecon_solve import make_arrays, peak_gigabytes
from speed import call, machine

BENCH = Path(__file__).parent
GAMMA, TOLERANCE, CHECKED = 0.99, 1e-6, 200
SIZES = [(10_000, 4, 3), (100_000, 4, 3), (1_000_000, 4, 3)]
THEIR_METHODS = {10_000: ("mpi", "vi"), 100_000: ("mpi", "vi"), 1_000_000: ("mpi",)}  # vi: minutes at 10^6
GROWTH = {
    "states": [(n, 4, 3) for n in (1_000, 10_000, 100_000, 1_000_000)],
    "actions": [(100_000, a, 3) for a in (2, 4, 8, 16)],
    "successors": [(100_000, 4, k) for k in (1, 3, 6, 12, 24)],
}


def build(n_states: int, n_actions: int, arrays: tuple[Any, ...]) -> Any:
    """Our model of the arrays."""
    from bellmax.mdp.model import FiniteMDP

    successor, probability, reward = arrays
    n_pairs, k = successor.shape
    indptr = np.arange(0, n_pairs * k + 1, k)
    start = np.full(n_states, 1 / n_states)
    ends = np.zeros(n_pairs * k, np.bool_)
    paid = np.repeat(reward, k)
    return FiniteMDP(n_states, n_actions, indptr, successor.ravel(), probability.ravel(), paid, ends, start)


def measure(sizes: tuple[int, int, int], garnet: bool) -> dict[str, float]:
    """In a child process: build and solve one model; `garnet` by `random_garnet`, else from the peers' arrays."""
    from bellmax.mdp.gallery import random_garnet
    from bellmax.solving.solve import solve
    from bellmax.solving.sweeps import warm_up

    warm_up()
    arrays = None if garnet else make_arrays(*sizes, seed=0)
    begin = time.perf_counter()
    mdp = random_garnet(*sizes, seed=0) if arrays is None else build(*sizes[:2], arrays)
    del arrays
    built, memory = time.perf_counter(), peak_gigabytes()
    solution = solve(mdp, GAMMA, tolerance=TOLERANCE)
    seconds = time.perf_counter() - built
    facts = {"build_seconds": built - begin, "solve_seconds": seconds, "iterations": solution.iterations}
    peaks = {"build_peak_gigabytes": memory, "peak_gigabytes": peak_gigabytes()}
    return {**facts, **peaks, "bound": solution.bound, "mean_value": solution.start_value}


def ours(sizes: tuple[int, int, int], *options: str) -> dict[str, Any]:
    return call([sys.executable, __file__, "--ours", *map(str, sizes), *options])


def theirs(python: str, sizes: tuple[int, int, int], method: str) -> dict[str, Any]:
    words = ["--sizes", *map(str, sizes), "--gamma", str(GAMMA), "--tolerance", str(TOLERANCE), "--method", method]
    return call([python, str(BENCH / "peers" / "quantecon_solve.py"), *words])


def compare(python: str, repetitions: int) -> list[dict[str, Any]]:
    """A line per size, the sides taking turns."""
    lines = []
    for sizes in SIZES:
        us: list[dict[str, Any]] = []
        them: dict[str, list[dict[str, Any]]] = {method: [] for method in THEIR_METHODS[sizes[0]]}
        for repetition in range(repetitions):
            us.append(ours(sizes))
            for method, answers in them.items():
                answers.append(theirs(python, sizes, method))
            print(f"{repetition + 1}: {sizes}", file=sys.stderr)
        method, best = min(them.items(), key=lambda item: median(a["solve_seconds"] for a in item[1]))
        ratio = median(b["solve_seconds"] / a["solve_seconds"] for a, b in zip(us, best, strict=True))
        lines.append({"sizes": sizes, "ours": us, "theirs": them, "best": method, "ratio": ratio, "met": ratio >= 1})
    return lines


def check(python: str) -> float:
    """The largest difference to QuantEcon's policy iteration over random Garnets of all sizes."""
    from bellmax.solving.solve import solve

    with tempfile.TemporaryDirectory() as folder:
        paths, values = [], []
        for k in range(CHECKED):
            rng = np.random.default_rng(k)
            n_states, n_actions = int(rng.integers(2, 60)), int(rng.integers(1, 6))
            arrays = make_arrays(n_states, n_actions, int(rng.integers(1, n_states + 1)), k)
            gamma = float(rng.choice([0.5, 0.9, 0.99]))
            paths.append(f"{folder}/{k}.npz")
            names = dict(zip(("successor", "probability", "reward"), arrays, strict=True))
            np.savez(paths[-1], n_states=n_states, n_actions=n_actions, gamma=gamma, **names)
            values.append(solve(build(n_states, n_actions, arrays), gamma).v)
        call([python, str(BENCH / "peers" / "quantecon_solve.py"), "--check", *paths])
        return max(
            float(np.abs(np.load(path.replace(".npz", ".v.npy")) - v).max())
            for path, v in zip(paths, values, strict=True)
        )


def markdown(results: dict[str, Any]) -> str:
    """The results for people."""

    def middle(answers: list[dict[str, Any]], name: str) -> float:
        return float(median(answer[name] for answer in answers))

    lines = ["# Exact solving", "", f"Made by `{results['command']}` on {results['date']}.", ""]
    lines += ["| states x actions x successors | bellmax: build, solve, s | peak, GB | QuantEcon: build, solve, s "
              "| peak, GB | ratio of solving | target |", "|---|---:|---:|---:|---:|---:|---:|"]  # fmt: skip
    for row in results["rows"]:
        words = " x ".join(f"{n:,}" for n in row["sizes"])
        best = row["theirs"][row["best"]]
        sides = []
        for side in (row["ours"], best):
            seconds = ", ".join(f"{middle(side, name):.3f}" for name in ("build_seconds", "solve_seconds"))
            sides.append(f"{seconds} | {middle(side, 'peak_gigabytes'):.2f}")
        target = f"1 {'met' if row['met'] else 'NOT met'}"
        lines.append(f"| {words} | {sides[0]} | {sides[1]} ({row['best']}) | {row['ratio']:.2f} | {target} |")
    garnet, difference = results["garnet"], results["largest_difference"]
    lines += ["", f"`random_garnet(10**6, 4, 3)`: made in {garnet['build_seconds']:.1f} s, solved in "
              f"{garnet['solve_seconds']:.1f} s to a bound of {garnet['bound']:.0e}; peak of the process "
              f"{garnet['peak_gigabytes']:.2f} GB (making it {garnet['build_peak_gigabytes']:.2f}), target 2 "
              f"{'met' if garnet['peak_gigabytes'] < 2 else 'NOT met'}."]  # fmt: skip
    lines += ["", f"Over {CHECKED} random Garnets no value differs from QuantEcon's policy iteration by more than "
              f"{difference:.0e}; target 1e-8 {'met' if difference <= 1e-8 else 'NOT met'}."]  # fmt: skip
    lines += ["", "How the cost grows:", ""]
    for what, rows in results["growth"].items():
        lines += [f"| {what} | solve, s | backups | peak, GB | bound |", "|---:|---:|---:|---:|---:|"]
        column = list(GROWTH).index(what)
        for sizes, a in rows:
            facts = f"{a['solve_seconds']:.4f} | {a['iterations']} | {a['peak_gigabytes']:.2f} | {a['bound']:.0e}"
            lines.append(f"| {sizes[column]:,} | {facts} |")
        lines.append("")
    lines += ["; ".join(f"{key} {value}" for key, value in results["machine"].items()) + "."]
    for who, packages in results["versions"].items():
        lines += ["", f"{who}: " + ", ".join(f"{name} {version}" for name, version in packages.items()) + "."]
    return "\n".join([*lines, "", *(__doc__ or "").splitlines()[2:], ""])


def versions(python: str) -> dict[str, dict[str, str]]:
    names = ("quantecon", "numba", "numpy", "scipy")
    code = f"import importlib.metadata as m, json; print(json.dumps({{p: m.version(p) for p in {names}}}))"
    mine = {name: importlib.metadata.version(name) for name in ("bellmax", *names[1:])}
    return {"ours": {"python": platform.python_version(), **mine}, "QuantEcon": call([python, "-c", code])}


def main() -> None:
    parser = argparse.ArgumentParser(description="Exact solving, side by side with QuantEcon.")
    parser.add_argument("--peers", default=".venv-peers/bin/python", help="a Python with bench/peers/requirements.txt")
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--out", type=Path, default=BENCH, help="folder for solving.json and SOLVING.md")
    parser.add_argument("--ours", type=int, nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--garnet", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ours:
        print(json.dumps(measure(tuple(options.ours), options.garnet)))
        return
    results: dict[str, Any] = {
        "command": "python bench/solving.py",
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "versions": versions(options.peers),
        "largest_difference": check(options.peers),
        "rows": compare(options.peers, options.repetitions),
        "garnet": ours((1_000_000, 4, 3), "--garnet"),
        "growth": {what: [(sizes, ours(sizes)) for sizes in rows] for what, rows in GROWTH.items()},
    }
    results["machine"]["load_after"] = os.getloadavg()[0]
    print(markdown(results))
    (options.out / "solving.json").write_text(json.dumps(results, indent=1) + "\n")
    (options.out / "SOLVING.md").write_text(markdown(results))


if __name__ == "__main__":
    main()
