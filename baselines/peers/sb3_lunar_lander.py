"""Stable-Baselines3's DQN on LunarLander-v3 with bellmax's settings: best and final mean of greedy episodes."""

import json
import sys
import time

import gymnasium as gym
import numpy as np
from stable_baselines3 import DQN
from stable_baselines3.common.callbacks import EvalCallback
from stable_baselines3.common.evaluation import evaluate_policy
from stable_baselines3.common.monitor import Monitor

seed, steps = int(sys.argv[1]), int(sys.argv[2])
start = time.monotonic()
model = DQN(
    "MlpPolicy", Monitor(gym.make("LunarLander-v3")), seed=seed, device="cpu", gamma=0.99, learning_rate=1e-3,
    buffer_size=50_000, learning_starts=1_000, batch_size=128, train_freq=4, gradient_steps=2,
    target_update_interval=250, exploration_fraction=0.12, exploration_final_eps=0.05,
    policy_kwargs={"net_arch": [128, 128]},
)  # fmt: skip
evaluation = EvalCallback(Monitor(gym.make("LunarLander-v3")), n_eval_episodes=10, eval_freq=steps // 20, verbose=0)
model.learn(steps, callback=evaluation)
final, _ = evaluate_policy(model, Monitor(gym.make("LunarLander-v3")), n_eval_episodes=50)
print(json.dumps({"best": float(evaluation.best_mean_reward), "final": float(np.mean(final)),
                  "seconds": time.monotonic() - start}))  # fmt: skip
