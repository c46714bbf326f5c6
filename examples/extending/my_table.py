"""An algorithm of your own with a table: advantage learning, a kernel of four lines.

    bellmax train cliff --agent my_table:AdvantageLearning --steps 20000 gap=0.3
    python my_table.py

Q-learning with a penalty on every action but the best, which widens the gap between them: Bellemare et al. (2016),
"Increasing the action gap: new operators for reinforcement learning", equation 9.

    Q(s, a) += α [r + γ max_b Q(s', b) - Q(s, a) - gap (max_b Q(s, b) - Q(s, a))]
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import bellmax as bx
from bellmax.extend import LearningConfig, Shape, TabularAgent, change, find_behavior, kernel, largest, setting, value


class Options(NamedTuple):
    """Plain numbers for the kernel."""

    gap: float


@kernel
def advantage_learning(q, memory, options, step, behavior, now):
    """Learn from one transition; return the TD error. Numba compiles it, for tables and for tiles."""
    now_value = value(q, step.obs, step.action)
    error = step.reward + step.discount * largest(q, step.next_obs) - now_value
    error -= options.gap * (largest(q, step.obs) - now_value)
    change(q, step.obs, step.action, step.step_size * error)
    return error


@dataclass(frozen=True, kw_only=True)
class AdvantageLearning(LearningConfig):
    """Advantage learning: Bellemare et al. (2016). Differs from Q-learning only in the penalty."""

    name: ClassVar[str] = "advantage-learning"

    gap: float = setting(0.5, "the share of the distance to the best action that is subtracted", low=0.0, high=1.0)

    def make(self, shape: Shape) -> TabularAgent:
        """Return the learner for an environment of this shape."""
        return TabularAgent(advantage_learning, find_behavior(self), options=Options(self.gap))


if __name__ == "__main__":
    run = bx.train("cliff", AdvantageLearning(gap=0.3, gamma=0.99), steps=20_000, seeds=2)
    print(run)
