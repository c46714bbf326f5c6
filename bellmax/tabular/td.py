"""Numba. One-step temporal-difference learners: for each its kernel, what it remembers, its hyper-parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from bellmax.tabular.behaviour import epsilon_greedy, largest
from bellmax.tabular.kernel import kernel
from bellmax.tabular.train import TabularAgent, TabularConfig


@dataclass(frozen=True, kw_only=True)
class QLearning(TabularConfig):
    """Q-learning: Watkins (1989). Sutton and Barto (2018), section 6.5, equation 6.8."""

    name: ClassVar[str] = "q-learning"

    def make(self, n_states: int, n_actions: int) -> TabularAgent:
        """The learner for tables of [n_states, n_actions]."""
        return TabularAgent(lambda: (), epsilon_greedy, q_learning)


@kernel
def q_learning(
    q: Any, extra: Any, obs: Any, action: Any, reward: Any, discount: Any, next_obs: Any,
    step_size: Any, epsilon: Any, generator: Any,
) -> Any:  # fmt: skip
    """Q(s, a) += α [r + γ max_b Q(s', b) - Q(s, a)], equation 6.8; returns the TD error."""
    td_error = reward + discount * largest(q, next_obs) - q[obs, action]
    q[obs, action] += step_size * td_error
    return td_error
