"""Whether the shipped defaults hold, on seeds that no setting was chosen by. `run.py` runs and keeps them."""

from __future__ import annotations

import statistics
from dataclasses import asdict
from typing import Any

import bellmax as bx
from bellmax.catalog import make_agent

FRESH = 1000  # the first judged seed; settings were looked for on 100 to 119, and validated on 200 to 231


def judged(world: str, steps: int, seeds: int, enough: int, bar: float, **options: Any) -> dict[str, Any]:
    """Train dqn with its defaults on fresh seeds; at least `enough` of the final greedy policies must score `bar`."""
    run = bx.train(world, "dqn", steps=steps, seeds=list(range(FRESH, FRESH + seeds)), eval_episodes=0, **options)
    scores = [round(score, 2) for score in run.scores]
    good = sum(score >= bar for score in scores)
    median = round(statistics.median(scores), 2)
    return {
        "world": world,
        "loop": run.loop,
        "steps": run.steps,
        "seeds": [FRESH, FRESH + seeds - 1],
        "config": asdict(make_agent("dqn", world, {})),
        "scores": scores,
        "median": median,
        "demanded": f"final greedy >= {bar:g} on at least {enough} of {seeds} seeds",
        "found": f"{good} of {seeds}; median {median:g}, worst {min(scores):g}",
        "met": good >= enough,
    }


def cartpole(steps: int) -> dict[str, Any]:
    """30 fresh seeds, compiled."""
    return judged("CartPole-v1", steps, 30, 28, 475.0, loop="compiled")


def defaults_cartpole_50k() -> dict[str, Any]:
    """CartPole-v1, dqn as shipped, 50,000 steps, 30 fresh seeds, compiled."""
    return cartpole(50_000)


def defaults_cartpole_100k() -> dict[str, Any]:
    """The same after 100,000 steps."""
    return cartpole(100_000)


def defaults_cartpole_200k() -> dict[str, Any]:
    """The same after 200,000 steps: more training must not hurt."""
    return cartpole(200_000)


def defaults_cartpole_host() -> dict[str, Any]:
    """CartPole-v1, dqn as shipped, through Gymnasium, 10 fresh seeds."""
    return judged("CartPole-v1", 50_000, 10, 9, 475.0, loop="host")


def defaults_acrobot() -> dict[str, Any]:
    """Acrobot-v1, dqn as shipped, 10 fresh seeds; -100 is where Gymnasium counts it as solved."""
    return judged("Acrobot-v1", 100_000, 10, 9, -100.0)


def defaults_mountain_car() -> dict[str, Any]:
    """MountainCar-v0, dqn as shipped, 10 fresh seeds; -110 is where Gymnasium counts it as solved."""
    return judged("MountainCar-v0", 200_000, 10, 10, -110.0)


def defaults_lunar_lander() -> dict[str, Any]:
    """LunarLander-v3, dqn as shipped, 5 fresh seeds; 200 is where Gymnasium counts it as solved."""
    result = judged("LunarLander-v3", 100_000, 5, 3, 200.0)
    return {**result, "demanded": "median of the final policies of 5 seeds >= 200", "met": result["median"] >= 200}
