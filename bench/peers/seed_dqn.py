"""The tutorial's DQN on CartPole, as it was published, with gymnasium for gym, a clock and a step limit.

Kept as it was, faults included: time limits are ignored, lists of arrays become tensors one by one, and the
target network is copied every 10 episodes.
"""

import argparse
import json
import random
import sys
import time
from collections import deque

import gymnasium as gym
import numpy as np
import torch
import torch.nn as nn
import torch.optim as optim

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=5_000)
step_limit = parser.parse_args().steps
warm_up = 200
steps = -warm_up

# Environment
env = gym.make("CartPole-v1")
state_size = env.observation_space.shape[0]
action_size = env.action_space.n


# Q-Network
class QNetwork(nn.Module):
    def __init__(self, state_size, action_size):
        super().__init__()
        self.fc1 = nn.Linear(state_size, 64)
        self.fc2 = nn.Linear(64, 64)
        self.fc3 = nn.Linear(64, action_size)

    def forward(self, x):
        x = torch.relu(self.fc1(x))
        x = torch.relu(self.fc2(x))
        return self.fc3(x)  # output Q-values for each action


# Replay buffer
memory = deque(maxlen=10000)

# Hyperparameters
gamma = 0.99
epsilon = 1.0
epsilon_min = 0.01
epsilon_decay = 0.995
batch_size = 64
learning_rate = 1e-3

# Networks
q_net = QNetwork(state_size, action_size)
target_net = QNetwork(state_size, action_size)
target_net.load_state_dict(q_net.state_dict())
optimizer = optim.Adam(q_net.parameters(), lr=learning_rate)

# Training loop
ep = 0
while steps < step_limit:
    state, _ = env.reset()
    state = np.array(state, dtype=np.float32)
    done = False
    total_reward = 0

    while not done and steps < step_limit:
        if steps == 0:
            start = time.perf_counter()
        steps += 1

        # ε-greedy
        if np.random.rand() < epsilon:
            action = env.action_space.sample()
        else:
            with torch.no_grad():
                q_values = q_net(torch.tensor(state).unsqueeze(0))
                action = torch.argmax(q_values).item()

        next_state, reward, done, _, _ = env.step(action)
        next_state = np.array(next_state, dtype=np.float32)

        # Store in replay buffer
        memory.append((state, action, reward, next_state, done))
        state = next_state
        total_reward += reward

        # Train only if enough samples
        if len(memory) >= batch_size:
            batch = random.sample(memory, batch_size)
            states, actions, rewards, next_states, dones = zip(*batch, strict=False)

            states = torch.tensor(states, dtype=torch.float32)
            actions = torch.tensor(actions, dtype=torch.long).unsqueeze(1)
            rewards = torch.tensor(rewards, dtype=torch.float32).unsqueeze(1)
            next_states = torch.tensor(next_states, dtype=torch.float32)
            dones = torch.tensor(dones, dtype=torch.float32).unsqueeze(1)

            # Current Q values
            q_values = q_net(states).gather(1, actions)

            # Target Q values
            with torch.no_grad():
                max_next_q = target_net(next_states).max(1)[0].unsqueeze(1)
                target = rewards + (1 - dones) * gamma * max_next_q

            # Loss
            loss = nn.MSELoss()(q_values, target)

            # Optimize
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    # Update epsilon
    epsilon = max(epsilon_min, epsilon * epsilon_decay)

    # Update target network occasionally
    if ep % 10 == 0:
        target_net.load_state_dict(q_net.state_dict())

    print(f"Episode {ep}, Reward: {total_reward}", file=sys.stderr)
    ep += 1

seconds = time.perf_counter() - start
env.close()

line = {"name": "seed-dqn", "steps": steps, "seconds": seconds, "steps_per_second": steps / seconds}
print(json.dumps(line))
