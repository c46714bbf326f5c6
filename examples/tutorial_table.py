"""The Q-learning tutorial in bellmax, with its own hyper-parameters: a corridor, then FrozenLake without slipping.

The tutorials write α = 0.1, γ = 0.9 (corridor) and 0.99 (lake), and ε from 1 that is multiplied by 0.995 after each
episode, down to 0.01, for 1,000 and 2,000 episodes. Their words are in the comments below.

What their own scripts gave, run as they stand with NumPy 2 and Gymnasium 1.3 on seeds 0 to 9 (the lake to 6):
- corridor: "right" exact to 2e-15, "left" to 8e-6, after 6,820 to 7,167 steps in all;
- lake, seeds 0 to 6: the goal on 3 of 7, after 12,598 to 14,136 steps; on the others 1.35 million steps, the goal once.
Two reasons, both on one line of bellmax: np.argmax prefers the first action among equals, so that before the first
reward "greedy" means walking into the left border, and the time limit of 100 steps is ignored there, so that it may
do so for thousands of steps. Here an episode ends at its time limit, which counts as truncated, not as terminated.

    python examples/tutorial_table.py
"""

import numpy as np

import bellmax as bx

SEEDS = 100
TUTORIAL = {
    "learning_rate": 0.1,  # alpha
    "exploration_initial_eps": 1.0,  # epsilon
    "exploration_schedule": "per-episode",
    "exploration_decay": 0.995,  # epsilon_decay
    "exploration_final_eps": 0.01,  # min_epsilon
}


def corridor() -> None:
    run = bx.train("corridor", "q-learning", episodes=1_000, seeds=10, gamma=0.9, final_episodes=0, **TUTORIAL)
    exact = bx.solve(bx.corridor(6), gamma=0.9)
    worst = np.max([np.abs(run.policy(seed).table() - exact.q)[:5] for seed in run.seeds], axis=(0, 1))
    steps = run.history["time/total_timesteps"][:, -1]
    print("corridor of six states, 1,000 episodes, seed 0 (left, right):")
    print(run.policy(0).table().round(5))
    print(f"{len(run.seeds)} seeds: largest error of left {worst[0]:.0e}, of right {worst[1]:.0e}; "
          f"{steps.min():,.0f} to {steps.max():,.0f} steps")  # fmt: skip


def lake() -> None:
    for random_ties in (False, True):
        run = bx.train(
            "FrozenLake-v1", "q-learning", episodes=2_000, seeds=SEEDS, gamma=0.99, env_kwargs={"is_slippery": False},
            random_ties=random_ties, final_episodes=0, **TUTORIAL,
        )  # fmt: skip
        steps = run.history["time/total_timesteps"][:, -1]
        ties = "at random" if random_ties else "the first, as np.argmax does"
        print(f"lake, 2,000 episodes, among equal actions {ties}: the goal on {sum(run.scores):.0f} of {SEEDS} seeds; "
              f"{np.median(steps):,.0f} steps (median)")  # fmt: skip


def main() -> None:
    corridor()
    lake()


if __name__ == "__main__":
    main()
