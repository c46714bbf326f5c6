"""DQN of Stable-Baselines3, or of SBX with --library sbx, on any of the works of bench/host.py, given as JSON."""

import argparse
import importlib
import json
import time
from typing import Any

import gymnasium as gym
from stable_baselines3.common.env_util import make_atari_env, make_vec_env
from stable_baselines3.common.vec_env import VecFrameStack

parser = argparse.ArgumentParser()
parser.add_argument("--library", choices=("sb3", "sbx"), default="sb3")
parser.add_argument("--work", type=json.loads)
parser.add_argument("--steps", type=int)
options = parser.parse_args()
work: dict[str, Any] = options.work


def wrapped(env: gym.Env) -> gym.Env:
    for name in work["wrappers"]:
        module, _, wrapper = name.rpartition(":")
        env = getattr(importlib.import_module(module or "gymnasium.wrappers"), wrapper)(env)
    return env


atari = work["world"].startswith("ALE/")
if atari:
    importlib.import_module("ale_py")
    once = {"frameskip": 1, "repeat_action_probability": 0.0}  # its wrapper repeats actions itself
    worlds = VecFrameStack(make_atari_env(work["world"], work["num_envs"], seed=0, env_kwargs=once), 4)
else:
    if work["world"].startswith("MiniGrid"):
        importlib.import_module("minigrid")
    worlds = make_vec_env(work["world"], work["num_envs"], seed=0, wrapper_class=wrapped)

DQN = importlib.import_module("stable_baselines3" if options.library == "sb3" else "sbx").DQN
settings = work["settings"]
warm_up = max(200, settings["learning_starts"] + 20 * settings["train_freq"] * work["num_envs"])
model = DQN(
    "CnnPolicy" if atari else "MlpPolicy", worlds, seed=0, gamma=0.99,
    policy_kwargs={} if atari else {"net_arch": list(settings["net_arch"])},
    **{k: settings[k] for k in ("learning_rate", "buffer_size", "learning_starts", "batch_size", "train_freq",
                                "gradient_steps", "target_update_interval")},
)  # fmt: skip
model.learn(warm_up)
updates, before = model._n_updates, model.num_timesteps
start = time.perf_counter()
model.learn(options.steps, reset_num_timesteps=False)
seconds = time.perf_counter() - start
steps = model.num_timesteps - before
expected = steps * settings["gradient_steps"] / (settings["train_freq"] * work["num_envs"])
if abs(model._n_updates - updates - expected) > settings["gradient_steps"]:
    raise SystemExit(f"{model._n_updates - updates} gradient steps in {steps} environment steps, not {expected}")
print(json.dumps({"name": options.library, "steps": steps, "seconds": seconds, "steps_per_second": steps / seconds}))
