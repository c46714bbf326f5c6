"""The DQN tutorial in bellmax, with its own hyper-parameters, beside bellmax's defaults: CartPole.

What differs from the tutorial's script, and why:
- Lengths are environment steps, not episodes, which become longer as the agent learns: its 500 episodes took 46,866 to
  79,756 steps, so 60,000 here; its copy of the network every 10 episodes is about every 1,000 steps; its
  ε, which halves every 138 episodes, halves every 6,000 steps.
- A time limit is not the end of the task: at 500 steps an episode is truncated, and its last value is bootstrapped.
  The tutorial's script drops that flag and plays on, in one episode for 6,714 steps.

Mean return of 100 greedy episodes after training, a number per seed (PyTorch 2.13 and Gymnasium 1.3 for the script):
- the tutorial's script, run as it stands, seeds 0 to 2: 118, 451, 156, mean 241, in 8 to 22 minutes a seed;
- its settings in bellmax, seeds 0 to 4: 500, 107, 367, 500, 155, mean 326;
- bellmax's defaults in as many steps, seeds 0 to 4: 500, 500, 500, 500, 500, mean 500.

    python examples/tutorial_dqn.py [steps] [seeds]
"""

import sys
from typing import Any

import numpy as np

import bellmax as bx

TUTORIAL: dict[str, Any] = {
    "gamma": 0.99,
    "net_arch": (64, 64),  # two hidden layers, ReLU
    "normalization": "none",
    "buffer_size": 10_000,  # deque(maxlen=10000)
    "batch_size": 64,
    "learning_starts": 64,  # train only if there are enough samples
    "learning_rate": 1e-3,  # optim.Adam(lr=1e-3)
    "learning_rate_schedule": "constant",
    "adam_epsilon": 1e-8,
    "max_grad_norm": 1e9,  # it does not clip
    "loss": "squared",  # nn.MSELoss
    "target_update_interval": 1_000,
    "weight_averaging": False,
    "exploration_schedule": "exponential",
    "exploration_fraction": 1.0,  # ten times a half over the run
    "exploration_final_eps": 0.01,
}
ORIGINAL = [118.0, 451.0, 156.0]


def report(name: str, scores: list[float]) -> None:
    print(f"{name:<32} {', '.join(f'{score:.0f}' for score in scores)}; mean {np.mean(scores):.0f}")


def main() -> None:
    words = sys.argv[1:]
    steps, seeds = int(words[0]) if words else 60_000, int(words[1]) if words[1:] else 5
    print(f"final greedy policy, mean return of 100 episodes (500 at the most), {seeds} seeds, {steps:,} steps")
    report("the tutorial's script, 500 episodes", ORIGINAL)
    # a config is used as it stands; an agent by its name has bellmax's settings for this environment
    for name, agent in (("bellmax, the tutorial's settings", bx.DQN(**TUTORIAL)), ("bellmax, its defaults", "dqn")):
        run = bx.train("CartPole-v1", agent, steps=steps, seeds=seeds, eval_episodes=0)
        report(name, run.scores)


if __name__ == "__main__":
    main()
