"""NumPy. Log what N environments did since they were reset, so that new ones can be brought into the same state.

Not every environment can be copied, but a new one can repeat what the old one did: it starts with the same random
numbers and takes the same actions. The log has a checksum of everything that was returned, so a difference is noticed.
If that is quick, everything since the last reset with a seed is repeated, otherwise only the present episode, with the
state that `env.unwrapped.np_random` had before it.
"""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias
from zlib import crc32

import gymnasium as gym
import numpy as np
import numpy.typing as npt

from bellmax.contracts import ArrayDict, CorruptCheckpoint, IncompatibleCheckpoint, IntArray

LONGEST = 100_000  # vector steps that are kept, and asked again
SECONDS = 300.0  # in which an environment must be where it was, by repeating its episode
SHORT = 10.0  # seconds for repeating everything since its seed, where repeating the episode may do
pack = struct.Struct("d??").pack
UNREADABLE = (LookupError, TypeError, ValueError, AttributeError, OverflowError, RecursionError)

State: TypeAlias = Mapping[str, Any]  # of a generator of NumPy
Native: TypeAlias = Callable[[IntArray], npt.NDArray[np.generic]]  # actions as the environment itself counts them


class Script(NamedTuple):
    """What one environment repeats: a reset from a seed, or from the state of a generator; actions; more resets.

    Attributes:
        seed: of the first reset.
        generator: if not None, its generator gets this state after the first reset, and it is reset again.
        actions: all of them, in order.
        resets: after how many of them it is reset without a seed.
        checksum: of what was returned before.
        seconds: that it may take.
    """

    seed: int
    generator: State | None
    actions: Sequence[object]
    resets: Sequence[int]
    checksum: int
    seconds: float


class TooSlow(Exception):
    """An environment did not get to where it was in time."""


def checksum_of(value: object, before: int) -> int:
    """Return the checksum of values of any type, nested as spaces are, after that of others."""
    if isinstance(value, np.ndarray):
        return crc32(value.tobytes(), before)
    if type(value) is int:
        return crc32(b"%d" % value, before)
    if isinstance(value, dict):
        value = tuple(value.values())
    if isinstance(value, tuple | list):
        for part in value:
            before = checksum_of(part, before)
        return before
    return crc32(repr(value).encode(), before)


def checksum_of_step(obs: object, reward: object, terminated: object, truncated: object, before: int) -> int:
    """Return the checksum of a step after that of others; plain numbers, which are most, are packed together."""
    try:
        rest = pack(reward, terminated, truncated)
    except (struct.error, TypeError, ValueError):  # of a vector environment, or of another type
        return checksum_of((obs, reward, terminated, truncated), before)
    seen = crc32(obs.tobytes(), before) if type(obs) is np.ndarray else checksum_of(obs, before)
    return crc32(rest, seen)


def generator_state(env: gym.Env[Any, Any]) -> State | None:
    """Return the state of an environment's own random generator; None if it does not have one."""
    generator = getattr(env.unwrapped, "_np_random", None)
    return generator.bit_generator.state if isinstance(generator, np.random.Generator) else None


class Performed(NamedTuple):
    """How a script ended.

    Attributes:
        answer: the last (observation, info).
        generator: the state of the generator before the last reset without a seed.
        checksum: of everything that was returned, and the one before the last reset.
    """

    answer: tuple[Any, Any]
    generator: State | None
    checksum: tuple[int, int] = (0, 0)


def perform(env: gym.Env[Any, Any], script: Script) -> Performed:
    """Repeat a script in an environment.

    Raises:
        TooSlow: it takes too long. Exceptions of the environment are passed on.
    """
    end = time.monotonic() + script.seconds
    answer, generator, before = env.reset(seed=script.seed), script.generator, script.checksum
    if generator is not None:
        env.unwrapped.np_random.bit_generator.state = generator
        answer = env.reset()
    checksum, resets = checksum_of(answer[0], before), set(script.resets)
    for k, action in enumerate(script.actions, 1):
        obs, reward, terminated, truncated, info = env.step(action)
        answer, checksum = (obs, info), checksum_of_step(obs, reward, terminated, truncated, checksum)
        if k in resets:
            generator, before = generator_state(env), checksum
            answer = env.reset()
            checksum = checksum_of(answer[0], before)
        if time.monotonic() > end:
            raise TooSlow(f"its {len(script.actions):,} steps take more than {script.seconds:g} s")
    return Performed(answer, generator, (checksum, before))


OLDER = {"first", "seeds", "seeded", "resets", "generators", "seed"}  # what a log of format 1 has


