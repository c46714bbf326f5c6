"""Speed, side by side with C, the tutorial's scripts, Stable-Baselines3, SBX and Rejax: `make bench`.

Every measurement is a process of its own that prints one JSON line; ours run the library's own loops, recording
included, and begin to count after the first chunk. The processes of one table row take turns; a ratio is the
median over repetitions of ours / theirs. Peers on Torch run with all threads and with one: the faster counts.
"""

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

BENCH = Path(__file__).parent
OUR_PACKAGES = ("bellmax", "jax", "jaxlib", "numba", "numpy", "gymnasium")
PEER_PACKAGES = ("torch", "stable-baselines3", "sbx-rl", "rejax", "jax", "numpy", "gymnasium")
COMMON = {  # the setting that all DQNs share
    "buffer_size": 10_000, "batch_size": 64, "learning_rate": 1e-3, "learning_rate_schedule": "constant",
    "train_freq": 1, "gradient_steps": 1, "target_update_interval": 500, "tau": 1.0, "net_arch": (64, 64),
    "loss": "squared", "double": False, "num_envs": 1, "learning_starts": 100, "normalization": "none",
    "weight_averaging": False, "adam_epsilon": 1e-8,
}  # fmt: skip


class Ours(NamedTuple):
    """One of our runs: `chunks` are counted, after one that is not; the second number is for --quick."""

    world: str
    agent: str
    settings: dict[str, Any]
    loop: str
    chunk: int
    chunks: tuple[int, int]
    seeds: int = 1


class Peer(NamedTuple):
    """A script of bench/peers and its steps; the second number is for --quick."""

    script: str
    steps: tuple[int, int]
    torch: bool = False


CPUS = os.cpu_count() or 1
CLIFF = {"learning_rate": 0.5, "exploration_initial_eps": 0.1, "exploration_final_eps": 0.1}
LAKE = {"learning_rate": 0.1, "exploration_final_eps": 0.01}
OURS = {
    "table-cliff": Ours("CliffWalking-v1", "q-learning", CLIFF, "compiled", 1_000_000, (100, 20)),
    "table-lake": Ours("FrozenLake-v1", "q-learning", LAKE, "compiled", 1_000_000, (40, 10)),
    "dqn-compiled": Ours("CartPole-v1", "dqn", COMMON, "compiled", 5_000, (6, 2)),
    "dqn-seeds": Ours("CartPole-v1", "dqn", COMMON, "compiled", 5_000, (6, 2), seeds=2 * CPUS),
    "dqn-host": Ours("CartPole-v1", "dqn", COMMON, "host", 2_000, (5, 2)),
}
PEERS = {
    "C": Peer("qlearning.c", (200_000_000, 50_000_000)),
    "tutorial (table)": Peer("seed_qlearning.py", (300_000, 60_000)),
    "tutorial (DQN)": Peer("seed_dqn.py", (4_000, 600), torch=True),
    "SB3": Peer("sb3_dqn.py", (4_000, 600), torch=True),
    "SBX": Peer("sbx_dqn.py", (5_000, 1_500)),
    "Rejax": Peer("rejax_dqn.py", (30_000, 10_000)),
}
ROWS = [  # work, ours, the other, target
    ("Q-learning, cliff", "table-cliff", "C", 0.35),
    ("Q-learning, slippery FrozenLake", "table-lake", "tutorial (table)", 200),
    ("DQN, CartPole, compiled", "dqn-compiled", "SB3", 15),
    ("DQN, CartPole, compiled", "dqn-compiled", "Rejax", 2.5),
    ("DQN, CartPole, compiled", "dqn-compiled", "tutorial (DQN)", 12),
    (f"the same, {2 * CPUS} seeds in all, {CPUS} cores", "dqn-seeds", "dqn-compiled", None),
    ("DQN, CartPole through Gymnasium", "dqn-host", "SB3", 4),
    ("DQN, CartPole through Gymnasium", "dqn-host", "SBX", 5),
]
TURNS = [
    ["C", "table-cliff"],
    ["tutorial (table)", "table-lake"],
    ["SB3", "dqn-compiled", "Rejax", "tutorial (DQN)", "dqn-seeds", "SBX", "dqn-host"],
]


def measure(job: Ours, chunks: int) -> dict[str, float]:
    """In a child process: run our loop as `bellmax.train` does, a thread per core, one seed each."""
    from bellmax.catalog import make_agent
    from bellmax.loops.choosing import make_loop
    from bellmax.sources import find_world

    config = make_agent(job.agent, job.world, {"gamma": 0.99, **job.settings})
    source = find_world(job.world)
    begin = time.perf_counter()
    loop = make_loop(config, source, job.loop, job.chunk * (1 + chunks))
    with ThreadPoolExecutor(min(job.seeds, CPUS)) as pool:
        states = list(pool.map(lambda seed: loop.start([seed]), range(job.seeds)))

        def advance(t: int) -> None:
            states[:] = [state for state, _ in pool.map(lambda state: loop.advance(state, t, job.chunk), states)]

        advance(0)
        first = time.perf_counter() - begin
        begin = time.perf_counter()
        for i in range(chunks):
            advance((1 + i) * job.chunk)
        seconds = time.perf_counter() - begin
    for state in states:
        loop.close(state)
    speed = job.seeds * job.chunk * chunks / seconds
    return {"seconds": seconds, "steps_per_second": speed, "compile_seconds": first - seconds / chunks}


