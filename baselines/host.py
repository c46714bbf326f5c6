"""Results through Gymnasium: other people's environments, many kinds of observations. `run.py` runs and keeps them."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from deep import best_of, scores_of

import bellmax as bx

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "examples"))
PEERS = HERE.parent / ".venv-peers" / "bin" / "python"
LANDER_STEPS = 100_000


def lunar_lander() -> dict[str, Any]:
    """LunarLander-v3 with shipped defaults, 100,000 steps, 5 seeds; SB3 with the same settings on the same machine."""
    begin = time.monotonic()
    run = bx.train("LunarLander-v3", "dqn", steps=LANDER_STEPS, seeds=5)
    kept = {**scores_of(run), "seconds": round(time.monotonic() - begin)}
    best = statistics.median(kept["best"])
    found = f"bellmax: median best {best:.0f}, final {kept['interval']}, {kept['seconds']} s for all seeds"
    begin = time.monotonic()
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # a seed for each core, as ours
        theirs = list(pool.map(peer, range(5))) if PEERS.exists() else []
    if theirs:
        seconds = round(time.monotonic() - begin)
        found += (
            f"; SB3: median best {statistics.median(t['best'] for t in theirs):.0f}, "
            f"median final {statistics.median(t['final'] for t in theirs):.0f}, {seconds} s"
        )
    else:
        found += "; SB3 not run, as .venv-peers is not there (make .venv-peers/.installed)"
    return {"dqn": kept, "sb3": theirs, "demanded": "median best >= 200", "found": found, "met": best >= 200}


def peer(seed: int) -> dict[str, float]:
    """One seed of Stable-Baselines3, with the one thread that suits it best."""
    command = [str(PEERS), str(HERE / "peers" / "sb3_lunar_lander.py"), str(seed), str(LANDER_STEPS)]
    done = subprocess.run(  # noqa: S603
        command, capture_output=True, text=True, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    answer = {k: round(v, 1) for k, v in json.loads(done.stdout.splitlines()[-1]).items()}
    print("SB3", seed, answer, flush=True)
    return answer


def minigrid() -> dict[str, Any]:
    """MiniGrid-Empty-5x5-v0 (partial view, bytes), 20,000 steps, 5 seeds; the best possible return is 0.955."""
    run = bx.train(
        "MiniGrid-Empty-5x5-v0", "dqn", steps=20_000, seeds=5, n_steps=3, learning_rate=1e-3, exploration_fraction=0.5,
        wrappers=["minigrid.wrappers:ImgObsWrapper", "FlattenObservation"],
    )  # fmt: skip
    good = sum(score >= 0.94 for score in run.scores)
    return {**scores_of(run), "demanded": ">= 0.94 on 4 of 5", "found": f"{good} of 5", "met": good >= 4}


def dictionary() -> dict[str, Any]:
    """The environment of examples/own_environment.py: dictionaries for observations, two switches for an action."""
    from own_environment import Lift

    run = bx.train(Lift, "dqn", steps=20_000, seeds=5, learning_rate=1e-3)
    good = sum(score >= 0.9 * Lift.BEST for score in run.scores)
    found = f"{good} of 5; best possible on average {Lift.BEST:.2f}"
    return {**scores_of(run), "demanded": "90 % of the best on 5 of 5", "found": found, "met": good == 5}


def third_party() -> dict[str, Any]:
    """flappy-bird-gymnasium, from its id alone, 300,000 steps, 3 seeds, against acting at random."""
    world = "flappy_bird_gymnasium:FlappyBird-v0"
    random = at_random(world, 20_000)
    run = bx.train(world, "dqn", steps=300_000, seeds=3)
    best = [round(float(b), 1) for b in best_of(run)]
    scores = [round(score, 1) for score in run.scores]
    found = f"best {best}, final {scores}; at random {random.mean():.1f} ({random.size} episodes)"
    return {**scores_of(run), "demanded": "best of each seed >= 10", "found": found, "met": min(best) >= 10}


def highway() -> dict[str, Any]:
    """highway-env's highway-fast-v0, from its id alone, 8,000 steps, 3 seeds; it makes 35 steps a second."""
    world = "highway_env:highway-fast-v0"
    random = at_random(world, 2_000)
    run = bx.train(world, "dqn", steps=8_000, seeds=3, workers=1, eval_episodes=0, final_episodes=50)
    scores = [round(score, 1) for score in run.scores]
    found = f"final {scores}; at random {random.mean():.1f} ({random.size} episodes)"
    demanded, met = "final of each seed >= twice that at random", min(run.scores) >= 2 * random.mean()
    return {**scores_of(run), "demanded": demanded, "found": found, "met": bool(met)}


def at_random(world: str, steps: int) -> Any:
    """The returns of episodes in which every action is drawn at random."""
    run = bx.train(
        world, "dqn", steps=steps, learning_starts=steps, exploration_final_eps=1.0, eval_episodes=0, final_episodes=0
    )
    return run.episodes[0].returns


DATA_EFFICIENT = {  # after van Hasselt et al. (2019), but 8 games side by side, and n = 10 for 20
    "network": "efficient", "net_arch": (256,), "num_envs": 8, "gradient_steps": 8, "learning_starts": 1_600,
    "n_steps": 10, "buffer_size": 100_000, "learning_rate": 1e-4, "target_update_interval": 2_000,
}  # fmt: skip


def atari() -> dict[str, Any]:
    """ALE/KungFuMaster-v5, data-efficient Rainbow, 100,000 steps (400,000 frames), 3 seeds, against random games."""
    world, begin = "ALE/KungFuMaster-v5", time.monotonic()
    run = bx.train(world, "rainbow", steps=100_000, seeds=3, eval_episodes=0, final_episodes=24, **DATA_EFFICIENT)
    minutes = (time.monotonic() - begin) / 60
    random = at_random(world, 40_000)
    curves = [[round(float(x)) for x in row if x == x] for row in run.history["rollout/ep_rew_mean"]]  # a game ended
    scores, median = [round(score) for score in run.scores], statistics.median(run.scores)
    found = (
        f"greedy {scores} (24 games each), at random {random.mean():.0f} ({random.size} games, at most "
        f"{random.max():.0f}); {minutes:.0f} min"
    )
    return {
        "training": curves, "found": found,
        "demanded": "greedy, median of seeds, at least 5 times as good as random, and better than the best random game",
        "met": bool(median >= max(5 * random.mean(), random.max())),
    }  # fmt: skip
