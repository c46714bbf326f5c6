"""Speed of the agents with networks: python bench/deep.py [--peers .venv-peers/bin/python].

Each measurement is a process of its own that runs the library's own compiled loop, recording included, and begins to
count after the first chunk, which compiles. All rows take turns; a ratio is the median over repetitions. One seed, one
thread, the agent's shipped settings for that world, but `learning_starts`, so that every counted step learns.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import speed

HERE = Path(__file__).parent
METHODS = {
    "dqn": "the loop itself",
    "double-dqn": "a third pass of the network",
    "munchausen-dqn": "a third pass, and a softmax",
    "c51": "51 logits an action, and a projection",
    "qr-dqn": "32 quantiles an action, each against each",
    "iqn": "8 and 8 samples, each a pass of the head, and 32 to choose the action",
    "rainbow": "C51 with two streams, noise, a third pass, priorities and 3 steps",
    "bootstrapped-dqn": "ten networks and ten priors",
    "r2d2": "32 sequences of 30 steps through an LSTM",
    "pqn": "64 worlds, no memory of the past, 16 gradient steps for 1,024 steps",
}
CARTPOLE, BREAKOUT = "CartPole-v1", "gymnax:Breakout-MinAtar"
ON_BREAKOUT = ("dqn", "c51", "rainbow", "pqn")
SWITCHES = {
    "n_steps=3": "n_steps=3", "prioritized": "prioritized=true", "dueling": "dueling=true", "noisy": "noisy=true",
}  # fmt: skip
LIKE_REJAX = "train_freq=64 epochs=1 minibatches=16"
COST = {
    "batch_size": (32, 64, 128, 256),
    "net_arch": ("32,32", "64,64", "128,128", "256,256"),
    "buffer_size": (10_000, 100_000, 1_000_000),
}
SEEDS = (1, 2, 4, 8)
CPUS = os.cpu_count() or 1


def jobs() -> list[tuple[str, str, str, int]]:
    """(world, agent, settings, seeds) of all measurements."""
    rows = [(CARTPOLE, name, "", 1) for name in METHODS]
    rows += [(CARTPOLE, "pqn", LIKE_REJAX, seeds) for seeds in (1, CPUS)]
    rows += [(BREAKOUT, name, "", 1) for name in ON_BREAKOUT]
    rows += [(CARTPOLE, "dqn", value, 1) for value in SWITCHES.values()]
    rows += [(CARTPOLE, "dqn", f"{key}={value}", 1) for key, values in COST.items() for value in values]
    rows += [(CARTPOLE, "dqn", f"prioritized=true buffer_size={size}", 1) for size in COST["buffer_size"][1:]]
    rows += [(CARTPOLE, "dqn", "", seeds) for seeds in SEEDS[1:]]
    return rows


def measure(world: str, agent: str, settings: str, seeds: int, chunks: int) -> dict[str, float]:
    """In a child process: steps per second of all seeds together, in threads."""
    from concurrent.futures import ThreadPoolExecutor

    from bellmax.catalog import make_agent
    from bellmax.loops.choosing import make_loop
    from bellmax.sources import find_world

    values = dict(item.split("=") for item in settings.split())
    if agent not in ("r2d2", "pqn"):
        values.setdefault("learning_starts", "100")
    source = find_world(world)
    config: Any = make_agent(agent, world, values)
    stride = config.train_freq * config.num_envs
    chunk = -(-(400 if world == BREAKOUT else 2_000) * (50 if agent == "pqn" else 1) // stride) * stride
    loop = make_loop(config, source, "compiled", chunk * (chunks + 2))
    with ThreadPoolExecutor(min(seeds, os.cpu_count() or 1)) as pool:
        states = list(pool.map(lambda seed: loop.start([seed]), range(seeds)))

        def advance(t: int) -> None:
            states[:] = [state for state, _ in pool.map(lambda state: loop.advance(state, t, chunk), states)]

        advance(0)
        begin = time.perf_counter()
        for i in range(chunks):
            advance((i + 1) * chunk)
        seconds = time.perf_counter() - begin
    return {"seconds": seconds, "steps_per_second": seeds * chunk * chunks / seconds}


def density(world: str, agent: str) -> float:
    """Gradient steps for an environment step, as shipped, over DQN's."""
    from bellmax.catalog import make_agent

    def of(name: str) -> float:
        config: Any = make_agent(name, world, {})
        return float(config.updates(1_000_000)) / 1_000_000

    return of(agent) / of("dqn")


def key_of(world: str, agent: str, settings: str, seeds: int) -> str:
    """The name of a measurement in the results."""
    return " ".join([world, agent, *([settings] if settings else []), *([f"x{seeds}"] if seeds > 1 else [])])


