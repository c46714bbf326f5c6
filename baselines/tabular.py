"""The experiments of the tabular family; `baselines/run.py` runs them."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

import bellmax as bx
from bellmax.agent_config import hints
from bellmax.catalog import agent_class
from bellmax.mdp.gallery import GALLERY
from bellmax.mdp.outcomes import reachable

EXPLORING = {"exploration_initial_eps": 0.1, "exploration_final_eps": 0.1}


def cliff_learners() -> dict[str, Any]:
    """Example 6.6 of Sutton and Barto: the cliff, α = 0.5, ε = 0.1, γ = 1, random ties, 500 episodes, 100 runs."""
    demanded = {"q-learning": (-50.2, 1.5), "sarsa": (-27.5, 1.5), "expected-sarsa": (-21.0, 0.6)}
    found, met, scores = {}, True, {}
    for name, (expected, band) in demanded.items():
        run = bx.train(
            "cliff", name, steps=60_000, seeds=100, records=1, final_episodes=0, learning_rate=0.5, gamma=1.0,
            random_ties=True, **EXPLORING,
        )  # fmt: skip
        returns = np.array([episodes.returns[100:500].mean() for episodes in run.episodes])
        met = met and all(episodes.returns.size >= 500 for episodes in run.episodes)
        found[name] = f"{returns.mean():.1f} ± {1.96 * returns.std() / np.sqrt(returns.size):.1f}"
        met = met and bool(abs(returns.mean() - expected) <= band)
        scores[name] = returns.round(2).tolist()
        if name == "q-learning":
            paths = [greedy_return(bx.cliff(), run.policy(seed).table()) for seed in run.seeds]
            share = float(np.mean(np.array(paths) == -13.0))
            found["greedy path of q-learning is -13"] = f"{share:.0%} of runs"
            met = met and share >= 0.98
    wanted = {name: f"{value} ± {band}" for name, (value, band) in demanded.items()}
    return {"demanded": f"{wanted}, greedy path -13 in 98 % of runs", "found": str(found), "met": met, "scores": scores}


def greedy_return(mdp: bx.FiniteMDP, q: Any) -> float:
    """The undiscounted return of the greedy policy within 100 steps."""
    return bx.horizon_return(mdp, bx.greedy_policy(q), 100)


def maximization_bias() -> dict[str, Any]:
    """Example 6.7: ten actions in B, rewards N(-0.1, 1), α = ε = 0.1, 10,000 runs of 300 episodes in one call."""
    left: dict[str, Any] = {}
    seconds = {}
    for name in ("q-learning", "double-q"):
        begin = time.perf_counter()
        run = bx.train(
            "maximization-bias", name, steps=700, seeds=10_000, records=1, final_episodes=0, learning_rate=0.1,
            gamma=1.0, random_ties=True, keep_episodes=10_000_000, **EXPLORING,
        )  # fmt: skip
        seconds[name] = round(time.perf_counter() - begin, 1)
        lengths = np.stack([episodes.lengths[:300] for episodes in run.episodes])
        left[name] = 100.0 * (lengths == 2).mean(axis=0)  # two steps: it went left
    peak, q_end, double_end = left["q-learning"].max(), left["q-learning"][250:].mean(), left["double-q"][250:].mean()
    met = abs(peak - 94) <= 1 and abs(q_end - 12.2) <= 0.7 and abs(double_end - 7.0) <= 0.6
    return {
        "demanded": "Q-learning goes left in 94 ± 1 % at the peak and 12.2 ± 0.7 % at the end, Double Q in 7.0 ± 0.6 %",
        "found": f"{peak:.1f} %, {q_end:.1f} %, {double_end:.1f} %; 10,000 runs in {seconds} s",
        "met": bool(met),
        "left": {name: share.round(2).tolist() for name, share in left.items()},
    }


def convergence() -> dict[str, Any]:
    """Ten small worlds, γ = 0.9: every off-policy learner comes to Q* with falling step sizes, exploring for ever."""
    worlds = {name: GALLERY[name]() for name in ("corridor", "random-walk", "dyna-maze", "four-rooms", "gridworld")}
    worlds["deep-sea"] = GALLERY["deep-sea"](size=5)
    worlds["FrozenLake-v1"] = bx.FiniteMDP.from_gymnasium("FrozenLake-v1")
    worlds["FrozenLake-v1, dry"] = bx.FiniteMDP.from_gymnasium("FrozenLake-v1", is_slippery=False)
    worlds["garnet of 10"] = bx.random_garnet(10, 3, 3, seed=0, termination=0.1)
    worlds["garnet of 20"] = bx.random_garnet(20, 4, 2, seed=1, termination=0.2)
    settings = {
        "exploration_initial_eps": 1.0, "exploration_final_eps": 1.0, "learning_rate": 1.0, "learning_rate_decay": 1.0,
        "learning_rate_power": 0.7, "kappa": 1e-5, "known_after": 1000, "samples": 3000, "margin": 5e-4,
    }  # fmt: skip
    steps = {"delayed-q": 1_000_000_000, "q-sigma": 200_000_000}
    noisy = {"samples": 300_000, "margin": 3e-3}  # delayed Q-learning's values only fall: no noise may pass its margin
    learners = (
        "q-learning", "double-q", "speedy-q", "tree-backup", "q-sigma", "watkins-q", "dyna-q", "dyna-q-plus",
        "prioritized-sweeping", "r-max", "delayed-q",
    )  # fmt: skip
    errors: dict[str, dict[str, float]] = {}
    for world, mdp in worlds.items():
        exact, pairs = bx.solve(mdp, 0.9), reachable(mdp)
        for name in learners:
            cls = agent_class(name)
            given = {**settings, "r_max": float(mdp.reward.max()), **(noisy if "garnet" in world else {})}
            agent = cls(gamma=0.9, **{key: value for key, value in given.items() if key in hints(cls)})
            n = steps.get(name, 40_000_000 if "dyna" in name else 100_000_000)
            run = bx.train(mdp, agent, steps=n, seeds=1, records=1, final_episodes=0, keep_episodes=0)
            gap = np.abs(run.policy(0).table() - exact.q)[pairs]
            errors.setdefault(name, {})[world] = round(float(gap.max()), 5)
    worst = {name: max(of.values()) for name, of in errors.items()}
    return {
        "demanded": "‖Q−Q*‖∞ < 0.05 for each of 11 learners in each of 10 worlds",
        "found": f"worst of the worlds: {worst}",
        "met": max(worst.values()) < 0.05,
        "errors": errors,
        "steps": {"default": 100_000_000, "dyna": 40_000_000, **steps},
    }


def taxi() -> dict[str, Any]:
    """Taxi-v4, Q-learning's defaults, a million steps, 10 seeds: how many final policies are exactly optimal."""
    run = bx.train("Taxi-v4", "q-learning", steps=1_000_000, seeds=10)
    regret = run.history["exact/regret"][:, -1]
    optimal = run.steps_to_optimal()
    good = int(np.sum(regret <= 1e-9))
    return {
        "demanded": "exactly optimal in at least 9 of 10 seeds",
        "found": f"{good} of 10; optimal from step {optimal.median:,.0f} [{optimal.low:,.0f}, {optimal.high:,.0f}] on",
        "met": good >= 9,
        "regret": regret.tolist(),
    }


def mountain_car() -> dict[str, Any]:
    """MountainCar-v0, tile-coded SARSA(λ) with its defaults there, 10 seeds; 100 greedy episodes in Gymnasium's own."""
    run = bx.train("MountainCar-v0", "sarsa-lambda", steps=100_000, seeds=10, eval_episodes=0)
    summary = run.summary()
    return {
        "demanded": "IQM of the episodes' lengths <= 125",
        "found": f"{-summary.iqm:.1f} [{-summary.iqm_high:.1f}, {-summary.iqm_low:.1f}]",
        "met": summary.iqm >= -125.0,
        "scores": [round(score, 2) for score in run.scores],
    }


def exact_numbers() -> dict[str, Any]:
    """FrozenLake's best policy that knows the time, 100 steps; the cliff's best that must explore, ε = 0.1."""
    lake = bx.solve_horizon(bx.FiniteMDP.from_gymnasium("FrozenLake-v1"), 100).start_value
    soft = bx.solve_soft(bx.cliff(), 1.0, 0.1).start_value
    return {
        "demanded": "0.744190 and -20.7077",
        "found": f"{lake:.6f} and {soft:.4f}",
        "met": f"{lake:.6f}" == "0.744190" and f"{soft:.4f}" == "-20.7077",
    }
