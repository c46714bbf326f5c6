"""NumPy. Count the episodes of Gymnasium environments, and choose their seeds: shared by the two host loops."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from bellmax.contracts import ArrayDict, BoolArray, CorruptCheckpoint, FloatArray, HostObs, IntArray
from bellmax.envs.host_steps import HostStep
from bellmax.envs.host_world import HostWorld
from bellmax.loops.logs import Episodes
from bellmax.stderr import say


@dataclass
class EpisodeCounter:
    """Returns and lengths of the running episodes [N], and of those that ended."""

    running_return: FloatArray
    running_length: IntArray
    returns: list[float] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)

    @classmethod
    def of(cls, n: int) -> EpisodeCounter:
        """Return the counter of n environments side by side."""
        return cls(np.zeros(n), np.zeros(n, np.int64))

    def record(self, step: HostStep) -> None:
        """Count one vector step."""
        self.running_return += step.reward  # 0 where a row does not count
        self.running_length += step.valid
        if np.count_nonzero(step.ended):  # four times as fast as any()
            for i in np.flatnonzero(step.ended):
                self.returns.append(float(self.running_return[i]))
                self.lengths.append(int(self.running_length[i]))
        if np.count_nonzero(step.begins):  # an episode that was cut short is not counted
            self.running_return[step.begins] = 0.0
            self.running_length[step.begins] = 0

    def drain(self) -> Episodes:
        """Return the episodes that ended since the last call."""
        episodes = Episodes(np.array(self.returns, np.float64), np.array(self.lengths, np.int64))
        self.returns, self.lengths = [], []
        return episodes


def fresh_seed(seed: int, step: int) -> int:
    """Return the seed of the environments of a run that starts, or is resumed, at environment step `step`.

    A resumed run gets another seed, which follows from both numbers and is far from all seeds of training and
    evaluation: with the old seed, an environment would repeat its first episodes.
    """
    if step == 0:
        return seed
    word = int(np.random.SeedSequence([seed, step]).generate_state(1)[0])
    return 10**7 + word % (2**31 - 2 * 10**7)


WORLD = "world."  # begins the names of the arrays of environments in a group's checkpoint


def save_worlds(world: HostWorld, obs: HostObs, episodes: EpisodeCounter) -> ArrayDict:
    """Return the arrays from which `restore_worlds` restores environments and their running episodes."""
    running = {"running_return": episodes.running_return, "running_length": episodes.running_length}
    return {f"{WORLD}{name}": np.array(array) for name, array in {**world.save(obs), **running}.items()}


def restore_worlds(
    world: HostWorld, arrays: ArrayDict, seed: int, episodes: EpisodeCounter
) -> tuple[HostObs, BoolArray]:
    """Restore environments; those that cannot be restored start new episodes, which a line reports.

    Returns:
        The observations to act on, and which environments [N] started new episodes, from a seed that follows from
        `seed`.

    Raises:
        CorruptCheckpoint: the arrays are not what was saved.
    """
    own = {name.removeprefix(WORLD): array for name, array in arrays.items() if name.startswith(WORLD)}
    lost = np.ones(world.n, np.bool_)
    if not own:
        say(f"{world.name}: the checkpoint does not have the positions of its environments; they start new episodes")
        return world.reset(seed), lost
    obs, why = world.put_back(own, seed)
    lost[[i for i in range(world.n) if i not in why]] = False
    for i, reason in why.items():
        say(f"{world.name}: environment {i} starts a new episode, so not bit for bit: {reason}")
    for name, column in (("running_return", episodes.running_return), ("running_length", episodes.running_length)):
        saved = own.get(name)
        if saved is None or (saved.dtype, saved.shape) != (column.dtype, column.shape):
            raise CorruptCheckpoint(f"`world.{name}` of the checkpoint is not of {world.n} environments")
        low, high = (0, 2**53) if name == "running_length" else (-1e300, 1e300)
        if not ((saved >= low) & (saved <= high)).all():
            raise CorruptCheckpoint(f"`world.{name}` of the checkpoint has numbers that it cannot have")
        column[~lost] = saved[~lost]
    return obs, lost
