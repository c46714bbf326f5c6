"""Results that take minutes: each experiment is one command, and its numbers are committed beside this file.

`python baselines/run.py NAME...` runs one or more experiments, or all of them without a name.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import deep
import defaults
import host
import numpy as np
import tabular

import bellmax as bx
from bellmax.files.provenance import environment
from bellmax.summary_statistics import with_interval

HERE = Path(__file__).parent


def record(run: bx.Run, **more: Any) -> dict[str, Any]:
    """What is kept of a run."""
    summary = run.summary()
    return {
        "world": run.world,
        "agent": run.config.name,
        "loop": run.loop,
        "steps": run.steps,
        "scores": [round(score, 4) for score in run.scores],
        "iqm": with_interval(summary.iqm, summary.iqm_low, summary.iqm_high),
        "mean": with_interval(summary.mean, summary.mean_low, summary.mean_high),
        **more,
    }


def corridor() -> dict[str, Any]:
    """Corridor, γ = 0.9: every visited pair within 0.01 of the exact value."""
    exact = bx.solve(bx.corridor(6), gamma=0.9)
    run = bx.train("corridor", "q-learning", gamma=0.9, steps=100_000, seeds=10, exploration_final_eps=0.5)
    gap = [float(np.abs(run.policy(s).table() - exact.q)[:5].max()) for s in run.seeds]
    right = [round(float(v), 6) for v in run.policy(0).table()[:5, 1]]
    found = f"largest gap {max(gap):.1e}; to the right {right}"
    return record(run, demanded="<= 0.01", found=found, met=max(gap) <= 0.01)


def frozen_lake() -> dict[str, Any]:
    """Slippery FrozenLake, a million steps: success within 100 steps, exactly computed, >= 0.73 for 9 of 10."""
    run = bx.train(
        "FrozenLake-v1", "q-learning", steps=1_000_000, seeds=10, learning_rate_decay=0.001, exploration_final_eps=0.1
    )
    good = sum(score >= 0.73 for score in run.scores)
    gap = [round(float(v), 4) for v in run.history["exact/q_error"][:, -1]]
    found = f"{good} of 10; ‖Q−Q*‖∞ {min(gap)} to {max(gap)}; lowest success {min(run.scores):.4f}"
    return record(run, q_error=gap, demanded=">= 0.73 for at least 9 of 10", found=found, met=good >= 9)


def cartpole() -> dict[str, Any]:
    """CartPole-v1, DQN's defaults, 100,000 steps, 10 seeds, compiled; final policy, 100 episodes in Gymnasium."""
    return _cartpole(seeds=10, loop="compiled", enough=8)


def cartpole_unseen() -> dict[str, Any]:
    """The same on ten seeds that no setting was chosen by."""
    return _cartpole(seeds=range(200, 210), loop="compiled", enough=8)


def cartpole_host() -> dict[str, Any]:
    """The same agent through the host loop on Gymnasium's own CartPole, 10 seeds."""
    return _cartpole(seeds=10, loop="host", enough=8)


def _cartpole(seeds: Any, loop: str, enough: int) -> dict[str, Any]:
    seeds = seeds if isinstance(seeds, int) else list(seeds)
    run = bx.train("CartPole-v1", "dqn", steps=100_000, seeds=seeds, loop=loop, progress=True)
    good = sum(score >= 450 for score in run.scores)
    demanded = f"IQM >= 475 and at least {enough} of {len(run.seeds)} seeds >= 450"
    summary = run.summary()
    found = (
        f"IQM {with_interval(summary.iqm, summary.iqm_low, summary.iqm_high)}; {good} of {len(run.seeds)} seeds >= 450"
    )
    return record(run, demanded=demanded, found=found, met=summary.iqm >= 475 and good >= enough)


