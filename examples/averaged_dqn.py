"""Averaged-DQN (Anschel et al., 2017), outside of the package: the target is the mean of the last copies.

    python examples/averaged_dqn.py

Any method becomes its averaged form in the same way; see `AveragedIQN`.
"""

from dataclasses import dataclass
from typing import ClassVar

import bellmax as bx
from bellmax.agent_config import setting
from bellmax.deep.following import Follower
from bellmax.deep.several import mean_of_copies


@dataclass(frozen=True, kw_only=True)
class Averaged:
    """Another target for any method with a target network."""

    copies: int = setting(5, "copies of the network that the target is the mean of", low=1)

    def target(self) -> Follower:
        """How the target network follows the network."""
        return mean_of_copies(self.copies, self.target_period)


@dataclass(frozen=True, kw_only=True)
class AveragedDQN(Averaged, bx.DQN):
    """DQN with the mean of the last copies for its target."""

    name: ClassVar[str] = "averaged-dqn"


@dataclass(frozen=True, kw_only=True)
class AveragedIQN(Averaged, bx.IQN):
    """The same with quantile functions: the mean of what the copies say at the same levels."""

    name: ClassVar[str] = "averaged-iqn"


if __name__ == "__main__":
    run = bx.train("CartPole-v1", AveragedDQN(train_freq=2, learning_rate=1e-3), steps=20_000, seeds=2)
    print(run)
