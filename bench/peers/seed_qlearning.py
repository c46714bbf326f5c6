"""The tutorial's Q-learning on slippery FrozenLake, with gymnasium for gym, a clock and a step limit.

Kept as it was, faults included: time limits are ignored. Needs numpy and gymnasium only.
"""

import argparse
import json
import time

import gymnasium as gym
import numpy as np

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=800_000)
step_limit = parser.parse_args().steps
warm_up = 1000
steps = -warm_up

# Create environment
env = gym.make("FrozenLake-v1", is_slippery=True)

# Initialize Q-table
state_size = env.observation_space.n
action_size = env.action_space.n
Q = np.zeros((state_size, action_size))

# Hyperparameters
alpha = 0.1  # learning rate
gamma = 0.99  # discount factor
epsilon = 1.0  # exploration rate
epsilon_decay = 0.995
epsilon_min = 0.01

# Training loop
while steps < step_limit:
    state, _ = env.reset()
    done = False

    while not done and steps < step_limit:
        if steps == 0:
            start = time.perf_counter()
        steps += 1

        # ε-greedy policy
        if np.random.rand() < epsilon:  # noqa: SIM108 (the tutorial's own words)
            action = env.action_space.sample()
        else:
            action = np.argmax(Q[state, :])

        # Take step
        next_state, reward, done, _, _ = env.step(action)

        # Q-learning update
        Q[state, action] = Q[state, action] + alpha * (reward + gamma * np.max(Q[next_state, :]) - Q[state, action])

        state = next_state

    # Decay epsilon
    epsilon = max(epsilon_min, epsilon * epsilon_decay)

seconds = time.perf_counter() - start

line = {"name": "seed-qlearning", "steps": steps, "seconds": seconds, "steps_per_second": steps / seconds}
print(json.dumps(line))
