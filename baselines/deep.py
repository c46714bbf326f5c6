"""Results of the agents with networks: known worlds, many seeds, the final policy. `run.py` runs and keeps them."""

from __future__ import annotations

import statistics
from typing import Any

import numpy as np

import bellmax as bx
from bellmax.summary_statistics import with_interval

CARTPOLE = ("dqn", "double-dqn", "c51", "qr-dqn", "iqn", "munchausen-dqn", "rainbow", "pqn")


def scores_of(run: bx.Run) -> dict[str, Any]:
    """What is kept of one run among several; the best of training only where there were evaluations."""
    s, evaluated = run.summary(), "eval/mean_reward" in run.history.columns
    return {
        "steps": run.steps,
        "iqm": round(s.iqm, 2),
        "interval": with_interval(s.iqm, s.iqm_low, s.iqm_high),
        "scores": [round(score, 2) for score in run.scores],
        **({"best": [round(float(v), 2) for v in best_of(run)]} if evaluated else {}),
    }


def best_of(run: bx.Run) -> Any:
    """The best mean return of each seed among the evaluations during training."""
    return np.nanmax(run.history["eval/mean_reward"], axis=1)


def several(world: str, agents: dict[str, dict[str, Any]], demand: str, enough: Any, **options: Any) -> dict[str, Any]:
    """Train each agent (name: settings, "steps" among them) on ten seeds; `enough(kept) -> bool` for each."""
    kept, met = {}, {}
    for name, settings in agents.items():
        agent, _, _ = name.partition(",")
        run = bx.train(world, agent, **{"seeds": 10, "progress": False, **options, **settings})
        kept[name] = {**scores_of(run), "settings": settings}
        met[name] = bool(enough(kept[name]))
        print(name, kept[name]["interval"], kept[name]["scores"], flush=True)
    found = ", ".join(f"{name} {k['interval']}" for name, k in kept.items())
    return {"world": world, "agents": kept, "demanded": demand, "found": found, "met": all(met.values())}


def cartpole_family() -> dict[str, Any]:
    """CartPole-v1: the family, each with its shipped defaults, 10 seeds; final policy, 100 episodes in Gymnasium."""
    agents = {name: {"steps": 100_000} for name in CARTPOLE}
    agents["pqn"] = {"steps": 500_000}
    return several("CartPole-v1", agents, "IQM >= 475 of each", lambda kept: kept["iqm"] >= 475)


def acrobot_family() -> dict[str, Any]:
    """Acrobot-v1: the family, each with its shipped defaults, 10 seeds; final policy, 100 episodes in Gymnasium."""
    agents = {name: {"steps": 100_000} for name in ("dqn", "double-dqn", "c51", "qr-dqn", "munchausen-dqn", "rainbow")}
    agents["pqn"] = {"steps": 500_000}
    return several("Acrobot-v1", agents, "IQM >= -90 of each", lambda kept: kept["iqm"] >= -90)


def mountain_car_family() -> dict[str, Any]:
    """MountainCar-v0: networks with their shipped defaults there, 10 seeds; best and final policy."""
    agents = {name: {"steps": 200_000} for name in ("dqn", "qr-dqn", "rainbow")}

    def enough(kept: dict[str, Any]) -> bool:
        return statistics.median(kept["best"]) >= -110 and kept["iqm"] >= -130

    result = several("MountainCar-v0", agents, "best >= -110 (median), final >= -130 (IQM) of each", enough)
    best = {name: round(statistics.median(k["best"]), 1) for name, k in result["agents"].items()}
    return {**result, "found": f"final: {result['found']}; best, median: {best}"}


# CleanRL's settings for CartPole-v1 (its dqn.py and c51.py of version 1.0): no normalization, no averaging
CLEANRL = {
    "steps": 500_000, "learning_rate": 2.5e-4, "learning_rate_schedule": "constant", "buffer_size": 10_000,
    "gamma": 0.99, "target_update_interval": 500, "batch_size": 128, "exploration_fraction": 0.5,
    "exploration_final_eps": 0.05, "learning_starts": 10_000, "train_freq": 10, "net_arch": (120, 84),
    "normalization": "none", "weight_averaging": False, "adam_epsilon": 1e-8, "max_grad_norm": 1e9,
}  # fmt: skip