def cliff() -> dict[str, Any]:
    """One world, four answers: the cliff, γ = 0.99, exactly, by table, by DQN compiled and through Gymnasium."""
    mdp = bx.cliff()
    exact = bx.solve(mdp, gamma=0.99)
    table = bx.QLearning(gamma=0.99, learning_rate=0.5, exploration_final_eps=0.3)
    network = bx.DQN(
        gamma=0.99, learning_rate=2e-3, loss="squared", buffer_size=20_000, target_update_interval=100,
        exploration_fraction=0.3, exploration_final_eps=0.3,
    )  # fmt: skip
    answers = {
        "table": bx.train(mdp, table, steps=300_000, seeds=5),
        "dqn, compiled": bx.train(mdp, network, steps=20_000, seeds=5, loop="compiled"),
        "dqn, gymnasium": bx.train("CliffWalking-v1", network, steps=20_000, seeds=5, loop="host"),
    }
    bands = {"table": 1e-6, "dqn, compiled": 1.0, "dqn, gymnasium": 1.0}
    best = greedy_path(mdp, exact.q)
    result: dict[str, Any] = {"path": best, "start_value": exact.start_value, "met": True}
    result["demanded"] = f"the same greedy path in all; ‖Q−Q*‖∞ over all reachable pairs within {bands}"
    worst = {}
    for name, run in answers.items():
        gap = [round(float(v), 6) for v in run.history["exact/q_error"][:, -1]]
        same = [greedy_path(mdp, run.policy(s).table()) == best for s in run.seeds]
        result[name] = {"q_error": gap, "same_greedy_path": same}
        worst[name] = max(gap)
        result["met"] = bool(result["met"] and all(same) and max(gap) <= bands[name])
    result["found"] = f"one path; largest ‖Q−Q*‖∞ of 5 seeds {worst}"
    return result


def greedy_path(mdp: bx.FiniteMDP, q: Any) -> list[int]:
    """States that the greedy policy visits in a deterministic world, at most 50."""
    state, path = int(np.argmax(mdp.start)), []
    for _ in range(50):
        path.append(state)
        entry = mdp.indptr[state * mdp.n_actions + int(np.argmax(q[state]))]
        state = int(mdp.successor[entry])
        if mdp.terminated[entry]:
            return [*path, state]
    return path


EXPERIMENTS: dict[str, Callable[[], dict[str, Any]]] = {
    f.__name__.replace("_", "-"): f
    for f in (
        corridor, frozen_lake, cliff, tabular.exact_numbers, tabular.cliff_learners, tabular.maximization_bias,
        tabular.convergence, tabular.taxi, tabular.mountain_car, cartpole, cartpole_unseen, cartpole_host,
        deep.cartpole_family, deep.acrobot_family, deep.mountain_car_family, deep.cleanrl_protocol, deep.overestimation,
        deep.heads_and_truth, deep.deep_exploration, deep.memory_chain, deep.minatar_dqn, deep.minatar_pqn,
        deep.offline, host.lunar_lander, host.minigrid, host.dictionary, host.third_party, host.highway,
        host.atari, defaults.defaults_cartpole_50k, defaults.defaults_cartpole_100k,
        defaults.defaults_cartpole_200k, defaults.defaults_cartpole_host, defaults.defaults_acrobot,
        defaults.defaults_mountain_car, defaults.defaults_lunar_lander,
    )
}  # fmt: skip


def write_table() -> None:
    """Make README.md from all results that are here."""
    lines = [
        "# Baselines",
        "",
        "Made by `python baselines/run.py NAME`; each line is a JSON file beside this one, with every score, the time",
        "it took and the versions. Scores are of the *final* greedy policy of each seed: its exact expected return",
        "where the world has a table and a time limit, else its mean return over 100 episodes in Gymnasium's own",
        "environment (for CartPole its own vectorised form).",
        "",
        "| experiment | what | demanded | found | met |",
        "|---|---|---|---|---|",
    ]
    for name in EXPERIMENTS:
        path = HERE / f"{name}.json"
        if path.is_file():
            r = json.loads(path.read_text())
            met = "yes" if r["met"] else "**no**"
            lines.append(f"| [{name}]({name}.json) | {r['what']} | {r['demanded']} | {r['found']} | {met} |")
    (HERE / "README.md").write_text("\n".join(lines) + "\n")


def main(names: list[str]) -> int:
    """Run, print and save; 1 if any demand is not met."""
    unknown = set(names) - set(EXPERIMENTS)
    if unknown:
        print(f"unknown experiment {sorted(unknown)[0]!r}; known: {', '.join(EXPERIMENTS)}", file=sys.stderr)
        return 2
    bx.store_compiled_programs()
    met = True
    for name in names or EXPERIMENTS:
        begin = time.monotonic()
        result = EXPERIMENTS[name]()
        result = {
            "what": EXPERIMENTS[name].__doc__,
            "command": f"python baselines/run.py {name}",
            **result,
            "seconds": round(time.monotonic() - begin, 1),
            "versions": {k: v for k, v in environment().items() if k in ("bellmax", "python", "packages", "cpus")},
        }
        (HERE / f"{name}.json").write_text(json.dumps(result, indent=2, allow_nan=False) + "\n")
        write_table()
        shown = {k: v for k, v in result.items() if k not in ("versions", "what", "command")}
        print(f"{name}: {json.dumps(shown)}", flush=True)
        met = met and result["met"]
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
