"""Acting, beside Stable-Baselines3 and ONNX Runtime: python bench/acting.py [--peers .venv-peers/bin/python].

One network, 4 numbers to 64 to 64 hidden units to 2 actions, from an observation of NumPy to an action. Processes take
turns; a figure is the median over repetitions of the median over calls, a ratio the median over repetitions of theirs /
ours. The warm-up is the first call, which prepares the network. PyTorch runs with all threads and with one, and the
faster counts; ONNX Runtime with one. The other rows are ours alone: what the same call costs with other networks.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from speed import machine

BENCH = Path(__file__).parent
TARGET = 50.0  # µs, one observation
ROWS: dict[str, tuple[str, dict[str, Any]]] = {
    "the same network": ("dqn", {"normalization": "none"}),
    "layer normalization (default)": ("dqn", {}),
    "dueling": ("dqn", {"dueling": True}),
    "standardized observations": ("dqn", {"normalize_observations": True}),
    "C51": ("c51", {}),
    "QR-DQN": ("qr-dqn", {}),
    "IQN (by JAX)": ("iqn", {}),
    "ensemble of 10": ("bootstrapped-dqn", {}),
}
PACKAGES = ("numpy", "stable-baselines3", "torch", "onnxruntime")


def clock(call: Callable[[], Any], calls: int) -> float:
    """Microseconds of a call, the median over `calls`."""
    seconds = []
    for _ in range(calls):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return 1e6 * median(seconds)


def measure() -> dict[str, Any]:
    """In a child process: ours, all rows."""
    from bellmax.catalog import agent_class
    from bellmax.contracts import Box
    from bellmax.deep.building import spec_of
    from bellmax.keys import make_key
    from bellmax.networks.network import make_network
    from bellmax.networks.packing import to_named
    from bellmax.training.policy import Policy

    one, many = np.full(4, 0.1, np.float32), np.full((1000, 4), 0.1, np.float32)
    answers = {}
    for name, (agent, settings) in ROWS.items():
        config: Any = agent_class(agent)(**settings)
        network = to_named(make_network(Box((4,)), 2, spec_of(config, config.method()), make_key(0)))
        policy = Policy("", config, Box((4,)), 2, {key: np.asarray(array) for key, array in network.items()})
        begin = time.perf_counter()
        policy.act(one)
        first = time.perf_counter() - begin
        policy.act(many)
        answers[name] = {
            "first": first,
            "one": clock(lambda policy=policy: policy.act(one), 3000),
            "many": clock(lambda policy=policy: policy.act(many), 200),
        }
    return answers


def run(python: str, *words: str) -> dict[str, Any]:
    """What a child process prints as its last line."""
    done = subprocess.run([python, *words], capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def markdown(results: dict[str, Any]) -> str:
    """The results for people."""
    lines = ["# Acting", "", f"Made by `{results['command']}` on {results['date']}.", ""]
    lines += ["| who | one observation, µs | of ours | 1,000 observations, µs | of ours | warm-up, s |"]
    lines += ["|---|---:|---:|---:|---:|---:|"]
    for who, row in results["rows"].items():
        ratios = [f"{row[f'{size} ratio']:.2g}" if f"{size} ratio" in row else "" for size in ("one", "many")]
        lines.append(
            f"| {who} | {row['one']:.1f} | {ratios[0]} | {row['many']:.0f} | {ratios[1]} | {row['first']:.2f} |"
        )
    lines += ["", f"One observation under {TARGET:.0f} µs: {'met' if results['met'] else 'NOT met'}."]
    lines += ["", "; ".join(f"{key} {value}" for key, value in results["machine"].items()) + "."]
    lines += ["", "peers: " + ", ".join(f"{name} {version}" for name, version in results["peers"].items()) + "."]
    return "\n".join([*lines, "", *(__doc__ or "").splitlines()[2:], ""])


def main() -> None:
    parser = argparse.ArgumentParser(description="Acting, side by side with others.")
    parser.add_argument("--peers", default=".venv-peers/bin/python", help="a Python with bench/peers/requirements.txt")
    parser.add_argument("--repetitions", type=int, default=5)
    parser.add_argument("--ours", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ours:
        print(json.dumps(measure()))
        return
    facts = machine()
    peers = [str(BENCH / "peers" / "predict.py")]
    rounds = []
    for _ in range(options.repetitions):
        one_round = {f"bellmax, {name}": row for name, row in run(sys.executable, __file__, "--ours").items()}
        one_round |= run(options.peers, *peers)
        rounds.append(one_round)
    ours, rows = next(iter(rounds[0])), {}
    for who in rounds[0]:
        rows[who] = {key: median(each[who][key] for each in rounds) for key in ("one", "many", "first")}
        if not who.startswith("bellmax"):
            for size in ("one", "many"):
                rows[who][f"{size} ratio"] = median(each[who][size] / each[ours][size] for each in rounds)
    code = f"import importlib.metadata as m, json; print(json.dumps({{p: m.version(p) for p in {PACKAGES}}}))"
    facts["load_after"] = os.getloadavg()[0]
    results = {
        "command": f"python bench/acting.py --repetitions {options.repetitions}",
        "date": datetime.date.today().isoformat(),
        "machine": facts,
        "peers": run(options.peers, "-c", code),
        "rows": rows,
        "met": rows[ours]["one"] < TARGET,
        "measurements": rounds,
    }
    print(markdown(results))
    (BENCH / "acting.json").write_text(json.dumps(results, indent=1) + "\n")
    (BENCH / "ACTING.md").write_text(markdown(results))


if __name__ == "__main__":
    main()
