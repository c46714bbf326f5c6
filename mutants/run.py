"""Plant each fault of `faults.toml` in a copy of the package, and see whether the tests named beside it catch it.

    python mutants/run.py                 all of them, one after the other
    python mutants/run.py targets noise   those whose area or name contains one of these words
    python mutants/run.py --check         only whether each fault still fits the code: no test is run

What was found is kept in results.json, of those not run this time too, and shown in RESULTS.md.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import re
import resource
import shutil
import signal
import sys
import tempfile
import time
import tomllib
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent
LIMIT = 300  # seconds of processor time for the tests of one fault: one that makes a loop endless is caught by it


@dataclass(frozen=True)
class Fault:
    """A change of one place in the package that a test ought to notice.

    Attributes:
        area: targets, acting, memories, schedules, traces, tables, statistics, solvers, loops, networks or files.
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


def prepare(folder: Path) -> None:
    """Import once, for all tests, what takes seconds and is not under test; what they compile goes to the folder."""
    cache = folder / "cache"
    os.environ.update({
        "PYTHONPATH": str(folder), "BELLMAX_CACHE_DIR": str(cache), "JAX_COMPILATION_CACHE_DIR": str(cache / "jax"),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    })  # fmt: skip
    sys.path[0] = str(folder)
    for module in ("equinox", "gymnasium", "jax.extend.random", "numba", "optax", "scipy.sparse", "scipy.stats"):
        importlib.import_module(module)


def run_tests(folder: Path, tests: list[str], limit: int = LIMIT) -> tuple[str, str]:
    """("passed", ""), ("failed", the first test that did), or ("no answer", why); in a fork of this process."""
    output = folder / "output.txt"
    output.write_text("", encoding="utf-8")
    child = os.fork()
    if child == 0:
        code = 70
        try:
            resource.setrlimit(resource.RLIMIT_CPU, (limit, limit + 10))
            os.chdir(folder)
            for stream in (1, 2):
                os.dup2(os.open(output, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), stream)
            # a plugin may be imported already, by Equinox
            options = ["-x", "-q", "-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning"]
            code = int(pytest.main([*options, *tests]))
        finally:
            os._exit(code)  # nothing of the parent is left to do here, such as to remove the folder
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return "failed", f"a crash ({signal.Signals(os.WTERMSIG(status)).name})"  # SIGXCPU: out of time
    said = output.read_text(encoding="utf-8", errors="replace")
    failed = re.search(r"^FAILED (.+?)(?: - .*)?$", said, re.MULTILINE)
    if os.waitstatus_to_exitcode(status) == 1 and failed:
        return "failed", failed[1]
    return ("passed", "") if status == 0 else ("no answer", said[-2000:])


def write(path: Path, text: str) -> None:
    """Change a module, without leaving its old bytecode for one of the same second and size."""
    path.write_text(text, encoding="utf-8")
    for old in (path.parent / "__pycache__").glob(f"{path.stem}.*.pyc"):
        old.unlink()


def try_fault(folder: Path, fault: Fault) -> tuple[str, str]:
    """Plant one fault, run its tests, take it out again: "caught" and by which test, "survived", or "no answer"."""
    path = folder / "bellmax" / fault.file
    sound = read(path)
    write(path, sound.replace(fault.old, fault.new))
    word, by = run_tests(folder, list(fault.tests))
    write(path, sound)
    return {"passed": "survived", "failed": "caught"}.get(word, word), by


def table(faults: list[Fault], found: dict[str, list[str]]) -> str:
    """The results in Markdown."""
    caught = sum(found.get(fault.name, [""])[0] == "caught" for fault in faults)
    tried = sum(fault.name in found for fault in faults)
    left = len(faults) - tried
    later = f"; {left} {'is' if left == 1 else 'are'} not tried yet" if left else ""
    lines = [
        "# Planted faults", "",
        f"`make mutants`: {caught} of {tried} faults are caught by the tests named for them{later}.", "",
        "| area | fault | in | verdict |", "|---|---|---|---|",
    ]  # fmt: skip
    for fault in faults:
        word, by = found.get(fault.name, ["not tried", ""])
        told = f"caught by `{by}`" if word == "caught" else f"**{word}** {fault.survives}".strip()
        cells = (fault.area, fault.name, f"`{fault.file}`", told)
        lines.append(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    """0 if every fault is caught or known to survive, 1 if one is not, 2 if nothing could be tried."""
    parser = argparse.ArgumentParser(description="Plant faults and see whether the tests catch them.")
    parser.add_argument("words", nargs="*", help="only faults whose area or name contains one of these")
    parser.add_argument("--check", action="store_true", help="only whether each fault still fits the code")
    asked = parser.parse_args()
    faults, results = read_faults(), HERE / "results.json"
    if problems := misfits(faults):
        print(*problems, sep="\n", file=sys.stderr)
        return 2
    if asked.check:
        print(f"{len(faults)} faults fit the code")
        return 0
    chosen = [f for f in faults if not asked.words or any(w in f"{f.area} {f.name}" for w in asked.words)]
    found = json.loads(read(results)) if results.is_file() else {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("bellmax", "tests", "examples"):
            shutil.copytree(ROOT / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
        shutil.copy(ROOT / "pyproject.toml", folder)
        prepare(folder)
        word, by = run_tests(folder, sorted({test for fault in chosen for test in fault.tests}), 3600)
        if word != "passed":
            print(f"the tests do not pass without a fault: {by}", file=sys.stderr)
            return 2
        for fault in chosen:
            start = time.perf_counter()
            found[fault.name] = list(try_fault(folder, fault))
            print(f"{found[fault.name][0]:9s} {time.perf_counter() - start:4.0f} s  {fault.name}", flush=True)
            known = {f.name: found[f.name] for f in faults if f.name in found}
            results.write_text(json.dumps(known, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
            (HERE / "RESULTS.md").write_text(table(faults, known), encoding="utf-8")
    return 0 if all(found[f.name][0] == "caught" or f.survives for f in chosen) else 1


if __name__ == "__main__":
    sys.exit(main())
