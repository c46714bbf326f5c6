"""Rejax's DQN on gymnax's CartPole, one world, one gradient step per environment step, one compiled loop."""

import argparse
import json
import time

import jax
from rejax import DQN

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
# Rejax evaluates 128 worlds after the last step; only the training loop is to be timed.
algorithm = algorithm.replace(eval_callback=lambda algorithm, state, key: ())

train = jax.jit(algorithm.train)
start = time.perf_counter()
jax.block_until_ready(train(jax.random.key(0)))
first = time.perf_counter() - start
start = time.perf_counter()
state, _ = jax.block_until_ready(train(jax.random.key(1)))
seconds = time.perf_counter() - start

updates = int(state.q_ts.step)
if not 0 <= steps - updates <= 66:
    raise SystemExit(f"{updates} gradient steps in {steps} environment steps")
line = {
    "name": "rejax-dqn",
    "steps": steps,
    "seconds": seconds,
    "steps_per_second": steps / seconds,
    "compile_seconds": first - seconds,
}
print(json.dumps(line))