def call(command: list[str], **variables: str) -> dict[str, Any]:
    """Run a measuring process; its last line of output is its answer."""
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **variables}, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return dict(json.loads(done.stdout.splitlines()[-1]))


def commands(name: str, quick: bool, python: str, temporary: Path) -> dict[str, tuple[list[str], dict[str, str]]]:
    """Variant -> (command, variables) of one of OURS or PEERS."""
    if name in OURS:
        command = [sys.executable, __file__, "--ours", name] + ["--quick"] * quick
        return {"": (command, {"BELLMAX_CACHE_DIR": str(temporary / name)})}
    peer = PEERS[name]
    steps = str(peer.steps[quick])
    if peer.script.endswith(".c"):
        return {"": ([str(temporary / "qlearning"), steps, "0"], {})}
    command = [python, str(BENCH / "peers" / peer.script), "--steps", steps]
    return {"": (command, {}), **({"1 thread": (command, {"OMP_NUM_THREADS": "1"})} if peer.torch else {})}


def measure_all(quick: bool, python: str, temporary: Path) -> dict[str, dict[str, list[dict[str, Any]]]]:
    """Name -> variant -> one answer per repetition."""
    compile_c = ["cc", "-O3", "-march=native", "-o", str(temporary / "qlearning"), str(BENCH / "peers/qlearning.c")]
    subprocess.run(compile_c, check=True)
    answers: dict[str, dict[str, list[dict[str, Any]]]] = {}
    for turn in TURNS:
        for repetition in range(2 if quick else 3):
            for name in turn:
                for variant, (command, variables) in commands(name, quick, python, temporary).items():
                    tried = answers.setdefault(name, {})
                    fastest = max((a[0]["steps_per_second"] for a in tried.values()), default=0.0)
                    if repetition and tried[variant][0]["steps_per_second"] < fastest / 2:
                        continue  # Torch's threads on a busy machine: a thirtieth of the speed, and an hour's wait
                    answer = call(command, **variables)
                    tried.setdefault(variant, []).append(answer)
                    words = f"{repetition + 1}: {name} {variant}"
                    print(f"{words:30} {answer['steps_per_second']:15,.0f} steps/s", file=sys.stderr)
    return answers


def compare(answers: dict[str, dict[str, list[dict[str, Any]]]]) -> list[dict[str, Any]]:
    """The table's lines; of a peer's variants the one with the faster median."""
    speeds = {n: {v: [a["steps_per_second"] for a in of] for v, of in vs.items()} for n, vs in answers.items()}
    lines = []
    for work, name, other, target in ROWS:
        variant, theirs = max(speeds[other].items(), key=lambda item: (len(item[1]), median(item[1])))
        ours = speeds[name][""]
        against = "one seed" if other in OURS else f"{other}, {variant}".removesuffix(", ")
        ratio = median(a / b for a, b in zip(ours, theirs, strict=True))
        line = {"work": work, "ours": median(ours), "against": against, "theirs": median(theirs), "ratio": ratio}
        lines.append({**line, "target": target, "met": None if target is None else ratio >= target})
    return lines


def keep_speeds(stem: str, speeds: dict[str, list[float]], options: Any, markdown: Callable[[Any], str]) -> None:
    """Print the results of bench/`stem`.py, and write them beside it, or to --out; a quick run only there."""
    results = {
        "command": f"python bench/{stem}.py" + " --quick" * options.quick,
        "date": datetime.date.today().isoformat(),
        "machine": {**machine(), "load_after": os.getloadavg()[0]},
        "versions": versions(options.peers),
        "steps_per_second": speeds,
    }
    print(markdown(results))
    out = options.out or (None if options.quick else BENCH)
    if out is not None:
        (out / f"{stem}.json").write_text(json.dumps(results, indent=1) + "\n")
        (out / f"{stem.upper()}.md").write_text(markdown(results))


def parse_options(what: str, stem: str, n_measure: int) -> argparse.Namespace:
    """The command line of a bench of speeds; --measure, with so many words, is what its child processes get."""
    parser = argparse.ArgumentParser(description=what)
    parser.add_argument("--peers", default=".venv-peers/bin/python", help="a Python with bench/peers/requirements.txt")
    parser.add_argument("--quick", action="store_true", help="one short repetition; writes only to --out")
    written = f"folder for {stem}.json and {stem.upper()}.md; bench unless --quick"
    parser.add_argument("--out", type=Path, help=written)
    parser.add_argument("--measure", nargs=n_measure, help=argparse.SUPPRESS)
    return parser.parse_args()


