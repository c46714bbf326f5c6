"""The whole of bellmax in three acts: a table beside the truth, a slippery lake, a pole. Run by `make demo`."""

import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import bellmax as bx
from bellmax.contracts import FloatArray
from bellmax.report.text import curve, describe_summary

# printed at the end of a well-known tutorial's script: alpha 0.1, gamma 0.9, 1000 episodes
TUTORIAL = np.array(
    [
        [0.59048997, 0.6561],
        [0.59048961, 0.729],
        [0.65609989, 0.81],
        [0.72899988, 0.9],
        [0.80999924, 1.0],
    ]
)


def title(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m")


def corridor() -> None:
    title("1. A corridor of six states, reward 1 at the right end: the table, beside the exact answer")
    mdp = bx.corridor(6)
    exact = bx.solve(mdp, gamma=0.9)
    run = bx.train(
        "corridor",
        bx.QLearning(gamma=0.9, learning_rate=0.1, exploration_final_eps=0.5),
        steps=100_000,
        seeds=5,
        say=print,
    )
    learned: FloatArray = np.mean([run.policy(seed).table() for seed in run.seeds], axis=0)
    print(f"{'state':>7}{'learned':>20}{'exact':>20}{'the tutorial':>20}      (left, right)")
    for s in range(5):
        cells = (f"{row[s, 0]:.5f} {row[s, 1]:.5f}" for row in (learned, exact.q, TUTORIAL))
        print(f"{s:>7}" + "".join(f"{cell:>20}" for cell in cells))
    gap = max(np.abs(run.policy(seed).table() - exact.q)[:5].max() for seed in run.seeds)
    print(f"largest difference from the exact answer, any seed, any pair: {gap:.1e} (exact to {exact.bound:.0e})")


def lake() -> None:
    title("2. Slippery FrozenLake, one million steps on each of ten seeds: how far from the optimum?")
    run = bx.train(
        "FrozenLake-v1", "q-learning", steps=1_000_000, seeds=10, say=print, exploration_final_eps=0.1,
        learning_rate_decay=0.001,
    )  # fmt: skip
    error, value, best = (run.history[f"exact/{name}"][:, -1] for name in ("q_error", "policy_value", "optimal_value"))
    print(f"{'seed':>6}{'‖Q−Q*‖∞':>12}{'policy value':>14}{'optimal':>12}{'success in 100 steps':>24}")
    for i, seed in enumerate(run.seeds):
        print(f"{seed:>6}{error[i]:>12.4f}{value[i]:>14.6f}{best[i]:>12.6f}{run.scores[i]:>24.6f}")
    print("success:", describe_summary(run.summary()), "(optimum of the discounted problem: 0.740165)")


def pole(folder: Path) -> None:
    title("3. CartPole, DQN, five seeds, compiled; then 100 episodes a seed on Gymnasium's own CartPole")
    run = bx.train("CartPole-v1", "dqn", steps=100_000, seeds=5, out=folder / "cartpole", say=print, progress=True)
    print(curve(run))
    for seed, evaluation in zip(run.seeds, run.evaluations, strict=True):
        returns = evaluation.returns
        print(f"seed {seed}: mean return {returns.mean():.1f}, worst episode {returns.min():.0f} of {returns.size}")
    print(describe_summary(run.summary()))
    figure = bx.plot(run, optimum=500).figure
    picture = folder / "cartpole.png"
    for path in (picture, picture.with_suffix(".svg")):
        figure.savefig(path, dpi=150)
    print(f"the curve as a picture: {picture} and .svg; the run: {run.folder}")


def main() -> None:
    begin = time.monotonic()
    Path("runs").mkdir(exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="demo-", dir="runs"))
    corridor()
    lake()
    pole(folder)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform != "darwin" else 2**30)
    print(f"\n{time.monotonic() - begin:.0f} s, {peak:.2f} GB at the most")
    print("next, each of them a page in your browser:")
    print(f"  .venv/bin/bellmax report {folder}/cartpole --open                  what happened in the run")
    print(f"  .venv/bin/bellmax explain {folder}/cartpole --at 20000 --open      DQN, step by step, with its numbers")
    print(
        "  .venv/bin/bellmax play                                              edit a grid, and see agents learn in it"
    )


if __name__ == "__main__":
    main()
