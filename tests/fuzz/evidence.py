"""What the changed files gave, in numbers and as a table."""

from __future__ import annotations

import json
import platform
from collections import Counter
from pathlib import Path
from typing import Any

SECONDS, MEGABYTES = 1.0, 200.0  # that a door may take, above what the original takes
BENCH = Path(__file__).resolve().parents[2] / "bench"


def summary(found: list[dict[str, Any]], seed: int, seconds: float) -> dict[str, Any]:
    """The numbers of all cases."""
    doors: dict[str, Any] = {}
    for case in found:
        for door, (said, problem, took, megabytes) in case["answers"].items():
            row = doors.setdefault(door, {"asked": 0, "loaded": 0, "errors": Counter(), "problems": 0,
                                          "seconds": 0.0, "megabytes": 0.0})  # fmt: skip
            row["asked"] += 1
            row["loaded"] += not said
            row["problems"] += bool(problem)
            row["errors"].update([said] if said else [])
            row["seconds"], row["megabytes"] = max(row["seconds"], took), max(row["megabytes"], megabytes)
    return {
        "cases": len(found), "seed": seed, "sealed": sum(case["sealed"] for case in found),
        "problems": sum(row["problems"] for row in doors.values()), "minutes": round(seconds / 60, 1),
        "seconds": max((row["seconds"] for row in doors.values()), default=0.0),
        "megabytes": max((row["megabytes"] for row in doors.values()), default=0.0),
        "python": platform.python_version(), "doors": doors,
    }  # fmt: skip


def write(told: dict[str, Any], command: str) -> None:
    """bench/fuzz.json, and the same for people in bench/FUZZ.md."""
    asked = sum(row["asked"] for row in told["doors"].values())
    (BENCH / "fuzz.json").write_text(json.dumps({"command": command, **told}, indent=1) + "\n", encoding="utf-8")
    lines = [
        "# Files that were changed", "",
        f"`{command}`: {told['cases']:,} changed copies of the runs, policies and data sets in `tests/golden`, "
        f"{told['sealed']:,} of them with hashes that fit again, loaded in every way that there is. "
        f"{told['problems']} of {asked:,} answers were problems. All others were an "
        "error of bellmax in words, or the same as the original; none ran code, imported a module, wrote elsewhere, "
        f"or took {SECONDS:g} s or {MEGABYTES:g} MB more than the original.", "",
        "| way in | loaded | errors | most seconds | most MB |", "|---|---:|---|---:|---:|",
    ]  # fmt: skip
    for door, row in told["doors"].items():
        errors = ", ".join(f"{count:,} {name}" for name, count in sorted(row["errors"].items(), key=lambda e: -e[1]))
        lines.append(f"| {door} | {row['loaded']:,} | {errors} | {row['seconds']:.2f} | {row['megabytes']:.0f} |")
    lines += ["", "Seconds of the processor and megabytes of memory are above those of the original.", ""]
    (BENCH / "FUZZ.md").write_text("\n".join(lines), encoding="utf-8")
