"""Plant each fault of `faults.toml` in a copy of the package, and see whether the tests named beside it catch it.

python mutants/run.py                 all of them, one after the other; writes RESULTS.md
python mutants/run.py targets noise   those whose area or name contains one of these words; writes nothing
python mutants/run.py --check         only whether each fault still fits the code: no test is run
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent
LIMIT = 600  # seconds for the tests of one fault; a fault that makes a loop endless is caught by it
NOTHING_RAN = 5  # pytest: no test was collected


@dataclass(frozen=True)
class Fault:
    """A change of one place in the package that a test ought to notice.

    Attributes:
        area: targets, acting, memories, schedules, traces, tables, statistics, solvers, loops or networks.
        name: what is wrong, in words.
        file: below `bellmax/`.
        old, new: exact text; `old` stands once in the file.
        tests: arguments for pytest, the quickest that ought to fail.
        survives: why no test can notice, where that is so.
    """

    area: str
    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]
    survives: str = ""


@dataclass(frozen=True)
class Verdict:
    """What became of a fault: caught by a test, survived, or no answer (the tests did not run)."""

    fault: Fault
    word: str
    by: str
    seconds: float


def read_faults() -> list[Fault]:
    """All faults, in the order of the file."""
    return [
        Fault(**{**row, "tests": tuple(row["tests"])}) for row in tomllib.loads(read(HERE / "faults.toml"))["fault"]
    ]


def read(path: Path) -> str:
    """The text of a file."""
    return path.read_text(encoding="utf-8")


def misfits(faults: list[Fault]) -> list[str]:
    """Faults that no longer fit the code: text that is gone or stands twice, tests that are gone, names used twice."""
    problems = []
    for fault in faults:
        path = ROOT / "bellmax" / fault.file
        times = read(path).count(fault.old) if path.is_file() else 0
        if times != 1:
            problems.append(f"{fault.name!r}: its old text stands {times} times in bellmax/{fault.file}, not once")
        if fault.old == fault.new:
            problems.append(f"{fault.name!r}: changes nothing")
        for test in fault.tests:
            file, *names = test.split("::")
            if not (ROOT / file).is_file() or (names and f"def {names[-1].split('[')[0]}(" not in read(ROOT / file)):
                problems.append(f"{fault.name!r}: there is no test {test}")
    names = [fault.name for fault in faults]
    return problems + [f"{name!r} is there twice" for name in sorted({n for n in names if names.count(n) > 1})]


def run_tests(folder: Path, tests: list[str]) -> tuple[int, str]:
    """(pytest's exit status, the first test that failed); 1 where time ran out."""
    cache = folder / "cache"
    settings = {
        "PYTHONPATH": str(folder), "BELLMAX_CACHE_DIR": str(cache), "JAX_COMPILATION_CACHE_DIR": str(cache / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", *tests]
    try:
        done = subprocess.run(  # noqa: S603
            command, cwd=folder, env={**os.environ, **settings}, capture_output=True, text=True, timeout=LIMIT
        )
    except subprocess.TimeoutExpired:
        return 1, "the time limit"
    failed = re.search(r"^(?:FAILED|ERROR) (\S+)", done.stdout, re.MULTILINE)
    return done.returncode, failed[1] if failed else done.stdout[-300:] + done.stderr[-300:]


def try_fault(folder: Path, fault: Fault) -> Verdict:
    """Plant one fault, run its tests, take it out again."""
    path, start = folder / "bellmax" / fault.file, time.perf_counter()
    sound = read(path)
    path.write_text(sound.replace(fault.old, fault.new), encoding="utf-8")
    status, by = run_tests(folder, list(fault.tests))
    path.write_text(sound, encoding="utf-8")
    word = {0: "survived", 1: "caught"}.get(status, "no answer")
    return Verdict(fault, word, by if status else "", time.perf_counter() - start)


def table(verdicts: list[Verdict]) -> str:
    """The results in Markdown."""
    caught = sum(verdict.word == "caught" for verdict in verdicts)
    lines = [
        "# Planted faults", "",
        f"`make mutants`: {caught} of {len(verdicts)} caught, each by the tests named for it in `faults.toml`.", "",
        "| area | fault | file | verdict |", "|---|---|---|---|",
    ]  # fmt: skip
    for verdict in verdicts:
        fault = verdict.fault
        told = f"caught by `{verdict.by}`" if verdict.word == "caught" else f"**{verdict.word}**: {fault.survives}"
        lines.append(f"| {fault.area} | {fault.name} | `{fault.file}` | {told.replace('|', chr(92) + '|')} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """0 if every fault is caught or known to survive, 1 if one survives unexplained, 2 if one no longer fits."""
    parser = argparse.ArgumentParser(description="Plant faults and see whether the tests catch them.")
    parser.add_argument("words", nargs="*", help="only faults whose area or name contains one of these")
    parser.add_argument("--check", action="store_true", help="only whether each fault still fits the code")
    asked = parser.parse_args()
    faults = read_faults()
    if problems := misfits(faults):
        print(*problems, sep="\n", file=sys.stderr)
        return 2
    if asked.check:
        print(f"{len(faults)} faults fit the code")
        return 0
    chosen = [f for f in faults if not asked.words or any(w in f"{f.area} {f.name}" for w in asked.words)]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("bellmax", "tests", "examples"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        status, by = run_tests(folder, sorted({test for fault in chosen for test in fault.tests}))
        if status:
            print(f"the tests do not pass without a fault: {by}", file=sys.stderr)
            return 2
        verdicts = []
        for fault in chosen:
            verdicts.append(try_fault(folder, fault))
            print(f"{verdicts[-1].word:9s} {verdicts[-1].seconds:4.0f} s  {fault.name}  {verdicts[-1].by}", flush=True)
    if not asked.words:
        (HERE / "RESULTS.md").write_text(table(verdicts), encoding="utf-8")
    return 0 if all(v.word == "caught" or (v.word == "survived" and v.fault.survives) for v in verdicts) else 1


if __name__ == "__main__":
    sys.exit(main())