def main() -> None:
    options = speed.parse_options("Speed of the agents with networks.", "deep", 5)
    if options.measure:
        world, agent, settings, seeds, chunks = options.measure
        print(json.dumps(measure(world, agent, settings, int(seeds), int(chunks))))
        return
    speeds: dict[str, list[float]] = {}

    def note(name: str, answer: dict[str, Any]) -> None:
        speeds.setdefault(name, []).append(answer["steps_per_second"])
        print(f"{name:60} {answer['steps_per_second']:12,.0f} steps/s", file=sys.stderr, flush=True)

    for _ in range(1 if options.quick else 3):
        for seeds in (1, CPUS):
            command = [options.peers, str(HERE / "peers/rejax_pqn.py"), "--seeds", str(seeds)]
            note(f"Rejax PQN x{seeds}", speed.call(command))
        for job in jobs():
            command = [sys.executable, __file__, "--measure", *map(str, job), "1" if options.quick else "3"]
            note(key_of(*job), speed.call(command))
    speed.keep_speeds("deep", speeds, options, markdown)


def markdown(results: dict[str, Any]) -> str:
    """The results for people."""
    speeds = results["steps_per_second"]

    def ratio(name: str, other: str) -> float:
        return median(a / b for a, b in zip(speeds[name], speeds[other], strict=True))

    def row(name: str, other: str, target: float | None) -> str:
        verdict = "" if target is None else f"{target} {'met' if ratio(name, other) >= target else 'NOT met'}"
        return f"{median(speeds[name]):,.0f} | {ratio(name, other):.2f} | {verdict} |"

    plain = f"{CARTPOLE} dqn"
    lines = ["# Speed of the agents with networks", "", f"Made by `{results['command']}` on {results['date']}.", ""]
    lines += ["CartPole-v1, compiled loop, one seed, one thread:", ""]
    lines += ["| agent | steps/s | of DQN | target | per gradient step, of DQN | where the time goes |"]
    lines += ["|---|---:|---:|---|---:|---|"]
    for name, why in METHODS.items():
        learning = ratio(f"{CARTPOLE} {name}", plain) * density(CARTPOLE, name)
        target = 0.3 if name == "rainbow" else None
        lines.append(f"| {name} | {row(f'{CARTPOLE} {name}', plain, target)} {learning:.2f} | {why} |")
    lines += ["", f"PQN, 64 worlds, Rejax's shape of a batch ({LIKE_REJAX}), on {CPUS} cores:", ""]
    lines += [
        "| seeds | bellmax, in threads, steps/s | Rejax, stacked, steps/s | ratio | target |",
        "|---:|---:|---:|---:|---|",
    ]
    for seeds in (1, CPUS):
        pqn, rejax = key_of(CARTPOLE, "pqn", LIKE_REJAX, seeds), f"Rejax PQN x{seeds}"
        both = f"{median(speeds[pqn]):,.0f} | {median(speeds[rejax]):,.0f}"
        lines.append(f"| {seeds} | {both} | {ratio(pqn, rejax):.2f} | 2 {met(ratio(pqn, rejax), 2)} |")
    lines += ["", "MinAtar Breakout (gymnax):", "", "| agent | steps/s | of DQN | target |", "|---|---:|---:|---|"]
    for name in ON_BREAKOUT:
        lines.append(f"| {name} | {row(f'{BREAKOUT} {name}', f'{BREAKOUT} dqn', 0.3 if name == 'rainbow' else None)}")
    lines += ["", "What a switch costs DQN on CartPole:", "", "| | steps/s | of DQN | |", "|---|---:|---:|---|"]
    for label, value in SWITCHES.items():
        lines.append(f"| {label} | {row(f'{plain} {value}', plain, None)}")
    lines += ["", "Prioritised against uniform sampling:", "", "| transitions | uniform | prioritised | ratio |"]
    lines += ["|---:|---:|---:|---:|"]
    for size in COST["buffer_size"][1:]:
        one, other = f"{plain} buffer_size={size}", f"{plain} prioritized=true buffer_size={size}"
        lines.append(
            f"| {size:,} | {median(speeds[one]):,.0f} | {median(speeds[other]):,.0f} | {ratio(other, one):.2f} |"
        )
    lines += ["", "What sizes cost:", "", "| | steps/s |", "|---|---:|"]
    for key, values in COST.items():
        for value in values:
            lines.append(f"| {key}={value} | {median(speeds[f'{plain} {key}={value}']):,.0f} |")
    for seeds in SEEDS[1:]:
        name = f"{plain} x{seeds}"
        lines.append(f"| {seeds} seeds in all | {median(speeds[name]):,.0f} |")
    for who, packages in results["versions"].items():
        lines += ["", f"{who}: " + ", ".join(f"{name} {version}" for name, version in packages.items()) + "."]
    return "\n".join([*lines, "", *(__doc__ or "").splitlines()[2:], ""])


def met(value: float, target: float) -> str:
    """A verdict."""
    return "met" if value >= target else "NOT met"


if __name__ == "__main__":
    main()
