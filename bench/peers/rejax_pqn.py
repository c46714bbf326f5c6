"""Rejax's PQN on gymnax's CartPole, 64 worlds, its own 64 steps, 1 epoch, 16 minibatches; one compiled loop.

Several seeds are stacked by `vmap`, as Rejax's own README does.
"""

import argparse

from rejax import PQN
from timing import time_second

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=2_000_000)
parser.add_argument("--seeds", type=int, default=1)
options = parser.parse_args()
steps = options.steps

algorithm = PQN.create(
    env="CartPole-v1",
    total_timesteps=steps,
    eval_freq=steps,
    skip_initial_evaluation=True,
    num_envs=64,
    num_steps=64,
    num_epochs=1,
    num_minibatches=16,
    learning_rate=1e-3,
    gamma=0.99,
    td_lambda=0.85,
)
time_second("rejax-pqn", algorithm, steps, options.seeds)
