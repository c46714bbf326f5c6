"""Choose which tests `make test` leaves to `make test-all`, by what each costs.

    python tests/slow_evidence.py            measure the whole suite with empty caches, then write slow.txt
    python tests/slow_evidence.py --quick    measure only what is quick now; what is in slow.txt stays there
    python tests/slow_evidence.py COSTS      write slow.txt from costs measured before
    python tests/slow_evidence.py --check    only whether each name in slow.txt is that of a test

A cost is processor time, that of child processes included. A test stays quick if it costs at most `CHEAP` seconds; of a
test function whose cases all cost more, the cheapest stays if it costs at most `DEAR`. `conftest.py` marks the rest.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
SLOW = HERE / "slow.txt"
CHEAP, DEAR = 0.4, 1.5


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Append what a test cost to the file named by `TEST_COSTS`."""
    before = os.times()
    done = yield
    cost = sum(os.times()[:4]) - sum(before[:4])
    with open(os.environ["TEST_COSTS"], "a", encoding="utf-8") as file:
        file.write(json.dumps([item.nodeid, round(cost, 2)]) + "\n")
    return done  # type: ignore[return-value]


def measure(costs: Path, *words: str) -> None:
    """Run every test, or those that words of pytest select, two at a time, as on a fresh machine."""
    with tempfile.TemporaryDirectory() as cache:
        places = os.pathsep.join([str(HERE), str(HERE.parent), os.environ.get("PYTHONPATH", "")])
        environ = {**os.environ, "TEST_COSTS": str(costs), "BELLMAX_CACHE_DIR": cache, "PYTHONPATH": places}
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-n",
            "2",
            "--dist",
            "worksteal",
            "-p",
            "slow_evidence",
            *words,
        ]
        print(f"costs: {costs}", flush=True)
        subprocess.run(command, cwd=HERE.parent, env=environ, check=True)


def choose(cost: dict[str, float]) -> list[str]:
    """The tests that are left to `make test-all`."""
    functions: dict[str, list[str]] = {}
    for name in cost:
        functions.setdefault(name.split("[")[0], []).append(name)
    slow = []
    for names in functions.values():
        cheapest = min(names, key=cost.__getitem__)
        kept = cheapest if cost[cheapest] <= DEAR else None
        slow += [name for name in names if cost[name] > CHEAP and name != kept]
    return sorted(slow)


def check() -> int:
    """0 if slow.txt names only tests that there are, else 1."""
    command = [sys.executable, "-m", "pytest", "-q", "--collect-only"]
    collected = subprocess.run(command, cwd=HERE.parent, capture_output=True, text=True, check=True)
    gone = set(SLOW.read_text(encoding="utf-8").splitlines()) - set(collected.stdout.splitlines())
    for name in sorted(gone):
        print(f"slow.txt: there is no test {name}")
    print(f"{len(gone)} names in slow.txt are of no test")
    return int(bool(gone))


def main() -> None:
    if sys.argv[1:] == ["--check"]:
        sys.exit(check())
    kept: list[str] = []
    if sys.argv[1:] == ["--quick"]:
        costs, kept = Path(tempfile.mkdtemp()) / "costs.jsonl", SLOW.read_text(encoding="utf-8").splitlines()
        measure(costs, "-m", "not slow")
    elif sys.argv[1:]:
        costs = Path(sys.argv[1])
    else:
        costs = Path(tempfile.mkdtemp()) / "costs.jsonl"
        measure(costs)
    cost = dict(json.loads(line) for line in costs.read_text(encoding="utf-8").splitlines())
    slow = choose(cost)
    SLOW.write_text("".join(f"{name}\n" for name in sorted({*slow, *kept})), encoding="utf-8")
    left = sum(cost.values()) - sum(cost[name] for name in slow)
    print(
        f"{len(cost)} tests, {sum(cost.values()):.0f} s of processor time; quick: {len(cost) - len(slow)}, {left:.0f} s"
    )


if __name__ == "__main__":
    main()
