"""Load thousands of changed files by every door, and see that each is an error in words, or as the original.

    python tests/fuzz/fuzz.py --count 10000           prints what it finds; ends with 1 if there is anything
    python tests/fuzz/fuzz.py --count 10000 --write    also bench/fuzz.json and bench/FUZZ.md
    python tests/fuzz/fuzz.py --only 4711              one case, whose files stay, with what each door said

The originals are those in tests/golden. Case i changes one to three files of one of them, as `mutations.py` says; in
six of ten cases all hashes fit again, as where a stranger made the file. The same seed makes the same cases.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import queue
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from evidence import MEGABYTES, SECONDS, summary, write

HERE = Path(__file__).resolve().parent
ROOT, GOLDEN = HERE.parents[1], HERE.parent / "golden"
SILENCE = 300.0  # seconds after which a case is an endless one


def originals() -> list[tuple[str, str]]:
    """(kind, name below tests/golden) of everything that can be loaded; several times what has most, stopped runs."""
    found = []
    for folder in sorted(GOLDEN.glob("format-*")):
        found += [("run", f"{folder.name}/{path.parent.name}") for path in sorted(folder.glob("*/config.json"))]
        found += [("policy", f"{folder.name}/{path.stem}") for path in sorted(folder.glob("policy-*.json"))]
        found += [("data", f"{folder.name}/{path.name}") for path in sorted(folder.glob("*.safetensors"))]
    found = [(kind, name) for kind, name in found if not (kind == "data" and "policy-" in name)]
    return found + 4 * [(kind, name) for kind, name in found if name.endswith("/stopped")]


def copied(kind: str, name: str, folder: Path) -> Path:
    """A copy of an original in an empty folder; returns the path by which it is loaded."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    source, target = GOLDEN / name, folder / Path(name).name
    if kind == "run":
        shutil.copytree(source, target)
    else:
        for path in source.parent.glob(f"{source.name}.*" if kind == "policy" else source.name):
            shutil.copy(path, folder / path.name)
    return target


def worker(seed: int, numbers: list[int], work: Path) -> None:
    """Try cases, and write a line of JSON for each before and after it."""
    import numpy as np

    from bellmax.caching import cache_directory, store_compiled_programs

    programs = store_compiled_programs()  # before JAX is imported
    import doors
    from mutations import mutate

    kinds = {"run": doors.RUN, "policy": doors.POLICY, "data": doors.DATA}
    things = originals()
    pool = [path for path in sorted(GOLDEN.rglob("*")) if path.is_file() and path.name != "expected.json"]
    whole: dict[tuple[str, str], Any] = {}
    guard = None
    for number in numbers:
        rng = np.random.default_rng([seed, number])
        kind, name = things[int(rng.integers(len(things)))]
        for door, enter in kinds[kind].items():
            if (name, door) not in whole:  # twice: what is compiled and imported for the first time does not count
                for _ in range(2):
                    whole[name, door] = doors.ask(None, enter, copied(kind, name, work / "whole"))
        if guard is None:
            guard = doors.Guard((str(work), str(programs), str(cache_directory("numba"))))
        print(json.dumps({"case": number, "name": name}), flush=True)
        path = copied(kind, name, work / "case")
        how, sealed = mutate(path if kind == "run" else path.parent, pool, rng)
        answers = {}
        for door, enter in kinds[kind].items():
            if door.startswith("bellmax ") and number % 3:  # they are the slowest, and call the others
                continue
            other = sealed or "format-1/" in name or (kind == "policy" and " in the place of " in "".join(how))
            answers[door] = judged(doors.ask(guard, enter, path), whole[name, door], door, other)
        print(json.dumps({"case": number, "name": name, "how": how, "sealed": sealed, "answers": answers}), flush=True)


def judged(answer: Any, whole: Any, door: str, other: bool) -> list[Any]:
    """[class of the error, problem, seconds and megabytes above those of the original] of one door.

    `other`: what is loaded may be sound and another one: it was made so, or is of the same agent and environment.
    """
    problem = answer.problem
    seconds, megabytes = answer.seconds - whole.seconds, answer.megabytes - max(whole.megabytes, 0.0)
    if not problem and seconds > SECONDS:
        problem = f"took {seconds:.1f} s"
    if not problem and megabytes > MEGABYTES:
        problem = f"took {megabytes:.0f} MB"
    exact = door not in ("resume", "bellmax resume")  # which may use the checkpoint before, and says so
    if not problem and exact and not other and not answer.said and answer.result != whole.result:
        problem = "loaded something else"
    return [answer.said, problem, round(seconds, 2), round(megabytes)]


def lines_of(process: subprocess.Popen[str], words: str) -> queue.SimpleQueue[str]:
    """The lines that a process writes, as they come, and "" after the last; it reads `words` first."""
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def read() -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(words)
        process.stdin.close()
        for line in process.stdout:
            lines.put(line)
        lines.put("")

    threading.Thread(target=read, daemon=True).start()
    return lines


def cases(seed: int, numbers: list[int], work: Path) -> Iterator[dict[str, Any]]:
    """What each case gave; a process that dies or hangs is a finding, and another one goes on."""
    left = list(numbers)
    while left:
        words = [sys.executable, str(HERE / "fuzz.py"), "--worker", str(work), "--seed", str(seed)]
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
        process = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environ)
        begun: dict[str, Any] = {}
        lines = lines_of(process, json.dumps(left))
        with contextlib.suppress(queue.Empty):
            while line := lines.get(timeout=SILENCE):
                found = json.loads(line)
                if "answers" in found:
                    left.remove(found["case"])
                    yield found
                begun = {} if "answers" in found else found
            process.wait()
        ended = process.poll()
        process.kill()
        process.wait()
        if begun:
            left.remove(begun["case"])
            how = "did not end" if ended is None else f"ended the process with {ended}"
            yield {**begun, "how": [], "sealed": False, "answers": {"all": ["", how, SILENCE, 0]}}
        elif left and ended:
            raise SystemExit(f"the worker ended with {ended}")


def main() -> int:
    """1 if something was found."""
    parser = argparse.ArgumentParser(description="Load changed files by every door.")
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--only", type=int, nargs="*")
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--worker", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.worker:
        worker(asked.seed, json.loads(sys.stdin.read()), asked.worker)
        return 0
    numbers = asked.only or list(range(asked.first, asked.first + asked.count))
    begin, work = time.monotonic(), Path(tempfile.mkdtemp())

    found: list[dict[str, Any]] = []

    def gather(part: list[int]) -> None:
        for case in cases(asked.seed, part, work / str(part[0])):
            found.append(case)
            problems = {door: answer for door, answer in case["answers"].items() if answer[1] or asked.only}
            if problems:
                print(json.dumps({**case, "answers": problems}), flush=True)
            if len(found) % 500 == 0:
                print(f"{len(found):,} cases", file=sys.stderr, flush=True)

    parts = [numbers[i :: asked.jobs] for i in range(min(asked.jobs, len(numbers)))]
    with ThreadPoolExecutor(len(parts)) as pool:
        list(pool.map(gather, parts))
    if asked.only:
        print(f"the files are in {work}/{numbers[0]}/case")
    else:
        shutil.rmtree(work)
    told = summary(found, asked.seed, time.monotonic() - begin)
    print(json.dumps(told, indent=1))
    if asked.write:
        begun = f"--first {asked.first} " if asked.first else ""
        write(told, f"python tests/fuzz/fuzz.py {begun}--count {len(numbers)} --seed {asked.seed} --write")
    return int(told["problems"] > 0)


if __name__ == "__main__":
    sys.exit(main())
