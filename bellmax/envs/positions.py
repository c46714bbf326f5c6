"""NumPy. The position of each of N environments in words, for messages, and hints about odd behavior."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from typing import Any, NoReturn

import numpy as np

from bellmax.contracts import BoolArray, EnvContractError, EnvWarning, IntArray, counted
from bellmax.envs.raising import error_in_words, failure
from bellmax.stderr import warn

MIGRATION = (
    "the interface before Gymnasium 0.26 was (obs, reward, done, info): return "
    "(obs, reward, terminated, truncated, info), or wrap the environment with shimmy's GymV21CompatibilityV0"
)
ENDLESS = 100_000  # steps without an end after which a hint is given
SHORT = 100  # episodes after which many of length 1 are remarked


class Positions:
    """Where each of n environments is, for messages only."""

    def __init__(self, name: str, n: int) -> None:
        self.name, self.n = name, n
        self.start(None)

    def start(self, seed: int | None) -> None:
        """All environments were reset; environment i with seed + i."""
        self.seed, self.t = seed, 0  # an episode's own clock is t less the t at which it began
        self.info: Mapping[str, Any] = {}  # of the answer that is being looked at
        self.began: IntArray = np.zeros(self.n, np.int64)
        self.episode: IntArray = np.ones(self.n, np.int64)
        self.actions: deque[IntArray] = deque(maxlen=20)
        self.last_end, self.short, self.ends = 0, 0, 0

    def begin(self, worlds: int | IntArray | BoolArray) -> None:
        """A new episode begins in these environments, as the one before has ended."""
        lengths = self.t - self.began[worlds]
        self.began[worlds] = self.t
        self.episode[worlds] += 1
        if self.ends <= SHORT:
            self.ends, self.short = self.ends + np.size(lengths), self.short + int(np.sum(lengths <= 1))
            if self.ends > SHORT and 10 * self.short > 9 * self.ends:  # of Blackjack's 7 in 10 have one step
                self.remark(f"{self.short} of the first {self.ends} episodes had one step; check what ends them")
        self.last_end = self.t

    def tick(self, actions: IntArray) -> None:
        """One more step of all environments."""
        self.actions.append(actions)
        self.t += 1
        if self.t - self.last_end == ENDLESS:
            self.remark(f"no episode ended in {ENDLESS:,} steps; if that is a mistake, give max_episode_steps")

    def remark(self, text: str) -> None:
        """A hint about this environment, which goes on."""
        warn(f"{self.name}: {text}", EnvWarning, stacklevel=2)

    def place(self, i: int | None) -> str:
        """Where environment i is, in words; None: one or all of the environments, not known which."""
        if i is None:
            return f"{self.name}: {counted(self.n, 'environment')}, step {self.t} since reset(seed)"
        step = self.t - self.began[i]
        doing = f"step {step}, action {self.actions[-1][i]}" if step else "reset"
        return f"{self.name}: environment {i}, episode {self.episode[i]}, {doing}"

    def crash(self, doing: str, error: BaseException, i: int | None) -> NoReturn:
        """Report what environment i raised in its `reset`, `step` or `close`."""
        if is_old_step(error):
            raise EnvContractError(f"{self.place(i)}: step returned 4 values, not 5; {MIGRATION}") from error
        recent = [(actions if i is None else actions[i]).tolist() for actions in self.actions]
        seed = self.seed if i is None or self.seed is None else self.seed + i
        raise failure(
            f"{self.place(i)}: {doing} raised {error_in_words(error)}; seed {seed}, last actions {recent}", error
        ) from error


def is_old_step(error: BaseException) -> bool:
    """Whether a wrapper fell over a step of four values, as before Gymnasium 0.26."""
    return isinstance(error, ValueError) and "unpack (expected 5, got 4)" in str(error)
