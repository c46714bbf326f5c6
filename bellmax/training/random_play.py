"""NumPy. The score of random play."""

from __future__ import annotations

import math
import time
from typing import Any, NamedTuple

import numpy as np

from bellmax.contracts import BellmaxError, FloatArray, HostObs, Masked
from bellmax.mdp.model import FiniteMDP
from bellmax.sources import Source
from bellmax.training.compiled_as_host import as_host
from bellmax.training.exact import policy_return
from bellmax.training.play import STEP_CAP, play_host

SECONDS = 3.0  # random play in a slow environment stops here, and its score is then NaN
SIDE_BY_SIDE = 32


class RandomScore(NamedTuple):
    """Random play: its mean return, the standard error of that, and the share of episodes at the step limit.

    `spread` is the standard deviation of one return, and `unmeasured` the reason why the score is NaN.
    """

    score: float = math.nan
    error: float = 0.0
    at_cutoff: float = math.nan
    spread: float = 0.0
    unmeasured: str = ""


class _TooSlow(Exception):
    """Random play takes too long."""


class RandomPlayer:
    """Plays allowed actions uniformly at random, until its time is over."""

    def __init__(self, n_actions: int, seed: int) -> None:
        self._n, self._random = n_actions, np.random.default_rng(seed)
        self._end = time.monotonic() + SECONDS

    def begin(self, n: int) -> object:
        """Return an empty carry: random play has no memory."""
        del n
        return ()

    def look_from_zero(self, carry: object, obs: HostObs) -> tuple[np.ndarray, object]:
        """Return random values [n, A], -inf where an action is not allowed."""
        if time.monotonic() > self._end:
            raise _TooSlow
        first: Any = obs
        while isinstance(first, tuple) and not isinstance(first, Masked):
            first = first[0]
        n = len(first.mask if isinstance(first, Masked) else first)
        values = self._random.random((n, self._n))
        return (np.where(first.mask, values, -np.inf) if isinstance(first, Masked) else values), carry


def play_randomly(source: Source, episodes: int, seed: int, *, exactly: bool, gamma: float) -> RandomScore:
    """Score random actions: by the table where scores are exact, else by as many episodes, in limited time."""
    if exactly and source.mdp is not None:
        return RandomScore(policy_return(source.mdp, uniform_policy(source.mdp), gamma))
    if source.fixed is not None or not episodes:
        return RandomScore()
    source = as_host(source)
    player = RandomPlayer(source.n_actions, seed)
    begin = time.monotonic()
    try:
        played = play_host(player, source, min(episodes, SIDE_BY_SIDE), seed)
        if episodes > SIDE_BY_SIDE and time.monotonic() - begin < SECONDS / 6:
            more = play_host(player, source, episodes - SIDE_BY_SIDE, seed + SIDE_BY_SIDE)
            played = type(played)(*(np.concatenate(pair) for pair in zip(played, more, strict=True)))
    except _TooSlow:
        return RandomScore(unmeasured="slow environment or busy machine")
    except BellmaxError:
        return RandomScore()
    spread = float(played.returns.std())
    error = spread / math.sqrt(max(played.returns.size, 1))
    cutoff = source.max_episode_steps or STEP_CAP
    return RandomScore(played.mean_return, error, float((played.lengths >= cutoff).mean()), spread)


def uniform_policy(mdp: FiniteMDP) -> FloatArray:
    """Return probabilities [S, A] that are equal for all allowed actions of a state."""
    allowed = np.asarray(mdp.allowed, np.float64)
    return np.asarray(allowed / np.maximum(allowed.sum(axis=1, keepdims=True), 1.0))