def cleanrl_protocol() -> dict[str, Any]:
    """CartPole-v1 by CleanRL's protocol: its settings, 500,000 steps; mean of the last 100 training episodes."""
    published = {"dqn": (488.7, 16.1), "c51": (481.2, 20.5)}
    extra = {"dqn": {}, "c51": {"n_atoms": 101, "v_min": -100.0, "v_max": 100.0, "adam_epsilon": 0.01 / 128}}
    kept, met = {}, True
    for agent, (mean, spread) in published.items():
        run = bx.train("CartPole-v1", agent, seeds=10, eval_episodes=0, **{**CLEANRL, **extra[agent]})
        last = [float(np.mean(episodes.returns[-100:])) for episodes in run.episodes]
        kept[agent] = {"scores": [round(x, 1) for x in last], "mean": round(float(np.mean(last)), 1),
                       "sd": round(float(np.std(last, ddof=1)), 1), "published": f"{mean} ± {spread}",
                       "final greedy": [round(x, 1) for x in run.scores]}  # fmt: skip
        met = met and kept[agent]["mean"] >= mean - 2 * spread
        print(agent, kept[agent], flush=True)
    found = ", ".join(f"{name} {k['mean']} ± {k['sd']}" for name, k in kept.items())
    demanded = "not below two published deviations: " + ", ".join(f"{a} {m} ± {s}" for a, (m, s) in published.items())
    return {"agents": kept, "demanded": demanded, "found": found, "met": bool(met)}


def overestimation() -> dict[str, Any]:
    """Max against double targets on a noisy world with exact Q*, 40 seeds: how far above it learned values stand."""
    mdp = bx.random_garnet(30, 8, 3, seed=1)
    noisy = noisy_rewards(mdp, 2.0)
    exact = bx.solve(noisy, gamma=0.9)
    rows = {}
    for name in ("dqn", "double-dqn"):
        run = bx.train(
            noisy, name, gamma=0.9, steps=20_000, seeds=40, buffer_size=2_000, normalization="none",
            weight_averaging=False, learning_rate=1e-3, learning_rate_schedule="constant", exploration_final_eps=0.5,
            final_episodes=0, eval_episodes=0, records=10,
        )  # fmt: skip
        bias = [float((run.policy(s).table().max(axis=1) - exact.v).mean()) for s in run.seeds]
        rows[name] = [round(b, 3) for b in bias]
    gap = np.array(rows["dqn"]) - np.array(rows["double-dqn"])
    t = float(gap.mean() / (gap.std(ddof=1) / np.sqrt(len(gap))))
    found = f"mean of max Q - V*: max {np.mean(rows['dqn']):.3f}, double {np.mean(rows['double-dqn']):.3f}; t = {t:.1f}"
    met = bool(np.mean(rows["dqn"]) > 0 and t > 3)
    return {
        "bias": rows,
        "demanded": "max overestimates, and more than double does (t > 3)",
        "found": found,
        "met": met,
    }


def noisy_rewards(mdp: bx.FiniteMDP, std: float) -> bx.FiniteMDP:
    """The same world with Gaussian noise on every reward."""
    import dataclasses

    return dataclasses.replace(mdp, reward_std=np.full_like(mdp.reward, std))


def heads_and_truth() -> dict[str, Any]:
    """Every head against exact Q*: ‖Q−Q*‖∞ over reachable pairs of the slippery lake, γ = 0.9."""
    heads = {
        "dqn": {}, "c51": {"v_min": 0.0, "v_max": 1.0}, "qr-dqn": {}, "iqn": {"n_policy_samples": 8},
        "bootstrapped-dqn": {"n_members": 4, "prior_scale": 0.1},
    }  # fmt: skip
    band, kept = 0.1, {}
    for name, settings in heads.items():
        run = bx.train(
            "FrozenLake-v1", name, gamma=0.9, steps=60_000, seeds=3, exploration_final_eps=1.0, batch_size=128,
            learning_rate=1e-3, target_update_interval=100, final_episodes=0, train_freq=2, **settings,
        )  # fmt: skip
        kept[name] = [round(float(v), 4) for v in run.history["exact/q_error"][:, -1]]
        print(name, kept[name], flush=True)
    worst = {name: max(v) for name, v in kept.items()}
    met = max(worst.values()) <= band
    return {"q_error": kept, "demanded": f"‖Q−Q*‖∞ <= {band} of every head", "found": f"{worst}", "met": met}


def deep_exploration() -> dict[str, Any]:
    """Deep sea, N = 20: only a plan over 20 steps finds the reward; ε-greedy against an ensemble with priors."""
    world = bx.deep_sea(20)
    options = {"steps": 20_000, "seeds": 10, "gamma": 0.99, "records": 20, "final_episodes": 0}
    dqn = bx.train(world, "dqn", **options)
    ensemble = bx.train(world, "bootstrapped-dqn", **options, **DEEP_SEA)
    best = bx.solve(world, 0.99).start_value
    solved = {name: int(sum(s >= 0.95 * best for s in run.scores)) for name, run in
              (("dqn", dqn), ("bootstrapped-dqn", ensemble))}  # fmt: skip
    found = ", ".join(f"{name} {n} of 10" for name, n in solved.items())
    met = solved["dqn"] == 0 and solved["bootstrapped-dqn"] >= 8
    scores = {"dqn": dqn.scores, "bootstrapped-dqn": ensemble.scores}
    return {"scores": scores, "demanded": "dqn 0 of 10, ensemble at least 8 of 10", "found": found, "met": met}


