"""Rejax's DQN on gymnax's CartPole, one world, one gradient step per environment step, one compiled loop."""

import argparse

from rejax import DQN
from timing import time_second

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=30_000)
steps = parser.parse_args().steps

algorithm = DQN.create(
    env="CartPole-v1",
    agent_kwargs={"activation": "relu"},  # hidden layers (64, 64) are Rejax's own
    total_timesteps=steps,
    eval_freq=steps,
    skip_initial_evaluation=True,
    num_envs=1,
    num_epochs=1,
    learning_rate=1e-3,
    buffer_size=10_000,
    fill_buffer=64,
    batch_size=64,
    gamma=0.99,
    target_update_freq=500,
    polyak=0.0,  # a hard copy
    ddqn=False,
)
updates = int(time_second("rejax-dqn", algorithm, steps).q_ts.step)
if not 0 <= steps - updates <= 66:
    raise SystemExit(f"{updates} gradient steps in {steps} environment steps")
