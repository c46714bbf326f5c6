"""Speed through Gymnasium, beside Stable-Baselines3 and SBX: python bench/host.py [--peers .venv-peers/bin/python].

The same environment, network, batch and number of gradient steps on both sides, learning at every counted step. All
rows take turns; a ratio is the median over repetitions of ours / theirs. Torch runs with all threads and with one: the
faster counts. Overhead is what our loop takes beyond environment, acting and waiting for learning, which runs beside.
What is asked of it is its share of environment and all arithmetic, which is acting and learning. Beside it stands its
share of what else the stepping thread does; acting is mostly waiting for a turn: the less it takes, the higher this is.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from statistics import median
from typing import Any

import speed

HERE = Path(__file__).parent
SMALL = {
    "buffer_size": 10_000, "batch_size": 64, "learning_rate": 1e-3, "train_freq": 1, "gradient_steps": 1,
    "target_update_interval": 500, "net_arch": [64, 64], "learning_starts": 100,
}  # fmt: skip
LANDER = {**SMALL, "net_arch": [128, 128], "batch_size": 128, "train_freq": 4, "gradient_steps": 2}
GRID = ["minigrid.wrappers:ImgObsWrapper", "FlattenObservation"]
IMAGES = {**SMALL, "net_arch": [512], "batch_size": 32, "gradient_steps": 2, "learning_rate": 1e-4}
WORKS: dict[str, dict[str, Any]] = {
    "CartPole": {"world": "CartPole-v1", "num_envs": 1, "settings": SMALL, "target": 4, "steps": 4_000},
    "CartPole, 8 worlds": {"world": "CartPole-v1", "num_envs": 8, "settings": SMALL, "target": 6, "steps": 16_000},
    "LunarLander": {"world": "LunarLander-v3", "num_envs": 1, "settings": LANDER, "target": 4, "steps": 4_000},
    "LunarLander, 8 worlds": {
        "world": "LunarLander-v3", "num_envs": 8, "settings": {**LANDER, "train_freq": 1}, "target": 6, "steps": 16_000,
    },
    "MiniGrid": {
        "world": "MiniGrid-Empty-5x5-v0", "num_envs": 1, "settings": SMALL, "wrappers": GRID, "target": 4,
        "steps": 4_000,
    },
    "Pong": {
        "world": "ALE/Pong-v5", "num_envs": 1, "settings": {**IMAGES, "train_freq": 4, "gradient_steps": 1},
        "target": 1.5, "steps": 1_600,
    },
    "Pong, 8 games": {"world": "ALE/Pong-v5", "num_envs": 8, "settings": IMAGES, "target": 1.5, "steps": 1_600},
}  # fmt: skip
WITH_SBX = ("CartPole", "CartPole, 8 worlds")
PLAIN = {"normalization": "none", "weight_averaging": False, "learning_rate_schedule": "constant", "adam_epsilon": 1e-8}
PARTS = ("env", "act", "wait", "overhead", "learn")


def measure(name: str, steps: int, chunks: int) -> dict[str, Any]:
    """In a child process: our host loop, recording included, after a first chunk that compiles."""
    from bellmax.catalog import make_agent
    from bellmax.loops.choosing import make_loop
    from bellmax.sources import find_world

    work = WORKS[name]
    source = find_world(work["world"], {"wrappers": work["wrappers"]} if "wrappers" in work else {})
    settings = {**work["settings"], "net_arch": tuple(work["settings"]["net_arch"]), "num_envs": work["num_envs"]}
    config: Any = make_agent("dqn", "", {**PLAIN, **settings})
    stride = config.train_freq * config.num_envs
    whole = 16 * stride  # a last block that is shorter would compile once more
    chunk = steps // chunks // whole * whole
    loop = make_loop(config, source, "host", chunk * (chunks + 2))  # goes on: the last chunk waits for all learning
    state, _ = loop.advance(loop.start([0]), 0, chunk)
    parts: list[dict[str, float]] = []
    begin = time.perf_counter()
    for i in range(chunks):
        state, (done,) = loop.advance(state, chunk * (i + 1), chunk)
        parts.append(done.metrics)
    seconds = time.perf_counter() - begin
    loop.close(state)
    profile = {part: median(p[f"time/{part}_ms"] for p in parts) for part in PARTS}
    return {"seconds": seconds, "steps_per_second": chunk * chunks / seconds, "profile": profile}


def checks(name: str, n: int = 20_000) -> float:
    """Seconds that it takes to check the answer of one step of a plain environment, and to copy it."""
    import gymnasium as gym

    from bellmax.envs.host_world import open_world
    from bellmax.envs.observing import LARGEST

    world, env = open_world(name), gym.make(name)
    obs, info = env.reset(seed=0)
    see, answer = world._checks.see, (obs, 1.0, False, False, info)
    room = see.empty(1)
    world.reset(0)
    best = float("inf")
    for _ in range(3):
        begin = time.perf_counter()
        for _ in range(n):  # what is asked of every answer, and enough where it is as it should be
            if type(answer) is not tuple or len(answer) != 5 or type(answer[4]) is not dict:
                raise SystemExit("no answer")
            seen, reward, terminated, truncated, _ = answer
            see.write(seen, room, 0)
            if type(reward) is not float or not -LARGEST <= reward <= LARGEST:
                raise SystemExit("no reward")
            if terminated is not False or truncated is not False:
                raise SystemExit("an end")
        best = min(best, (time.perf_counter() - begin) / n)
    return best


def main() -> None:
    options = speed.parse_options("Speed through Gymnasium.", "host", 3)
    if options.measure:
        print(json.dumps(measure(options.measure[0], *map(int, options.measure[1:]))))
        return
    speeds: dict[str, list[float]] = {}
    profiles: dict[str, list[dict[str, float]]] = {}

    def note(key: str, answer: dict[str, Any]) -> None:
        speeds.setdefault(key, []).append(answer["steps_per_second"])
        print(f"{key:40} {answer['steps_per_second']:12,.0f} steps/s", file=sys.stderr, flush=True)

    for _ in range(1 if options.quick else 3):
        for name, work in WORKS.items():
            given = {"wrappers": [], **work}
            steps = work["steps"] // (4 if options.quick else 1)
            ours = speed.call([sys.executable, __file__, "--measure", name, str(work["steps"]), "4"])
            profiles.setdefault(name, []).append(ours["profile"])
            note(f"{name} | bellmax", ours)
            command = [options.peers, str(HERE / "peers/sb3_host.py"), "--work", json.dumps(given), "--steps"]
            note(f"{name} | SB3", speed.call([*command, str(steps // 4)]))
            note(f"{name} | SB3, 1 thread", speed.call([*command, str(steps // 4)], OMP_NUM_THREADS="1"))
            if name in WITH_SBX:
                note(f"{name} | SBX", speed.call([*command, str(steps // 4), "--library", "sbx"]))

    checked = {name: checks(WORKS[name]["world"]) for name in ("CartPole", "LunarLander")}

    def markdown(results: dict[str, Any]) -> str:
        return describe({**results, "profiles": profiles, "checks": checked})

    speed.keep_speeds("host", speeds, options, markdown)


def describe(results: dict[str, Any]) -> str:
    """The results for people."""
    speeds = results["steps_per_second"]
    lines = ["# Speed through Gymnasium", "", f"Made by `{results['command']}` on {results['date']}.", ""]
    lines += ["| work | bellmax, steps/s | against | steps/s | ratio | target |", "|---|---:|---|---:|---:|---|"]
    for name, work in WORKS.items():
        ours = speeds[f"{name} | bellmax"]
        threads = max((f"{name} | SB3", f"{name} | SB3, 1 thread"), key=lambda key: median(speeds[key]))
        for key in [threads, *([f"{name} | SBX"] if name in WITH_SBX else [])]:
            ratio = median(a / b for a, b in zip(ours, speeds[key], strict=True))
            target = f"{work['target']} {speed_met(ratio, work['target'])}" if "SB3" in key else ""
            against = key.split(" | ")[1]
            numbers = f"{median(ours):,.0f} | {against} | {median(speeds[key]):,.0f} | {ratio:.1f}"
            lines.append(f"| {name} | {numbers} | {target} |")
    lines += ["", "Where a vector step's time goes, µs (learning runs beside the others):", ""]
    shares = "overhead, of environment and arithmetic | of the stepping thread"
    lines += [f"| work | environment | acting | waiting | overhead | learning | {shares} |"]
    lines += ["|---|---:|---:|---:|---:|---:|---:|---:|"]
    for name, profiles in results["profiles"].items():
        share, stepping = (
            median(p["overhead"] / (p["env"] + p["act"] + p[other]) for p in profiles) for other in ("learn", "wait")
        )
        numbers = " | ".join(f"{1e3 * median(p[part] for p in profiles):.0f}" for part in PARTS)
        verdict = f"{100 * share:.0f} %, under 25 % {speed_met(0.25, share)} | {100 * stepping:.0f} %"
        lines.append(f"| {name} | {numbers} | {verdict} |")
    lines += ["", "Checks of every answer of an environment:", ""]
    for name, seconds in results["checks"].items():
        share = seconds * median(speeds[f"{name} | bellmax"])
        verdict = speed_met(0.03, share)
        lines.append(f"- {name}: {1e6 * seconds:.1f} µs, {100 * share:.1f} % of a step; under 3 % {verdict}")
    facts = ", ".join(f"{key} {value}" for key, value in results["machine"].items())
    lines += ["", f"{facts}.", "", *(__doc__ or "").splitlines()[2:], ""]
    return "\n".join(lines)


def speed_met(ratio: float, target: float) -> str:
    """In words."""
    return "met" if ratio >= target else "NOT met"


if __name__ == "__main__":
    main()
