"""Whether the shipped defaults hold, on seeds that no setting was chosen by. `run.py` runs and keeps them."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import bellmax as bx
from bellmax.catalog import make_agent

FRESH = 1000  # the first judged seed; settings were looked for on 100 to 119, and validated on 200 to 231


def judged(world: str, steps: Sequence[int], seeds: int, enough: int, bar: float, **options: Any) -> dict[str, Any]:
    """Train dqn with its defaults for each number of steps; at least `enough` final policies must score `bar`."""
    rows: dict[str, Any] = {}
    for n in steps:
        begin = time.monotonic()
        run = bx.train(
            world, "dqn", steps=n, seeds=list(range(FRESH, FRESH + seeds)), records=5, eval_episodes=0, **options
        )
        scores = [round(score, 2) for score in run.scores]
        good = sum(score >= bar for score in scores)
        rows[f"{n:,} steps"] = {
            "good": good, "median": statistics.median(scores), "worst": min(scores), "scores": scores,
            "seconds": round(time.monotonic() - begin),
        }  # fmt: skip
        print(world, n, f"{good} of {seeds}", scores, flush=True)
    found = "; ".join(
        f"{name}: {row['good']} of {seeds}, median {row['median']:.1f}, worst {row['worst']:.1f}"
        for name, row in rows.items()
    )
    return {
        "world": world,
        "loop": run.loop,
        "seeds": [FRESH, FRESH + seeds - 1],
        "config": asdict(make_agent("dqn", world, {})),
        "runs": rows,
        "demanded": f"final greedy >= {bar:g} on at least {enough} of {seeds} seeds",
        "found": found,
        "met": all(row["good"] >= enough for row in rows.values()),
    }


def defaults_cartpole() -> dict[str, Any]:
    """CartPole-v1, dqn as shipped, compiled, 30 fresh seeds each at 50,000, 100,000 and 200,000 steps: all hold."""
    return judged("CartPole-v1", (50_000, 100_000, 200_000), 30, 28, 475.0, loop="compiled")


def defaults_cartpole_host() -> dict[str, Any]:
    """CartPole-v1, dqn as shipped, through Gymnasium, 10 fresh seeds."""
    return judged("CartPole-v1", (50_000,), 10, 9, 475.0, loop="host")


def defaults_acrobot() -> dict[str, Any]:
    """Acrobot-v1, dqn as shipped, 10 fresh seeds; -100 is Gymnasium's reward threshold."""
    return judged("Acrobot-v1", (100_000,), 10, 9, -100.0)


def defaults_mountain_car() -> dict[str, Any]:
    """MountainCar-v0, dqn as shipped, 10 fresh seeds; -110 is Gymnasium's reward threshold."""
    return judged("MountainCar-v0", (200_000,), 10, 10, -110.0)


def defaults_lunar_lander() -> dict[str, Any]:
    """LunarLander-v3, dqn as shipped, 5 fresh seeds; 200 is Gymnasium's reward threshold."""
    result = judged("LunarLander-v3", (100_000,), 5, 3, 200.0)
    return {**result, "demanded": "median of the final policies >= 200 (5 seeds)"}
