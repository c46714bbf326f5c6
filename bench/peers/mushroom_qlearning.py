"""MushroomRL's Q-learning on the cliff, given to it as a FiniteMDP: settings of qlearning.c, a clock, a step limit."""

import argparse
import json
import time

import numpy as np
from mushroom_rl.algorithms.value import QLearning
from mushroom_rl.core import Core
from mushroom_rl.environments import FiniteMDP
from mushroom_rl.policy import EpsGreedy
from mushroom_rl.utils.parameters import Parameter

parser = argparse.ArgumentParser()
parser.add_argument("--steps", type=int, default=30_000)
steps = parser.parse_args().steps

ROWS, COLUMNS, START, GOAL = 4, 12, 36, 47
p, reward = np.zeros((48, 4, 48)), np.zeros((48, 4, 48))
for s in range(48):
    if s == GOAL:
        continue  # a state without successors ends the episode
    for a, (down, right) in enumerate(((-1, 0), (0, 1), (1, 0), (0, -1))):
        row, column = min(max(s // COLUMNS + down, 0), ROWS - 1), min(max(s % COLUMNS + right, 0), COLUMNS - 1)
        to = row * COLUMNS + column
        fell = START < to < GOAL
        p[s, a, START if fell else to] = 1.0
        reward[s, a, START if fell else to] = -100.0 if fell else -1.0
start = np.zeros(48)
start[START] = 1.0
world = FiniteMDP(p, reward, start, 0.99, np.inf)
agent = QLearning(world.info, EpsGreedy(epsilon=Parameter(0.1)), Parameter(0.5))
core = Core(agent, world)
core.learn(n_steps=1_000, n_steps_per_fit=1, quiet=True)
begin = time.perf_counter()
core.learn(n_steps=steps, n_steps_per_fit=1, quiet=True)
seconds = time.perf_counter() - begin
print(json.dumps({"steps": steps, "seconds": seconds, "steps_per_second": steps / seconds}))