class EpisodeLog:
    """The actions [T, N] of N environments, as integers from 0, and when and how each was reset.

    Steps are counted from the start of the run; those before `first` are forgotten.
    """

    def __init__(self, n: int) -> None:
        self.n, self.first = n, 0
        self.actions: list[IntArray] = []
        self.seed = 0  # of the last reset of all
        self.checksums = [0] * n  # of what each returned since its seed
        self.before = [0] * n  # the same, before the last reset
        self.unseen: list[int] = []  # who returned a last observation that was left out
        self._undone = self.checksums
        self.seeds = [0] * n  # of the last reset with a seed
        self.seeded = [0] * n  # the step after which that was
        self.resets: list[list[int]] = [[] for _ in range(n)]  # after which it was reset without a seed since then
        self.generators: list[State | None] = [None] * n  # of a checkpoint: before the last of these

    @property
    def now(self) -> int:
        """How many steps there were."""
        return self.first + len(self.actions)

    def step(self, actions: IntArray) -> None:
        """All environments take a step."""
        self.actions.append(actions)
        self._undone = [*self.checksums]
        if len(self.actions) > 2 * LONGEST:
            del self.actions[:LONGEST]
            self.first += LONGEST
            for resets in self.resets:
                resets[:-1] = [step for step in resets[:-1] if step >= self.first]

    def undo(self) -> None:
        """The last step failed: it was not taken. Who was reset in it cannot be put back."""
        self.actions.pop()
        self.checksums = self._undone
        for i, resets in enumerate(self.resets):
            if resets and resets[-1] > self.now:
                self.seeded[i], self.resets[i] = self.now, []

    def returned(self, i: int, obs: object, reward: object, terminated: object, truncated: object) -> None:
        """Environment i returned this in its step."""
        self.checksums[i] = checksum_of_step(obs, reward, terminated, truncated, self.checksums[i])

    def reset(self, i: int, seed: int | None, obs: object) -> None:
        """Environment i was reset after the step `now`, which is in the log, and returned this observation."""
        if seed is not None:
            self.seeds[i], self.seeded[i], self.resets[i], self.checksums[i] = seed, self.now, [], 0
        else:
            self.resets[i].append(self.now)
        self.before[i] = self.checksums[i]
        self.checksums[i] = checksum_of(obs, self.before[i])

    def take(self, i: int, other: EpisodeLog) -> None:
        """Take over from another log that environment i was reset now."""
        self.seeds[i], self.seeded[i], self.resets[i] = other.seeds[i], self.now, []
        self.checksums[i], self.before[i] = other.checksums[i], other.before[i]

    def scripts(self, i: int, native: Native) -> Iterator[Script]:
        """Yield the ways to restore environment i: everything since its seed, then its episode; none if too long."""
        begun = self.resets[i][-1] if self.resets[i] else self.seeded[i]
        kept = max(self.first, self.now - LONGEST)
        alone = begun >= kept and (self.generators[i] is not None or not self.resets[i])
        if self.resets[i] and self.seeded[i] >= kept:
            since, seconds = self.seeded[i], SHORT if alone else SECONDS
            resets = [k - since for k in self.resets[i]]
            yield Script(self.seeds[i], None, self._actions(i, since, native), resets, 0, seconds)
        if alone:
            actions = self._actions(i, begun, native)
            yield Script(self.seeds[i], self.generators[i], actions, (), self.before[i], SECONDS)

    def _actions(self, i: int, begun: int, native: Native) -> list[object]:
        chosen = self.actions[begun - self.first :]
        return list(native(np.array([row[i] for row in chosen], np.int64))) if chosen else []

    def to_arrays(self, generators: Sequence[State | None]) -> ArrayDict:
        """Return the arrays of a checkpoint, by name; `generators` are the states before the last resets."""
        kept = self.actions[-LONGEST:]
        about = {
            "first": self.now - len(kept), "seeds": self.seeds, "seeded": self.seeded, "resets": self.resets,
            "generators": [*generators], "seed": self.seed, "checksums": self.checksums, "before": self.before,
            "unseen": self.unseen,
        }  # fmt: skip
        rows = np.array(kept, np.int64).reshape(len(kept), self.n)
        return {"log": np.frombuffer(json.dumps(about, default=np.ndarray.tolist).encode(), np.uint8), "actions": rows}

    @classmethod
    def from_arrays(cls, arrays: ArrayDict, n: int, n_actions: int) -> EpisodeLog:
        """Return the log that `to_arrays` saved, of `n` environments.

        Raises:
            CorruptCheckpoint: the arrays are not those of such a log.
            IncompatibleCheckpoint: an older version saved it, which did not keep what is compared.
        """
        log = cls(n)
        try:
            about, rows = json.loads(bytes(arrays["log"])), arrays["actions"]
            if about.keys() == OLDER:
                raise IncompatibleCheckpoint(
                    "the checkpoint is of an older version, which did not store checksums of what its environments "
                    "returned: resume it with the bellmax that wrote it, or train it again"
                )
            if rows.dtype != np.int64 or rows.shape != (len(rows), n) or len(rows) > LONGEST:
                raise ValueError(f"`world.actions` has the shape {rows.shape}")
            if rows.size and not (rows.min() >= 0 and rows.max() < n_actions):
                raise ValueError(f"`world.actions` has numbers from {rows.min()} to {rows.max()}")
            log.first, log.actions = about["first"], list(rows)
            log.seeds, log.seeded, log.resets = about["seeds"], about["seeded"], about["resets"]
            log.generators, log.seed, log.unseen = about["generators"], about["seed"], about["unseen"]
            log.checksums, log.before = about["checksums"], about["before"]
            columns = (log.seeds, log.seeded, log.resets, log.generators, log.checksums, log.before)
            if any(type(column) is not list or len(column) != n for column in columns):
                raise ValueError(f"not of {n} environments")
            numbers = [log.first, log.seed, *log.seeds, *log.seeded, *(step for steps in log.resets for step in steps)]
            numbers += [*log.checksums, *log.before, *log.unseen]
            if any(type(number) is not int or number < 0 for number in numbers) or any(i >= n for i in log.unseen):
                raise ValueError("not counts")
            steps = [[start, *resets, log.now] for start, resets in zip(log.seeded, log.resets, strict=True)]
            if any(each != sorted(each) for each in steps):
                raise ValueError("resets that do not follow each other")
            if any(state is not None and type(state) is not dict for state in log.generators):
                raise ValueError("a generator without a state")
        except UNREADABLE as error:
            raise CorruptCheckpoint(f"the checkpoint does not have a valid log of its environments: {error}") from error
        return log
