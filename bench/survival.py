"""Kill runs at random moments and resume them: python bench/survival.py [--kills N] [CASE ...].

Each case is trained as a whole, in a process of its own, once to compile and once more to compare with. Then runs of it
are killed with SIGKILL, each several times, half of the time within a save, and resumed in a new process each time. At
the end a run must have the bits of the whole one: all policies, episodes, visits and scores, and the history without
what measures time. A resumed run must begin at the last save that was finished, or at a later one.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import speed

BENCH = Path(__file__).parent
SMALL = {"learning_starts": 200, "buffer_size": 2_000, "batch_size": 16, "net_arch": (32,)}
IMAGES = {**SMALL, "learning_starts": 60, "buffer_size": 1_000, "batch_size": 8, "num_envs": 2}
GRID = {"wrappers": ["minigrid.wrappers:ImgObsWrapper"]}
CASES: dict[str, dict[str, Any]] = {
    "q-learning, compiled": {
        "world": "CliffWalking-v1", "agent": "q-learning", "loop": "compiled", "steps": 60_000_000,
    },
    "q-learning, Gymnasium": {"world": "Taxi-v4", "agent": "q-learning", "loop": "host", "steps": 60_000},
    "sarsa-lambda, compiled": {
        "world": "MountainCar-v0", "agent": "sarsa-lambda", "loop": "compiled", "steps": 2_000_000, "tilings": 8,
    },
    "sarsa-lambda, Gymnasium": {
        "world": "CartPole-v1", "agent": "sarsa-lambda", "loop": "host", "steps": 20_000, "tilings": 8,
    },
    "prioritized-sweeping, compiled": {
        "world": "FrozenLake8x8-v1", "agent": "prioritized-sweeping", "loop": "compiled", "steps": 6_000_000,
    },
    "prioritized-sweeping, Gymnasium": {
        "world": "FrozenLake8x8-v1", "agent": "prioritized-sweeping", "loop": "host", "steps": 50_000,
    },
    "dqn, compiled": {"world": "CartPole-v1", "agent": "dqn", "loop": "compiled", "steps": 40_000, **SMALL},
    "dqn, Gymnasium": {"world": "LunarLander-v3", "agent": "dqn", "loop": "host", "steps": 4_000, **SMALL},
    "dqn, vector": {"world": "CartPole-v1", "agent": "dqn", "loop": "host", "steps": 9_000, "num_envs": 3, **SMALL},
    "dqn, MiniGrid": {
        "world": "MiniGrid-Dynamic-Obstacles-5x5-v0", "agent": "dqn", "loop": "host", "steps": 3_000,
        "env_kwargs": GRID, **SMALL,
    },
    "rainbow, compiled": {"world": "CartPole-v1", "agent": "rainbow", "loop": "compiled", "steps": 8_000, **SMALL},
    "rainbow, Gymnasium": {"world": "Acrobot-v1", "agent": "rainbow", "loop": "host", "steps": 2_000, **SMALL},
    "pqn, compiled": {"world": "CartPole-v1", "agent": "pqn", "loop": "compiled", "steps": 1_000_000},
    "pqn, workers": {
        "world": "CartPole-v1", "agent": "pqn", "loop": "host", "steps": 30_000, "num_envs": 8, "workers": 2,
    },
    "r2d2, compiled": {
        "world": "CartPole-v1", "agent": "r2d2", "loop": "compiled", "steps": 4_000, **SMALL, "batch_size": 4,
        "learning_starts": 500,
    },
    "r2d2, workers": {
        "world": "CartPole-v1", "agent": "r2d2", "loop": "host", "steps": 2_000, "num_envs": 2, "workers": 2, **SMALL,
        "batch_size": 4, "learning_starts": 500,
    },
    "bootstrapped-dqn, compiled": {
        "world": "CartPole-v1", "agent": "bootstrapped-dqn", "loop": "compiled", "steps": 4_000, **SMALL,
    },
    "bootstrapped-dqn, Gymnasium": {
        "world": "CartPole-v1", "agent": "bootstrapped-dqn", "loop": "host", "steps": 1_500, **SMALL,
    },
    "dqn, Atari": {
        "world": "ALE/Breakout-v5", "agent": "dqn", "loop": "host", "steps": 900, **IMAGES,
        "env_kwargs": {"max_num_frames_per_episode": 400}, "net_arch": (64,),
    },
}  # fmt: skip
COMMON = {"seeds": 2, "records": 5, "eval_episodes": 1, "final_episodes": 2, "progress": False}
KILLS_PER_RUN = 4


def child(case: str, folder: str, verb: str) -> None:
    """In a process of its own: train, or resume, with many saves, each of which is announced and reported."""
    import bellmax as bx
    from bellmax.training import saved_runs, trainer

    trainer.SAVE_SECONDS = 0.2
    save = saved_runs.save_run

    def announced(run: Any, step: int | None = None, *arguments: Any, **how: Any) -> None:
        print("saving", flush=True)
        save(run, step, *arguments, **how)
        print(f"saved {step or 0}", flush=True)

    saved_runs.save_run = announced
    given = dict(CASES[case])
    if verb == "train":
        bx.train(given.pop("world"), given.pop("agent"), out=folder, **COMMON, **given)
    else:
        world = given["world"] if "wrappers" in given.get("env_kwargs", {}) else None
        bx.resume(folder, world, env_kwargs=given.get("env_kwargs") if world else None, progress=False, say=print)


class Process:
    """A child, whose lines are read as they come."""

    def __init__(self, case: str, folder: Path, verb: str) -> None:
        command = [sys.executable, __file__, "--child", case, str(folder), verb]
        programs = {"JAX_COMPILATION_CACHE_DIR": str(folder.parent / "programs")}  # each is compiled once in a case
        environ = {**os.environ, **programs, "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.1"}
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environ)
        self.saved, self.begun, self.saves, self.saving = 0, 0, 0, threading.Event()
        self.first = 0.0  # when the first save was done
        self.errors: list[str] = []
        self.readers = [threading.Thread(target=self.read), threading.Thread(target=self.read_errors)]
        for reader in self.readers:
            reader.start()

    def read(self) -> None:
        """Until the child ends."""
        for line in self.process.stdout or ():
            if line.startswith("saving"):
                self.saving.set()
            elif line.startswith("saved"):
                self.saved, self.saves = int(line.split()[1]), self.saves + 1
                self.first = self.first or time.monotonic()
                self.saving.clear()
            elif "resumed at step" in line:
                self.begun = int(line.split("resumed at step ")[1].split()[0].replace(",", ""))

    def read_errors(self) -> None:
        """The same of its other stream."""
        self.errors = list(self.process.stderr or ())

    def end(self) -> int:
        """Wait for it; its exit status."""
        code = self.process.wait()
        for reader in self.readers:
            reader.join()
        return code


def killed(case: str, folder: Path, verb: str, within: bool, dice: random.Random, seconds: float) -> Process:
    """Start a child and kill it after a save, or within a later one; it may end before."""
    child = Process(case, folder, verb)
    while child.process.poll() is None and child.saves < 1:
        time.sleep(0.005)
    wait, begin = dice.uniform(0.0, seconds), time.monotonic()
    while child.process.poll() is None and time.monotonic() - begin < wait:
        time.sleep(0.005)
    if within:
        child.saving.wait(5.0)
        time.sleep(dice.uniform(0.0, 0.06))
    child.process.kill()
    child.end()
    return child


def has_ended(folder: Path) -> bool:
    """Whether a run has its scores; a kill after that comes too late."""
    import bellmax as bx

    return folder.exists() and bool(bx.load(folder).scores)


def differences(folder: Path, other: Path) -> list[str]:
    """What differs between two runs that ended."""
    import bellmax as bx

    one, two = bx.load(folder), bx.load(other)
    found = []
    for which, policies in one.policies.items():
        for seed, a, b in zip(one.seeds, policies, two.policies[which], strict=True):
            found += [
                f"{which} {seed} {k}" for k in a.arrays if not np.array_equal(a.arrays[k], b.arrays[k], equal_nan=True)
            ]
    for column in one.history.columns:
        timed = column.startswith(("time/", "system/")) and column != "time/total_timesteps"
        if not timed and not np.array_equal(one.history[column], two.history[column], equal_nan=True):
            found.append(column)
    pairs = zip(one.episodes, two.episodes, strict=True)
    found += ["episodes"] * any(not np.array_equal(a.returns, b.returns) for a, b in pairs)
    found += ["visits"] * (one.visits is not None and not np.array_equal(one.visits, two.visits))
    return found + ["scores"] * (one.scores != two.scores)


def survive(case: str, kills: int, place: Path, dice: random.Random) -> dict[str, Any]:
    """One case: the whole run, then killed ones."""
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    for name in ("compiling", "whole"):  # what takes time in the second is what it does after each kill
        whole = Process(case, place / name, "train")
        if whole.end():
            raise SystemExit(f"{case}: {''.join(whole.errors[-20:])}")
    seconds = time.monotonic() - whole.first
    result: dict[str, Any] = {"kills": 0, "runs": 0, "equal": 0, "lost": 0, "seconds": round(seconds, 1), "differ": []}
    while result["kills"] < kills:
        folder, verb, last = place / f"run-{result['runs']}", "train", 0
        for k in range(KILLS_PER_RUN):
            child = killed(case, folder, verb, bool(k % 2), dice, seconds / KILLS_PER_RUN)
            if verb == "resume":
                result["lost"] += child.begun < last
            if child.process.returncode != -9 or has_ended(folder):
                break
            result["kills"] += 1
            last = max(last, child.saved)
            verb = "resume"
        if child.process.returncode == -9 and not has_ended(folder):
            child = Process(case, folder, "resume")
            child.end()
            result["lost"] += child.begun < last
        different = differences(place / "whole", folder) if has_ended(folder) else ["".join(child.errors[-5:])]
        result["runs"] += 1
        result["equal"] += not different
        result["differ"] += different[:5]
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", nargs="*", help="words in the names of cases")
    parser.add_argument("--kills", type=int, default=12, help="of each case")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*options.child)
        return
    kept, dice = BENCH / "survival.json", random.Random(0)
    rows = json.loads(kept.read_text())["rows"] if kept.exists() and options.cases else {}
    results: dict[str, Any] = {"date": datetime.date.today().isoformat(), "machine": speed.machine(), "rows": rows}
    with tempfile.TemporaryDirectory() as folder:
        for case in CASES:
            if not options.cases or any(word in case for word in options.cases):
                rows[case] = survive(case, options.kills, Path(folder) / "case", dice)
                print(case, rows[case], file=sys.stderr, flush=True)
                kept.write_text(json.dumps(results, indent=1) + "\n")
                (BENCH / "SURVIVAL.md").write_text(markdown(results))
    print(markdown(results))


def markdown(results: dict[str, Any]) -> str:
    """The results for people."""
    lines = ["# Runs that are killed", "", f"Made by `python bench/survival.py` on {results['date']}.", ""]
    lines += ["| case | kills | runs | with the bits of the whole run | resumed before the last save |"]
    lines += ["|---|---:|---:|---:|---:|"]
    for case, row in results["rows"].items():
        lines.append(f"| {case} | {row['kills']} | {row['runs']} | {row['equal']} | {row['lost']} |")
    sums = [sum(row[key] for row in results["rows"].values()) for key in ("kills", "runs", "equal", "lost")]
    lines.append("| all | " + " | ".join(map(str, sums)) + " |")
    facts = ", ".join(f"{key} {value}" for key, value in results["machine"].items() if not key.startswith("load"))
    return "\n".join([*lines, "", f"{facts}; {os.cpu_count()} cores.", "", *(__doc__ or "").splitlines()[2:], ""])


if __name__ == "__main__":
    main()
