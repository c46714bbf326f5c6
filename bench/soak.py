"""Long runs, to see that memory and speed stay flat: python bench/soak.py [--share 0.01] [--only WORD ...].

Tables take 1,000,000,000 steps in the compiled loop and 10,000,000 through Gymnasium, networks 1,000,000 in each.
A row is a run of the library in its own process, with a folder in .soak: started again after it was stopped, it
resumes, and rows that have ended are not run again. `--share` makes all shorter. Results: bench/soak.json and
bench/SOAK.md.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
PLACE, BENCH = ROOT / ".soak", ROOT / "bench"
RECORDS = 100
CASES: dict[str, dict[str, Any]] = {
    "table, compiled": {"world": "FrozenLake8x8-v1", "agent": "q-learning", "loop": "compiled", "steps": 1_000_000_000},
    "table, Gymnasium": {"world": "FrozenLake8x8-v1", "agent": "q-learning", "loop": "host", "steps": 10_000_000},
    "DQN, compiled": {"world": "CartPole-v1", "agent": "dqn", "loop": "compiled", "steps": 1_000_000},
    "DQN, Gymnasium": {"world": "CartPole-v1", "agent": "dqn", "loop": "host", "steps": 1_000_000},
}
MORE_MB, MORE, SLOWER = 10.0, 0.03, 0.9  # growth of memory, and speed at the end, that still count as flat


def folder_of(name: str, share: float) -> Path:
    """Where a row is."""
    return PLACE / f"{name.replace(', ', '-').lower()}-{share:g}"


def notes_of(folder: Path) -> Path:
    """Where the memory of a row is."""
    return folder.with_name(f"{folder.name}.jsonl")


def soak(name: str, share: float) -> None:
    """Run or resume one row in this process; its memory at each record goes to a file."""
    import bellmax as bx
    from bellmax.machine import resident_mb
    from bellmax.training.trainer import Trainer

    folder, case, record, begin = folder_of(name, share), CASES[name], Trainer.record, time.monotonic()

    def record_and_note(self: Trainer, *arguments: Any) -> None:
        record(self, *arguments)
        step, seconds = self.run.history.step[-1], round(time.monotonic() - begin, 2)
        with notes_of(folder).open("a", encoding="utf-8") as notes:
            line = {"process": os.getpid(), "step": step, "seconds": seconds, "cpu": round(time.process_time(), 2)}
            line["mb"] = round(resident_mb(), 1)
            print(json.dumps(line), file=notes)

    Trainer.record = record_and_note  # type: ignore[method-assign]
    bx.train(
        case["world"], case["agent"], steps=max(int(case["steps"] * share), 10 * RECORDS), loop=case["loop"],
        records=RECORDS, eval_episodes=0, final_episodes=10, out=folder, if_exists="resume", progress=False,
    )  # fmt: skip


def has_ended(name: str, share: float) -> bool:
    """Whether a row needs no more steps."""
    return (folder_of(name, share) / "result.json").is_file()


def verdict(name: str, share: float) -> dict[str, Any]:
    """The numbers of a row that has ended: memory and speed early and late, of the process that lived longest."""
    import bellmax as bx

    folder = folder_of(name, share)
    lines = [json.loads(line) for line in notes_of(folder).read_text(encoding="utf-8").splitlines()]
    processes = [[line for line in lines if line["process"] == one] for one in {line["process"] for line in lines}]
    longest = max(processes, key=len)
    memory = np.array([line["mb"] for line in longest])
    early, late = np.median(memory[len(memory) // 10 : len(memory) // 3 + 1]), np.median(memory[-len(memory) // 5 :])
    run = bx.load(folder)
    steps, cpu = (np.diff([line[name] for line in longest]) for name in ("step", "cpu"))
    speed = steps / cpu
    begun, ended = np.median(speed[len(speed) // 10 : len(speed) // 3 + 1]), np.median(speed[-len(speed) // 3 :])
    return {
        "steps": run.steps, "minutes": round(sum(each[-1]["seconds"] for each in processes) / 60, 1),
        "processes": len(processes), "mb_early": float(early), "mb_late": float(late), "speed_early": float(begun),
        "speed_late": float(ended), "score": run.scores[0],
        "flat": bool(late - early <= max(MORE_MB, MORE * early) and ended >= SLOWER * begun),
    }  # fmt: skip


def table(rows: dict[str, dict[str, Any]]) -> list[str]:
    """The rows in Markdown."""
    lines = [
        "| run | steps | minutes | MB early | MB late | steps per CPU second early | late | flat |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for name, row in rows.items():
        speeds = f"{row['speed_early']:,.0f} | {row['speed_late']:,.0f}"
        memory = f"{row['mb_early']:.0f} | {row['mb_late']:.0f}"
        flat = "yes" if row["flat"] else "**no**"
        lines.append(f"| {name} | {row['steps']:,} | {row['minutes']} | {memory} | {speeds} | {flat} |")
    return lines


def main() -> int:
    """1 if a row is not flat."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--share", type=float, default=1.0, help="of the steps of each row")
    parser.add_argument("--only", nargs="*", metavar="WORD", help="rows whose name contains one of these")
    parser.add_argument("--case", choices=list(CASES), help=argparse.SUPPRESS)
    asked = parser.parse_args()
    PLACE.mkdir(exist_ok=True)
    if asked.case:
        soak(asked.case, asked.share)
        return 0
    for name in CASES:
        if (not asked.only or any(word in name for word in asked.only)) and not has_ended(name, asked.share):
            words = [sys.executable, __file__, "--case", name, "--share", str(asked.share)]
            print(f"{name}: {shlex.join(words)}", flush=True)
            subprocess.run(words, check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})
    rows = {name: verdict(name, asked.share) for name in CASES if has_ended(name, asked.share)}
    text = table(rows)
    print(*text, sep="\n")
    command = "python bench/soak.py" + (f" --share {asked.share:g}" if asked.share != 1.0 else "")
    about = {"command": command, "machine": platform.platform(), "cpus": os.cpu_count(), "rows": rows}
    (BENCH / "soak.json").write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    head = [
        "# Long runs", "",
        f"`{command}`: memory of the process after a tenth to a third of the run and in its last fifth, and steps per "
        "second of processor time, which other work on the machine hardly changes, early and in its last third. Flat: "
        f"at most {MORE_MB:.0f} MB or {MORE:.0%} more memory, and at least {SLOWER:.0%} of the speed.", "",
    ]  # fmt: skip
    (BENCH / "SOAK.md").write_text("\n".join([*head, *text, ""]), encoding="utf-8")
    return int(not all(row["flat"] for row in rows.values()))


if __name__ == "__main__":
    sys.exit(main())
