"""What the checks cost that a run makes beside learning: python bench/guards.py [WORD ...].

Each run is a real one in a process of its own, saved to a folder. The functions of each group of checks are timed while
it trains, without the time that measuring takes; the share is that of the time that its steps take, without compiling.
Observations are checked while they are copied: that row has the copy too.
"""

from __future__ import annotations

import argparse
import datetime
import functools
import json
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import speed

BENCH = Path(__file__).parent
IMAGES = {"learning_starts": 500, "buffer_size": 5_000}
WORKS: dict[str, dict[str, Any]] = {
    "Q-learning, FrozenLake, compiled": {"world": "FrozenLake-v1", "agent": "q-learning", "steps": 100_000_000},
    "Q-learning, Taxi, Gymnasium": {"world": "Taxi-v4", "agent": "q-learning", "steps": 200_000, "loop": "host"},
    "DQN, CartPole, compiled": {"world": "CartPole-v1", "agent": "dqn", "steps": 100_000},
    "DQN, CartPole, Gymnasium": {"world": "CartPole-v1", "agent": "dqn", "steps": 20_000, "loop": "host"},
    "DQN, Breakout, Gymnasium": {"world": "ALE/Breakout-v5", "agent": "dqn", "steps": 2_000, "loop": "host", **IMAGES},
}
GROUPS = {  # what is checked -> module:function or module:Class.method
    "rewards, flags and infos of each step": [
        f"envs.step_contract:Contract.{name}" for name in ("five", "two", "reward", "rewards", "flag", "flags", "mask")
    ],
    "observations: finite, in their space, copied": ["envs.observing:Leaf.write", "envs.observing:Leaf.read"],
    "what an environment was asked, for an exact resume": [
        f"envs.episode_log:EpisodeLog.{name}" for name in ("step", "returned", "reset")
    ],
    "losses, parameters and values: finite, not diverging": [
        f"training.divergence:{name}" for name in ("check_finite", "check_arrays", "check_divergence")
    ],
    "memory, before it is allocated": ["machine:check_fits"],
    "the lock of the folder": ["files.lock:_take"],
    "hashes of files and blocks": ["files.manifest:entry_of", "files.storage:fingerprint", "files.blocks:_digest"],
}


class Watch:
    """The seconds and calls of each group, its functions replaced by such that measure."""

    def __init__(self) -> None:
        self.seconds, self.calls = dict.fromkeys(GROUPS, 0.0), dict.fromkeys(GROUPS, 0)
        self.inside, self.cost = threading.local(), 0.0
        for group, names in GROUPS.items():
            for name in names:
                self.watch(group, name)
        self.cost = self.overhead()

    def watch(self, group: str, name: str) -> None:
        """Replace one function wherever the package has imported it."""
        module, _, path = name.partition(":")
        __import__(f"bellmax.{module}")
        owner: Any = sys.modules[f"bellmax.{module}"]
        if "." in path:
            kind, path = path.split(".")
            owner = getattr(owner, kind)
            setattr(owner, path, self.timed(group, getattr(owner, path)))
            return
        function = getattr(owner, path)
        timed = self.timed(group, function)
        for each in [m for n, m in sys.modules.items() if n.startswith("bellmax")]:
            for key, value in list(vars(each).items()):
                if value is function:
                    setattr(each, key, timed)

    def timed(self, group: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, measured; not where one of its group calls another."""

        @functools.wraps(function)
        def call(*arguments: Any, **options: Any) -> Any:
            if getattr(self.inside, "busy", False):
                return function(*arguments, **options)
            self.inside.busy = True
            begin = time.perf_counter()
            try:
                return function(*arguments, **options)
            finally:
                self.seconds[group] += time.perf_counter() - begin
                self.calls[group] += 1
                self.inside.busy = False

        return call

    def overhead(self) -> float:
        """Seconds that a call counts although it does nothing."""
        group = next(iter(GROUPS))
        nothing = self.timed(group, lambda: None)
        for _ in range(100_000):
            nothing()
        cost = self.seconds[group] / self.calls[group]
        self.seconds[group], self.calls[group] = 0.0, 0
        return cost


def measure(name: str) -> None:
    """One work in this process; prints a line of JSON."""
    import bellmax as bx
    import bellmax.training.resume
    import bellmax.training.train

    given = dict(WORKS[name])
    with tempfile.TemporaryDirectory() as folder:
        watch = Watch()
        run = bx.train(
            given.pop("world"), given.pop("agent"), out=Path(folder) / "run", progress=False, eval_episodes=0,
            final_episodes=1, **given,
        )  # fmt: skip
        seconds = run.steps / float(np.nanmedian(run.history["time/fps"]))
        groups = {
            group: [max(0.0, watch.seconds[group] - watch.cost * calls), calls] for group, calls in watch.calls.items()
        }
        begin = time.perf_counter()
        hashed = watch.seconds["hashes of files and blocks"]
        bx.load(Path(folder) / "run")
        loading = time.perf_counter() - begin
        hashed = watch.seconds["hashes of files and blocks"] - hashed
    print(json.dumps({"steps": run.steps, "seconds": seconds, "groups": groups, "load": [loading, hashed]}))


def markdown(results: dict[str, Any]) -> str:
    """The results for people."""
    lines = ["# What checks cost", "", f"Made by `python bench/guards.py` on {results['date']}.", ""]
    lines += ["| run | check | calls | ns a step | share |", "|---|---|---:|---:|---:|"]
    for work, row in results["rows"].items():
        for group, (seconds, calls) in row["groups"].items():
            if calls:
                each = seconds / row["steps"] * 1e9
                lines.append(f"| {work} | {group} | {calls:,} | {each:,.3g} | {seconds / row['seconds']:.2%} |")
        total = sum(seconds for seconds, _ in row["groups"].values())
        lines.append(f"| {work} | **all** | | {total / row['steps'] * 1e9:,.3g} | **{total / row['seconds']:.2%}** |")
    lines += [
        "",
        "Reading a finished run, and the hashes in that:",
        "",
        "| run | load, ms | hashes, ms |",
        "|---|---:|---:|",
    ]
    for work, row in results["rows"].items():
        lines.append(f"| {work} | {row['load'][0] * 1e3:.1f} | {row['load'][1] * 1e3:.1f} |")
    facts = ", ".join(f"{key} {value}" for key, value in results["machine"].items())
    return "\n".join([*lines, "", f"{facts}.", "", *(__doc__ or "").splitlines()[2:], ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("words", nargs="*", help="only runs whose name contains one of these")
    parser.add_argument("--measure", choices=list(WORKS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return
    kept = BENCH / "guards.json"
    rows = json.loads(kept.read_text())["rows"] if kept.exists() and options.words else {}
    results = {"date": datetime.date.today().isoformat(), "machine": speed.machine(), "rows": rows}
    for name in WORKS:
        if not options.words or any(word in name for word in options.words):
            rows[name] = speed.call([sys.executable, __file__, "--measure", name])
            print(name, file=sys.stderr, flush=True)
            kept.write_text(json.dumps(results, indent=1) + "\n")
            (BENCH / "GUARDS.md").write_text(markdown(results))
    print(markdown(results))


if __name__ == "__main__":
    main()
