"""Rejax's PQN on gymnax's CartPole, 64 worlds, its own 64 steps, 1 epoch, 16 minibatches; one compiled loop."""

import argparse
import json
import time

import jax
from rejax import PQN

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=2_000_000)
steps = parser.parse_args().steps

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
# Rejax evaluates 128 worlds after the last step; only the training loop is to be timed.
algorithm = algorithm.replace(eval_callback=lambda algorithm, state, key: ())

train = jax.jit(algorithm.train)
start = time.perf_counter()
jax.block_until_ready(train(jax.random.key(0)))
first = time.perf_counter() - start
start = time.perf_counter()
jax.block_until_ready(train(jax.random.key(1)))
seconds = time.perf_counter() - start
line = {
    "name": "rejax-pqn",
    "steps": steps,
    "seconds": seconds,
    "steps_per_second": steps / seconds,
    "compile_seconds": first - seconds,
}
print(json.dumps(line))
