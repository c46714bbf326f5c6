"""An environment of one's own, with a dictionary for an observation and two switches for an action.

A lift is called to one of five floors. One switch starts the motor, the other says up or down. Every step costs 0.1,
the right floor earns 1 and ends the episode.

    python examples/own_environment.py
"""

from __future__ import annotations

from typing import Any

import gymnasium as gym
import numpy as np

import bellmax as bx


class Lift(gym.Env):
    """The lift, for Gymnasium."""

    FLOORS = 5
    BEST = 1.0 - 0.1 * 0.8  # there are 0.8 steps on average before the last one

    observation_space = gym.spaces.Dict(
        height=gym.spaces.Box(0.0, 1.0, (1,), np.float32), called=gym.spaces.Discrete(FLOORS),
        doors=gym.spaces.MultiBinary(2),
    )  # fmt: skip
    action_space = gym.spaces.MultiDiscrete([2, 2])

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        super().reset(seed=seed)
        self.floor, self.called = (int(n) for n in self.np_random.integers(0, self.FLOORS, 2))
        self.steps = 0
        return self.see(), {}

    def step(self, action: np.ndarray) -> tuple[dict[str, Any], float, bool, bool, dict[str, Any]]:
        self.steps += 1
        motor, up = action
        if motor:
            self.floor = int(np.clip(self.floor + (1 if up else -1), 0, self.FLOORS - 1))
        there = self.floor == self.called
        return self.see(), 1.0 if there else -0.1, there, not there and self.steps >= 20, {}

    def see(self) -> dict[str, Any]:
        height = np.array([self.floor / (self.FLOORS - 1)], np.float32)
        return {"height": height, "called": self.called, "doors": np.zeros(2, np.int8)}


def main() -> None:
    print(bx.check_env(Lift))
    run = bx.train(Lift, "dqn", steps=10_000, seeds=2, learning_rate=1e-3)
    print(f"mean return {np.mean(run.scores):.3f}, best possible {Lift.BEST:.3f}")
    policy = run.policy(0)
    call = {"height": np.array([0.25], np.float32), "called": 4, "doors": np.zeros(2, np.int8)}
    motor, up = policy.act(call)
    print(f"on floor 1, called to floor 4: motor {'on' if motor else 'off'}, {'up' if up else 'down'}")


if __name__ == "__main__":
    main()
