"""NumPy. What N environments were asked since they were reset, so that others can be put into the same state.

No environment can be copied for certain, but another one can be asked the same: it begins the episode with the same
random numbers, takes the same actions, and must then return the observation that was saved, to the bit. The random
numbers are those of `env.unwrapped.np_random`, as they were before the reset. An environment that draws others is asked
everything since its last reset with a seed.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from bellmax.contracts import ArrayDict, CorruptCheckpoint, IntArray

LONGEST = 100_000  # vector steps that are kept, and asked again
SECONDS = 300.0  # in which an environment must be where it was
UNREADABLE = (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)

State: TypeAlias = Mapping[str, Any]  # of a generator of NumPy
Native: TypeAlias = Callable[[IntArray], npt.NDArray[np.generic]]  # actions as the environment itself counts them


class Script(NamedTuple):
    """What one environment is asked: a reset, with a seed or with a generator in some state, actions, more resets.

    Attributes:
        seed: of the first reset.
        generator: the state of its generator before the reset that follows, which then follows; None: none follows.
        actions: all of them, in order.
        resets: after how many of them it is reset without a seed.
    """

    seed: int
    generator: State | None
    actions: Sequence[object]
    resets: Sequence[int]


class TooSlow(Exception):
    """An environment did not get to where it was in `SECONDS`."""


def generator_state(env: gym.Env[Any, Any]) -> State | None:
    """The state of an environment's own random generator; None if it has not made one."""
    generator = getattr(env.unwrapped, "_np_random", None)
    return generator.bit_generator.state if isinstance(generator, np.random.Generator) else None


class Performed(NamedTuple):
    """How a script ended: the last (observation, info), and the generator before the last reset without a seed."""

    answer: tuple[Any, Any]
    generator: State | None


def perform(env: gym.Env[Any, Any], script: Script) -> Performed:
    """Ask an environment for everything in a script.

    Raises:
        TooSlow: it takes too long. Exceptions of the environment are passed on.
    """
    end = time.monotonic() + SECONDS
    answer, generator = env.reset(seed=script.seed), script.generator
    if generator is not None:
        env.unwrapped.np_random.bit_generator.state = generator
        answer = env.reset()
    resets = set(script.resets)
    for k, action in enumerate(script.actions, 1):
        obs, _, _, _, info = env.step(action)
        answer = obs, info
        if k in resets:
            generator = generator_state(env)
            answer = env.reset()
        if time.monotonic() > end:
            raise TooSlow(f"its {len(script.actions):,} steps take more than {SECONDS:g} s")
    return Performed(answer, generator)


class EpisodeLog:
    """The actions [T, N] of N environments, as integers from 0, and when and how each was reset.

    Steps are counted from the start of the run; those before `first` are forgotten.
    """

    def __init__(self, n: int) -> None:
        self.n, self.first = n, 0
        self.actions: list[IntArray] = []
        self.seed = 0  # of all, where each has others that follow from it
        self.seeds = [0] * n  # of the last reset with a seed
        self.seeded = [0] * n  # the step after which that was
        self.resets: list[list[int]] = [[] for _ in range(n)]  # after which it was reset without a seed since then
        self.generators: list[State | None] = [None] * n  # of a checkpoint: before the last of these

    @property
    def now(self) -> int:
        """How many steps there were."""
        return self.first + len(self.actions)

    def step(self, actions: IntArray) -> None:
        """All environments have taken a step."""
        self.actions.append(actions)
        if len(self.actions) > 2 * LONGEST:
            del self.actions[:LONGEST]
            self.first += LONGEST
            for resets in self.resets:
                resets[:-1] = [step for step in resets[:-1] if step >= self.first]

    def undo(self) -> None:
        """The last step failed: it was not taken. Who was reset in it cannot be put back."""
        self.actions.pop()
        for i, resets in enumerate(self.resets):
            if resets and resets[-1] > self.now:
                self.seeded[i], self.resets[i] = self.now, []

    def reset(self, i: int, seed: int | None) -> None:
        """Environment i was reset after the step `now`, which is in the log."""
        if seed is not None:
            self.seeds[i], self.seeded[i], self.resets[i] = seed, self.now, []
        else:
            self.resets[i].append(self.now)

    def scripts(self, i: int, native: Native) -> Iterator[Script]:
        """How environment i can be put back, the shortest way first; none where that would be too long."""
        begun = self.resets[i][-1] if self.resets[i] else self.seeded[i]
        kept = max(self.first, self.now - LONGEST)
        if begun >= kept and (self.generators[i] is not None or not self.resets[i]):
            yield Script(self.seeds[i], self.generators[i], self._actions(i, begun, native), ())
        if self.resets[i] and self.seeded[i] >= kept:
            since = self.seeded[i]
            yield Script(self.seeds[i], None, self._actions(i, since, native), [k - since for k in self.resets[i]])

    def _actions(self, i: int, begun: int, native: Native) -> list[object]:
        chosen = self.actions[begun - self.first :]
        return list(native(np.array([row[i] for row in chosen], np.int64))) if chosen else []

    def to_arrays(self, generators: Sequence[State | None]) -> ArrayDict:
        """What a checkpoint keeps, by name; with the states of the generators before the last resets."""
        kept = self.actions[-LONGEST:]
        about = {
            "first": self.now - len(kept), "seeds": self.seeds, "seeded": self.seeded, "resets": self.resets,
            "generators": [*generators], "seed": self.seed,
        }  # fmt: skip
        rows = np.array(kept, np.int64).reshape(len(kept), self.n)
        return {"log": np.frombuffer(json.dumps(about, default=np.ndarray.tolist).encode(), np.uint8), "actions": rows}

    @classmethod
    def from_arrays(cls, arrays: ArrayDict, n: int, n_actions: int) -> EpisodeLog:
        """What `to_arrays` returned, of `n` environments.

        Raises:
            CorruptCheckpoint: it is not.
        """
        log = cls(n)
        try:
            about, rows = json.loads(bytes(arrays["log"])), arrays["actions"]
            if rows.dtype != np.int64 or rows.shape != (len(rows), n) or len(rows) > LONGEST:
                raise ValueError(f"actions of shape {rows.shape}")
            if rows.size and not (rows.min() >= 0 and rows.max() < n_actions):
                raise ValueError(f"actions from {rows.min()} to {rows.max()}")
            log.first, log.actions = about["first"], list(rows)
            log.seeds, log.seeded, log.resets = about["seeds"], about["seeded"], about["resets"]
            log.generators, log.seed = about["generators"], about["seed"]
            columns = (log.seeds, log.seeded, log.resets, log.generators)
            if any(type(column) is not list or len(column) != n for column in columns):
                raise ValueError(f"not of {n} environments")
            numbers = [log.first, log.seed, *log.seeds, *log.seeded, *(step for steps in log.resets for step in steps)]
            if any(type(number) is not int or number < 0 for number in numbers):
                raise ValueError("not counts")
            steps = [[start, *resets, log.now] for start, resets in zip(log.seeded, log.resets, strict=True)]
            if any(each != sorted(each) for each in steps):
                raise ValueError("resets that do not follow each other")
            if any(state is not None and type(state) is not dict for state in log.generators):
                raise ValueError("a generator without a state")
        except UNREADABLE as error:
            raise CorruptCheckpoint(f"the checkpoint does not say what its environments were asked: {error}") from error
        return log
