"""Speed of every tabular learner, against C and MushroomRL, and how it grows: `python bench/tabular.py`.

Each measurement is a process of its own that runs the library's own loop, recording included, and begins to count
after the first chunk, which compiles. The learners and the peers take turns; a ratio is the median over repetitions.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import speed

HERE = Path(__file__).parent
ONE_STEP = {
    "q-learning": "the loop itself",
    "sarsa": "chooses before it learns: the table must be read first",
    "expected-sarsa": "a mean and a maximum",
    "double-q": "two tables, a second draw",
    "speedy-q": "three tables, two targets",
    "delayed-q": "writes seldom",
}
LONGER = {
    "monte-carlo": "keeps the episode, and writes it backwards at its end",
    "n-step-sarsa": "a window of 4, summed at each step",
    "tree-backup": "a window of 4 with an expectation in each place",
    "q-sigma": "the same, and importance ratios",
    "sarsa-lambda": "every listed pair moves at each step (λ = 0.9)",
    "true-online-sarsa": "the same, and the overlap of the trace",
    "watkins-q": "the list is cut at each exploring action",
    "peng-q": "the list is never cut",
    "dyna-q": "10 planned updates a step: 11 updates",
    "dyna-q-plus": "the same, and a square root each",
    "prioritized-sweeping": "up to 10 planned updates a step, seldom needed once it knows the world",
    "r-max": "plans when a pair becomes known, then only counts",
}
NAMES = {**ONE_STEP, **LONGER}
CLIFF = {"learning_rate": 0.5, "exploration_initial_eps": 0.1, "exploration_final_eps": 0.1, "r_max": 0.0}
GROWTH = [(100, 4, 3), (10_000, 4, 3), (1_000_000, 4, 3), (100, 16, 3), (100, 64, 3), (100, 4, 1), (100, 4, 32)]


def measure(world: str, agent: str, chunk: int, chunks: int) -> dict[str, float]:
    """In a child process: steps per second of one seed."""
    from bellmax.agent_config import hints
    from bellmax.catalog import agent_class, make_agent
    from bellmax.loops.choosing import make_loop
    from bellmax.mdp.gallery import random_garnet
    from bellmax.sources import find_world

    size = [int(number) for number in world.split("-")] if world[0].isdigit() else None
    settings = {key: value for key, value in CLIFF.items() if key in hints(agent_class(agent))}
    source = find_world(random_garnet(*size, seed=0, termination=0.01) if size else world)
    loop = make_loop(make_agent(agent, world, settings), source, "compiled", chunk * (chunks + 1))
    state, _ = loop.advance(loop.start([0]), 0, chunk)
    begin = time.perf_counter()
    for i in range(chunks):
        state, _ = loop.advance(state, (i + 1) * chunk, chunk)
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "steps_per_second": chunk * chunks / seconds}


def ours(world: str, agent: str, quick: bool) -> dict[str, Any]:
    """A measuring process."""
    chunk = 1_000_000 if agent in ONE_STEP else 500_000
    return speed.call([sys.executable, __file__, "--measure", world, agent, str(chunk), "3" if quick else "10"])


def main() -> None:
    options = speed.parse_options("Speed of the tabular learners.", "tabular", 4)
    if options.measure:
        world, agent, chunk, chunks = options.measure
        print(json.dumps(measure(world, agent, int(chunk), int(chunks))))
        return
    speeds: dict[str, list[float]] = {}

    def note(name: str, answer: dict[str, Any]) -> None:
        speeds.setdefault(name, []).append(answer["steps_per_second"])
        print(f"{name:28} {answer['steps_per_second']:15,.0f} steps/s", file=sys.stderr)

    with tempfile.TemporaryDirectory() as temporary:
        binary = str(Path(temporary) / "qlearning")
        subprocess.run(["cc", "-O3", "-march=native", "-o", binary, str(HERE / "peers/qlearning.c")], check=True)
        for _ in range(1 if options.quick else 3):
            note("C", speed.call([binary, "50000000" if options.quick else "200000000", "0"]))
            note("MushroomRL", speed.call([options.peers, str(HERE / "peers/mushroom_qlearning.py")]))
            for name in NAMES:
                note(name, ours("CliffWalking-v1", name, options.quick))
            for size in GROWTH:
                note("-".join(map(str, size)), ours("-".join(map(str, size)), "q-learning", options.quick))
    speed.keep_speeds("tabular", speeds, options, markdown)


def markdown(results: dict[str, Any]) -> str:
    """The results for people."""
    speeds = results["steps_per_second"]

    def ratio(name: str, other: str) -> float:
        return median(a / b for a, b in zip(speeds[name], speeds[other], strict=True))

    lines = ["# Speed of the tabular learners", "", f"Made by `{results['command']}` on {results['date']}.", ""]
    lines += ["On the cliff; the C program is Q-learning, so a ratio is also the price of the method.", ""]
    lines += ["| learner | steps/s | of C Q-learning | target | where the time goes |", "|---|---:|---:|---:|---|"]
    for name, why in NAMES.items():
        target = f"0.3 {'met' if ratio(name, 'C') >= 0.3 else 'NOT met'}" if name in ONE_STEP else ""
        lines.append(f"| {name} | {median(speeds[name]):,.0f} | {ratio(name, 'C'):.2f} | {target} | {why} |")
    lines += ["", f"C: {median(speeds['C']):,.0f} steps/s. MushroomRL's Q-learning on the same world: "]
    lines[-1] += (
        f"{median(speeds['MushroomRL']):,.0f} steps/s, a {1 / ratio('MushroomRL', 'q-learning'):,.0f}th of ours."
    )
    lines += ["", "Q-learning on random Garnets, by size:", "", "| states | actions | successors | steps/s |"]
    lines += ["|---:|---:|---:|---:|"]
    for size in GROWTH:
        states, actions, successors = (f"{number:,}" for number in size)
        lines.append(f"| {states} | {actions} | {successors} | {median(speeds['-'.join(map(str, size))]):,.0f} |")
    for who, packages in results["versions"].items():
        lines += ["", f"{who}: " + ", ".join(f"{name} {version}" for name, version in packages.items()) + "."]
    return "\n".join([*lines, "", *(__doc__ or "").splitlines()[2:], ""])


if __name__ == "__main__":
    main()
