"""Stable-Baselines3's DQN on CartPole, one gradient step per environment step."""

import argparse
import json
import time

from stable_baselines3 import DQN

WARM_UP = 200  # environment steps, of which the first 64 without learning

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=6_000)
steps = parser.parse_args().steps

model = DQN(
    "MlpPolicy",
    "CartPole-v1",
    learning_rate=1e-3,
    buffer_size=10_000,
    learning_starts=64,
    batch_size=64,
    gamma=0.99,
    train_freq=1,
    gradient_steps=1,
    target_update_interval=500,
    policy_kwargs={"net_arch": [64, 64]},
    seed=0,
    device="cpu",
)
model.learn(WARM_UP)
updates = model._n_updates
start = time.perf_counter()
model.learn(steps, reset_num_timesteps=False)
seconds = time.perf_counter() - start

if model._n_updates - updates != steps:
    raise SystemExit(f"{model._n_updates - updates} gradient steps in {steps} environment steps")
line = {"name": "sb3-dqn", "steps": steps, "seconds": seconds, "steps_per_second": steps / seconds}
print(json.dumps(line))