DEEP_SEA = {
    "n_members": 10, "prior_scale": 10.0, "net_arch": (50,), "train_freq": 2, "learning_starts": 200, "batch_size": 128,
    "learning_rate": 1e-3, "learning_rate_schedule": "constant", "weight_averaging": False,
    "exploration_initial_eps": 0.0, "exploration_final_eps": 0.0,
}  # fmt: skip


def memory_chain() -> dict[str, Any]:
    """Memory chain of bsuite, 10 steps (gymnax): a cue at the start decides the reward at the end; 10 seeds."""
    world, scores = "gymnax:MemoryChain-bsuite", {}
    cell = {"sequence_length": 12, "burn_in": 0, "batch_size": 16, "learning_rate": 1e-3, "net_arch": (32,)}
    for name, settings in (("dqn", {}), ("r2d2", cell)):
        run = bx.train(world, name, steps=30_000, seeds=10, eval_episodes=0, final_episodes=200,
                       env_kwargs={"memory_length": 10}, **settings)  # fmt: skip
        scores[name] = [round(s, 2) for s in run.scores]
    mean = {name: float(np.mean(v)) for name, v in scores.items()}
    solved = sum(s >= 0.95 for s in scores["r2d2"])
    met = abs(mean["dqn"]) < 0.3 and solved >= 9
    found = f"mean return: dqn {mean['dqn']:.2f}, r2d2 {mean['r2d2']:.2f}; r2d2 solves {solved} of 10"
    return {"scores": scores, "demanded": "dqn near 0 (chance), r2d2 >= 0.95 in 9 of 10", "found": found, "met": met}


def minatar_dqn() -> dict[str, Any]:
    """MinAtar Breakout and SpaceInvaders (gymnax), DQN, 1M frames, 3 seeds; mean training return of the last tenth."""
    return _minatar("dqn", 1_000_000, {"gymnax:Breakout-MinAtar": 7.0, "gymnax:SpaceInvaders-MinAtar": 0.0})


def minatar_pqn() -> dict[str, Any]:
    """MinAtar Breakout and SpaceInvaders (gymnax), PQN, 10M frames, 3 seeds; mean training return of the last tenth."""
    return _minatar("pqn", 10_000_000, {"gymnax:Breakout-MinAtar": 7.0, "gymnax:SpaceInvaders-MinAtar": 0.0})


def _minatar(agent: str, steps: int, enough: dict[str, float]) -> dict[str, Any]:
    import time

    worlds: dict[str, Any] = {}
    met = True
    for world, bar in enough.items():
        begin = time.monotonic()
        run = bx.train(world, agent, steps=steps, seeds=3, records=50, eval_episodes=0, final_episodes=30)
        late = run.history["rollout/ep_rew_mean"][:, -5:].mean(axis=1)
        worlds[world] = {"training": [round(float(x), 2) for x in late], "greedy": [round(x, 2) for x in run.scores],
                         "minutes, all seeds": round((time.monotonic() - begin) / 60, 1)}  # fmt: skip
        met = met and float(late.mean()) >= bar
        print(world, worlds[world], flush=True)
    found = ", ".join(f"{w}: {np.mean(k['training']):.1f} in {k['minutes, all seeds']} min" for w, k in worlds.items())
    return {"worlds": worlds, "demanded": f"mean training return >= {enough}", "found": found, "met": bool(met)}


def offline() -> dict[str, Any]:
    """CartPole-v1 from 5,000 steps of a good policy (ε = 0.1), no step of their own: DQN, CQL and BCQ; 10 seeds."""
    expert = bx.train("CartPole-v1", "dqn", steps=100_000, seeds=[1], final_episodes=1, eval_episodes=0).policy(1)
    data = bx.collect(expert, steps=5_000, seed=0, epsilon=0.1)
    scores, iqm = {}, {}
    for name in ("dqn", "cql", "bcq"):
        run = bx.train("CartPole-v1", name, data=data, steps=20_000, seeds=10, eval_episodes=0)
        scores[name], iqm[name] = [round(s, 1) for s in run.scores], run.summary().iqm
    found = ", ".join(f"{name} {value:.1f}" for name, value in iqm.items())
    worst = {name: min(each) for name, each in scores.items()}
    found += "; worst seeds " + ", ".join(f"{name} {value:.1f}" for name, value in worst.items())
    met = min(worst["cql"], worst["bcq"]) >= 450 and worst["dqn"] < min(worst["cql"], worst["bcq"])
    demanded = "cql and bcq >= 450 on every seed, dqn's worst seed below theirs"
    return {"scores": scores, "demanded": demanded, "found": found, "met": met}