def versions(python: str) -> dict[str, dict[str, str]]:
    """Of our packages, of the peers' and of the C compiler."""
    code = f"import importlib.metadata as m, json; print(json.dumps({{p: m.version(p) for p in {PEER_PACKAGES}}}))"
    compiler = subprocess.run(["cc", "--version"], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    ours = {name: importlib.metadata.version(name) for name in OUR_PACKAGES}
    return {
        "ours": {"python": platform.python_version(), **ours},
        "peers": {"cc": compiler, **call([python, "-c", code])},
    }


def machine() -> dict[str, Any]:
    """What these numbers depend on; the load tells whether anything else was running."""
    model = platform.processor()
    with contextlib.suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(": ")[1] for line in lines if line.startswith("model name"))
    return {"cpu": model, "cores": CPUS, "system": platform.platform(), "load_before": os.getloadavg()[0]}


def start_up() -> float:
    """Seconds of a whole `bellmax --help`, the median of 5."""
    seconds = []
    for _ in range(5):
        begin = time.perf_counter()
        subprocess.run([str(Path(sys.executable).with_name("bellmax")), "--help"], capture_output=True, check=True)
        seconds.append(time.perf_counter() - begin)
    return median(seconds)


def demo() -> str:
    """Seconds and peak memory of the whole demo, as it says itself."""
    script = BENCH.parent / "examples" / "demo.py"
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run([sys.executable, script], cwd=folder, capture_output=True, text=True, check=True)
    return next(line for line in done.stdout.splitlines() if line.endswith("GB at the most"))


def markdown(results: dict[str, Any]) -> str:
    """The results for people."""
    lines = ["# Speed", "", f"Made by `{results['command']}` on {results['date']}.", ""]
    lines += ["| work | bellmax, steps/s | against | steps/s | ratio | target |", "|---|---:|---|---:|---:|---:|"]
    for row in results["rows"]:
        target = "" if row["target"] is None else f"{row['target']:g} {'met' if row['met'] else 'NOT met'}"
        numbers = f"{row['ours']:,.0f} | {row['against']} | {row['theirs']:,.0f} | {row['ratio']:.3g}"
        lines.append(f"| {row['work']} | {numbers} | {target} |")
    lines += ["", "| first chunk takes longer by, s | cold | from the cache on disk |", "|---|---:|---:|"]
    lines += [f"| {name} | {c['cold']:.2f} | {c['warm']:.2f} |" for name, c in results["compile_seconds"].items()]
    facts = {"bellmax --help": f"{results['help_seconds']:.2f} s", "demo": results["demo"], **results["machine"]}
    lines += ["", "; ".join(f"{key} {value}" for key, value in facts.items()) + "."]
    for who, packages in results["versions"].items():
        lines += ["", f"{who}: " + ", ".join(f"{name} {version}" for name, version in packages.items()) + "."]
    return "\n".join([*lines, "", *(__doc__ or "").splitlines()[2:], ""])


def main() -> None:
    parser = argparse.ArgumentParser(description="Speed, side by side with others.")
    parser.add_argument("--peers", default=".venv-peers/bin/python", help="a Python with bench/peers/requirements.txt")
    parser.add_argument("--quick", action="store_true", help="two short repetitions; writes only to --out")
    parser.add_argument("--out", type=Path, help="folder for results.json and RESULTS.md; bench unless --quick")
    parser.add_argument("--ours", choices=OURS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.ours:
        print(json.dumps(measure(OURS[options.ours], OURS[options.ours].chunks[options.quick])))
        return
    results: dict[str, Any] = {
        "command": "python bench/speed.py" + " --quick" * options.quick,
        "date": datetime.date.today().isoformat(),
        "machine": machine(),
        "versions": versions(options.peers),
        "help_seconds": start_up(),
        "demo": demo(),
    }
    with tempfile.TemporaryDirectory() as temporary:
        answers = measure_all(options.quick, options.peers, Path(temporary))
    compiling = {name: [a["compile_seconds"] for a in answers[name][""]] for name in OURS}
    results["compile_seconds"] = {name: {"cold": c[0], "warm": median(c[1:])} for name, c in compiling.items()}
    results |= {"rows": compare(answers), "measurements": answers}
    results["machine"]["load_after"] = os.getloadavg()[0]
    print(markdown(results))
    out = options.out or (None if options.quick else BENCH)
    if out is not None:
        (out / "results.json").write_text(json.dumps(results, indent=1) + "\n")
        (out / "RESULTS.md").write_text(markdown(results))


if __name__ == "__main__":
    main()
