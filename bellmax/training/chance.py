"""NumPy. The score of random play, and what else a verdict on a run goes by."""

from __future__ import annotations

import contextlib
import math
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bellmax.mdp.model import FiniteMDP
from bellmax.training.evaluate import SEED_OFFSET, STEP_CAP, play_host
from bellmax.training.exact import policy_return
from bellmax.training.grading import GRADES
from bellmax.training.stepped import opened
from bellmax.training.verdict import Facts
from bellmax.training.worlds import Source
from bellmax.types import BellmaxError, FloatArray, Masked

if TYPE_CHECKING:
    from bellmax.training.run import Run

SECONDS = 3.0  # random play of a slow environment stops here, and counts as not known
SIDE_BY_SIDE = 32


class Chance(NamedTuple):
    """Random play: its mean return, the standard error of that, and the share of episodes at the cut-off."""

    score: float = math.nan
    error: float = 0.0
    at_cutoff: float = math.nan


class _TooSlow(Exception):
    """Random play takes longer than it is worth."""


class RandomPlayer:
    """Plays allowed actions, each with the same chance, until its time is over."""

    config = None

    def __init__(self, n_actions: int, seed: int) -> None:
        self._n, self._random = n_actions, np.random.default_rng(seed)
        self._end = time.monotonic() + SECONDS

    def begin(self, n: int) -> Any:
        """It remembers nothing."""
        del n
        return ()

    def look(self, carry: Any, obs: Any) -> tuple[Any, Any]:
        """Random values [n, A], -inf where an action is not allowed."""
        if time.monotonic() > self._end:
            raise _TooSlow
        first = obs
        while isinstance(first, tuple) and not isinstance(first, Masked):
            first = first[0]
        n = len(first.mask if isinstance(first, Masked) else first)
        values = self._random.random((n, self._n))
        return (np.where(first.mask, values, -np.inf) if isinstance(first, Masked) else values), carry


def play_randomly(source: Source, episodes: int, seed: int, *, exactly: bool, gamma: float) -> Chance:
    """The score of random actions: by the table where scores are exact, else of as many episodes, in bounded time."""
    if exactly and source.mdp is not None:
        return Chance(policy_return(source.mdp, uniform(source.mdp), gamma))
    if source.fixed is not None or not episodes:
        return Chance()
    source = source if source.open is not None else opened(source)
    player: Any = RandomPlayer(source.n_actions, seed)
    begin = time.monotonic()
    try:
        played = play_host(player, source, min(episodes, SIDE_BY_SIDE), seed)
        if episodes > SIDE_BY_SIDE and time.monotonic() - begin < SECONDS / 6:
            more = play_host(player, source, episodes - SIDE_BY_SIDE, seed + SIDE_BY_SIDE)
            played = type(played)(*(np.concatenate(pair) for pair in zip(played, more, strict=True)))
    except (_TooSlow, BellmaxError):
        return Chance()
    error = float(played.returns.std() / math.sqrt(max(played.returns.size, 1)))
    cutoff = source.max_episode_steps or STEP_CAP
    return Chance(played.mean_return, error, float((played.lengths >= cutoff).mean()))


def uniform(mdp: FiniteMDP) -> FloatArray:
    """[S, A] probabilities of allowed actions, all the same."""
    allowed = np.asarray(mdp.allowed, np.float64)
    return np.asarray(allowed / np.maximum(allowed.sum(axis=1, keepdims=True), 1.0))


def facts_of(run: Run, source: Source | None) -> Facts:
    """What a run and its environment say; without an environment nothing is known of random play."""
    history, n = run.history, len(run.seeds)
    unknown = np.full(n, np.nan)

    def last(name: str) -> FloatArray:
        if name not in history.columns:
            return unknown
        values = np.asarray(history[name])
        seen = ~np.isnan(values)
        at = values.shape[1] - 1 - seen[:, ::-1].argmax(axis=1)
        return np.where(seen.any(axis=1), values[np.arange(n), at], np.nan)

    grade = next((name for name in GRADES if name in history.columns), None)
    best, best_step = unknown, unknown
    if grade is not None:
        values = np.where(np.isnan(history[grade]), -np.inf, history[grade])
        best, best_step = values.max(axis=1), np.asarray(history["step"], np.float64)[values.argmax(axis=1)]
    played = run.evaluations
    exactly = "exact/policy_return" in history.columns and np.array_equal(
        run.scores, history["exact/policy_return"][:, -1], equal_nan=True
    )
    limit = source.max_episode_steps if source is not None else None
    cutoff = limit or STEP_CAP
    discounted = grade == "exact/policy_return" and limit is None
    errors = [each.returns.std() / math.sqrt(max(each.returns.size, 1)) for each in played]
    chance, floor = Chance(), math.nan
    if source is not None:
        with contextlib.suppress(BellmaxError):
            chance = play_randomly(
                source, run.options.final_episodes, 3 * SEED_OFFSET, exactly=exactly, gamma=run.config.gamma
            )
            floor = chance.score
            if discounted and source.mdp is not None:
                floor = policy_return(source.mdp, uniform(source.mdp), run.config.gamma)
    return Facts(
        final=np.array(run.scores, np.float64),
        error=np.array(errors) if errors and not exactly else np.zeros(n),
        at_cutoff=np.array([(each.lengths >= cutoff).mean() for each in played]) if played else unknown,
        cutoff=cutoff,
        limited=limit is not None,
        optimal=last("exact/is_optimal"),
        graded=unknown if grade is None else np.asarray(history[grade])[:, -1],
        best=best,
        best_step=best_step,
        training=last("rollout/ep_rew_mean"),
        random=chance.score,
        random_error=chance.error,
        random_at_cutoff=chance.at_cutoff,
        floor=floor,
        discounted=discounted,
        averaged=bool(getattr(run.config, "weight_averaging", False)),
        clipped=np.nan_to_num(last("train/clipped_targets")),
    )
